// Numbers with an exponent of their own, for elements whose factors take them out of the range of their type, or back:
// products, sums and exponentials here neither overflow nor underflow, and round as those of float64 do.

/// mantissa 2^exponent, the mantissa of a magnitude near 1, or 0, infinite or NaN.
struct Scaled {
    Vec<double> mantissa;
    Vec<double> exponent;  // integral
};

/// Exponents beyond those of all products of a few numbers: what is not finite has it, and minus it what is 0.
constexpr double beyond_products = 0x1p21;

LOGITLOSS_INLINE Scaled scaled_of(Vec<double> x) {
    constexpr int mantissa_bits = Constants<double>::mantissa_bits;
    const Vec<double> zero = splat(0.0);
    const Vec<double> size = abs(x);
    const auto subnormal = less(size, splat(0x1p-1022));
    const Vec<double> normal = select(subnormal, x * splat(0x1p54), x);
    const Bits<double> biased = shift_right<mantissa_bits>(bits(abs(normal)));
    const Vec<double> mantissa = from_bits((bits(normal) - shift_left<mantissa_bits>(biased)) + bits(splat(1.0)));
    const Vec<double> exponent = exponent_value<double>(biased) - select(subnormal, splat(54.0), zero);
    const Vec<double> beyond = splat(beyond_products);
    const auto finite = less(size, splat(__builtin_inf()));
    return {select(equal(x, zero), x, select(finite, mantissa, x)),
            select(equal(x, zero), zero - beyond, select(finite, exponent, beyond))};
}

LOGITLOSS_INLINE Scaled scaled_of(double x) { return scaled_of(splat(x)); }

/// The number itself, rounded once where it is subnormal.
LOGITLOSS_INLINE Vec<double> value_of(const Scaled& x) {
    const Vec<double> magic = splat(Constants<double>::magic);
    const Vec<double> exponent = min(splat(2046.0), max(splat(-2200.0), x.exponent));
    const Vec<double> half = (exponent * splat(0.5) + magic) - magic;
    return x.mantissa * power_of_two(half) * power_of_two(exponent - half);
}

LOGITLOSS_INLINE Scaled select(Mask<double> mask, const Scaled& a, const Scaled& b) {
    return {select(mask, a.mantissa, b.mantissa), select(mask, a.exponent, b.exponent)};
}

/// 0 where a factor is, whatever the other is.
LOGITLOSS_INLINE Scaled operator*(const Scaled& a, const Scaled& b) {
    const Vec<double> zero = splat(0.0);
    return {select(equal(a.mantissa, zero) | equal(b.mantissa, zero), zero, a.mantissa * b.mantissa),
            a.exponent + b.exponent};
}

/// 0 where the dividend is, whatever the divisor is.
LOGITLOSS_INLINE Scaled operator/(const Scaled& a, const Scaled& b) {
    const Vec<double> zero = splat(0.0);
    return {select(equal(a.mantissa, zero), zero, a.mantissa / b.mantissa), a.exponent - b.exponent};
}

LOGITLOSS_INLINE Scaled operator+(const Scaled& a, const Scaled& b) {
    const Vec<double> zero = splat(0.0);
    const Vec<double> nothing = splat(-2.0 * beyond_products);
    const Vec<double> of_a = select(equal(a.mantissa, zero), nothing, a.exponent);
    const Vec<double> of_b = select(equal(b.mantissa, zero), nothing, b.exponent);
    const Vec<double> larger = max(of_a, of_b);
    return {a.mantissa * power_of_two(of_a - larger) + b.mantissa * power_of_two(of_b - larger), larger};
}

LOGITLOSS_INLINE Scaled operator-(const Scaled& a, const Scaled& b) {
    return a + Scaled{splat(0.0) - b.mantissa, b.exponent};
}

/// exp(high + low) for high of at most 1 and a low that is next to nothing.
LOGITLOSS_INLINE Scaled scaled_exp(Vec<double> high, Vec<double> low) {
    const Vec<double> zero = splat(0.0);
    const Vec<double> lowest = splat(-Constants<double>::exponent_limit);  // below, nothing brings it back
    const ExpAt<double> e = exp_at(max(lowest, high));
    const auto none = less(high, lowest);
    return {select(none, zero, fma(e.mantissa, low, e.mantissa)), e.exponent};
}

/// A number that two add up to; low is smaller than an ulp of high, or about one.
template <class T>
struct Pair {
    Vec<T> high;
    Vec<T> low;
};

LOGITLOSS_INLINE Pair<double> pair_of_sum(Vec<double> a, Vec<double> b) {
    const TwoSum two(a, b);
    return {two.sum, two.lost};
}

/// exp(x) = 2^exponent (1 + above_1) for |x| <= exponent_limit, to 2^-58 of above_1.
struct ExactExp {
    Vec<double> exponent;
    Pair<double> above_1;

