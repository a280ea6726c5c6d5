// Losses on probabilities: logarithms of numbers in [0, 1], to relative accuracy near 1 too. Those of float32 are taken in
// float32 where nothing is divided by a row's total, and summed in float64. A probability of -0.0 is 0: where it is divided
// by, adding 0 takes the sign away, which would be that of an infinite gradient.

/// 1 where p is no number in [0, 1].
template <class T>
LOGITLOSS_INLINE Vec<T> outside_unit(Vec<T> p) {
    const Vec<T> zero = splat(T(0));
    const Vec<T> one = splat(T(1));
    return select(less(p, zero) | less(one, p), one, select(equal(p, p), zero, one));
}

/// outside_unit, and tiny_probability_mark for what is 0 or so small that its reciprocal may leave the range of T.
template <class T>
LOGITLOSS_INLINE Vec<T> outside_unit_or_tiny(Vec<T> p) {
    const Vec<T> mark = splat(static_cast<T>(tiny_probability_mark));
    return outside_unit(p) + select(less(p, splat(tiny_probability<T>)), mark, splat(T(0)));
}

/// 1 where t is no finite number >= 0.
template <class T>
LOGITLOSS_INLINE Vec<T> outside_counts(Vec<T> t) {
    const Vec<T> zero = splat(T(0));
    const Vec<T> one = splat(T(1));
    return select(less(t, zero), one, select(less(t, splat(T(__builtin_inf()))), zero, one));
}

template <class T, Vec<T> (*outside)(Vec<T>)>
struct CountOutside {
    const GroupReader<T>& values;
    const GroupReader<T>& weights;
    const T* data;
    const bool weighted;

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) const {
        const Vec<T> zero = splat(T(0));
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const std::size_t lane = i * Vec<T>::lanes;
            prefetch_group(data, group, i);
            Vec<T> count = outside(load(values.at(group) + lane));
            if (weighted)
                count = select(equal(load(weights.at(group) + lane), zero), zero, count);
            lanes[i] = lanes[i] + count;
        }
    }
};

/// KernelTable::count_outside_unit, KernelTable::count_no_counts.
template <class T, Vec<T> (*outside)(Vec<T>)>
double count_outside(const T* x, const T* weight, std::size_t n) {
    const GroupReader<T> values(x, n, T(1));
    const GroupReader<T> weights(weight != nullptr ? weight : x, n, T(0));
    return count_groups<T>(n, CountOutside<T, outside>{values, weights, x, weight != nullptr});
}

/// KernelTable::column_outside_unit.
template <class T>
void column_outside_unit(const T* p, std::ptrdiff_t stride, TileShape shape, T* counts) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        Vec<T> count = splat(T(0));
        for (std::size_t j = 0; j < shape.classes; ++j)
            count = count + outside_unit(load(p + static_cast<std::ptrdiff_t>(j) * stride + lane));
        store(counts + lane, count);
    }
}

template <class Reader>
struct WideValues {
    const Reader row;
    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const { return row.at(group, lane); }
};

/// KernelTable::wide_sum.
template <class T>
double wide_sum(const T* p, std::size_t n, std::size_t aside) {
    const AsideReader<T> row(p, n, T(0), aside);
    const WideValues<WideRowBeside<T>> step{{p, row}};
    return sum_wide(n, step);
}

/// KernelTable::column_wide_sum.
template <class T>
void column_wide_sum(const T* p, std::ptrdiff_t stride, TileShape shape, const T* aside, double* sums) {
    sum_wide_columns<T>(shape, WideValues<WideColumnsBeside<T>>{{{p, stride}, aside, T(0)}}, sums);
}

/// Clipping, unless nothing is clipped. NaN is not clipped.
template <class T>
struct Clip {
    const bool clips;
    const Vec<T> lower, upper;

    explicit LOGITLOSS_INLINE Clip(const Clipping& c)
        : clips(c.clips), lower(splat(static_cast<T>(c.lower))), upper(splat(static_cast<T>(c.upper))) {}

