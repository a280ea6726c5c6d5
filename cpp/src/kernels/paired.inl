// Sums of exponentials in two parts, to more than float64 holds: for log-sum-exps near 0 and for states that merge.
//
// Note [log-sum-exp near 0]: where LSE - max is small against 1, and the maximum is no larger, what shows of a row is the
// sum of its other classes. Beside the maximum's own exponential that sum loses its last digits, or all of them. Such
// rows, and they are few, are summed once more, against the maximum: it stands apart, as the 1 that exp(0) is, and the
// others are numbers in two parts, lest the errors of many additions show. Everything is scaled by 2^512, so that
// nothing is subnormal before the last step.

constexpr double paired_exponent = 512.0;

/// The unevaluated sum of two numbers; `low` is far smaller.
struct TwoParts {
    Vec<double> high;
    Vec<double> low;
};

/// Adds `term` to `sum`.
LOGITLOSS_INLINE void add(TwoParts& sum, const TwoParts& term) {
    const TwoSum two(sum.high, term.high);
    sum.high = two.sum;
    sum.low = sum.low + (two.lost + term.low);
}

/// x - reference as a pair: the second part only where T needs it, in float64.
template <class T>
LOGITLOSS_INLINE TwoParts gap_below(Vec<double> x, Vec<double> reference) {
    if constexpr (sizeof(T) == sizeof(float))
        return {x - reference, splat(0.0)};
    const TwoSum two(x, splat(0.0) - reference);
    return {two.sum, two.lost};
}

/// 2^512 exp(gap) for gap <= 0.
template <class T>
LOGITLOSS_INLINE TwoParts paired_exp(const TwoParts& gap) {
    const ExpParts<double> e = exp_parts(gap.high, ExpShift<double>(-paired_exponent));
    const Vec<double> high = e.mantissa * e.scale;
    if constexpr (sizeof(T) == sizeof(float))
        return {high, splat(0.0)};
    const Vec<double> low = high * (exp_at_error(gap.high) + gap.low);
    return {high, select(equal(high, splat(0.0)), splat(0.0), low)};  // far below, a masked class among them
}

/// Sums of the exponentials of each lane: of the classes below the reference, and how often that is met.
struct SumsBelow {
    TwoParts below;
    Vec<double> met;

    LOGITLOSS_INLINE SumsBelow() : below{splat(0.0), splat(0.0)}, met(splat(0.0)) {}

    template <class T>
    LOGITLOSS_INLINE void take(Vec<double> x, Vec<double> reference) {
        const Vec<double> zero = splat(0.0);
        const TwoParts gap = gap_below<T>(x, reference);
        const Mask<double> here = equal(gap.high, zero);
        const TwoParts e = paired_exp<T>(gap);
        add(below, {select(here, zero, e.high), select(here, zero, e.low)});
        met = met + select(here, splat(1.0), zero);
    }
};

/// The lanes of a group as one sum; its first part is the whole sum rounded.
template <class Part>
LOGITLOSS_INLINE SumPair fold(const Part& part) {
    EightSums<double> sums;
    for (std::size_t i = 0; i < group_vectors<double>; ++i) {
        const std::size_t h = i % EightSums<double>::vectors;
        const TwoParts lane = part(i);
        sums.add(h, lane.high);
        sums.lost[h] = sums.lost[h] + lane.low;
    }
    return sums.pair();
}

/// KernelTable::paired_exponentials.
template <class T>
SumBelow paired_exponentials(const T* x, std::size_t n, double reference) {
    const WideReader<T> row(x, n, T(-__builtin_inf()));
    const Vec<double> top = splat(reference);
    SumsBelow lanes[group_vectors<double>];
    const std::size_t groups = group_count<double>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<double>; i += 2) {
            const Wide v = row.at(group, i * Vec<double>::lanes);
            lanes[i].template take<T>(v.lower, top);
            lanes[i + 1].template take<T>(v.upper, top);
        }
    const SumPair met = fold([&](std::size_t i) { return TwoParts{lanes[i].met, splat(0.0)}; });
    return {met.first, fold([&](std::size_t i) { return lanes[i].below; })};
}

/// The sum without one class that meets the reference, in the lanes that are wanted; its first part is the whole rounded.
LOGITLOSS_INLINE void store_wanted(const SumsBelow& lanes, Mask<double> wanted, double* others, double* rest) {
    TwoParts sum{(lanes.met - splat(1.0)) * splat(0x1p512), splat(0.0)};
    add(sum, lanes.below);
    const TwoSum whole(sum.high, sum.low);
    store(others, select(wanted, whole.sum, load(others)));
    store(rest, select(wanted, whole.lost, load(rest)));
}

/// KernelTable::column_paired_exponentials.
template <class T>
void column_paired_exponentials(const T* x, std::ptrdiff_t stride, TileShape shape, LogSumExpEnds<T>* rows,
                                const double* wanted) {
    constexpr std::size_t half = Vec<double>::lanes;
    const Vec<double> zero = splat(0.0);
    for (std::size_t lane = 0; lane < shape.lanes; lane += wide_lanes) {
        const Mask<double> want_lower = less(zero, load(wanted + lane));
        const Mask<double> want_upper = less(zero, load(wanted + lane + half));
        if (!any(want_lower | want_upper))
            continue;
        const Wide top = wide_load(rows->max + lane);
        SumsBelow lower, upper;
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const Wide v = wide_load(x + static_cast<std::ptrdiff_t>(j) * stride + lane);
            lower.template take<T>(v.lower, top.lower);
            upper.template take<T>(v.upper, top.upper);
        }
        store_wanted(lower, want_lower, rows->others + lane, rows->others_rest + lane);
        store_wanted(upper, want_upper, rows->others + lane + half, rows->others_rest + lane + half);
    }
}

