// exp, log and log1p, written once over Vec<T>. Coefficients are minimax fits, rounded in sequence; docs/numerics.md
// has their errors over every float32 and how they were measured.

/// Constants by precision. `magic` is 1.5 * 2^mantissa_bits: adding it rounds to an integer and leaves that integer in
/// the low bits.
template <class T>
struct Constants;

template <>
struct Constants<float> {
    using Word = std::uint32_t;
    static constexpr int mantissa_bits = 23;
    static constexpr float bias = 127.0f;
    static constexpr float magic = 0x1.8p23f;
    static constexpr float log2e = 0x1.715476p+0f;
    static constexpr float ln2_hi = 0x1.62e430p-1f;
    static constexpr float ln2_lo = -0x1.05c610p-29f;
    static constexpr float ln2 = 0x1.62e430p-1f;
    static constexpr float exponent_limit = 131072.0f;  // |x| up to which the reduction of exp is exact
    static constexpr float exp_lowest = 126.9f;         // 2^-exp_lowest is the least term that is not zero
    static constexpr float exp_polynomial[] = {
        0x1.6a5c3cp-10f, 0x1.123aeap-7f, 0x1.5558a4p-5f, 0x1.555490p-3f, 0x1.fffffcp-2f, 1.0f, 1.0f};
};

template <>
struct Constants<double> {
    using Word = std::uint64_t;
    static constexpr int mantissa_bits = 52;
    static constexpr double bias = 1023.0;
    static constexpr double magic = 0x1.8p52;
    static constexpr double log2e = 0x1.71547652b82fep+0;
    static constexpr double ln2_hi = 0x1.62e42fefa39efp-1;
    static constexpr double ln2_lo = 0x1.abc9e3b39803fp-56;
    static constexpr double ln2 = 0x1.62e42fefa39efp-1;
    static constexpr double exponent_limit = 131072.0;
    static constexpr double exp_lowest = 1022.9;
    static constexpr double exp_polynomial[] = {0x1.1e99312c656bap-29,
                                                0x1.af6b10a9f994ep-26,
                                                0x1.27e56bac0fe45p-22,
                                                0x1.71ddf0c607fe7p-19,
                                                0x1.a01a0162715bbp-16,
                                                0x1.a01a01b325763p-13,
                                                0x1.6c16c16c23beep-10,
                                                0x1.111111110ed97p-7,
                                                0x1.5555555555538p-5,
                                                0x1.555555555555bp-3,
                                                0.5,
                                                1.0,
                                                1.0};
};

/// c[0] t^(n-1) + ... + c[n-1], by Horner's rule in fused steps.
template <class T, std::size_t n>
LOGITLOSS_INLINE Vec<T> horner(Vec<T> t, const T (&coefficients)[n]) {
    Vec<T> sum = splat(coefficients[0]);
    LOGITLOSS_UNROLL
    for (std::size_t i = 1; i < n; ++i)
        sum = fma(sum, t, splat(coefficients[i]));
    return sum;
}

/// exp(x) = mantissa * scale * 2^shift. mantissa in [0.7, 1.42], scale a power of two or 0.
template <class T>
struct ExpParts {
    Vec<T> mantissa;
    Vec<T> scale;
};

/// The shift by 2^shift that exponentials are computed under, as the two vectors that it enters by.
template <class T>
struct ExpShift {
    Vec<T> lowest;  // arguments below give 0
    Vec<T> magic;

    explicit LOGITLOSS_INLINE ExpShift(T shift) : ExpShift(splat(shift)) {}
    /// A shift of its own in each lane.
    explicit LOGITLOSS_INLINE ExpShift(Vec<T> shift)
        : lowest((shift - splat(Constants<T>::exp_lowest)) * splat(Constants<T>::ln2)),
          magic(splat(Constants<T>::magic + Constants<T>::bias) - shift) {}
};

