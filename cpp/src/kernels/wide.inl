// Elements in float64, whatever they are stored in: for sums whose terms cancel or leave the range of float32, and for
// functions of which float32's own steps would cost digits. Element i of a block falls to lane i mod 32.

/// As many numbers as a vector of float has lanes.
struct Wide {
    Vec<double> lower;
    Vec<double> upper;
};

constexpr std::size_t wide_lanes = Vec<float>::lanes;

LOGITLOSS_INLINE Wide wide_load(const float* p) {
    const Vec<float> v = load(p);
    return {widen<0>(v), widen<1>(v)};
}
LOGITLOSS_INLINE Wide wide_load(const double* p) { return {load(p), load(p + Vec<double>::lanes)}; }
LOGITLOSS_INLINE void wide_store(float* p, const Wide& a) { store(p, narrow(a.lower, a.upper)); }
LOGITLOSS_INLINE void wide_store(double* p, const Wide& a) {
    store(p, a.lower);
    store(p + Vec<double>::lanes, a.upper);
}

LOGITLOSS_INLINE Vec<float> own_load(const float* p) { return load(p); }
LOGITLOSS_INLINE Wide own_load(const double* p) { return wide_load(p); }

/// Where the elements of a group of 32 lie, given what finds groups of 256 bytes (GroupReader, GroupWriter).
template <class Groups>
LOGITLOSS_INLINE const float* wide_group(const float*, const Groups& groups, std::size_t group) {
    return groups.at(group / 2) + group % 2 * group_size<double>;
}
template <class Groups>
LOGITLOSS_INLINE const double* wide_group(const double*, const Groups& groups, std::size_t group) {
    return groups.at(group);
}

/// An array read in groups of 32; null: every element is `fill`.
template <class T>
class WideReader {
public:
    LOGITLOSS_INLINE WideReader(const T* data, std::size_t n, T fill)
        : groups_(data, data != nullptr ? n : 0, fill), fill_(splat(static_cast<double>(fill))), data_(data) {}

    LOGITLOSS_INLINE Wide at(std::size_t group, std::size_t lane) const {
        if (data_ == nullptr)
            return {fill_, fill_};
        prefetch_near(data_ + group * group_size<double>, lane * sizeof(T) + 4096);
        return wide_load(wide_group(data_, groups_, group) + lane);
    }
    /// In the arithmetic that they are stored in; of an array that is given.
    LOGITLOSS_INLINE auto own(std::size_t group, std::size_t lane) const {
        prefetch_near(data_ + group * group_size<double>, lane * sizeof(T) + 4096);
        return own_load(wide_group(data_, groups_, group) + lane);
    }

private:
    GroupReader<T> groups_;
    Vec<double> fill_;
    const T* data_;
};

/// An array written in groups of 32; null: nothing is written. `finish` comes last.
template <class T>
class WideWriter {
public:
    LOGITLOSS_INLINE WideWriter(T* data, std::size_t n) : groups_(data, n), data_(data) {}

    LOGITLOSS_INLINE bool given() const { return data_ != nullptr; }
    LOGITLOSS_INLINE void set(std::size_t group, std::size_t lane, const Wide& values) {
        if constexpr (sizeof(T) == sizeof(float))
            wide_store(groups_.at(group / 2) + group % 2 * group_size<double> + lane, values);
        else
            wide_store(groups_.at(group) + lane, values);
    }
    LOGITLOSS_INLINE void finish() {
        if (data_ != nullptr)
            groups_.finish();
    }

private:
    GroupWriter<T> groups_;
    T* data_;
};

/// Sum over n elements of what `step` gives: step(group, lane) are the terms of the Wide at that lane of a group.
template <class Step>
struct WideTerms {
    Step& step;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<double> (&lanes)[group_vectors<double>]) const {
        for (std::size_t i = 0; i < group_vectors<double>; i += 2) {
            const Wide terms = step(group, i * Vec<double>::lanes);
            lanes[i] = lanes[i] + terms.lower;
            lanes[i + 1] = lanes[i + 1] + terms.upper;
        }
    }
};

template <class Step>
LOGITLOSS_INLINE double sum_wide(std::size_t n, Step& step) {
    WideTerms<Step> terms{step};
    return sum_groups<double>(n, terms);
}

