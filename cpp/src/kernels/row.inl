// The sweeps over one block of a row: maximum, sum of exponentials, what is written back.

/// An array read group by group with one element taken out: its group is read from a copy that holds `fill` in its
/// place, so that no sum and no maximum sees it.
template <class T>
class AsideReader {
public:
    LOGITLOSS_INLINE AsideReader(const T* x, std::size_t n, T fill, std::size_t aside)
        : all_(x, n, fill), aside_group_(aside / group_size<T>) {
        if (aside < n)
            take_out(aside % group_size<T>, fill);
    }
    LOGITLOSS_INLINE const T* at(std::size_t group) const { return group == aside_group_ ? patched_ : all_.at(group); }

private:
    __attribute__((noinline)) void take_out(std::size_t position, T fill) {
        const T* x = all_.at(aside_group_);
        const Vec<T> out = splat(static_cast<T>(position));
        for (std::size_t lane = 0; lane < group_size<T>; lane += Vec<T>::lanes) {
            const Mask<T> here = equal(load(lane_numbers<T>.values + lane), out);
            store(patched_ + lane, select(here, splat(fill), load(x + lane)));
        }
    }

    GroupReader<T> all_;
    std::size_t aside_group_;
    alignas(64) T patched_[group_size<T>];
};

/// The largest of n elements; NaNs do not count; -inf if there is none.
template <class T, class Reader>
LOGITLOSS_INLINE T largest(const Reader& row, std::size_t n) {
    Vec<T> top[group_vectors<T>];
    LOGITLOSS_UNROLL
    for (std::size_t i = 0; i < group_vectors<T>; ++i)
        top[i] = splat(T(-__builtin_inf()));
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group) {
        const auto* x = row.at(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i)
            top[i] = max(load(x + i * Vec<T>::lanes), top[i]);
    }
    return fold_max<T>(top);
}

template <class T, class Reader>
bool holds_nan(const Reader& row, std::size_t n) {
    const Vec<T> one = splat(T(1));
    Vec<T> found = splat(T(0));
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const Vec<T> x = load(row.at(group) + i * Vec<T>::lanes);
            found = select(equal(x, x), found, one);
        }
    return any(equal(found, one));
}

/// Writes a PendingRow vector by vector, between the steps of another row's sweep: while its stores wait for memory there
/// is arithmetic to do.
template <class T>
class PendingRowWriter {
public:
    LOGITLOSS_INLINE PendingRowWriter(const PendingRow<T>& row, std::size_t n)
        : row_(row), groups_(row.out, n), scale_(splat(row.scale)), linear_(splat(row.linear)) {}

    LOGITLOSS_INLINE void start(std::size_t group) {
        to_ = groups_.at(group);
        from_ = row_.exponentials + group * group_size<T>;
        if (row_.fetch) {
            LOGITLOSS_UNROLL
            for (std::size_t line = 0; line < 256; line += 64)
                prefetch_store(row_.out + group * group_size<T>, ahead_bytes + line);
        }
    }
    LOGITLOSS_INLINE void write(std::size_t lane) { store(to_ + lane, load(from_ + lane) * scale_ + linear_); }
    LOGITLOSS_INLINE void finish() {
        groups_.finish();
        if (row_.patch.index != no_index)
            row_.out[row_.patch.index] = row_.patch.value;
    }

private:
    static constexpr std::size_t ahead_bytes = 4096;

    const PendingRow<T>& row_;
    GroupWriter<T> groups_;
    Vec<T> scale_;
    Vec<T> linear_;
    T* to_ = nullptr;
    const T* from_ = nullptr;
};

/// In the place of a PendingRowWriter where there is nothing to write.
struct NothingToWrite {
    LOGITLOSS_INLINE void start(std::size_t) {}
    LOGITLOSS_INLINE void write(std::size_t) {}
    LOGITLOSS_INLINE void finish() {}
};

/// Adds exp(x) / 2^shift of a group to the lanes, and asks for memory ahead: working block by block, bursts of cache
/// misses alternate with arithmetic and the hardware's own prefetcher stalls.
template <class T, class Reader, class Stored, class Writer, bool keep>
struct AddExponentials {
    const Reader& row;
    const Stored* data;
    ExpShift<T> shift;
    T* kept;
    Writer& pending;

