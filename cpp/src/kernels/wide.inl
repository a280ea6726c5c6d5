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
        return data_ != nullptr ? wide_load(wide_group(data_, groups_, group) + lane) : Wide{fill_, fill_};
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