/// out_i = what `step` gives; `out` may be what it reads.
template <class T, class Step>
LOGITLOSS_INLINE void map_wide(std::size_t n, const Step& step, T* out) {
    WideWriter<T> writer(out, n);
    const std::size_t groups = group_count<double>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<double>; i += 2)
            writer.set(group, i * Vec<double>::lanes, step(group, i * Vec<double>::lanes));
    writer.finish();
}

/// Two sums at a time: step(group, lane, first, second) gives the terms of both. The additions' own roundings are added
/// up beside them, to the last.
template <class Step>
LOGITLOSS_INLINE SumPair sum_wide_twice(std::size_t n, const Step& step) {
    constexpr std::size_t vectors = group_vectors<double>;
    EightSums<double> totals[2];
    const std::size_t groups = group_count<double>(n);
    for (std::size_t group = 0; group < groups; ++group) {
        Vec<double> lanes[2][vectors];
        for (std::size_t i = 0; i < vectors; i += 2) {
            Wide first, second;
            step(group, i * Vec<double>::lanes, first, second);
            lanes[0][i] = first.lower;
            lanes[0][i + 1] = first.upper;
            lanes[1][i] = second.lower;
            lanes[1][i + 1] = second.upper;
        }
        flush(totals[0], lanes[0]);
        flush(totals[1], lanes[1]);
    }
    return {totals[0].total(), totals[1].total()};
}

/// The same of float32 data, whose terms' own rounding is far above that of the additions: element i goes to sum i mod 8.
template <class Step>
LOGITLOSS_INLINE SumPair sum_narrow_twice(std::size_t n, const Step& step) {
    constexpr std::size_t sums = EightSums<float>::vectors;
    EightSums<float> totals[2];
    const std::size_t groups = group_count<double>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<double>; i += 2) {
            Wide first, second;
            step(group, i * Vec<double>::lanes, first, second);
            totals[0].add(i % sums, first.lower);
            totals[0].add((i + 1) % sums, first.upper);
            totals[1].add(i % sums, second.lower);
            totals[1].add((i + 1) % sums, second.upper);
        }
    return {totals[0].total(), totals[1].total()};
}

// ----------------------------------------------------------------------------------------------- rows side by side

/// Columns read like the groups of a row: the numbers of class j, of the rows from `lane` on.
template <class T>
struct WideColumns {
    const T* data;
    std::ptrdiff_t stride;

    LOGITLOSS_INLINE Wide at(std::size_t j, std::size_t lane) const {
        return wide_load(data + static_cast<std::ptrdiff_t>(j) * stride + lane);
    }
    LOGITLOSS_INLINE auto own(std::size_t j, std::size_t lane) const {
        return own_load(data + static_cast<std::ptrdiff_t>(j) * stride + lane);
    }
};

/// As WideColumns, with one class of each row (-1 for none) read as `fill`.
template <class T>
struct WideColumnsBeside {
    const WideColumns<T> columns;
    const T* aside;
    const T fill;

    LOGITLOSS_INLINE Wide at(std::size_t j, std::size_t lane) const {
        if constexpr (sizeof(T) == sizeof(float)) {
            const Vec<float> x = beside(j, lane);
            return {widen<0>(x), widen<1>(x)};
        } else {
            return {beside(j, lane), beside(j, lane + Vec<double>::lanes)};
        }
    }

private:
    LOGITLOSS_INLINE Vec<T> beside(std::size_t j, std::size_t lane) const {
        const T* x = columns.data + static_cast<std::ptrdiff_t>(j) * columns.stride;
        return select(equal(class_number<T>(j), load(aside + lane)), splat(fill), load(x + lane));
    }
};

/// A number of a row: the same at every lane, or one a row.
struct OfOneRow {
    const double value;
    LOGITLOSS_INLINE Wide at(std::size_t) const { return {splat(value), splat(value)}; }
};
struct OfRows {
    const double* values;
    LOGITLOSS_INLINE Wide at(std::size_t lane) const { return wide_load(values + lane); }
};