    static constexpr std::size_t near_bytes =
        block_size * (sizeof(Stored) < sizeof(float) ? sizeof(Stored) : sizeof(float));
    static constexpr std::size_t far_bytes = 3 * near_bytes;

    static LOGITLOSS_INLINE void fetch(const Stored* group) {
        constexpr std::size_t bytes = group_size<T> * sizeof(Stored);
        LOGITLOSS_UNROLL
        for (std::size_t line = 0; line < bytes; line += 64) {
            prefetch_far(group, far_bytes + line);
            prefetch_near(group, near_bytes + line);
        }
    }
    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const auto* x = row.at(group);
        fetch(data + group * group_size<T>);
        pending.start(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const ExpParts<T> e = exp_parts(load(x + i * Vec<T>::lanes), shift);
            lanes[i] = fma(e.mantissa, e.scale, lanes[i]);
            if constexpr (keep)
                store(kept + group * group_size<T> + i * Vec<T>::lanes, e.mantissa * e.scale);
            pending.write(i * Vec<T>::lanes);
        }
    }
};

/// rint(x log2 e), the exponent that exp_parts gives x.
LOGITLOSS_INLINE float exponent_of(float x) {
    using C = Constants<float>;
    return __builtin_fmaf(x, C::log2e, C::magic) - C::magic;
}
LOGITLOSS_INLINE double exponent_of(double x) {
    using C = Constants<double>;
    return __builtin_fma(x, C::log2e, C::magic) - C::magic;
}

/// Sum of exp(x) / 2^shift over a block, keeping them unless `kept` is null, while `pending` writes another row.
template <class T, bool keep, class Reader, class Stored, class Writer>
LOGITLOSS_INLINE double sum_exponentials(const Reader& row, const Stored* x, std::size_t n, T shift, T* kept,
                                         Writer&& pending) {
    using Step = AddExponentials<T, Reader, Stored, std::remove_reference_t<Writer>, keep>;
    const Step step{row, x, ExpShift<T>(shift), kept, pending};
    const double sum = sum_groups<T>(n, step);
    pending.finish();
    return sum;
}

/// A PendingRow by itself.
template <class T>
__attribute__((noinline)) void write_kept(const PendingRow<T>& row, std::size_t n) {
    PendingRowWriter<T> writer(row, n);
    for (std::size_t group = 0; group < group_count<T>(n); ++group) {
        writer.start(group);
        for (std::size_t lane = 0; lane < group_size<T>; lane += Vec<T>::lanes)
            writer.write(lane);
    }
    writer.finish();
}

/// The state of a block but for its sum. Returns whether it is a normal one.
template <class T, class Reader>
LOGITLOSS_INLINE bool begin_state(const Reader& row, std::size_t n, BlockState* state) {
    const T top = largest<T>(row, n);
    state->max = static_cast<double>(top);
    state->sum = 0.0;
    state->exponent = no_exponent;
    state->kind = BlockKind::normal;
    if (top >= -Constants<T>::exponent_limit && top <= Constants<T>::exponent_limit) {
        state->exponent = static_cast<double>(exponent_of(top));
        return true;
    }
    const bool deep = top < -Constants<T>::exponent_limit && !holds_nan<T>(row, n);
    state->kind = deep ? BlockKind::deep : BlockKind::needs_float64;
    return false;
}

/// The state of a block at x, which `row` reads.
template <class T, class Reader, class Stored>
LOGITLOSS_INLINE void state_of_block(const Reader& row, const Stored* x, std::size_t n, BlockState* state,
                                     T* exponentials, const PendingRow<T>* pending) {
    if (!begin_state<T>(row, n, state)) {
        if (state->kind == BlockKind::deep && exponentials != nullptr)
            for (std::size_t i = 0; i < group_count<T>(n) * group_size<T>; i += Vec<T>::lanes)
                store(exponentials + i, splat(T(0)));
        if (pending != nullptr)
            write_kept<T>(*pending, n);
        return;
    }
    const T shift = static_cast<T>(state->exponent);
    if (exponentials == nullptr)
        state->sum = sum_exponentials<T, false>(row, x, n, shift, nullptr, NothingToWrite());
    else if (pending == nullptr)
        state->sum = sum_exponentials<T, true>(row, x, n, shift, exponentials, NothingToWrite());
    else
        state->sum = sum_exponentials<T, true>(row, x, n, shift, exponentials, PendingRowWriter<T>(*pending, n));
}

