// Sigmoid focal loss, element by element.

/// exp(x.high + x.low), for sums of at most 0.3. Below the least term of exp_parts, and at -inf, 0.
template <class T>
LOGITLOSS_INLINE Vec<T> exp_of_pair(Pair<T> x) {
    const ExpShift<T> shift(T(0));
    const ExpParts<T> parts = exp_parts(x.high, shift);
    const Vec<T> low = select(less(x.high, shift.lowest), splat(T(0)), x.low);
    return fma(parts.mantissa, low, parts.mantissa) * parts.scale;
}

/// Loss a m^gamma H and its gradient, where with p = sigmoid(x)
///     H = t softplus(-x) + (1-t) softplus(x),   m = 1 - p_t = (1-t) p + t (1-p),   a = alpha t + (1-alpha) (1-t);
///     gradient = a m^gamma [ (p - t) - gamma (2t-1) H p (1-p) / m ].
///
/// Note [focal loss in log space]: with e = exp(-|x|), m = u / (1+e) and u = (1-t) {1 or e} + t {e or 1}, so
/// m^gamma = exp(gamma (log u - log1p(e))). For a hard target log u is 0 or exactly -|x|: no digit of 1 - p_t is lost
/// at either end. An exponent of -80 rounded to T would cost 80 half ulps of the power, so the exponent is a pair of
/// numbers. For a hard target both terms of the gradient have the same sign, and p (1-p) / m is 1/(1+e) or e/(1+e).
/// gamma multiplies the error of log1p(e), too, and that of e in it: beyond a gamma of 5 float32 takes the steps in
/// float64, and float64 has a logarithm in two parts beyond 16.
/// A soft target has a dozen roundings more, which gamma multiplies: in float32 it takes the steps in float64, from its
/// smoothing and from 1-t on.
template <class T>
struct FocalElement {
    static constexpr bool smooths = true;
    static constexpr bool logistic = true;
    static constexpr bool by_exponential = false;
    static constexpr bool narrow_type = sizeof(T) == sizeof(float);
    static constexpr T largest = T(narrow_type ? __FLT_MAX__ : __DBL_MAX__);

    const FocalParameters& parameters;
    const double smoothing;
    const T gamma;
    const T gamma_rest;  // what T cannot hold of gamma
    const bool large_gamma;

    /// `result_bits`: mantissa bits of what the results are for.
    LOGITLOSS_INLINE FocalElement(const FocalParameters& p, double label_smoothing,
                                  int result_bits = Constants<T>::mantissa_bits)
        : parameters(p),
          smoothing(label_smoothing),
          gamma(p.gamma < static_cast<double>(largest) ? static_cast<T>(p.gamma) : largest),
          gamma_rest(p.gamma < static_cast<double>(largest) ? static_cast<T>(p.gamma - static_cast<double>(gamma))
                                                            : T(0)),
          large_gamma(p.gamma > (narrow_type ? 5.0 : 16.0) && result_bits == Constants<T>::mantissa_bits) {}

    LOGITLOSS_INLINE ElementResult<T> operator()(const LogisticParts<T>& parts, Vec<T> t, Vec<T> one_minus_t) const {
        if constexpr (narrow_type) {
            const auto soft = is_soft(t, one_minus_t);
            const bool all_wide = smoothing != 0.0 || large_gamma;
            if (!all_wide && !any(soft))
                return evaluate(parts, t, one_minus_t);
            ElementResult<T> wide;
            evaluate_in_float64(*this, parts.x, t, wide);
            if (all_wide)
                return wide;
            const ElementResult<T> hard = evaluate(parts, t, one_minus_t);
            return {select(soft, wide.loss, hard.loss), select(soft, wide.gradient, hard.gradient)};
        }
        Vec<T> positive = t;
        Vec<T> negative = one_minus_t;
        if (smoothing != 0.0) {
            const Smoothing<T> smoothed(smoothing);
            positive = smoothed(positive);
            negative = smoothed(negative);
        }
        if constexpr (!narrow_type)
            if (large_gamma) {
                ElementResult<T> exact;
                evaluate_scaled(*this, parts.x, positive, negative, exact);
                return exact;
            }
        return evaluate(parts, positive, negative);
    }