    LOGITLOSS_INLINE Vec<T> clipped(Vec<T> p) const { return clips ? min(upper, max(lower, p)) : p; }
    /// `value`, but 0 where p is clipped.
    LOGITLOSS_INLINE Vec<T> inside(Vec<T> p, Vec<T> value) const {
        return clips ? select(less(p, lower) | less(upper, p), splat(T(0)), value) : value;
    }
};

/// -a log c and what remains of a where p is not clipped, for c = p / total, clipped.
template <class T, class Reader, class Number>
struct ProbabilityTerms {
    const Reader probabilities, coefficients;
    const Number total;
    const Clip<double> clip;

    LOGITLOSS_INLINE void operator()(std::size_t group, std::size_t lane, Wide& losses, Wide& kept) const {
        const Wide p = probabilities.at(group, lane);
        const Wide a = coefficients.at(group, lane);
        const Wide all = total.at(lane);
        terms(p.lower, a.lower, all.lower, losses.lower, kept.lower);
        terms(p.upper, a.upper, all.upper, losses.upper, kept.upper);
    }
    /// Losses of what is not clipped.
    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        const Wide log = log_of(probabilities.own(group, lane));
        const Wide a = coefficients.at(group, lane);
        return {loss_of(a.lower, log.lower), loss_of(a.upper, log.upper)};
    }
    static LOGITLOSS_INLINE Wide log_of(Vec<float> p) {
        const Vec<float> log = log_everywhere(p);
        return {widen<0>(log), widen<1>(log)};
    }
    static LOGITLOSS_INLINE Wide log_of(const Wide& p) { return {log_everywhere(p.lower), log_everywhere(p.upper)}; }
    static LOGITLOSS_INLINE Vec<double> loss_of(Vec<double> a, Vec<double> log) {
        const Vec<double> zero = splat(0.0);
        return select(equal(a, zero), zero, a * (zero - log));
    }
    LOGITLOSS_INLINE void terms(Vec<double> p, Vec<double> a, Vec<double> all, Vec<double>& loss,
                                Vec<double>& kept) const {
        const Vec<double> share = p / all;
        loss = loss_of(a, wide_log<T>(clip.clipped(share)));
        kept = clip.inside(share, a);
    }
};

/// KernelTable::probability_terms.
template <class T>
SumPair probability_terms(const T* p, const T* a, std::size_t n, const Clipping& clipping) {
    const ProbabilityTerms<T, WideReader<T>, OfOneRow> step{
        WideReader<T>(p, n, T(1)), WideReader<T>(a, n, T(0)), {clipping.total}, Clip<double>(clipping)};
    return clipping.clips ? sum_wide_twice(n, step) : SumPair{sum_wide(n, step), 0.0};
}

/// KernelTable::column_probability_terms.
template <class T>
void column_probability_terms(const ProbabilityColumns<T>& in, TileShape shape, const Clipping& clipping,
                              double* losses, double* kept) {
    const ProbabilityTerms<T, WideColumns<T>, OfRows> step{
        {in.p, in.p_stride}, {in.a, in.a_stride}, {in.totals}, Clip<double>(clipping)};
    if (clipping.clips)
        sum_wide_columns_twice(shape, step, losses, kept);
    else
        sum_wide_columns<T>(shape, step, losses);
}

/// Whether all numbers that were looked at are finite.
class AllFinite {
public:
    LOGITLOSS_INLINE AllFinite() : nothing_(splat(0.0)) {}
    LOGITLOSS_INLINE void look(const Wide& values) {
        const Vec<double> zero = splat(0.0);
        nothing_ = fma(values.lower, zero, nothing_);
        nothing_ = fma(values.upper, zero, nothing_);
    }
    LOGITLOSS_INLINE bool all() const {
        const Vec<double> zero = splat(0.0);
        return !any(less(zero, select(equal(nothing_, nothing_), zero, splat(1.0))));
    }

private:
    Vec<double> nothing_;
};

