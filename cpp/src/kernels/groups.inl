// Groups: what a kernel's loop steps over. A group is 256 bytes, 64 lanes of float32 or 32 of float64, whatever the
// width of the vectors: element i of a block always falls to lane i mod 64 (32), so sums come out the same everywhere.

template <class T>
constexpr std::size_t group_size = 256 / sizeof(T);

/// Vectors in a group, on this instruction set.
template <class T>
constexpr std::size_t group_vectors = group_size<T> / Vec<T>::lanes;

/// Groups after which float32 lanes are widened into float64: each lane adds this many terms in float32. Where one
/// class outweighs the rest, every addition to its lane may round half an ulp of the whole sum away.
constexpr std::size_t groups_per_flush = 2;

template <class T>
LOGITLOSS_INLINE std::size_t group_count(std::size_t n) {
    return (n + group_size<T> - 1) / group_size<T>;
}

/// 0, 1, 2, ...
template <class T>
struct LaneNumbers {
    alignas(64) T values[group_size<T>];
    constexpr LaneNumbers() : values() {
        for (std::size_t i = 0; i < group_size<T>; ++i)
            values[i] = static_cast<T>(i);
    }
};
template <class T>
constexpr LaneNumbers<T> lane_numbers;

/// An array read group by group. The last group, if it is not whole, is a copy padded with `fill`, so that every
/// group takes the same step.
template <class T>
class GroupReader {
public:
    LOGITLOSS_INLINE GroupReader(const T* data, std::size_t n, T fill)
        : data_(data), whole_(n / group_size<T>), tail_(data) {
        if (n % group_size<T> != 0)
            pad(n % group_size<T>, fill);
    }
    GroupReader(const GroupReader&) = delete;
    GroupReader& operator=(const GroupReader&) = delete;

    LOGITLOSS_INLINE const T* at(std::size_t group) const {
        return group < whole_ ? data_ + group * group_size<T> : tail_;
    }

private:
    /// Written vector by vector, as it will be read: a load from several smaller stores would have to wait until all
    /// that came before has left the pipeline.
    __attribute__((noinline)) void pad(std::size_t rest, T fill) {
        const T* from = data_ + whole_ * group_size<T>;
        for (std::size_t lane = 0; lane < group_size<T>; lane += Vec<T>::lanes)
            store(padded_ + lane, load_first(from + lane, lane < rest ? rest - lane : 0, fill));
        tail_ = padded_;
    }

    const T* data_;
    std::size_t whole_;
    const T* tail_;
    alignas(64) T padded_[group_size<T>];
};

/// An array written group by group. What goes to the last group, if it is not whole, is kept until `finish`.
template <class T>
class GroupWriter {
public:
    LOGITLOSS_INLINE GroupWriter(T* data, std::size_t n) : data_(data), n_(n), whole_(n / group_size<T>) {}
    LOGITLOSS_INLINE T* at(std::size_t group) { return group < whole_ ? data_ + group * group_size<T> : padded_; }
    LOGITLOSS_INLINE void finish() {
        const std::size_t first = whole_ * group_size<T>;
        if (first != n_)
            __builtin_memcpy(data_ + first, padded_, (n_ - first) * sizeof(T));
    }

private:
    T* data_;
    std::size_t n_;
    std::size_t whole_;
    alignas(64) T padded_[group_size<T>];
};

/// Asks for what lies 4 kB ahead of vector i of a group: the rest of the row, or the next one.
template <class T>
LOGITLOSS_INLINE void prefetch_group(const T* data, std::size_t group, std::size_t i) {
    prefetch_near(data + group * group_size<T>, i * sizeof(Vec<T>) + 4096);
}

/// a + b, and what the addition rounds away, exactly.
template <class T>
struct TwoSum {
    Vec<T> sum;
    Vec<T> lost;

    LOGITLOSS_INLINE TwoSum(Vec<T> a, Vec<T> b) : sum(a + b) {
        const Vec<T> back = sum - a;
        lost = (a - (sum - back)) + (b - back);
    }
};

/// Eight float64 sums, the first stage of every reduction. Over float64 data (T), what additions round away is summed
/// beside them; over float32 data it is far below the terms' own rounding.
template <class T>
struct EightSums {
    static constexpr std::size_t vectors = 8 / Vec<double>::lanes;
    static constexpr bool compensated = sizeof(T) == sizeof(double);
    Vec<double> v[vectors];
    Vec<double> lost[vectors];