/// exp(x) / 2^shift in two factors, for |x| <= exponent_limit and x < (shift + 0.5) ln 2.
///
/// Reduce x = n ln2 + t with both steps fused, so that t is exact to the last bit but one; approximate e^t by a
/// polynomial; reconstruct 2^(n - shift) from the low bits that `magic` left in z. Terms below 2^-exp_lowest of
/// 2^shift, and -inf, have scale 0; NaN stays NaN in the mantissa.
template <class T>
LOGITLOSS_INLINE ExpParts<T> exp_parts(Vec<T> x, const ExpShift<T>& shift) {
    using C = Constants<T>;
    x = max(shift.lowest, x);
    const Vec<T> z = fma(x, splat(C::log2e), shift.magic);
    const Vec<T> n = z - shift.magic;
    Vec<T> t = neg_fma(n, splat(C::ln2_hi), x);
    t = neg_fma(n, splat(C::ln2_lo), t);
    return {horner(t, C::exp_polynomial), from_bits(shift_left<C::mantissa_bits>(bits(z)))};
}

/// exp(x) = mantissa * 2^exponent for |x| <= exponent_limit, with the mantissa that exp_parts has.
template <class T>
struct ExpAt {
    Vec<T> mantissa;
    Vec<T> exponent;
};

template <class T>
LOGITLOSS_INLINE ExpAt<T> exp_at(Vec<T> x) {
    using C = Constants<T>;
    const Vec<T> n = fma(x, splat(C::log2e), splat(C::magic)) - splat(C::magic);
    Vec<T> t = neg_fma(n, splat(C::ln2_hi), x);
    t = neg_fma(n, splat(C::ln2_lo), t);
    return {horner(t, C::exp_polynomial), n};
}

/// 2^k for integral k <= bias; 0 below the normal numbers.
template <class T>
LOGITLOSS_INLINE Vec<T> power_of_two(Vec<T> k) {
    using C = Constants<T>;
    const Vec<T> z = max(splat(-C::bias), k) + splat(C::magic + C::bias);
    return from_bits(shift_left<C::mantissa_bits>(bits(z)));
}

/// A logarithm before its last addition: high + low is right to less than half an ulp of the sum.
template <class T>
struct LogParts {
    Vec<T> high;
    Vec<T> low;

    LOGITLOSS_INLINE Vec<T> sum() const { return high + low; }
};

/// log(1 + f) = f - f^2 / 2 + f^3 polynomial, and ln 2 in two parts.
struct FloatLog {
    static constexpr float polynomial[] = {0x1.33638cp-5f,  -0x1.74b7d2p-4f, 0x1.df2368p-4f,
                                           -0x1.04b5d4p-3f, 0x1.2463f6p-3f,  -0x1.551934p-3f,
                                           0x1.99975cp-3f,  -0x1.000070p-2f, 0x1.55555ap-2f};
    static constexpr float ln2_upper = 0x1.63p-1f;  // few bits: k times it is exact
    static constexpr float ln2_lower = -0x1.bd0106p-13f;
};

/// log(2^k (1 + f)) for integral k and f in [-1/4, 1/2].
LOGITLOSS_INLINE LogParts<float> log_of_parts(Vec<float> k, Vec<float> f) {
    const Vec<float> f2 = f * f;
    Vec<float> y = (f2 * f) * horner(f, FloatLog::polynomial);
    y = fma(k, splat(FloatLog::ln2_lower), y);
    y = neg_fma(splat(0.5f), f2, y);
    const Vec<float> a = k * splat(FloatLog::ln2_upper);
    const Vec<float> high = a + f;
    const Vec<float> lost = f - (high - a);
    return {high, lost + y};
}

/// log(1 + f) = f - (h - s (h + z polynomial)), s = f / (2 + f), z = s^2, h = f^2 / 2.
constexpr double log_polynomial[] = {0x1.1b773c88ec019p-3, 0x1.0dcd0d68f9ec0p-3, 0x1.3b35abad0a1e6p-3,
                                     0x1.745c4b73d7cc2p-3, 0x1.c71c748d8641ep-3, 0x1.24924921e64a2p-2,
                                     0x1.999999999c165p-2, 0x1.555555555554fp-1};

