// What is written back to a row: scaled exponentials (softmax, gradients), log-softmax, vector-Jacobian products.

/// Writes groups to memory as `mode` says. A streamed group must not be patched after it has left, so the group that
/// holds `patch` takes a detour.
template <class T, StoreMode mode>
class PatchingWriter {
public:
    LOGITLOSS_INLINE PatchingWriter(T* out, std::size_t n, Patch<T> patch)
        : groups_(out, n), out_(out), patch_(patch), patched_group_(patch.index / group_size<T>) {}

    LOGITLOSS_INLINE void write(std::size_t group, const Vec<T> (&values)[group_vectors<T>]) {
        T* to = groups_.at(group);
        if constexpr (mode == StoreMode::streaming) {
            if (group == patched_group_ || to != out_ + group * group_size<T>)
                return write_detour(group, to, values);
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < group_vectors<T>; ++i)
                stream(to + i * Vec<T>::lanes, values[i]);
        } else {
            store_all(to, values);
        }
    }
    /// Asks for ownership of the cache lines that will be written, some groups ahead.
    LOGITLOSS_INLINE void prefetch(std::size_t group) const {
        if constexpr (mode == StoreMode::cached)
            for (std::size_t line = 0; line < 256; line += 64)
                prefetch_store(out_ + group * group_size<T>, ahead_bytes + line);
    }
    LOGITLOSS_INLINE void finish() {
        groups_.finish();
        if (mode != StoreMode::streaming && patch_.index != no_index)
            out_[patch_.index] = patch_.value;
    }

private:
    static constexpr std::size_t ahead_bytes = 4096;

    static LOGITLOSS_INLINE void store_all(T* to, const Vec<T> (&values)[group_vectors<T>]) {
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i)
            store(to + i * Vec<T>::lanes, values[i]);
    }
    void write_detour(std::size_t group, T* to, const Vec<T> (&values)[group_vectors<T>]) {
        alignas(64) T copy[group_size<T>];
        store_all(copy, values);
        if (group == patched_group_)
            copy[patch_.index % group_size<T>] = patch_.value;
        __builtin_memcpy(to, copy, sizeof copy);
    }

    GroupWriter<T> groups_;
    T* out_;
    Patch<T> patch_;
    std::size_t patched_group_;
};

/// out_j = scale e_j + linear q_j with e_j = exp(x_j) / 2^exponent, computed or kept.
enum class LinearTerm { none, uniform, weighted };

template <class T, bool kept>
struct RowExponentials {
    const GroupReader<T> logits;
    ExpShift<T> shift;
    const T* exponentials;

    LOGITLOSS_INLINE RowExponentials(const T* x, const T* e, std::size_t n, T exponent)
        : logits(x, kept ? 0 : n, T(0)), shift(exponent), exponentials(e) {}

    LOGITLOSS_INLINE Vec<T> at(std::size_t group, std::size_t lane) const {
        if constexpr (kept)
            return load(exponentials + group * group_size<T> + lane);
        const ExpParts<T> e = exp_parts(load(logits.at(group) + lane), shift);
        return e.mantissa * e.scale;
    }
};

template <class T, StoreMode mode, LinearTerm linear_term, bool kept>
void scaled_exponentials(const T* x, const T* e, std::size_t n, const RowScale<T>& row, const T* q, Patch<T> patch,
                         T* out) {
    const RowExponentials<T, kept> exponentials(x, e, n, row.exponent);
    const GroupReader<T> weights(q, linear_term == LinearTerm::weighted ? n : 0, T(0));
    PatchingWriter<T, mode> writer(out, n, patch);
    const Vec<T> scale = splat(row.scale);
    const Vec<T> linear = splat(row.linear);
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group) {
        Vec<T> values[group_vectors<T>];
        writer.prefetch(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const std::size_t lane = i * Vec<T>::lanes;
            values[i] = exponentials.at(group, lane) * scale;
            if constexpr (linear_term == LinearTerm::uniform)
                values[i] = values[i] + linear;
            if constexpr (linear_term == LinearTerm::weighted)
                values[i] = fma(linear, load(weights.at(group) + lane), values[i]);
        }
        writer.write(group, values);
    }
    writer.finish();
    if constexpr (mode == StoreMode::streaming)
        stream_fence();
}

template <class T, StoreMode mode, LinearTerm linear_term>
void scaled_exponentials_of(const T* x, const T* e, std::size_t n, const RowScale<T>& row, const T* q, Patch<T> patch,
                            T* out) {
    if (e != nullptr)
        scaled_exponentials<T, mode, linear_term, true>(x, e, n, row, q, patch, out);
    else
        scaled_exponentials<T, mode, linear_term, false>(x, e, n, row, q, patch, out);
}

template <class T, StoreMode mode>
void scaled_exponentials_in(const T* x, const T* e, std::size_t n, const RowScale<T>& row, const T* q, Patch<T> patch,
                            T* out) {
    if (row.linear == T(0))
        scaled_exponentials_of<T, mode, LinearTerm::none>(x, e, n, row, q, patch, out);
    else if (q == nullptr)
        scaled_exponentials_of<T, mode, LinearTerm::uniform>(x, e, n, row, q, patch, out);
    else
        scaled_exponentials_of<T, mode, LinearTerm::weighted>(x, e, n, row, q, patch, out);
}

