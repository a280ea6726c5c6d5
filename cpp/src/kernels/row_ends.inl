// Ends of rows: from the sums of up to most_lanes rows to losses and gradient scales, in float64, one row a lane.

/// exp(x) = mantissa * 2^exponent of `count` values, widened.
LOGITLOSS_INLINE void exp_at_array(const float* x, std::size_t count, double* mantissa, double* exponent) {
    for (std::size_t i = 0; i < count; i += Vec<float>::lanes) {
        const ExpAt<float> e = exp_at(load(x + i));
        store(mantissa + i, widen<0>(e.mantissa));
        store(mantissa + i + Vec<double>::lanes, widen<1>(e.mantissa));
        store(exponent + i, widen<0>(e.exponent));
        store(exponent + i + Vec<double>::lanes, widen<1>(e.exponent));
    }
}
LOGITLOSS_INLINE void exp_at_array(const double* x, std::size_t count, double* mantissa, double* exponent) {
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        const ExpAt<double> e = exp_at(load(x + i));
        store(mantissa + i, e.mantissa);
        store(exponent + i, e.exponent);
    }
}

LOGITLOSS_INLINE Vec<double> widened(const double* x) { return load(x); }
LOGITLOSS_INLINE Vec<double> widened(const float* x) {
    double wide[Vec<double>::lanes];
    for (std::size_t i = 0; i < Vec<double>::lanes; ++i)
        wide[i] = static_cast<double>(x[i]);
    return load(wide);
}

/// x + log, rounded once: the two may cancel, so the logarithm must not be rounded first.
LOGITLOSS_INLINE Vec<double> add_log(Vec<double> x, LogParts<double> log) {
    const Vec<double> sum = x + log.high;
    const Vec<double> back = sum - x;
    const Vec<double> lost = (x - (sum - back)) + (log.high - back);
    return sum + (lost + log.low);
}

/// Relative rounding error of exp_at's mantissa: what the last two steps of the polynomial and the reduction lost.
LOGITLOSS_INLINE Vec<double> exp_at_error(Vec<double> x) {
    using C = Constants<double>;
    constexpr std::size_t terms = sizeof(C::exp_polynomial) / sizeof(double);
    const Vec<double> n = fma(x, splat(C::log2e), splat(C::magic)) - splat(C::magic);
    const Vec<double> reduced = neg_fma(n, splat(C::ln2_hi), x);
    const Vec<double> t = neg_fma(n, splat(C::ln2_lo), reduced);
    const Vec<double> t_error = neg_fma(n, splat(C::ln2_lo), reduced - t);
    Vec<double> inner = splat(C::exp_polynomial[0]);
    for (std::size_t i = 1; i < terms - 2; ++i)
        inner = fma(inner, t, splat(C::exp_polynomial[i]));
    const Vec<double> one = splat(1.0);
    const Vec<double> q = fma(inner, t, one);
    const Vec<double> p = fma(q, t, one);
    const Vec<double> q_error = fma(inner, t, one - q);
    const Vec<double> error = fma(t, q_error, fma(t, q, one - p)) + t_error * p;
    return error / p;
}

/// Relative error of exp_at's float32 mantissa and exponent, by the float64 polynomial.
LOGITLOSS_INLINE Vec<double> exp_at_error(Vec<double> x, Vec<double> mantissa, Vec<double> exponent) {
    using C = Constants<double>;
    const Vec<double> t = neg_fma(exponent, splat(C::ln2_lo), neg_fma(exponent, splat(C::ln2_hi), x));
    return (horner(t, C::exp_polynomial) - mantissa) / mantissa;
}