    // Note [far elements]
    LOGITLOSS_INLINE Mask<T> may_be_far(Vec<T> x, const ElementResult<T>& result, const Reach<T>& reach) const {
        return less(splat(reach.distance), abs(x)) |
               less(min(abs(result.loss), abs(result.gradient)), splat(reach.result));
    }
    LOGITLOSS_INLINE FocalElement<double> wide() const { return {parameters, smoothing}; }
    LOGITLOSS_INLINE Vec<double> large_size(Vec<double> x, Vec<double>) const { return abs(x); }
    LOGITLOSS_INLINE Vec<double> small_size(Vec<double>, Vec<double> raw) const { return abs(raw); }

    /// `evaluate` in numbers with an exponent of their own.
    __attribute__((noinline)) void scaled(const Vec<double>& x, const Scaled& positive, const Scaled& negative,
                                          ScaledResult& out) const {
        const ScaledLogistic parts(x);
        const Scaled u = negative * parts.up + positive * parts.down;
        const Pair<double> log1p_e = exact_softplus(parts.distance);
        Pair<double> power = exponent(log_of_scaled(parts, u, value_of(positive), value_of(negative)), log1p_e.high);
        power.low = neg_fma(splat(gamma), log1p_e.low, power.low);
        const Scaled alpha = scaled_of(parameters.alpha) * positive + scaled_of(parameters.one_minus_alpha) * negative;
        Scaled factor = alpha * scaled_exp(power.high, power.low);
        const auto outside = less(min(positive.mantissa, negative.mantissa), splat(0.0));
        factor.mantissa = select(outside, splat(__builtin_nan("")), factor.mantissa);
        const Scaled entropy = parts.cross_entropy(positive, negative);
        const Scaled change = (parts.e / u) * entropy * scaled_of(gamma);
        const Scaled numerator = parts.pull(positive, negative) - (positive - negative) * change;
        out = {factor * entropy, factor * (numerator / parts.one_plus_e())};
    }
    LOGITLOSS_INLINE Pair<double> log_of_scaled(const ScaledLogistic& parts, const Scaled& u, Vec<double> t,
                                                Vec<double> one_minus_t) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> distance = min(splat(__DBL_MAX__), parts.distance);
        const auto agrees = equal(one_minus_t, select(parts.below_zero, splat(1.0), zero));
        const LogParts<double> log = log_lifted(max(splat(1e-300), u.mantissa), zero - u.exponent, LogOfParts{});
        const Vec<double> sum = log.sum();
        const auto soft = is_soft(t, one_minus_t);
        const Vec<double> high = select(less(min(t, one_minus_t), zero), splat(__builtin_nan("")), sum);
        return {select(soft, high, select(agrees, zero - distance, zero)),
                select(soft, (log.high - sum) + log.low, zero)};
    }
    static __attribute__((noinline)) void evaluate_scaled(const FocalElement& element, const Vec<double>& x,
                                                          const Vec<double>& positive, const Vec<double>& negative,
                                                          ElementResult<double>& out) {
        ScaledResult result;
        element.scaled(x, scaled_of(positive), scaled_of(negative), result);
        out = {value_of(result.loss), value_of(result.gradient)};
    }

    static LOGITLOSS_INLINE Mask<T> is_soft(Vec<T> t, Vec<T> one_minus_t) {
        return less(splat(T(0)), abs(t * one_minus_t));
    }

    LOGITLOSS_INLINE ElementResult<T> evaluate(const LogisticParts<T>& parts, Vec<T> t, Vec<T> one_minus_t) const {
        const Vec<T> zero = splat(T(0));
        const Vec<T> u = fma(one_minus_t, parts.up, t * parts.down);
        const Vec<T> factor = this->factor(parts, u, t, one_minus_t);
        const Vec<T> entropy = parts.cross_entropy(t, one_minus_t);
        const Vec<T> loss = select(equal(factor, zero), zero, factor * entropy);

        // e / u = p (1-p) / m (1+e); 0 where e is, even beside an infinite entropy.
        const Vec<T> ratio = select(equal(parts.e, zero), zero, parts.e / u);
        const Vec<T> change = select(equal(ratio, zero), zero, ratio * entropy) * splat(gamma);
        const Vec<T> numerator = neg_fma(t - one_minus_t, change, parts.pull(t, one_minus_t));
        const Vec<T> gradient = factor * (numerator / (splat(T(1)) + parts.e));
        return {loss, select(equal(factor, zero), zero, gradient)};
    }

    /// a m^gamma
    LOGITLOSS_INLINE Vec<T> factor(const LogisticParts<T>& parts, Vec<T> u, Vec<T> t, Vec<T> one_minus_t) const {
        const Vec<T> zero = splat(T(0));
        const Vec<T> alpha = fma(splat(static_cast<T>(parameters.alpha)), t,
                                 splat(static_cast<T>(parameters.one_minus_alpha)) * one_minus_t);
        const Vec<T> power = exp_of_pair(exponent(log_of_u(parts, u, t, one_minus_t), parts.log1p_e));
        if (parameters.alpha == 0.0 || parameters.one_minus_alpha == 0.0)  // it removes hard targets, whatever x is
            return select(equal(alpha, zero), zero, alpha * power);
        return alpha * power;
    }

    /// log u of a hard target, and in float64 of a soft one too. A target outside [0, 1] has none: NaN.
    LOGITLOSS_INLINE Pair<T> log_of_u(const LogisticParts<T>& parts, Vec<T> u, Vec<T> t, Vec<T> one_minus_t) const {
        const Vec<T> zero = splat(T(0));
        const Vec<T> distance = min(splat(largest), abs(parts.x));  // finite: a gamma of 0 makes it 0
        const auto agrees = equal(one_minus_t, select(less(parts.x, zero), splat(T(1)), zero));
        const Pair<T> hard{select(agrees, zero - distance, zero), zero};
        if constexpr (narrow_type)
            return hard;
        const auto soft = is_soft(t, one_minus_t);
        if (!any(soft))
            return hard;
        const Vec<T> smallest = power_of_two(splat(T(1) - Constants<T>::bias));
        const LogParts<T> log = log_normal(max(smallest, u));
        const Vec<T> sum = log.sum();
        const Vec<T> nan = splat(T(__builtin_nan("")));
        const Vec<T> high = select(less(min(t, one_minus_t), zero), nan, sum);
        return {select(soft, high, hard.high), select(soft, (log.high - sum) + log.low, zero)};
    }

    /// gamma (log u - log1p(e))
    LOGITLOSS_INLINE Pair<T> exponent(Pair<T> log_u, Vec<T> log1p_e) const {
        const Vec<T> g = splat(gamma);
        const Vec<T> a = g * log_u.high;
        const Vec<T> b = splat(T(0)) - g * log1p_e;
        const Vec<T> a_rest = fma(g, log_u.high, splat(T(0)) - a) + g * log_u.low;
        const Vec<T> b_rest = neg_fma(g, log1p_e, splat(T(0)) - b);
        const Vec<T> high = a + b;
        const Vec<T> back = high - a;
        const Vec<T> lost = (a - (high - back)) + (b - back);
        const Vec<T> rest = fma(splat(gamma_rest), log_u.high - log1p_e, a_rest + b_rest);
        return {high, lost + rest};
    }

    /// Apart from the loop, which seldom needs it.
    static __attribute__((noinline)) void evaluate_in_float64(const FocalElement& narrow_element, const Vec<float>& x,
                                                              const Vec<float>& t, ElementResult<float>& out) {
        const FocalElement<double> element(narrow_element.parameters, narrow_element.smoothing,
                                           Constants<float>::mantissa_bits);
        const Vec<double> one = splat(1.0);
        const auto lower = element(LogisticParts<double>(widen<0>(x)), widen<0>(t), one - widen<0>(t));
        const auto upper = element(LogisticParts<double>(widen<1>(x)), widen<1>(t), one - widen<1>(t));
        out = {narrow(lower.loss, upper.loss), narrow(lower.gradient, upper.gradient)};
    }
};

/// KernelTable::focal.
template <class T>
double focal(const ElementBlock<T>& block, const FocalParameters& parameters, std::size_t n) {
    return sweep_elements<T>(block, n, FocalElement<T>(parameters, block.smoothing));
}