/// log((high + low) 2^exponent) for positive normal `high`, where it is near 0 to relative accuracy.
LOGITLOSS_INLINE LogParts<double> log_of_pair(const TwoParts& x, Vec<double> exponent) {
    constexpr int mantissa_bits = Constants<double>::mantissa_bits;
    const Bits<double> biased = biased_exponent(x.high);
    const Vec<double> k = exponent_value<double>(biased);
    const Vec<double> one = splat(1.0);
    const Vec<double> mantissa = from_bits((bits(x.high) - shift_left<mantissa_bits>(biased)) + bits(one));
    LogParts<double> log = log_of_parts(k + exponent, mantissa - one);
    log.low = log.low + (x.low * power_of_two(splat(0.0) - k)) / mantissa;
    return log;
}

/// sum = sum / divisor; exact where that is an exact quotient of numbers.
LOGITLOSS_INLINE void divide(TwoParts& sum, Vec<double> divisor) {
    const Vec<double> quotient = sum.high / divisor;
    sum.low = (neg_fma(quotient, divisor, sum.high) + sum.low) / divisor;
    sum.high = quotient;
}

/// KernelTable::paired_ends.
template <class T>
void paired_ends(LogSumExpEnds<T>* rows, const double* exponent, std::size_t count) {
    const Vec<double> zero = splat(0.0);
    const Vec<double> own = exponent == nullptr ? splat(0x1p512) : zero;
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        const Vec<double> power = exponent == nullptr ? splat(-paired_exponent) : load(exponent + i);
        TwoParts sum{own, zero};
        add(sum, {load(rows->others + i), load(rows->others_rest + i)});
        if (rows->divisor != nullptr)
            divide(sum, load(rows->divisor + i));
        const LogParts<double> log = log_of_pair(sum, power);
        const Mask<double> kept = equal(load(rows->near + i), zero);
        store(rows->above_max + i, select(kept, load(rows->above_max + i), log.sum()));
        store(rows->lse + i, select(kept, load(rows->lse + i), add_log(widened(rows->max, i), log)));
    }
}

// --------------------------------------------------------------------------------------------------------- with weights

/// A weighted exponential b exp(gap) as a number of about 1 and an integral power of two, of any size.
struct WeightedExp {
    TwoParts mantissa;
    Vec<double> exponent;  // no_exponent where it is 0
};

/// The power of two that brings |b| into [1, 2), and b so scaled. b is not 0, and may be subnormal.
LOGITLOSS_INLINE void split_weight(Vec<double> b, Vec<double>& mantissa, Vec<double>& exponent) {
    const Mask<double> small = less(abs(b), splat(0x1p-500));
    const Vec<double> lifted = select(small, b * splat(0x1p600), b);
    const Vec<double> k = exponent_value<double>(shift_right<Constants<double>::mantissa_bits>(bits(abs(lifted))));
    mantissa = (lifted * splat(0.5)) * power_of_two(splat(1.0) - k);
    exponent = k - select(small, splat(600.0), splat(0.0));
}

LOGITLOSS_INLINE WeightedExp weighted_exp(Vec<double> x, Vec<double> b, Vec<double> reference) {
    const Vec<double> lowest = splat(-4000.0);  // no quotient of two weights outweighs exp(-4000)
    const Vec<double> zero = splat(0.0);
    const TwoParts gap = gap_below<double>(x, reference);
    const Mask<double> nothing = equal(b, zero) | less(gap.high, lowest);
    const Vec<double> near = select(nothing, zero, gap.high);
    const ExpAt<double> e = exp_at(near);
    WeightedExp term;
    Vec<double> weight;
    split_weight(select(nothing, splat(1.0), b), weight, term.exponent);
    const Vec<double> high = weight * e.mantissa;
    const Vec<double> lost = fma(weight, e.mantissa, zero - high);
    const Vec<double> low = fma(high, exp_at_error(near) + select(nothing, zero, gap.low), lost);
    term.mantissa = {select(nothing, zero, high), select(nothing, zero, low)};
    term.exponent = select(nothing, splat(no_exponent), term.exponent + e.exponent);
    return term;
}

/// KernelTable::weighted_exponent.
double weighted_exponent(const double* x, const double* b, std::size_t n, double reference) {
    const GroupReader<double> row(x, n, 0.0);
    const GroupReader<double> weights(b, n, 0.0);
    Vec<double> top = splat(no_exponent);
    for (std::size_t group = 0; group < group_count<double>(n); ++group)
        for (std::size_t lane = 0; lane < group_size<double>; lane += Vec<double>::lanes)
            top =
                max(weighted_exp(load(row.at(group) + lane), load(weights.at(group) + lane), splat(reference)).exponent,
                    top);
    return largest_lane(top);
}

/// KernelTable::weighted_pairs.
SumPair weighted_pairs(const double* x, const double* b, std::size_t n, double reference, double exponent) {
    const GroupReader<double> row(x, n, 0.0);
    const GroupReader<double> weights(b, n, 0.0);
    const auto at = [&](std::size_t group, std::size_t lane) {
        const WeightedExp term =
            weighted_exp(load(row.at(group) + lane), load(weights.at(group) + lane), splat(reference));
        const Vec<double> power = power_of_two(term.exponent - splat(exponent));
        return TwoParts{term.mantissa.high * power, term.mantissa.low * power};
    };
    TwoParts lanes[group_vectors<double>];
    for (TwoParts& lane : lanes)
        lane.high = lane.low = splat(0.0);
    for (std::size_t group = 0; group < group_count<double>(n); ++group)
        for (std::size_t i = 0; i < group_vectors<double>; ++i)
            add(lanes[i], at(group, i * Vec<double>::lanes));
    return fold([&](std::size_t i) { return lanes[i]; });
}