    explicit LOGITLOSS_INLINE ExactExp(Vec<double> x) {
        using C = Constants<double>;
        // 1/3!, 1/4!, ...: for |t| <= ln2 / 2 the last is below 2^-63 of t^2.
        static constexpr double taylor[] = {0x1.93974a8c07c9dp-37, 0x1.6124613a86d09p-33, 0x1.1eed8eff8d898p-29,
                                            0x1.ae64567f544e4p-26, 0x1.27e4fb7789f5cp-22, 0x1.71de3a556c734p-19,
                                            0x1.a01a01a01a01ap-16, 0x1.a01a01a01a01ap-13, 0x1.6c16c16c16c17p-10,
                                            0x1.1111111111111p-7,  0x1.5555555555555p-5,  0x1.5555555555555p-3};
        exponent = fma(x, splat(C::log2e), splat(C::magic)) - splat(C::magic);
        const Vec<double> rest = neg_fma(exponent, splat(0x1.62e42fee00000p-1), x);  // exact: 33 bits of ln 2
        const Vec<double> lower = splat(0x1.a39ef35793c76p-33);
        const Vec<double> product = exponent * lower;
        const Pair<double> t = pair_of_sum(rest, splat(0.0) - product);
        const Vec<double> t_low = t.low - fma(exponent, lower, splat(0.0) - product);
        const Vec<double> square = t.high * t.high;
        const Vec<double> square_low = fma(t.high, t.high, splat(0.0) - square);
        const Vec<double> half = splat(0.5);
        const Pair<double> sum = pair_of_sum(t.high, half * square);
        const Vec<double> small = fma(half, square_low, fma(t.high, t_low, t_low));
        above_1 = pair_of_sum(sum.high, sum.low + fma(square * t.high, horner(t.high, taylor), small));
    }
    /// exp(x) - 1 for x of [-708, 1].
    LOGITLOSS_INLINE Pair<double> minus_1() const {
        const Vec<double> scale = power_of_two(exponent);
        const Pair<double> sum = pair_of_sum(scale - splat(1.0), scale * above_1.high);
        return {sum.high, sum.low + scale * above_1.low};
    }
    LOGITLOSS_INLINE Pair<double> value() const {
        const Vec<double> scale = power_of_two(exponent);
        const Pair<double> sum = pair_of_sum(scale, scale * above_1.high);
        return {sum.high, sum.low + scale * above_1.low};
    }
};

/// log(1 + exp(-a)) for a >= 0, to 2^-56 of it where exp(-a) is a normal number: a logarithm y, and what
/// (1 + exp(-a)) exp(-y) differs from 1.
LOGITLOSS_INLINE Pair<double> exact_softplus(Vec<double> a) {
    const Pair<double> e = ExactExp(splat(0.0) - min(splat(708.0), a)).value();
    const Vec<double> y = log1p_of_unit(e.high);
    const Pair<double> back = ExactExp(splat(0.0) - y).minus_1();
    const Vec<double> product = e.high * back.high;
    const Pair<double> sum = pair_of_sum(e.high, back.high);
    const Pair<double> rest = pair_of_sum(sum.high, product);
    const Vec<double> small =
        fma(e.high, back.low, fma(e.low, back.high, e.low + back.low)) + fma(e.high, back.high, splat(0.0) - product);
    return {y, rest.high + (sum.low + rest.low + small)};
}

/// The parts of LogisticParts, in the same words.
struct ScaledLogistic {
    Vec<double> distance;
    Mask<double> below_zero;
    Scaled e;
    Scaled log1p_e;
    Scaled up;
    Scaled down;

    explicit LOGITLOSS_INLINE ScaledLogistic(Vec<double> x)
        : distance(abs(x)), below_zero(less(x, splat(0.0))), e(scaled_exp(splat(0.0) - distance, splat(0.0))) {
        const Scaled one = scaled_of(1.0);
        const auto tiny = less(splat(40.0), distance);  // where log1p(e) is e
        log1p_e = select(tiny, e, scaled_of(log1p_of_unit(value_of(e))));
        up = select(below_zero, e, one);
        down = select(below_zero, one, e);
    }
    LOGITLOSS_INLINE Scaled cross_entropy(const Scaled& positive, const Scaled& negative) const {
        const Scaled at_odds = select(below_zero, positive, negative);
        const Scaled agreeing = select(below_zero, negative, positive);
        return at_odds * scaled_of(distance + value_of(log1p_e)) + agreeing * log1p_e;
    }
    LOGITLOSS_INLINE Scaled pull(const Scaled& positive, const Scaled& negative) const {
        return negative * up - positive * down;
    }
    LOGITLOSS_INLINE Scaled one_plus_e() const { return scaled_of(splat(1.0) + value_of(e)); }
};

/// Loss and gradient of elements before the factors that all losses have.
struct ScaledResult {
    Scaled loss;
    Scaled gradient;
};