template <class Reader, class Number>
struct ProbabilityGradient {
    const Reader probabilities, coefficients;
    const Number total, linear, raise, factor;
    const Clip<double> clip;

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) const {
        const Wide p = probabilities.at(group, lane);
        const Wide a = coefficients.at(group, lane);
        const Wide all = total.at(lane);
        const Wide level = linear.at(lane);
        const Wide power = raise.at(lane);
        const Wide scale = factor.at(lane);
        return {of(p.lower, a.lower * power.lower, all.lower, level.lower, scale.lower),
                of(p.upper, a.upper * power.upper, all.upper, level.upper, scale.upper)};
    }
    LOGITLOSS_INLINE Vec<double> of(Vec<double> p, Vec<double> a, Vec<double> all, Vec<double> level,
                                    Vec<double> scale) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> own = select(equal(a, zero), zero, clip.inside(clip.clips ? p / all : p, a / (p + zero)));
        const Vec<double> slope = level - own;
        return select(equal(slope, zero) | equal(scale, zero), zero, slope * scale);
    }
};

/// KernelTable::probability_gradient.
template <class T>
bool probability_gradient(const T* p, const T* a, std::size_t n, const Clipping& clipping,
                          const ProbabilitySlope& slope, T* out) {
    const ProbabilityGradient<WideReader<T>, OfOneRow> step{WideReader<T>(p, n, T(1)),
                                                            WideReader<T>(a, n, T(0)),
                                                            {clipping.total},
                                                            {slope.linear},
                                                            {slope.raise},
                                                            {slope.factor},
                                                            Clip<double>(clipping)};
    AllFinite finite;
    WideWriter<T> writer(out, n);
    const std::size_t groups = group_count<double>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t lane = 0; lane < group_size<double>; lane += wide_lanes) {
            const Wide values = step(group, lane);
            finite.look(values);
            writer.set(group, lane, values);
        }
    writer.finish();
    return finite.all();
}

/// KernelTable::column_probability_gradient.
template <class T>
bool column_probability_gradient(const ProbabilityColumns<T>& in, TileShape shape, const Clipping& clipping,
                                 const double* linear, const double* raise, const double* factor,
                                 std::ptrdiff_t out_stride, T* out) {
    const ProbabilityGradient<WideColumns<T>, OfRows> step{
        {in.p, in.p_stride}, {in.a, in.a_stride}, {in.totals}, {linear}, {raise}, {factor}, Clip<double>(clipping)};
    AllFinite finite;
    for (std::size_t lane = 0; lane < shape.lanes; lane += wide_lanes)
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const Wide values = step(j, lane);
            finite.look(values);
            wide_store(out + static_cast<std::ptrdiff_t>(j) * out_stride + lane, values);
        }
    return finite.all();
}

/// log(x) where the mask says so, else log(1 - x).
LOGITLOSS_INLINE Vec<double> log_either(Vec<double> x, Mask<double> own) {
    return select(own, log_everywhere(x), log1p_everywhere(splat(0.0) - x));
}
LOGITLOSS_INLINE Vec<float> log_either(Vec<float> x, Mask<float> own) {
    using C = Constants<float>;
    const Vec<float> zero = splat(0.0f);
    const Vec<float> one = splat(1.0f);
    const auto subnormal = less(x, splat(0x1p-126f));
    const Vec<float> lifted = select(subnormal, x * splat(0x1p24f), x);
    const Vec<float> u = select(own, lifted, one - x);
    const ScaledTo1<float> scaled(u);
    const Vec<float> rest = neg_fma(x, scaled.factor, scaled.factor - one);  // not of the rounded 1 - x
    const Vec<float> f = select(own, fma(lifted, scaled.factor, zero - one), rest);
    const Vec<float> lift = select(own, select(subnormal, splat(float(C::mantissa_bits + 1)), zero), zero);
    const Vec<float> y = log_of_parts(scaled.exponent - lift, f).sum();
    const Vec<float> infinity = splat(__builtin_inff());
    return select(less(zero, u), y, select(equal(u, zero), zero - infinity, infinity - infinity));
}

/// loss = -positive log p - negative log(1-p), gradient = negative / (1-p) - positive / p, 0 where p is clipped. A
/// factor of 0 makes its term 0 even beside an infinity.
template <class T>
struct ProbabilityElement {
    static constexpr bool smooths = false;
    static constexpr bool logistic = false;
    static constexpr bool by_exponential = false;
    const Clip<T>& clip;
    const Clip<double>& wide_clip;
    const bool with_gradient;