/// A float64 sum down the classes of some rows; with what its additions round away, if that is summed beside it.
template <bool compensated>
struct ColumnTotal {
    Vec<double> sum;
    Vec<double> lost;

    LOGITLOSS_INLINE ColumnTotal() : sum(splat(0.0)), lost(splat(0.0)) {}
    LOGITLOSS_INLINE void add(Vec<double> term) {
        if constexpr (compensated) {
            const TwoSum two(sum, term);
            sum = two.sum;
            lost = lost + two.lost;
        } else {
            sum = sum + term;
        }
    }
    LOGITLOSS_INLINE void store_to(double* p) const {
        store(p, select(equal(lost - lost, splat(0.0)), sum + lost, sum));  // of infinities and NaN: the sum itself
    }
};

/// What `step` gives, summed for each row: step(j, lane) are the terms of class j and the rows from `lane` on.
template <class T, class Step>
LOGITLOSS_INLINE void sum_wide_columns(TileShape shape, const Step& step, double* sums) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += wide_lanes) {
        ColumnTotal<EightSums<T>::compensated> lower, upper;
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const Wide terms = step(j, lane);
            lower.add(terms.lower);
            upper.add(terms.upper);
        }
        lower.store_to(sums + lane);
        upper.store_to(sums + lane + Vec<double>::lanes);
    }
}

/// Two sums at a time, as sum_wide_twice; or as sum_narrow_twice.
template <bool compensated = true, class Step>
LOGITLOSS_INLINE void sum_wide_columns_twice(TileShape shape, const Step& step, double* first, double* second) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += wide_lanes) {
        ColumnTotal<compensated> lower[2], upper[2];
        for (std::size_t j = 0; j < shape.classes; ++j) {
            Wide a, b;
            step(j, lane, a, b);
            lower[0].add(a.lower);
            upper[0].add(a.upper);
            lower[1].add(b.lower);
            upper[1].add(b.upper);
        }
        for (int i = 0; i < 2; ++i) {
            lower[i].store_to((i == 0 ? first : second) + lane);
            upper[i].store_to((i == 0 ? first : second) + lane + Vec<double>::lanes);
        }
    }
}

// ----------------------------------------------------------------------------------------------------- logarithms

/// How a logarithm in float64 ends: to the last bit for float64 data. For float32 data a relative error of 2^-37 does,
/// and takes no division.
template <class T>
struct WideLogOfParts;

template <>
struct WideLogOfParts<double> : LogOfParts {};

template <>
struct WideLogOfParts<float> {
    /// log(1 + f) = f - f^2 bend(f).
    static constexpr double bend[] = {-0x1.51dc0ce1c5a40p-6, 0x1.da6d7b00491bbp-5,  -0x1.4bdbcc01add69p-4,
                                      0x1.63caecde80170p-4,  -0x1.75bca77e808f1p-4, 0x1.989f06608e5c5p-4,
                                      -0x1.c6ea9b22c609fp-4, 0x1.000366251f420p-3,  -0x1.24933b4184b94p-3,
                                      0x1.55554c39260a2p-3,  -0x1.9999962cf4f47p-3, 0x1.00000003900fep-2,
                                      -0x1.55555557089c7p-2, 0x1.ffffffffff7dcp-2};

    LOGITLOSS_INLINE LogParts<double> operator()(Vec<double> k, Vec<double> f) const {
        const Vec<double> high = fma(k, splat(Constants<double>::ln2), f);
        return {high, neg_fma(f * f, horner(f, bend), splat(0.0))};
    }
};

/// log(x) for x that came from T: -inf at 0, NaN below.
template <class T>
LOGITLOSS_INLINE Vec<double> wide_log(Vec<double> x) {
    if constexpr (sizeof(T) == sizeof(double)) {
        return log_everywhere(x);
    } else {
        const Vec<double> zero = splat(0.0);
        const Vec<double> infinity = splat(__builtin_inf());
        const Vec<double> y = log_lifted(x, zero, WideLogOfParts<T>{}).sum();
        const Vec<double> outside = select(equal(x, zero), zero - infinity, infinity - infinity);
        return select(less(zero, x), select(less(x, infinity), y, x), select(equal(x, x), outside, x));
    }
}
