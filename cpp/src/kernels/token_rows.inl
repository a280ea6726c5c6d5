// What is read off a row of logits beside its sum: gaps to the largest, and which classes are above a number.

/// As AddExponentials, to the same bits; beside it gaps to the largest, and a count.
template <class T, class Reader, class Stored>
struct AddExponentialsAndGaps {
    static constexpr std::size_t vectors = group_vectors<T>;
    /// As groups_per_flush: the largest class is not among these terms, and they are flushed less often.
    static constexpr std::size_t groups_per_flush_of_gaps = 8;

    const Reader& row;
    const Stored* data;
    const ExpShift<T> shift;
    const Vec<T> top, value;
    EightSums<T> gaps, above;
    Vec<T> gap_lanes[vectors], above_lanes[vectors];

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[vectors]) {
        const Vec<T> zero = splat(T(0));
        const Vec<T> lowest = splat(sizeof(T) == sizeof(float) ? T(-__FLT_MAX__) : T(-__DBL_MAX__));
        const auto* xs = row.at(group);
        AddExponentials<T, Reader, Stored, NothingToWrite, false>::fetch(data + group * group_size<T>);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < vectors; ++i) {
            const Vec<T> x = load(xs + i * Vec<T>::lanes);
            const ExpParts<T> parts = exp_parts(x, shift);
            lanes[i] = fma(parts.mantissa, parts.scale, lanes[i]);
            const Vec<T> e = parts.mantissa * parts.scale;
            gap_lanes[i] = fma(e, top - max(lowest, x), gap_lanes[i]);  // of -inf, 0 times a number
            above_lanes[i] = above_lanes[i] + select(less(value, x), splat(T(1)), zero);
        }
        if ((group + 1) % groups_per_flush_of_gaps == 0)
            finish();
    }
    LOGITLOSS_INLINE void finish() {
        flush(gaps, gap_lanes);
        flush(above, above_lanes);
    }
};

/// Adds exp(x) / 2^shift of the classes below the largest to the lanes.
template <class T, class Reader>
struct AddExponentialsBelow {
    const Reader& row;
    const ExpShift<T> shift;
    const Vec<T> top;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const Vec<T> x = load(row.at(group) + i * Vec<T>::lanes);
            const ExpParts<T> parts = exp_parts(x, shift);
            lanes[i] = lanes[i] + select(less(x, top), parts.mantissa * parts.scale, splat(T(0)));
        }
    }
};

template <class T, class Reader>
__attribute__((noinline)) double sum_below(const Reader& row, std::size_t n, Vec<T> top, ExpShift<T> shift) {
    const AddExponentialsBelow<T, Reader> step{row, shift, top};
    return sum_groups<T>(n, step);
}

/// The gaps of a block at x, which `row` reads.
template <class T, class Reader, class Stored>
LOGITLOSS_INLINE void gaps_of_block(const Reader& row, const Stored* x, std::size_t n, T value, BlockState* state,
                                    BlockGaps* gaps) {
    if (!begin_state<T>(row, n, state))
        return;
    const ExpShift<T> shift(static_cast<T>(state->exponent));
    const Vec<T> top = splat(static_cast<T>(state->max));
    AddExponentialsAndGaps<T, Reader, Stored> step{row, x, shift, top, splat(value), {}, {}, {}, {}};
    clear(step.gap_lanes);
    clear(step.above_lanes);
    state->sum = sum_groups<T>(n, step);
    step.finish();
    const ExpParts<T> parts = exp_parts(top, shift);
    T of_top[Vec<T>::lanes];
    store(of_top, parts.mantissa * parts.scale);
    const double own = static_cast<double>(of_top[0]);
    const bool leads = state->sum < 1.9 * own;  // alone, and a difference would cost digits
    const double others = leads ? sum_below<T>(row, n, top, shift) : state->sum - own;
    *gaps = {own, others, step.gaps.total(), step.above.total()};
}

/// KernelTable::block_gaps.
template <class T>
void block_gaps(const T* x, std::size_t n, std::size_t aside, T value, BlockState* state, BlockGaps* gaps) {
    const AsideReader<T> row(x, n, T(-__builtin_inf()), aside);
    gaps_of_block<T>(row, x, n, value, state, gaps);
}

/// KernelTable::group_largest.
template <class T>
void group_largest(const T* x, std::size_t n, T* tops) {
    for (std::size_t group = 0; group < n / group_size<T>; ++group) {
        Vec<T> lanes[group_vectors<T>];
        for (std::size_t i = 0; i < group_vectors<T>; ++i)
            lanes[i] = max(load(x + group * group_size<T> + i * Vec<T>::lanes), splat(T(-__builtin_inf())));
        tops[group] = fold_max<T>(lanes);
    }
}

/// KernelTable::indices_above.
template <class T>
std::size_t indices_above(const T* x, std::size_t n, T value, std::uint32_t* indices) {
    const GroupReader<T> row(x, n, T(-__builtin_inf()));
    std::size_t count = 0;
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group) {
        const T* p = row.at(group);
        Mask<T> found = less(splat(value), load(p));
        LOGITLOSS_UNROLL
        for (std::size_t i = 1; i < group_vectors<T>; ++i)
            found = found | less(splat(value), load(p + i * Vec<T>::lanes));
        if (!any(found))
            continue;
        for (std::size_t i = 0; i < group_size<T>; ++i)
            if (p[i] > value)
                indices[count++] = static_cast<std::uint32_t>(group * group_size<T> + i);
    }
    return count;
}