    LOGITLOSS_INLINE EightSums() {
        LOGITLOSS_UNROLL
        for (std::size_t h = 0; h < vectors; ++h)
            v[h] = lost[h] = splat(0.0);
    }
    LOGITLOSS_INLINE void add(std::size_t h, Vec<double> terms) {
        if constexpr (compensated) {
            const TwoSum two(v[h], terms);
            v[h] = two.sum;
            lost[h] = lost[h] + two.lost;
        } else {
            v[h] = v[h] + terms;
        }
    }
    /// Note [fixed trees]: the order of these additions is the same on every instruction set and is part of what
    /// the library promises. Changing it changes bits.
    LOGITLOSS_INLINE double total() const {
        double t[8], error[8];
        store_to(t, error);
        if constexpr (!compensated)
            return tree(t);
        fold_all(t, error);
        return error[0] - error[0] == 0.0 ? t[0] + error[0] : t[0];  // not of infinities and NaN
    }
    /// The same, and what rounding it took away.
    LOGITLOSS_INLINE SumPair pair() const {
        double t[8], error[8];
        store_to(t, error);
        fold_all(t, error);
        const double sum = t[0] + error[0];
        return {sum, error[0] - (sum - t[0])};
    }

private:
    LOGITLOSS_INLINE void store_to(double (&t)[8], double (&error)[8]) const {
        for (std::size_t h = 0; h < vectors; ++h) {
            store(t + h * Vec<double>::lanes, v[h]);
            store(error + h * Vec<double>::lanes, lost[h]);
        }
    }
    static LOGITLOSS_INLINE void fold_all(double (&t)[8], double (&error)[8]) {
        for (int step = 4; step > 0; step /= 2)
            for (int i = 0; i < step; ++i)
                fold_pair(t, error, i, i + step);
    }
    static LOGITLOSS_INLINE double tree(const double (&t)[8]) {
        return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
    }
    static LOGITLOSS_INLINE void fold_pair(double (&t)[8], double (&error)[8], int i, int j) {
        const double sum = t[i] + t[j];
        const double back = sum - t[i];
        error[i] = (error[i] + error[j]) + ((t[i] - (sum - back)) + (t[j] - back));
        t[i] = sum;
    }
};

/// Lanes 8i + h*lanes.. of a group, as float64.
template <std::size_t i, std::size_t h>
LOGITLOSS_INLINE Vec<double> eighth(const Vec<float> (&lanes)[group_vectors<float>]) {
    constexpr std::size_t first = 8 * i + h * Vec<double>::lanes;
    return widen<(first % Vec<float>::lanes) / Vec<double>::lanes>(lanes[first / Vec<float>::lanes]);
}
template <std::size_t i, std::size_t h>
LOGITLOSS_INLINE Vec<double> eighth(const Vec<double> (&lanes)[group_vectors<double>]) {
    return lanes[(8 * i + h * Vec<double>::lanes) / Vec<double>::lanes];
}

/// Adds eight of the group's lanes, those from 8i + h*lanes on of every i, to one of the sums.
template <std::size_t h>
LOGITLOSS_INLINE void fold_to_eight(EightSums<float>& sums, const Vec<float> (&a)[group_vectors<float>]) {
    sums.add(h, ((eighth<0, h>(a) + eighth<1, h>(a)) + (eighth<2, h>(a) + eighth<3, h>(a))) +
                    ((eighth<4, h>(a) + eighth<5, h>(a)) + (eighth<6, h>(a) + eighth<7, h>(a))));
}
template <std::size_t h>
LOGITLOSS_INLINE void fold_to_eight(EightSums<double>& sums, const Vec<double> (&a)[group_vectors<double>]) {
    const TwoSum left(eighth<0, h>(a), eighth<1, h>(a));
    const TwoSum right(eighth<2, h>(a), eighth<3, h>(a));
    const TwoSum both(left.sum, right.sum);
    sums.lost[h] = sums.lost[h] + ((left.lost + right.lost) + both.lost);
    sums.add(h, both.sum);
}

template <std::size_t h, class T>
LOGITLOSS_INLINE void flush_from(EightSums<T>& sums, Vec<T> (&lanes)[group_vectors<T>]) {
    fold_to_eight<h>(sums, lanes);
    if constexpr (h + 1 < EightSums<T>::vectors)
        flush_from<h + 1>(sums, lanes);
}

template <class T>
LOGITLOSS_INLINE void clear(Vec<T> (&lanes)[group_vectors<T>]) {
    LOGITLOSS_UNROLL
    for (std::size_t i = 0; i < group_vectors<T>; ++i)
        lanes[i] = splat(T(0));
}

/// Adds the lanes of a group to the sums in float64 and clears them.
template <class T>
LOGITLOSS_INLINE void flush(EightSums<T>& sums, Vec<T> (&lanes)[group_vectors<T>]) {
    flush_from<0>(sums, lanes);
    clear(lanes);
}

/// Sum over the n elements of a block of what `step` adds: step(group, lanes) adds one group's terms to the lanes.
template <class T, class Step>
LOGITLOSS_INLINE double sum_groups(std::size_t n, Step& step) {
    EightSums<T> sums;
    Vec<T> lanes[group_vectors<T>];
    clear(lanes);
    const std::size_t groups = group_count<T>(n);
    std::size_t group = 0;
    while (group < groups) {
        const std::size_t last = groups < group + groups_per_flush ? groups : group + groups_per_flush;
        for (; group < last; ++group)
            step(group, lanes);
        flush(sums, lanes);
    }
    return sums.total();
}

/// As sum_groups, of terms that are whole numbers or NaN: as many of them as a block has add up exactly in any T.
template <class T, class Step>
LOGITLOSS_INLINE double count_groups(std::size_t n, const Step& step) {
    EightSums<T> sums;
    Vec<T> lanes[group_vectors<T>];
    clear(lanes);
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group)
        step(group, lanes);
    flush(sums, lanes);
    return sums.total();
}

/// The largest lane of a group; 0 and -0 by the same tree everywhere.
template <class T>
LOGITLOSS_INLINE T fold_max(Vec<T> (&lanes)[group_vectors<T>]) {
    for (std::size_t half = group_vectors<T> / 2; half > 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i)
            lanes[i] = max(lanes[i + half], lanes[i]);
    return largest_lane(lanes[0]);
}