/// KernelTable::block_state.
template <class T>
void block_state(const T* x, std::size_t n, std::size_t aside, BlockState* state, T* exponentials,
                 const PendingRow<T>* pending) {
    const AsideReader<T> row(x, n, T(-__builtin_inf()), aside);
    state_of_block<T>(row, x, n, state, exponentials, pending);
}

/// KernelTable::find.
template <class T>
std::size_t find(const T* x, std::size_t n, T value) {
    const GroupReader<T> row(x, n, T(__builtin_nan("")));
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group) {
        const T* p = row.at(group);
        Mask<T> found = equal(load(p), splat(value));
        LOGITLOSS_UNROLL
        for (std::size_t i = 1; i < group_vectors<T>; ++i)
            found = found | equal(load(p + i * Vec<T>::lanes), splat(value));
        if (any(found))
            for (std::size_t i = 0;; ++i)
                if (p[i] == value)
                    return group * group_size<T> + i;
    }
    return no_index;
}

/// KernelTable::largest.
template <class T>
T block_largest(const T* x, std::size_t n) {
    return largest<T>(GroupReader<T>(x, n, T(-__builtin_inf())), n);
}

/// Adds q (reference - x) to the lanes; a q of 0 adds 0, whatever x is.
template <class T>
struct AddGaps {
    const GroupReader<T>& x;
    const GroupReader<T>& q;
    T reference;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const T* xs = x.at(group);
        const T* qs = q.at(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const Vec<T> weight = load(qs + i * Vec<T>::lanes);
            const Vec<T> gap = splat(reference) - load(xs + i * Vec<T>::lanes);
            lanes[i] = select(equal(weight, splat(T(0))), lanes[i], fma(weight, gap, lanes[i]));
        }
    }
};

template <class T>
struct AddUnweightedGaps {
    const GroupReader<T>& x;
    T reference;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const T* xs = x.at(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i)
            lanes[i] = lanes[i] + (splat(reference) - load(xs + i * Vec<T>::lanes));
    }
};

template <class T, class Reader>
struct AddValues {
    const Reader& x;
    const T* data;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const T* xs = x.at(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            prefetch_group(data, group, i);
            lanes[i] = lanes[i] + load(xs + i * Vec<T>::lanes);
        }
    }
};

/// Adds b exp(x) / 2^shift to the lanes; a b of 0 adds 0, whatever x is.
template <class T>
struct AddWeightedExponentials {
    const GroupReader<T>& x;
    const GroupReader<T>& b;
    ExpShift<T> shift;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const T* xs = x.at(group);
        const T* bs = b.at(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const Vec<T> weight = load(bs + i * Vec<T>::lanes);
            const ExpParts<T> e = exp_parts(load(xs + i * Vec<T>::lanes), shift);
            const Vec<T> sum = fma(e.mantissa * e.scale, weight, lanes[i]);
            lanes[i] = select(equal(weight, splat(T(0))), lanes[i], sum);
        }
    }
};

/// KernelTable::weighted_exponentials.
template <class T>
double weighted_exponentials(const T* x, const T* b, std::size_t n, T exponent) {
    const GroupReader<T> row(x, n, T(0));
    const GroupReader<T> weights(b, n, T(0));
    const AddWeightedExponentials<T> step{row, weights, ExpShift<T>(exponent)};
    return sum_groups<T>(n, step);
}

/// KernelTable::sum_gaps.
template <class T>
double sum_gaps(const T* x, const T* q, std::size_t n, T reference) {
    if (q == nullptr) {
        const GroupReader<T> row(x, n, reference);
        const AddUnweightedGaps<T> step{row, reference};
        return sum_groups<T>(n, step);
    }
    const GroupReader<T> row(x, n, T(0));
    const GroupReader<T> weights(q, n, T(0));
    const AddGaps<T> step{row, weights, reference};
    return sum_groups<T>(n, step);
}

/// KernelTable::sum.
template <class T>
double sum(const T* x, std::size_t n, std::size_t aside) {
    const AsideReader<T> values(x, n, T(0), aside);
    const AddValues<T, AsideReader<T>> step{values, x};
    return sum_groups<T>(n, step);
}
