// Losses on probabilities: logarithms of numbers in [0, 1], in float64, to relative accuracy near 1 too.

template <class T>
struct CountOutsideUnit {
    const GroupReader<T>& probabilities;
    const GroupReader<T>& weights;
    const bool weighted;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const Vec<T> zero = splat(T(0));
        const Vec<T> one = splat(T(1));
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const Vec<T> p = load(probabilities.at(group) + i * Vec<T>::lanes);
            const Vec<T> number = select(equal(p, p), zero, one);
            Vec<T> count = select(less(p, zero) | less(one, p), one, number);
            if (weighted)
                count = select(equal(load(weights.at(group) + i * Vec<T>::lanes), zero), zero, count);
            lanes[i] = lanes[i] + count;
        }
    }
};

/// KernelTable::count_outside_unit.
template <class T>
double count_outside_unit(const T* p, const T* weight, std::size_t n) {
    const GroupReader<T> probabilities(p, n, T(0));
    const GroupReader<T> weights(weight != nullptr ? weight : p, n, T(0));
    const CountOutsideUnit<T> step{probabilities, weights, weight != nullptr};
    return sum_groups<T>(n, step);
}

template <class T>
struct WideValues {
    const T* data;
    const ExcludingReader<T>& row;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        return wide_load(wide_group(data, row, group) + lane);
    }
};

/// KernelTable::wide_sum.
template <class T>
double wide_sum(const T* p, std::size_t n, std::size_t excluded) {
    const ExcludingReader<T> row(p, n, T(0), excluded);
    const WideValues<T> step{p, row};
    return sum_wide(n, step);
}

/// Clipping for vectors of float64. NaN is not clipped.
struct Clip {
    Vec<double> total, lower, upper;

    explicit LOGITLOSS_INLINE Clip(const Clipping& c)
        : total(splat(c.total)), lower(splat(c.lower)), upper(splat(c.upper)) {}

    LOGITLOSS_INLINE Vec<double> clipped(Vec<double> p) const { return min(upper, max(lower, p / total)); }
    LOGITLOSS_INLINE Mask<double> outside(Vec<double> p) const {
        const Vec<double> q = p / total;
        return less(q, lower) | less(upper, q);
    }
};

template <class T>
struct ProbabilityTerms {
    const WideReader<T> probabilities, coefficients;
    const Clip clip;

    LOGITLOSS_INLINE void operator()(std::size_t group, std::size_t lane, Wide& losses, Wide& kept) const {
        const Wide p = probabilities.at(group, lane);
        const Wide a = coefficients.at(group, lane);
        terms(p.lower, a.lower, losses.lower, kept.lower);
        terms(p.upper, a.upper, losses.upper, kept.upper);
    }
    LOGITLOSS_INLINE void terms(Vec<double> p, Vec<double> a, Vec<double>& loss, Vec<double>& kept) const {
        const Vec<double> zero = splat(0.0);
        loss = select(equal(a, zero), zero, a * (zero - log_everywhere(clip.clipped(p))));
        kept = select(clip.outside(p), zero, a);
    }
};

/// KernelTable::probability_terms.
template <class T>
SumPair probability_terms(const T* p, const T* a, std::size_t n, const Clipping& clipping) {
    return sum_wide_twice(n, ProbabilityTerms<T>{WideReader<T>(p, n, T(1)), WideReader<T>(a, n, T(0)), Clip(clipping)});
}

template <class T>
struct ProbabilityGradient {
    const WideReader<T> probabilities, coefficients;
    WideWriter<T> out;
    const Clip clip;
    const Vec<double> linear, factor;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) {
        const Wide p = probabilities.at(group, lane);
        const Wide a = coefficients.at(group, lane);
        out.set(group, lane, {of(p.lower, a.lower), of(p.upper, a.upper)});
        return {splat(0.0), splat(0.0)};
    }
    LOGITLOSS_INLINE Vec<double> of(Vec<double> p, Vec<double> a) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> own = select(equal(a, zero) | clip.outside(p), zero, a / p);
        const Vec<double> slope = linear - own;
        return select(equal(slope, zero) | equal(factor, zero), zero, slope * factor);
    }
};

/// KernelTable::probability_gradient.
template <class T>
void probability_gradient(const T* p, const T* a, std::size_t n, const Clipping& clipping, double linear, double factor,
                          T* out) {
    ProbabilityGradient<T> step{WideReader<T>(p, n, T(1)),
                                WideReader<T>(a, n, T(0)),
                                WideWriter<T>(out, n),
                                Clip(clipping),
                                splat(linear),
                                splat(factor)};
    sum_wide(n, step);
    step.out.finish();
}

/// loss = -positive log p - negative log(1-p), gradient = negative / (1-p) - positive / p, 0 where p is clipped. A
/// factor of 0 makes its term 0 even beside an infinity.
template <class T>
struct ProbabilityElement {
    static constexpr bool smooths = false;
    const Clip& clip;

    LOGITLOSS_INLINE ElementResult<float> operator()(Vec<float> p, Vec<float> positive, Vec<float> negative) const {
        ElementResult<double> lower, upper;
        evaluate(widen<0>(p), widen<0>(positive), widen<0>(negative), lower);
        evaluate(widen<1>(p), widen<1>(positive), widen<1>(negative), upper);
        return {narrow(lower.loss, upper.loss), narrow(lower.gradient, upper.gradient)};
    }
    LOGITLOSS_INLINE ElementResult<double> operator()(Vec<double> p, Vec<double> positive, Vec<double> negative) const {
        ElementResult<double> result;
        evaluate(p, positive, negative, result);
        return result;
    }

    /// Apart from the loop, which is unrolled.
    __attribute__((noinline)) void evaluate(const Vec<double>& p, const Vec<double>& positive,
                                            const Vec<double>& negative, ElementResult<double>& out) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> c = clip.clipped(p);
        const auto no_positive = equal(positive, zero);
        const auto no_negative = equal(negative, zero);
        const Vec<double> loss = select(no_positive, zero, positive * log_everywhere(c)) +
                                 select(no_negative, zero, negative * log1p_everywhere(zero - c));
        const Vec<double> gradient =
            select(no_negative, zero, negative / (splat(1.0) - c)) - select(no_positive, zero, positive / c);
        const Vec<double> nan_or_zero = select(equal(c, c), zero, c);
        out = {(zero - loss) + nan_or_zero, select(clip.outside(p), zero, gradient + nan_or_zero)};
    }
};

/// KernelTable::bce_of_probabilities.
template <class T>
double bce_of_probabilities(const BceBlock<T>& block, const Clipping& clipping, std::size_t n) {
    const Clip clip(clipping);
    return sweep_elements<T>(block, n, ProbabilityElement<T>{clip});
}
