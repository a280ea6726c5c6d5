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

/// Elements i, i + 1, ... of an array of whole vectors, i a multiple of double's lanes.
LOGITLOSS_INLINE Vec<double> widened(const double* x, std::size_t i) { return load(x + i); }
LOGITLOSS_INLINE Vec<double> widened(const float* x, std::size_t i) {
    const Vec<float> whole = load(x + i / Vec<float>::lanes * Vec<float>::lanes);
    return i % Vec<float>::lanes == 0 ? widen<0>(whole) : widen<1>(whole);
}

/// x + log, rounded once: the two may cancel, so the logarithm must not be rounded first.
template <class T>
LOGITLOSS_INLINE Vec<T> add_log(Vec<T> x, LogParts<T> log) {
    const TwoSum two(x, log.high);
    return two.sum + (two.lost + log.low);
}

/// exp_at's mantissa for an x whose exponent is n, and its rounding error: what the last two steps of the polynomial and
/// the reduction lost.
template <class T>
struct CorrectedExp {
    Vec<T> mantissa, error;

    LOGITLOSS_INLINE CorrectedExp(Vec<T> x, Vec<T> n) {
        using C = Constants<T>;
        constexpr std::size_t terms = sizeof(C::exp_polynomial) / sizeof(T);
        const Vec<T> reduced = neg_fma(n, splat(C::ln2_hi), x);
        const Vec<T> t = neg_fma(n, splat(C::ln2_lo), reduced);
        const Vec<T> t_error = neg_fma(n, splat(C::ln2_lo), reduced - t);
        Vec<T> inner = splat(C::exp_polynomial[0]);
        for (std::size_t i = 1; i < terms - 2; ++i)
            inner = fma(inner, t, splat(C::exp_polynomial[i]));
        const Vec<T> one = splat(T(1));
        const Vec<T> q = fma(inner, t, one);
        mantissa = fma(q, t, one);
        const Vec<T> q_error = fma(inner, t, one - q);
        error = fma(t_error, mantissa, fma(t, q_error, fma(t, q, one - mantissa)));
    }
};

/// That error, relative.
LOGITLOSS_INLINE Vec<double> exp_at_error(Vec<double> x) {
    const CorrectedExp<double> e(x, exp_at(x).exponent);
    return e.error / e.mantissa;
}

/// Error of exp_at's float32 mantissa, by the float64 polynomial.
LOGITLOSS_INLINE Vec<double> exp_at_error(Vec<double> x, Vec<double> mantissa, Vec<double> exponent) {
    using C = Constants<double>;
    const Vec<double> t = neg_fma(exponent, splat(C::ln2_lo), neg_fma(exponent, splat(C::ln2_hi), x));
    return horner(t, C::exp_polynomial) - mantissa;
}

/// A row's sum, and the exponential e of its maximum: sum 2^power / e is the number of which the end takes the logarithm.
struct SumOverMax {
    Vec<double> sum, inverse_sum;
    Vec<double> e, e_exponent;
    Vec<double> power;
    Vec<double> quotient;  // sum / e
    Vec<double> own;       // how often the sum holds e
};

/// What log(quotient) lacks of the logarithm of the exact one: the error of e, and in float64 what the division rounded
/// away. The sum holds e too, so only the other classes' share of its error shows. NaN and infinity stay.
LOGITLOSS_INLINE Vec<double> missing(const float* max, std::size_t i, const SumOverMax& row) {
    // error / e (e / (sum 2^power) - 1), with no division of its own
    const Vec<double> error = exp_at_error(widened(max, i), row.e, row.e_exponent);
    return error * row.inverse_sum * (power_of_two(splat(0.0) - row.power) - row.quotient);
}
LOGITLOSS_INLINE Vec<double> missing(const double* max, std::size_t i, const SumOverMax& row) {
    const Vec<double> ratio = row.quotient * power_of_two(row.power);
    return neg_fma(row.quotient, row.e, row.sum) / row.sum +
           exp_at_error(load(max + i)) * (row.own / ratio - splat(1.0));
}