    LOGITLOSS_INLINE ElementResult<T> operator()(Vec<T> p, Vec<T> positive, Vec<T> negative) const {
        ElementResult<T> result;
        evaluate(p, positive, negative, result);
        return result;
    }

    // Note [far elements]
    LOGITLOSS_INLINE Mask<T> may_be_far(Vec<T>, const ElementResult<T>& result, const Reach<T>& reach) const {
        const Vec<T> loss = abs(result.loss);
        const Vec<T> gradient = abs(result.gradient);
        return less(min(loss, gradient), splat(reach.result)) | less(splat(reach.distance), max(loss, gradient));
    }
    LOGITLOSS_INLINE ProbabilityElement wide() const { return *this; }
    LOGITLOSS_INLINE Vec<double> large_size(Vec<double>, Vec<double> raw) const { return abs(raw); }
    LOGITLOSS_INLINE Vec<double> small_size(Vec<double>, Vec<double> raw) const { return abs(raw); }
    __attribute__((noinline)) void scaled(const Vec<double>& p, const Scaled& positive, const Scaled& negative,
                                          ScaledResult& out) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> one = splat(1.0);
        const Vec<double> c = wide_clip.clipped(p) + zero;
        const Scaled log_p = scaled_of(log_either(c, equal(zero, zero)));
        const Scaled log_rest = scaled_of(log_either(c, less(zero, zero)));
        const Scaled loss = positive * log_p + negative * log_rest;
        const Scaled slope = negative / scaled_of(one - c) - positive / scaled_of(c);
        out = {Scaled{zero - loss.mantissa, loss.exponent},
               Scaled{wide_clip.inside(p, slope.mantissa), slope.exponent}};
    }

    /// Apart from the loop, which is unrolled. Where no target is soft, each element needs one of the two logarithms.
    __attribute__((noinline)) void evaluate(const Vec<T>& p, const Vec<T>& positive, const Vec<T>& negative,
                                            ElementResult<T>& out) const {
        const Vec<T> zero = splat(T(0));
        const Vec<T> c = clip.clipped(p) + zero;
        const auto no_positive = equal(positive, zero);
        const auto no_negative = equal(negative, zero);
        Terms log_p = terms(c, no_negative);
        Terms log_rest = log_p;
        if (any(less(zero, select(no_positive, zero, abs(negative))))) {
            log_p = terms(c, equal(zero, zero));
            log_rest = terms(c, less(zero, zero));
        }
        const Vec<T> loss =
            select(no_positive, zero, positive * log_p.log) + select(no_negative, zero, negative * log_rest.log);
        const Vec<T> nan_or_zero = select(equal(c, c), zero, c);
        out.loss = (zero - loss) + nan_or_zero;
        out.gradient = zero;
        if (with_gradient) {
            const Vec<T> gradient = select(no_negative, zero, negative * log_rest.reciprocal) -
                                    select(no_positive, zero, positive * log_p.reciprocal);
            out.gradient = clip.inside(p, gradient + nan_or_zero);
        }
    }
    struct Terms {
        Vec<T> log, reciprocal;
    };
    /// log and reciprocal of c where the mask says so, else of 1 - c.
    LOGITLOSS_INLINE Terms terms(Vec<T> c, Mask<T> own) const {
        const Vec<T> one = splat(T(1));
        return {log_either(c, own), with_gradient ? one / select(own, c, one - c) : one};
    }
};

/// KernelTable::bce_of_probabilities.
template <class T>
double bce_of_probabilities(const ElementBlock<T>& block, const Clipping& clipping, std::size_t n) {
    Clipping bounds = clipping;
    bounds.clips = true;  // what fills up a block is -inf
    const Clip<T> clip(bounds);
    const Clip<double> wide_clip(bounds);
    return sweep_elements<T>(block, n, ProbabilityElement<T>{clip, wide_clip, block.grad != nullptr});
}
