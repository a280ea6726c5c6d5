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
    const Vec<double> unit;
    const bool nats, bits;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        const Wide p = probabilities.at(group, lane);
        return {of(p.lower), of(p.upper)};
    }
    LOGITLOSS_INLINE Vec<double> of(Vec<double> p) const {
        const Vec<double> zero = splat(0.0);
        if (bits)
            return zero - log_everywhere_by(p, Log2OfParts{});
        const Vec<double> information = zero - wide_log<T>(p);
        return nats ? information : information / unit + zero;
    }
};

/// KernelTable::self_information.
template <class T>
void self_information(const T* p, std::size_t n, double unit, T* out) {
    map_wide(n, SelfInformation<T>{WideReader<T>(p, n, T(1)), splat(unit), unit == 1.0, unit == 0.0}, out);
}

template <class T, class Reader>
struct EntropyTerms {
    const Reader probabilities;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        const Wide p = probabilities.at(group, lane);
        return {term(p.lower), term(p.upper)};
    }
    static LOGITLOSS_INLINE Vec<double> term(Vec<double> p) {
        const Vec<double> zero = splat(0.0);
        return p * (zero - wide_log<T>(select(equal(p, zero), splat(1.0), p)));
    }
};

/// KernelTable::entropy.
template <class T>
double entropy(const T* p, std::size_t n) {
    const EntropyTerms<T, WideReader<T>> step{WideReader<T>(p, n, T(0))};
    return sum_wide(n, step);
}

/// KernelTable::column_entropy.
template <class T>
void column_entropy(const T* p, std::ptrdiff_t stride, TileShape shape, double* sums) {
    sum_wide_columns<T>(shape, EntropyTerms<T, WideColumns<T>>{{p, stride}}, sums);
}

/// `value`, but NaN where p or q is negative.
LOGITLOSS_INLINE Vec<double> unless_negative(Vec<double> p, Vec<double> q, Vec<double> value) {
    return select(less(min(p, q), splat(0.0)), splat(__builtin_nan("")), value);
}

template <class T, class Reader>
struct CrossEntropyTerms {
    const Reader first, second;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        const Wide p = first.at(group, lane);
        const Wide q = second.at(group, lane);
        return {term(p.lower, q.lower), term(p.upper, q.upper)};
    }
    static LOGITLOSS_INLINE Vec<double> term(Vec<double> p, Vec<double> q) {
        const Vec<double> zero = splat(0.0);
        const Vec<double> nan_or_zero = select(equal(q, q), zero, q);
        const Vec<double> term = select(equal(p, zero), nan_or_zero, p * (zero - wide_log<T>(q)));
        return unless_negative(p, q, term);
    }
};

/// KernelTable::cross_entropy_of.
template <class T>
double cross_entropy_of(const T* p, const T* q, std::size_t n) {
    const CrossEntropyTerms<T, WideReader<T>> step{WideReader<T>(p, n, T(0)), WideReader<T>(q, n, T(1))};
    return sum_wide(n, step);
}

/// KernelTable::column_cross_entropy_of.
template <class T>
void column_cross_entropy_of(const T* p, std::ptrdiff_t p_stride, const T* q, std::ptrdiff_t q_stride, TileShape shape,
                             double* sums) {
    sum_wide_columns<T>(shape, CrossEntropyTerms<T, WideColumns<T>>{{p, p_stride}, {q, q_stride}}, sums);
}

/// Note [divergence without cancellation]: sum_j p_j log(p_j / q_j) is a sum of terms of both signs, and where q is near
/// p it is the square of what they are. So a term with q in [0.75 p, 1.5 p] is taken as
///     p log(p/q) = h + (p - q),   h = p log(p/q) - p + q = p (f - log(1 + f)) >= 0,   f = (q - p) / p.
/// No h is negative, and near f = 0 the logarithm's parts are f and what bends it away from f, so that nothing is
/// subtracted. The differences are exact, and their sum keeps what its additions round away: it is 0 where the rows sum
/// alike, and there the divergence is a sum of terms that are never negative. Terms that are not near go to that sum as
/// they are: their own h is more than a tenth of them, so that rounding them decides no sign, and a q that outweighs
/// everything else leaves nothing behind. Where rows do not sum alike, the divergence may be negative in truth, and stays
/// so. Only if both sums cancel to less than the rounding of the larger, there is no telling the sign: that comes out 0
/// (divergence_of_sums).
struct DivergenceParts {
    Vec<double> h;    // for a q near p
    Vec<double> far;  // p log(p/q)
};