/// The power of two below x >= 0; 0 of subnormal numbers.
LOGITLOSS_INLINE Vec<double> power_below(Vec<double> x) {
    constexpr int mantissa_bits = Constants<double>::mantissa_bits;
    return from_bits(shift_left<mantissa_bits>(shift_right<mantissa_bits>(bits(x))));
}

/// Largest relative error of exp_at's mantissa.
template <class T>
constexpr double exp_error = sizeof(T) == sizeof(float) ? 0x1.44p-24 : 0x1.40p-53;

/// Whether |LSE| and LSE - max are below 1 and the error of the sum may take the value further than an ulp of the larger
/// one from the truth. Of the exponentials' errors the classes below the maximum have theirs, 1 - exp(-above) of the sum,
/// and that share is at most above - 0.36 above^2.
template <class T>
LOGITLOSS_INLINE Mask<double> is_near_zero(Vec<double> lse, Vec<double> above, double rounding) {
    constexpr double ulp = sizeof(T) == sizeof(float) ? 0x1p-23 : 0x1p-52;
    const Vec<double> size = abs(lse);
    const Vec<double> larger = max(size, above);
    const Vec<double> half_rounding = power_below(size) * splat(0.5 * ulp);  // of the result
    const Vec<double> allowed = fma(power_below(larger), splat(ulp), splat(0.0) - half_rounding);
    const Vec<double> share = fma(above * splat(-0.36), above, above);
    const Vec<double> error = fma(share, splat(exp_error<T>), splat(rounding));
    return less(select(less(larger, splat(1.0)), allowed, splat(__builtin_inf())), error);
}

/// KernelTable::log_sum_exp_ends.
///
/// Note [log-sum-exp at the maximum]: LSE = max + log(sum / e), e the same kernel's value at the maximum, so that one
/// class, or one that outweighs all others, gives exactly max. For float64 the rounding error of e is taken out, all
/// but the share that the sum has of it.
template <class T>
bool log_sum_exp_ends(LogSumExpEnds<T>* rows, std::size_t count) {
    double mantissa[most_lanes];
    double exponent[most_lanes];
    exp_at_array(rows->max, count, mantissa, exponent);
    const Vec<double> zero = splat(0.0);
    Vec<double> any_near = zero;
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        SumOverMax row;
        row.sum = load(rows->sum + i);
        row.inverse_sum = splat(1.0) / row.sum;
        row.e = load(mantissa + i);
        row.e_exponent = load(exponent + i);
        row.power = load(rows->exponent + i) - row.e_exponent;
        row.quotient = row.sum / row.e;
        row.own = rows->own == nullptr ? splat(1.0) : load(rows->own + i);
        const Vec<double> ratio = row.quotient * power_of_two(row.power);
        const Vec<double> rest = missing(rows->max, i, row);
        LogParts<double> log = log_normal(ratio);
        log.low = log.low + rest;
        const Vec<double> above = log.sum();
        const Vec<double> lse = add_log(widened(rows->max, i), log);
        store(rows->above_max + i, above);
        store(rows->lse + i, lse);
        store(rows->scale + i, row.inverse_sum);
        const Vec<double> others = ratio - splat(1.0);
        const Vec<double> lost = (ratio - others) - splat(1.0);
        store(rows->others + i, others * splat(0x1p512));
        store(rows->others_rest + i, fma(ratio, rest, lost) * splat(0x1p512));
        const Vec<double> near = select(is_near_zero<T>(lse, above, rows->rounding), splat(1.0), zero);
        store(rows->near + i, near);
        any_near = any_near + near;
    }
    return any(less(zero, any_near));
}

/// L of rows with a class set aside that trails by `gap`: logit + gap, but where the two nearly cancel from the sum of
/// all exponentials, 2^base / scale.
LOGITLOSS_INLINE Vec<double> lse_beside(Vec<double> logit, Vec<double> gap, Vec<double> base, Vec<double> scale) {
    const Vec<double> far = splat(16.0);
    const Vec<double> near = logit + gap;
    if (!any(less(far, gap)))
        return near;
    const Vec<double> log_total = log1p_everywhere(splat(1.0) / scale - splat(1.0));
    return select(less(far, gap), fma(base, splat(Constants<double>::ln2), log_total), near);
}

