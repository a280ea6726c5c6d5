// Counts over a row.

/// 1 where x beats a class of this value, what `at_value` says where they are equal, NaN where x is.
template <class T>
LOGITLOSS_INLINE Vec<T> beats(Vec<T> x, Vec<T> value, Vec<T> at_value) {
    const Vec<T> number = select(less(value, x), splat(T(1)), select(equal(value, x), at_value, splat(T(0))));
    return select(equal(x, x), number, x);
}

template <class T>
struct CountBeating {
    const GroupReader<T>& row;
    const T* data;
    const Vec<T> value;
    const std::size_t label;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const std::size_t first = group * group_size<T>;
        const Vec<T> before = splat(static_cast<T>(label < first ? 0 : label - first));
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const std::size_t lane = i * Vec<T>::lanes;
            prefetch_group(data, group, i);
            const Vec<T> at_value = select(less(load(lane_numbers<T>.values + lane), before), splat(T(1)), splat(T(0)));
            lanes[i] = lanes[i] + beats(load(row.at(group) + lane), value, at_value);
        }
    }
};

/// KernelTable::count_beating.
template <class T>
double count_beating(const T* x, std::size_t n, T value, std::size_t label) {
    const GroupReader<T> row(x, n, T(-__builtin_inf()));
    const std::size_t within = label < n ? label : n;  // what fills up the last group counts nowhere
    return count_groups<T>(n, CountBeating<T>{row, x, splat(value), within});
}

/// KernelTable::is_beaten.
template <class T>
bool is_beaten(const T* x, std::size_t n, T value, std::size_t label) {
    const GroupReader<T> row(x, n, T(-__builtin_inf()));
    const Vec<T> own = splat(value);
    const Vec<T> nan = splat(T(__builtin_nan("")));
    const std::size_t within = label < n ? label : n;
    for (std::size_t group = 0; group < group_count<T>(n); ++group) {
        const std::size_t first = group * group_size<T>;
        const Vec<T> before = splat(static_cast<T>(within < first ? 0 : within - first));
        Vec<T> beaten = splat(T(0));
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const std::size_t lane = i * Vec<T>::lanes;
            prefetch_group(x, group, i);
            const Vec<T> v = load(row.at(group) + lane);
            const Vec<T> tied = select(less(load(lane_numbers<T>.values + lane), before), nan, v);
            beaten = select(less(v, own) | equal(tied, own), beaten, splat(T(1)));
        }
        if (any(less(splat(T(0)), beaten)))
            return true;
    }
    return false;
}

/// KernelTable::column_beating.
template <class T>
void column_beating(const T* x, std::ptrdiff_t stride, TileShape shape, const T* label, T* counts) {
    const auto at = [&](std::size_t j, std::size_t lane) {
        return load(x + static_cast<std::ptrdiff_t>(j) * stride + lane);
    };
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const Vec<T> own_class = load(label + lane);
        Vec<T> own = splat(T(-__builtin_inf()));
        if (shape.classes <= most_few_classes) {
            for (std::size_t j = 0; j < shape.classes; ++j)
                own = select(equal(class_number<T>(j), own_class), at(j, lane), own);
        } else {  // a second look at all classes would come from memory
            T values[Vec<T>::lanes];
            store(values, own);
            for (std::size_t i = 0; i < Vec<T>::lanes; ++i)
                if (label[lane + i] >= T(0))
                    values[i] = x[static_cast<std::ptrdiff_t>(label[lane + i]) * stride +
                                  static_cast<std::ptrdiff_t>(lane + i)];
            own = load(values);
        }
        Vec<T> count = splat(T(0));
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const Vec<T> at_value = select(less(class_number<T>(j), own_class), splat(T(1)), splat(T(0)));
            count = count + beats(at(j, lane), own, at_value);
        }
        store(counts + lane, count);
    }
}