/// What log(quotient), quotient = sum / e rounded and ratio that quotient with its power of two, lacks of the logarithm
/// of the exact one: the error of e = exp(max), and in float64 what the division rounded away. The sum holds e too, `own`
/// times, so only the other classes' share of its error shows. NaN and infinity stay.
LOGITLOSS_INLINE Vec<double> corrected(const float* max, Vec<double> low, Vec<double>, Vec<double> e,
                                       Vec<double> exponent, Vec<double>, Vec<double> ratio, Vec<double>) {
    const Vec<double> one = splat(1.0);
    return low + exp_at_error(widened(max), e, exponent) * (one / ratio - one);
}
LOGITLOSS_INLINE Vec<double> corrected(const double* max, Vec<double> low, Vec<double> sum, Vec<double> e, Vec<double>,
                                       Vec<double> quotient, Vec<double> ratio, Vec<double> own) {
    const Vec<double> one = splat(1.0);
    return low + (neg_fma(quotient, e, sum) / sum + exp_at_error(load(max)) * (own / ratio - one));
}

/// KernelTable::log_sum_exp_ends.
///
/// Note [log-sum-exp at the maximum]: LSE = max + log(sum / e), e the same kernel's value at the maximum, so that one
/// class, or one that outweighs all others, gives exactly max. For float64 the rounding error of e is taken out, all
/// but the share that the sum has of it.
template <class T>
void log_sum_exp_ends(LogSumExpEnds<T>* rows, std::size_t count) {
    double mantissa[most_lanes];
    double exponent[most_lanes];
    exp_at_array(rows->max, count, mantissa, exponent);
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        const Vec<double> sum = load(rows->sum + i);
        const Vec<double> e = load(mantissa + i);
        const Vec<double> quotient = sum / e;
        const Vec<double> ratio = quotient * power_of_two(load(rows->exponent + i) - load(exponent + i));
        LogParts<double> log = log_normal(ratio);
        const Vec<double> own = rows->own == nullptr ? splat(1.0) : load(rows->own + i);
        log.low = corrected(rows->max + i, log.low, sum, e, load(exponent + i), quotient, ratio, own);
        store(rows->above_max + i, log.sum());
        store(rows->lse + i, add_log(widened(rows->max + i), log));
        store(rows->scale + i, splat(1.0) / sum);
    }
}

/// KernelTable::excluded_ends.
///
/// Note [confident rows]: with e the exponential of the class taken out and sum' that of all others,
///     L - logit = log1p(sum' / e),   1 - p = sum' / (sum' + e).
/// Neither L - logit nor p - 1 is formed by subtraction, so both keep their relative accuracy however far the class
/// leads. Where it trails by more than 2^64, log1p(r) is log(r) and the powers of two are added outside it.
template <class T>
void excluded_ends(ExcludedEnds<T>* rows, std::size_t count) {
    double mantissa[most_lanes];
    double exponent[most_lanes];
    exp_at_array(rows->logit, count, mantissa, exponent);
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        const Vec<double> e = load(mantissa + i);
        const Vec<double> e_exponent = load(exponent + i);
        const Vec<double> others = load(rows->sum + i);
        const Vec<double> others_exponent = load(rows->exponent + i);
        const Vec<double> trail = others_exponent - e_exponent;
        const Vec<double> inside = min(trail, splat(64.0));
        const Vec<double> ratio = (others / e) * power_of_two(inside);
        store(rows->gap + i, fma(trail - inside, splat(Constants<double>::ln2), log1p_moderate(ratio)));

        const Vec<double> top = max(others_exponent, e_exponent);
        const Vec<double> scaled_others = others * power_of_two(others_exponent - top);
        const Vec<double> scaled_e = e * power_of_two(e_exponent - top);
        const Vec<double> total = scaled_others + scaled_e;
        const Vec<double> inverse = splat(1.0) / total;
        const Vec<double> base = select(less(others_exponent, splat(0.5 * no_exponent)), top, others_exponent);
        store(rows->base + i, base);
        store(rows->scale + i, power_of_two(base - top) * inverse);
        store(rows->complement + i, scaled_others * inverse);
        store(rows->probability + i, scaled_e / total);  // exactly 1 where it is alone
    }
}