/// Whether any of the `count` rows trails its largest logit by more than `far`.
template <class T>
bool trails_by(const AsideEnds<T>* rows, std::size_t count, double far) {
    Vec<double> most = splat(0.0);
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes)
        most = max(load(rows->gap + i), most);
    return any(less(splat(far), most));
}

/// LSE - max of rows with a class set aside, from the other parts of their ends. A float32 row's sum is less exact than
/// what the difference of two float64 numbers of at most 2^17 loses.
void store_above_max(AsideEnds<float>* rows, std::size_t count) {
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes)
        store(rows->above_max + i, max(splat(0.0), load(rows->lse + i) - widened(rows->max, i)));
}
/// Of a class that trails by `gap` = LSE - logit, LSE - max is gap - (max - logit). Where these are large the rounding
/// of one shows in the other: there it is the logarithm of the sum of all exponentials over that of the largest.
void store_above_max(AsideEnds<double>* rows, std::size_t count) {
    constexpr double far = 16.0;
    const Vec<double> zero = splat(0.0);
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        const Vec<double> near = load(rows->gap + i) - (load(rows->max + i) - load(rows->logit + i));
        store(rows->above_max + i, max(zero, near));
    }
    if (!trails_by(rows, count, far))
        return;
    double mantissa[most_lanes];
    double exponent[most_lanes];
    exp_at_array(rows->max, count, mantissa, exponent);
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        const Vec<double> over_max = splat(1.0) / (load(rows->scale + i) * load(mantissa + i));
        const Vec<double> log = log_normal(over_max * power_of_two(load(rows->base + i) - load(exponent + i))).sum();
        const Mask<double> trails = less(splat(far), load(rows->gap + i));
        store(rows->above_max + i, select(trails, max(zero, log), load(rows->above_max + i)));
    }
}

/// KernelTable::aside_ends.
///
/// Note [confident rows]: with e the exponential of the class set aside and sum' that of all others,
///     L - logit = log1p(sum' / e),   1 - p = sum' / (sum' + e).
/// Neither L - logit nor p - 1 is formed by subtraction, so both keep their relative accuracy however far the class
/// leads. Where it trails by more than 2^64, log1p(r) is log(r) and the powers of two are added outside it.
template <class T, EndParts parts>
void aside_ends(AsideEnds<T>* rows, std::size_t count) {
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
        const Vec<double> gap = fma(trail - inside, splat(Constants<double>::ln2), log1p_moderate(ratio));
        store(rows->gap + i, gap);
        if constexpr (parts == EndParts::gap)
            continue;

        const Vec<double> top = max(others_exponent, e_exponent);
        const Vec<double> scaled_others = others * power_of_two(others_exponent - top);
        const Vec<double> scaled_e = e * power_of_two(e_exponent - top);
        const Vec<double> total = scaled_others + scaled_e;
        const Vec<double> inverse = splat(1.0) / total;
        const Vec<double> base = select(less(others_exponent, splat(0.5 * no_exponent)), top, others_exponent);
        const Vec<double> scale = power_of_two(base - top) * inverse;
        store(rows->base + i, base);
        store(rows->scale + i, scale);
        store(rows->complement + i, scaled_others * inverse);
        if constexpr (parts == EndParts::all) {
            store(rows->probability + i, scaled_e / total);  // exactly 1 where it is alone
            store(rows->lse + i, lse_beside(widened(rows->logit, i), gap, base, scale));
        }
    }
}

template <class T>
void aside_ends_of(AsideEnds<T>* rows, std::size_t count, EndParts parts) {
    if (parts == EndParts::gap)
        aside_ends<T, EndParts::gap>(rows, count);
    else if (parts == EndParts::gradient)
        aside_ends<T, EndParts::gradient>(rows, count);
    else
        aside_ends<T, EndParts::all>(rows, count);
    if (parts == EndParts::smoothed)
        store_above_max(rows, count);
}