LOGITLOSS_INLINE LogParts<double> log_of_parts(Vec<double> k, Vec<double> f) {
    constexpr double ln2_upper = 0x1.62e42fee00000p-1;
    constexpr double ln2_lower = 0x1.a39ef35793c76p-33;
    const Vec<double> s = f / (splat(2.0) + f);
    const Vec<double> z = s * s;
    const Vec<double> r = horner(z, log_polynomial) * z;
    const Vec<double> h = (splat(0.5) * f) * f;
    const Vec<double> a = k * splat(ln2_upper);
    const Vec<double> high = a + f;
    const Vec<double> lost = f - (high - a);
    return {high, lost - (h - fma(s, h + r, k * splat(ln2_lower)))};
}

/// The biased exponent of u / 0.75, as an integer in the low bits. u must be positive and normal.
template <class T>
LOGITLOSS_INLINE Bits<T> biased_exponent(Vec<T> u) {
    using C = Constants<T>;
    const auto one = bits(splat(T(1)));
    const auto three_quarters = bits(splat(T(0.75)));
    return shift_right<C::mantissa_bits>(bits(u) + (one - three_quarters));
}

/// That integer as a number without the bias.
template <class T>
LOGITLOSS_INLINE Vec<T> exponent_value(Bits<T> biased) {
    const Vec<T> base = splat(Constants<T>::magic / T(1.5));
    return from_bits(biased | bits(base)) - (base + splat(Constants<T>::bias));
}

/// The natural logarithm of a number in parts; what takes it as an argument may get another one.
struct LogOfParts {
    template <class T>
    LOGITLOSS_INLINE LogParts<T> operator()(Vec<T> k, Vec<T> f) const {
        return log_of_parts(k, f);
    }
};

/// log(x / 2^lift) for positive normal x.
template <class T, class OfParts>
LOGITLOSS_INLINE LogParts<T> log_lifted(Vec<T> x, Vec<T> lift, const OfParts& of_parts) {
    constexpr int mantissa_bits = Constants<T>::mantissa_bits;
    const Bits<T> biased = biased_exponent(x);
    const Vec<T> mantissa = from_bits((bits(x) - shift_left<mantissa_bits>(biased)) + bits(splat(T(1))));
    return of_parts(exponent_value<T>(biased) - lift, mantissa - splat(T(1)));
}

/// log(x) for positive normal x.
template <class T>
LOGITLOSS_INLINE LogParts<T> log_normal(Vec<T> x) {
    return log_lifted(x, splat(T(0)), LogOfParts{});
}

/// u = 2^exponent (1 + f) as the factor 2^-exponent, for positive normal u up to 2^bias.
template <class T>
struct ScaledTo1 {
    Vec<T> exponent;
    Vec<T> factor;

    explicit LOGITLOSS_INLINE ScaledTo1(Vec<T> u) {
        using C = Constants<T>;
        const Bits<T> biased = biased_exponent(u);
        const Bits<T> twice_bias = splat_bits(static_cast<typename C::Word>(2 * C::bias));
        factor = from_bits(shift_left<C::mantissa_bits>(twice_bias - biased));
        exponent = exponent_value<T>(biased);
    }
};

/// log(1 + r) for r in (-1, 2^100], to relative accuracy; NaN passes through.
///
/// With u = 1 + r = 2^k (1 + f), f comes from r and not from the rounded u. The cut of u at 0.75 makes f exact for
/// k = 1.
template <class T>
LOGITLOSS_INLINE Vec<T> log1p_moderate(Vec<T> r) {
    const ScaledTo1<T> scaled(splat(T(1)) + r);
    return log_of_parts(scaled.exponent, fma(r, scaled.factor, scaled.factor - splat(T(1)))).sum();
}