/// Streamed from the first whole cache line on; what is before it goes through the caches.
template <class T>
void stream_row(const T* x, const T* e, std::size_t n, const RowScale<T>& row, const T* q, Patch<T> patch, T* out) {
    const std::size_t past = reinterpret_cast<std::uintptr_t>(out) % 64 / sizeof(T);
    const std::size_t head = past == 0 ? 0 : (n < 64 / sizeof(T) - past ? n : 64 / sizeof(T) - past);
    const auto from = [head](const T* p) { return p == nullptr ? nullptr : p + head; };
    if (head > 0) {
        const bool here = patch.index < head;
        const Patch<T> none{no_index, patch.value};
        scaled_exponentials_in<T, StoreMode::in_place>(x, e, head, row, q, here ? patch : none, out);
        if (patch.index != no_index)
            patch.index = here ? no_index : patch.index - head;
    }
    scaled_exponentials_in<T, StoreMode::streaming>(from(x), from(e), n - head, row, from(q), patch, out + head);
}

/// KernelTable::scaled_exponentials.
template <class T>
void write_row(const T* x, const T* e, std::size_t n, const RowScale<T>& row, const T* q, Patch<T> patch,
               StoreMode mode, T* out) {
    if (mode == StoreMode::streaming)
        stream_row(x, e, n, row, q, patch, out);
    else if (mode == StoreMode::cached)
        scaled_exponentials_in<T, StoreMode::cached>(x, e, n, row, q, patch, out);
    else
        scaled_exponentials_in<T, StoreMode::in_place>(x, e, n, row, q, patch, out);
}

/// KernelTable::log_softmax.
///
/// Note [log-softmax in two steps]: (x - max) - (L - max), both differences of one sign and each exact to half an
/// ulp, where x - L would round L first.
template <class T>
void log_softmax(const T* x, std::size_t n, T max_logit, T above_max, T* out) {
    const GroupReader<T> logits(x, n, T(0));
    GroupWriter<T> writer(out, n);
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group) {
        const T* const from = logits.at(group);
        T* const to = writer.at(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            prefetch_store(out + group * group_size<T>, i * sizeof(Vec<T>) + 4096);
            store(to + i * Vec<T>::lanes, (load(from + i * Vec<T>::lanes) - splat(max_logit)) - splat(above_max));
        }
    }
    writer.finish();
}

/// Adds y dy to the lanes; a y of 0 adds 0, whatever dy is.
template <class T>
struct AddProducts {
    const GroupReader<T>& y;
    const GroupReader<T>& dy;
    const T *y_data, *dy_data;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            prefetch_group(y_data, group, i);
            prefetch_group(dy_data, group, i);
            const Vec<T> value = load(y.at(group) + i * Vec<T>::lanes);
            const Vec<T> cotangent = load(dy.at(group) + i * Vec<T>::lanes);
            lanes[i] = select(equal(value, splat(T(0))), lanes[i], fma(value, cotangent, lanes[i]));
        }
    }
};

/// KernelTable::dot.
template <class T>
double dot(const T* y, const T* dy, std::size_t n) {
    const GroupReader<T> values(y, n, T(0));
    const GroupReader<T> cotangents(dy, n, T(0));
    const AddProducts<T> step{values, cotangents, y, dy};
    return sum_groups<T>(n, step);
}

/// x, with the one NaN in place of any other.
template <class T>
LOGITLOSS_INLINE Vec<T> with_one_nan(Vec<T> x) {
    return select(equal(x, x), x, splat(T(__builtin_nan(""))));
}

/// KernelTable::canonical_nan.
template <class T>
void canonical_nan(T* x, std::size_t n) {
    const GroupReader<T> values(x, n, T(0));
    GroupWriter<T> writer(x, n);
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<T>; ++i)
            store(writer.at(group) + i * Vec<T>::lanes, with_one_nan(load(values.at(group) + i * Vec<T>::lanes)));
    writer.finish();
}

/// out_j = y_j (dy_j - dot), 0 where y_j is 0. The difference is taken of halves, for it may be twice the largest number.
template <class T>
LOGITLOSS_INLINE Vec<T> softmax_vjp_step(Vec<T> y, Vec<T> dy, Vec<T> half_dot) {
    const Vec<T> zero = splat(T(0));
    const Vec<T> half = fma(dy, splat(T(0.5)), zero - half_dot);
    return with_one_nan(select(equal(y, zero), zero, (y + y) * half));
}

/// out_j = dy_j - exp(y_j) sum, 0 where y_j is -inf.
template <class T>
LOGITLOSS_INLINE Vec<T> log_softmax_vjp_step(Vec<T> y, Vec<T> dy, Vec<T> sum) {
    const Vec<T> largest = splat(T(80));  // a log-probability is at most 0: only keeps the reduction in its domain
    const ExpParts<T> e = exp_parts(min(largest, y), ExpShift<T>(T(0)));
    const Vec<T> out = neg_fma(e.mantissa * e.scale, sum, dy);
    return with_one_nan(select(equal(y, splat(T(-__builtin_inf()))), splat(T(0)), out));
}

/// KernelTable::softmax_vjp, KernelTable::log_softmax_vjp.
template <class T, Vec<T> (*step)(Vec<T>, Vec<T>, Vec<T>)>
void vjp(const T* y, const T* dy, std::size_t n, T reduced, T* out) {
    const GroupReader<T> values(y, n, T(0));
    const GroupReader<T> cotangents(dy, n, T(0));
    GroupWriter<T> writer(out, n);
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const std::size_t lane = i * Vec<T>::lanes;
            prefetch_group(y, group, i);
            prefetch_store(out + group * group_size<T>, lane * sizeof(T) + 4096);
            store(writer.at(group) + lane,
                  step(load(values.at(group) + lane), load(cotangents.at(group) + lane), splat(reduced)));
        }
    writer.finish();
}