/// What p and q are multiplied by, so that q / p is a normal number: where either is subnormal, or the other one far from
/// it, the quotient has fewer digits than a logarithm needs, or none. It is up / down times what it would be, 2^lift.
struct QuotientRange {
    Vec<double> up, down, lift;

    LOGITLOSS_INLINE QuotientRange(Vec<double> p, Vec<double> q) {
        const Vec<double> far = splat(0x1p-960);
        const Vec<double> large = splat(0x1p600);
        const Vec<double> small = splat(0x1p-600);
        const auto low = less(q, p * far);
        const auto high = less(p, q * far);
        up = select(low, large, select(high, small, splat(1.0)));
        down = select(low, small, select(high, large, splat(1.0)));
        lift = select(low, splat(1200.0), select(high, splat(-1200.0), splat(0.0)));
    }
};

/// log(p/q) of a q that is not 0 or infinite has an end of its own.
LOGITLOSS_INLINE Vec<double> unless_at_ends(Vec<double> p, Vec<double> q, Vec<double> far) {
    const Vec<double> zero = splat(0.0);
    const Vec<double> infinity = splat(__builtin_inf());
    const Vec<double> at_ends = select(equal(q, zero), infinity, p - q);
    return select(less(zero, q), select(less(q, infinity), far, at_ends), at_ends);
}

/// For positive p that came from double,
LOGITLOSS_INLINE DivergenceParts divergence_parts(Vec<double> p, Vec<double> q, Mask<double> is_far, double) {
    const Vec<double> zero = splat(0.0);
    const Vec<double> one = splat(1.0);
    const Vec<double> finite_p = min(splat(0x1.fffffffffffffp1023), p);
    const QuotientRange range(finite_p, q);
    const Vec<double> x = select(is_far, q * range.up, q - p) / (finite_p * range.down);
    const Bits<double> biased = biased_exponent(x);
    const Vec<double> mantissa =
        from_bits((bits(x) - shift_left<Constants<double>::mantissa_bits>(biased)) + bits(one));
    const LogParts<double> log = log_of_parts(select(is_far, exponent_value<double>(biased) - range.lift, zero),
                                              select(is_far, mantissa - one, x));
    return {p * (zero - log.low), unless_at_ends(p, q, p * (zero - log.sum()))};
}
/// or from float, whose quotients and reciprocals are in range.
LOGITLOSS_INLINE DivergenceParts divergence_parts(Vec<double> p, Vec<double> q, Mask<double>, float) {
    const Vec<double> zero = splat(0.0);
    const Vec<double> reciprocal = splat(1.0) / p;
    const Vec<double> quotient = q * reciprocal;
    const Vec<double> f = (q - p) * reciprocal;
    const ScaledTo1<double> scaled(quotient);
    const Vec<double> rest = fma(quotient, scaled.factor, splat(-1.0));
    const LogParts<double> log =
        WideLogOfParts<float>{}(scaled.exponent, select(equal(scaled.exponent, zero), f, rest));
    return {p * ((f - log.high) - log.low), unless_at_ends(p, q, p * (zero - log.sum()))};
}

template <class T, class Reader>
struct DivergenceTerms {
    const Reader first, second;

    LOGITLOSS_INLINE void operator()(std::size_t group, std::size_t lane, Wide& terms, Wide& differences) const {
        const Wide p = first.at(group, lane);
        const Wide q = second.at(group, lane);
        split(p.lower, q.lower, terms.lower, differences.lower);
        split(p.upper, q.upper, terms.upper, differences.upper);
    }
    static LOGITLOSS_INLINE void split(Vec<double> p, Vec<double> q, Vec<double>& term, Vec<double>& difference) {
        const Vec<double> zero = splat(0.0);
        const auto nothing = equal(p, zero);
        const auto far = less(q, splat(0.75) * p) | less(splat(1.5) * p, q) | nothing;
        const DivergenceParts parts = divergence_parts(p, q, far, T(0));
        const Vec<double> nan_or_zero = select(equal(q, q), zero, q);
        term = select(far, zero, parts.h);
        difference = unless_negative(p, q, select(far, select(nothing, nan_or_zero, parts.far), p - q));
    }
};

/// KernelTable::divergence.
template <class T>
SumPair divergence(const T* p, const T* q, std::size_t n) {
    return sum_wide_twice(n, DivergenceTerms<T, WideReader<T>>{WideReader<T>(p, n, T(0)), WideReader<T>(q, n, T(0))});
}

