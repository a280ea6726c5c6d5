// Information measures: sums of logarithms, in float64.

/// log2(2^k (1 + f)): exact for powers of two.
struct Log2OfParts {
    LOGITLOSS_INLINE LogParts<double> operator()(Vec<double> k, Vec<double> f) const {
        return {k, log_of_parts(splat(0.0), f).sum() * splat(Constants<double>::log2e)};
    }
};

template <class T>
struct SelfInformation {
    const WideReader<T> probabilities;
    WideWriter<T> out;
    const Vec<double> unit;
    const bool bits;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) {
        const Wide p = probabilities.at(group, lane);
        out.set(group, lane, {of(p.lower), of(p.upper)});
        return {splat(0.0), splat(0.0)};
    }
    LOGITLOSS_INLINE Vec<double> of(Vec<double> p) const {
        const Vec<double> zero = splat(0.0);
        return bits ? zero - log_everywhere_by(p, Log2OfParts{}) : (zero - log_everywhere(p)) / unit;
    }
};

/// KernelTable::self_information.
template <class T>
void self_information(const T* p, std::size_t n, double unit, T* out) {
    SelfInformation<T> step{WideReader<T>(p, n, T(1)), WideWriter<T>(out, n), splat(unit), unit == 0.0};
    sum_wide(n, step);
    step.out.finish();
}

template <class T>
struct EntropyTerms {
    const WideReader<T> probabilities;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        const Wide p = probabilities.at(group, lane);
        return {term(p.lower), term(p.upper)};
    }
    static LOGITLOSS_INLINE Vec<double> term(Vec<double> p) {
        const Vec<double> zero = splat(0.0);
        return select(equal(p, zero), zero, p * (zero - log_everywhere(p)));
    }
};

/// KernelTable::entropy.
template <class T>
double entropy(const T* p, std::size_t n) {
    const EntropyTerms<T> step{WideReader<T>(p, n, T(0))};
    return sum_wide(n, step);
}

/// `value`, but NaN where p or q is negative.
LOGITLOSS_INLINE Vec<double> unless_negative(Vec<double> p, Vec<double> q, Vec<double> value) {
    const Vec<double> zero = splat(0.0);
    return select(less(p, zero) | less(q, zero), splat(__builtin_nan("")), value);
}

template <class T>
struct CrossEntropyTerms {
    const WideReader<T> first, second;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        const Wide p = first.at(group, lane);
        const Wide q = second.at(group, lane);
        return {term(p.lower, q.lower), term(p.upper, q.upper)};
    }
    static LOGITLOSS_INLINE Vec<double> term(Vec<double> p, Vec<double> q) {
        const Vec<double> zero = splat(0.0);
        const Vec<double> nan_or_zero = select(equal(q, q), zero, q);
        const Vec<double> term = select(equal(p, zero), nan_or_zero, p * (zero - log_everywhere(q)));
        return unless_negative(p, q, term);
    }
};

/// KernelTable::cross_entropy_of.
template <class T>
double cross_entropy_of(const T* p, const T* q, std::size_t n) {
    const CrossEntropyTerms<T> step{WideReader<T>(p, n, T(0)), WideReader<T>(q, n, T(1))};
    return sum_wide(n, step);
}

/// p log(p/q) - p + q and p - q.
///
/// Note [divergence without cancellation]: sum_j p_j log(p_j / q_j) is a sum of terms of both signs, and where q is near
/// p it is the square of what they are. So it is taken as
///     sum_j h_j + (sum_j p_j - sum_j q_j),   h = p log(p/q) - p + q = p (f - log(1 + f)) >= 0,   f = (q - p) / p.
/// No h is negative, and near f = 0 log_bend has f - log(1 + f) without a subtraction. The second sum, of differences
/// that are exact where q is within a factor of two of p, keeps what its additions round away: it is 0 where the rows
/// sum alike, and there the divergence is a sum of terms that are never negative. Where they do not, the divergence may
/// be negative in truth, and stays so. Only if both sums cancel to less than the rounding of the larger, there is no
/// telling the sign: that comes out 0 (divergence_of_sums).
template <class T>
struct DivergenceTerms {
    const WideReader<T> first, second;

    LOGITLOSS_INLINE void operator()(std::size_t group, std::size_t lane, Wide& terms, Wide& differences) const {
        const Wide p = first.at(group, lane);
        const Wide q = second.at(group, lane);
        differences = {p.lower - q.lower, p.upper - q.upper};
        terms = {term(p.lower, q.lower), term(p.upper, q.upper)};
    }
    static LOGITLOSS_INLINE Vec<double> term(Vec<double> p, Vec<double> q) {
        const Vec<double> largest = splat(__DBL_MAX__);
        const Vec<double> near = p * log_bend((q - p) / p);
        const Vec<double> far = neg_fma(p, log_everywhere(min(largest, q / p)), q - p);
        const auto is_far = less(q, splat(0.75) * p) | less(splat(1.5) * p, q);
        const Vec<double> h = select(is_far, far, near);
        return unless_negative(p, q, select(equal(p, splat(0.0)), q, h));
    }
};

/// KernelTable::divergence.
template <class T>
SumPair divergence(const T* p, const T* q, std::size_t n) {
    return sum_wide_twice(n, DivergenceTerms<T>{WideReader<T>(p, n, T(0)), WideReader<T>(q, n, T(0))});
}

/// exp(d) and -d exp(d) for d = x - reference.
template <class T>
struct ExponentialGaps {
    const T* data;
    const ExcludingReader<T>& row;
    const Vec<double> minus_reference;

    LOGITLOSS_INLINE void operator()(std::size_t group, std::size_t lane, Wide& exponentials, Wide& gaps) const {
        const Wide x = wide_load(wide_group(data, row, group) + lane);
        terms(x.lower, exponentials.lower, gaps.lower);
        terms(x.upper, exponentials.upper, gaps.upper);
    }
    /// What the subtraction rounds away multiplies the exponential.
    LOGITLOSS_INLINE void terms(Vec<double> x, Vec<double>& exponential, Vec<double>& gap) const {
        const Vec<double> zero = splat(0.0);
        const TwoSum d(x, minus_reference);
        const ExpParts<double> parts = exp_parts(d.sum, ExpShift<double>(0.0));
        const Vec<double> e = parts.mantissa * parts.scale;
        const auto nothing = equal(e, zero);
        exponential = select(nothing, zero, fma(e, d.lost, e));
        gap = select(nothing, zero, exponential * (zero - d.sum));
    }
};

/// KernelTable::exponential_gaps.
template <class T>
SumPair exponential_gaps(const T* x, std::size_t n, std::size_t excluded, double reference) {
    const ExcludingReader<T> row(x, n, T(-__builtin_inf()), excluded);
    return sum_wide_twice(n, ExponentialGaps<T>{x, row, splat(-reference)});
}
