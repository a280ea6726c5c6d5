// Counts over a row.

template <class T>
struct CountAbove {
    const GroupReader<T>& row;
    const Vec<T> value;
    const Vec<T> at_value;  // what an equal element counts

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const Vec<T> x = load(row.at(group) + i * Vec<T>::lanes);
            const Vec<T> number = select(less(value, x), splat(T(1)), select(equal(value, x), at_value, splat(T(0))));
            lanes[i] = lanes[i] + select(equal(x, x), number, x);
        }
    }
};

/// KernelTable::count_above.
template <class T>
double count_above(const T* x, std::size_t n, T value, bool equal_too) {
    const GroupReader<T> row(x, n, T(-__builtin_inf()));
    const CountAbove<T> step{row, splat(value), splat(T(equal_too ? 1 : 0))};
    const double count = sum_groups<T>(n, step);
    const std::size_t padding = group_count<T>(n) * group_size<T> - n;
    const bool padding_counts = equal_too && value == T(-__builtin_inf());
    return padding_counts ? count - static_cast<double>(padding) : count;
}