/// log(1 + e) for e in [0, 1], to relative accuracy; NaN passes through. In float32 a polynomial of its own, which takes
/// half the steps.
LOGITLOSS_INLINE Vec<float> log1p_of_unit(Vec<float> e) {
    static constexpr float polynomial[] = {0x1.113634p-9f, -0x1.c0a200p-7f, 0x1.58ff44p-5f, -0x1.54f16cp-4f,
                                           0x1.ff28d8p-4f, -0x1.4a72b2p-3f, 0x1.978b54p-3f, -0x1.ffc59ep-3f,
                                           0x1.5553b6p-2f, -0x1.fffff8p-2f};
    return fma(e * e, horner(e, polynomial), e);
}
LOGITLOSS_INLINE Vec<double> log1p_of_unit(Vec<double> e) { return log1p_moderate(e); }

// ------------------------------------------------------------------------- over their whole domains, array to array

/// exp(x) for every x, correctly 0, subnormal and infinite.
template <class T>
LOGITLOSS_INLINE Vec<T> exp_everywhere(Vec<T> x) {
    using C = Constants<T>;
    const T largest = (C::bias + T(2)) * C::ln2;
    const T smallest = -(C::bias + C::mantissa_bits + T(3)) * C::ln2;
    const ExpAt<T> e = exp_at(min(splat(largest), max(splat(smallest), x)));
    const Vec<T> half = (e.exponent * splat(T(0.5)) + splat(C::magic)) - splat(C::magic);
    return e.mantissa * power_of_two(half) * power_of_two(e.exponent - half);
}

/// A logarithm of every x: -inf at 0, NaN below.
template <class T, class OfParts>
LOGITLOSS_INLINE Vec<T> log_everywhere_by(Vec<T> x, const OfParts& of_parts) {
    using C = Constants<T>;
    constexpr T up = T(2) * (C::magic / T(1.5));  // makes every subnormal a normal number
    const Vec<T> zero = splat(T(0));
    const auto subnormal = less(x, power_of_two(splat(T(1) - C::bias)));
    const Vec<T> lift = select(subnormal, splat(T(C::mantissa_bits + 1)), zero);
    const Vec<T> y = log_lifted(select(subnormal, x * splat(up), x), lift, of_parts).sum();
    const Vec<T> infinity = splat(T(__builtin_inf()));
    const Vec<T> finite = select(less(x, infinity), y, x);
    return select(equal(x, zero), zero - infinity, select(less(x, zero), infinity - infinity, finite));
}

template <class T>
LOGITLOSS_INLINE Vec<T> log_everywhere(Vec<T> x) {
    return log_everywhere_by(x, LogOfParts{});
}

/// log(1 + r) for every r: -inf at -1, NaN below.
template <class T>
LOGITLOSS_INLINE Vec<T> log1p_everywhere(Vec<T> r) {
    const Vec<T> minus_one = splat(T(-1));
    const Vec<T> infinity = splat(T(__builtin_inf()));
    const Vec<T> large = splat(Constants<T>::magic * Constants<T>::magic);  // from here on log(1 + r) is log(r)
    const Vec<T> finite = select(less(r, large), log1p_moderate(r), log_normal(r).sum());
    const Vec<T> inside = select(less(r, infinity), finite, r);
    return select(equal(r, minus_one), splat(T(0)) - infinity,
                  select(less(r, minus_one), infinity - infinity, select(equal(r, splat(T(0))), r, inside)));
}

/// out[i] = function(x[i]); `n` is padded to whole vectors inside.
template <class T, Vec<T> (*function)(Vec<T>)>
void map_array(const T* x, std::size_t n, T* out) {
    constexpr std::size_t lanes = Vec<T>::lanes;
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes)
        store(out + i, function(load(x + i)));
    T padded[lanes] = {};
    for (std::size_t k = i; k < n; ++k)
        padded[k - i] = x[k];
    store(padded, function(load(padded)));
    for (std::size_t k = i; k < n; ++k)
        out[k] = padded[k - i];
}
