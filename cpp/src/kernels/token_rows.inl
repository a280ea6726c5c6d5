// What is read off a row of logits beside its sum: gaps to the largest, and which classes are above a number.

/// KernelTable::kept_sums.
template <class T>
KeptSums kept_sums(const T* x, const T* exponentials, std::size_t n, T top, T value) {
    constexpr std::size_t vectors = group_vectors<T>;
    const GroupReader<T> row(x, n, T(-__builtin_inf()));
    const GroupReader<T> kept(exponentials, n, T(0));
    const Vec<T> lowest = splat(sizeof(T) == sizeof(float) ? T(-__FLT_MAX__) : T(-__DBL_MAX__));  // 0 * -inf were NaN
    EightSums<T> others, gaps, above;
    Vec<T> other_lanes[vectors], gap_lanes[vectors], above_lanes[vectors];
    clear(other_lanes);
    clear(gap_lanes);
    clear(above_lanes);
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group) {
        const T* xs = row.at(group);
        const T* es = kept.at(group);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < vectors; ++i) {
            const Vec<T> logit = load(xs + i * Vec<T>::lanes);
            const Vec<T> e = load(es + i * Vec<T>::lanes);
            other_lanes[i] = other_lanes[i] + e;
            gap_lanes[i] = fma(e, splat(top) - max(lowest, logit), gap_lanes[i]);
            above_lanes[i] = above_lanes[i] + select(less(splat(value), logit), splat(T(1)), splat(T(0)));
        }
        if ((group + 1) % groups_per_flush == 0) {
            flush(others, other_lanes);
            flush(gaps, gap_lanes);
        }
    }
    flush(others, other_lanes);
    flush(gaps, gap_lanes);
    flush(above, above_lanes);  // at most 64 a lane: exact
    return {others.total(), gaps.total(), above.total()};
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