/// KernelTable::column_divergence.
template <class T>
void column_divergence(const T* p, std::ptrdiff_t p_stride, const T* q, std::ptrdiff_t q_stride, TileShape shape,
                       double* terms, double* differences) {
    sum_wide_columns_twice(shape, DivergenceTerms<T, WideColumns<T>>{{p, p_stride}, {q, q_stride}}, terms, differences);
}

/// A block read with one class of it as -inf.
template <class T>
struct WideRowBeside {
    const T* data;
    const AsideReader<T>& row;

    LOGITLOSS_INLINE Wide at(std::size_t group, std::size_t lane) const {
        prefetch_near(data + group * group_size<double>, lane * sizeof(T) + 4096);
        return wide_load(wide_group(data, row, group) + lane);
    }
};

/// 2^64 exp(d) and -2^64 d exp(d) for d = x - reference: products whose exponential alone is below the normal numbers have
/// all their digits.
template <class T>
struct GapTerms;

/// What the subtraction rounds away multiplies the exponential.
template <>
struct GapTerms<double> {
    const ExpShift<double> raise{-64.0};

    LOGITLOSS_INLINE void operator()(Vec<double> x, Vec<double> minus_reference, Vec<double>& exponential,
                                     Vec<double>& gap) const {
        const Vec<double> zero = splat(0.0);
        const TwoSum d(x, minus_reference);
        const ExpParts<double> parts = exp_parts(d.sum, raise);
        const Vec<double> e = parts.mantissa * parts.scale;
        const auto nothing = equal(e, zero);
        exponential = select(nothing, zero, fma(e, d.lost, e));
        gap = select(nothing, zero, exponential * (zero - d.sum));
    }
};

/// For float32 data a relative error of 2^-34 does, as in WideLogOfParts. The polynomial is that of exp(-t).
template <>
struct GapTerms<float> {
    static constexpr double polynomial[] = {-0x1.9f08a38e72c57p-13,
                                            0x1.6d8cf3c23956ep-10,
                                            -0x1.1112708f4d477p-7,
                                            0x1.55548dd8dfe25p-5,
                                            -0x1.55555443663b1p-3,
                                            0x1.0000003a1aab2p-1,
                                            -1.0,
                                            1.0};
    const ExpShift<double> raise{-64.0};

    LOGITLOSS_INLINE void operator()(Vec<double> x, Vec<double> minus_reference, Vec<double>& exponential,
                                     Vec<double>& gap) const {
        using C = Constants<double>;
        const Vec<double> zero = splat(0.0);
        const Vec<double> down = min(zero - raise.lowest, (zero - minus_reference) - x);
        const Vec<double> z = neg_fma(down, splat(C::log2e), raise.magic);
        const Vec<double> t = fma(z - raise.magic, splat(C::ln2), down);
        exponential = horner(t, polynomial) * from_bits(shift_left<C::mantissa_bits>(bits(z)));
        gap = exponential * down;
    }
};

template <class T, class Reader, class Number>
struct ExponentialGaps {
    const Reader row;
    const Number minus_reference;
    const GapTerms<T> terms{};

    LOGITLOSS_INLINE void operator()(std::size_t group, std::size_t lane, Wide& exponentials, Wide& gaps) const {
        const Wide x = row.at(group, lane);
        const Wide shift = minus_reference.at(lane);
        terms(x.lower, shift.lower, exponentials.lower, gaps.lower);
        terms(x.upper, shift.upper, exponentials.upper, gaps.upper);
    }
};

/// KernelTable::exponential_gaps.
template <class T>
SumPair exponential_gaps(const T* x, std::size_t n, std::size_t aside, double reference) {
    const AsideReader<T> row(x, n, T(-__builtin_inf()), aside);
    const ExponentialGaps<T, WideRowBeside<T>, OfOneRow> step{{x, row}, {-reference}};
    return sizeof(T) == sizeof(float) ? sum_narrow_twice(n, step) : sum_wide_twice(n, step);
}

/// KernelTable::column_exponential_gaps.
template <class T>
void column_exponential_gaps(const T* x, std::ptrdiff_t stride, TileShape shape, const T* aside,
                             const double* minus_reference, double* sums, double* gaps) {
    const WideColumnsBeside<T> row{{x, stride}, aside, T(-__builtin_inf())};
    const ExponentialGaps<T, WideColumnsBeside<T>, OfRows> step{row, {minus_reference}};
    sum_wide_columns_twice<EightSums<T>::compensated>(shape, step, sums, gaps);
}
