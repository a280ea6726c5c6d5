// Losses of regression, element by element, in float64: the square of a float32 error may leave the range of float32 where
// its root, or the mean, does not, and the terms of a Poisson loss cancel.
//
// A Step is the loss of a vector of elements:
//     neutral                  the input that has loss 0 beside a target of 0: what blocks are filled up with
//     step(input, target)      an Element: loss, slope, and what else tells whether one may be far
//     step.may_be_far(element) Note [far elements]: never false where loss_size or slope_size say that one is
//     loss_size, slope_size    of an element: the largest number on the way to its loss and slope, or the result
//     step.scaled(input, target) loss and slope in numbers with an exponent of their own

/// Where elements of a block may be far: results below `least` or above `most`. Only those of float64 are.
struct FarBounds {
    using Range = FactorRange<double>;
    double least = 0.0;
    double most = __builtin_inf();

    LOGITLOSS_INLINE FarBounds() = default;
    LOGITLOSS_INLINE FarBounds(const ElementBlock<double>& block, std::size_t n) {
        Range factors;
        factors.take(block.weight, n);
        factors.take(block.upstream, n);
        factors.take(block.grad_factor);
        const double low = Range::least_normal / (factors.least < Range::least_normal ? 0.0 : factors.least);
        if (factors.raises())
            least = low < 0x1p+900 ? low : 0x1p+900;
        most = block.grad_exponent != 0.0 ? -1.0 : Range::largest_summed / factors.most;
    }
    LOGITLOSS_INLINE FarBounds(const ElementBlock<float>&, std::size_t) {}
};

/// d^2 and 2 d.
struct SquaredError {
    static LOGITLOSS_INLINE Vec<double> loss(Vec<double> d) { return d * d; }
    static LOGITLOSS_INLINE Vec<double> add(Vec<double> sum, Vec<double> d) { return fma(d, d, sum); }
    static LOGITLOSS_INLINE Vec<double> slope(Vec<double> d) { return d + d; }
    static LOGITLOSS_INLINE ScaledResult scaled(const Scaled& d) {
        return {d * d, {d.mantissa, d.exponent + splat(1.0)}};
    }
    /// The largest d with a loss and a slope of at most `bound`, and the least with none below it; bounds are above 1, and
    /// below. Within a factor of 2.
    static double inverse(double bound) { return __builtin_sqrt(bound); }
};

/// |d| and its sign, 0 at 0.
struct AbsoluteError {
    static LOGITLOSS_INLINE Vec<double> loss(Vec<double> d) { return abs(d); }
    static LOGITLOSS_INLINE Vec<double> add(Vec<double> sum, Vec<double> d) { return sum + abs(d); }
    static LOGITLOSS_INLINE Vec<double> slope(Vec<double> d) {
        const Vec<double> zero = splat(0.0);
        const Vec<double> sign = select(less(d, zero), splat(-1.0), select(less(zero, d), splat(1.0), d));
        return select(equal(d, zero), zero, sign);
    }
    static LOGITLOSS_INLINE ScaledResult scaled(const Scaled& d) {
        return {{abs(d.mantissa), d.exponent}, scaled_of(slope(d.mantissa))};
    }
    static double inverse(double bound) { return bound; }
};

/// A loss of the difference d = scale (input - target).
template <class Error>
struct DifferenceStep {
    static constexpr double neutral = 0.0;
    struct Element {
        Vec<double> loss, slope, d;
    };
    const double scale;
    const Vec<double> least, most;  // |d| of elements that are not far

    template <class T>
    LOGITLOSS_INLINE DifferenceStep(const ElementBlock<T>& block, const FarBounds& far)
        : scale(block.scale),
          least(splat(far.least > 0.0 ? 4.0 * Error::inverse(far.least) : 0.0)),
          most(splat(far.most < 0.0 ? -1.0 : 0.25 * Error::inverse(far.most))) {}

    LOGITLOSS_INLINE Element operator()(Vec<double> input, Vec<double> target) const {
        const Vec<double> d = (input - target) * splat(scale);
        return {Error::loss(d), Error::slope(d), d};
    }
    /// Never a d of 0, but for a gradient with an exponent.
    LOGITLOSS_INLINE Mask<double> may_be_far(const Element& at) const {
        const Vec<double> size = from_bits(bits(abs(at.d)) - splat_bits(std::uint64_t(1)));  // 0 becomes NaN
        return less(most, size) | less(size, least);
    }
    static LOGITLOSS_INLINE Vec<double> loss_size(const Element& at) { return Error::loss(abs(at.d)); }
    static LOGITLOSS_INLINE Vec<double> slope_size(const Element& at) { return Error::slope(abs(at.d)); }
    LOGITLOSS_INLINE ScaledResult scaled(Vec<double> input, Vec<double> target) const {
        return Error::scaled((scaled_of(input) - scaled_of(target)) * scaled_of(scale));
    }
};

/// exp(x) - t x and exp(x) - t, for a target t >= 0 and x the logarithm of the rate. If `full`, with the logarithm of t!
/// by Stirling's formula, t log t - t + log(2 pi t) / 2, where t > 1.
///
/// Note [Poisson loss without cancellation]: t x enters by a fused step, so that what is lost where the terms cancel is
/// the rounding of exp(x) alone. With Stirling's formula the terms cancel wherever the rate fits the target. There the
/// loss is a sum of terms >= 0: t (exp(r) - 1 - r) + log(2 pi t) / 2 with r = x - log t, the logarithm in two parts.
template <bool full>
struct PoissonStep {
    static constexpr double neutral = -__builtin_inf();
    struct Element {
        Vec<double> loss, slope, rate, target, product;
    };
    const Vec<double> least, most;

    template <class T>
    LOGITLOSS_INLINE PoissonStep(const ElementBlock<T>&, const FarBounds& far)
        : least(splat(4.0 * far.least)), most(splat(far.most < 0.0 ? -1.0 : 0.25 * far.most)) {}

    LOGITLOSS_INLINE Element operator()(Vec<double> x, Vec<double> t) const {
        const Vec<double> rate = exp_everywhere(x);
        Vec<double> factor = multiplier(x, t);
        Vec<double> loss = neg_fma(t, factor, rate);
        if constexpr (full) {
            const Stirling terms(x, t);
            factor = select(terms.given, multiplier(terms.factor, t), factor);
            const Vec<double> difference = select(terms.close, t * terms.above_tangent, neg_fma(t, factor, rate));
            loss = select(terms.given, difference + terms.half_log, loss);
        }
        return {loss, rate - t, rate, t, t * factor};
    }
    LOGITLOSS_INLINE Mask<double> may_be_far(const Element& at) const {
        return less(at.rate, least) | less(most, loss_size(at));
    }
    static LOGITLOSS_INLINE Vec<double> loss_size(const Element& at) { return max(abs(at.product), slope_size(at)); }
    static LOGITLOSS_INLINE Vec<double> slope_size(const Element& at) { return max(at.target, at.rate); }
    LOGITLOSS_INLINE ScaledResult scaled(Vec<double> x, Vec<double> t) const {
        const Scaled rate = scaled_exp(min(splat(Constants<double>::exponent_limit), x), splat(0.0));
        const Scaled target = scaled_of(t);
        Scaled loss = rate - target * scaled_of(multiplier(x, t));
        if constexpr (full) {
            const Stirling terms(x, t);
            const Scaled difference = select(terms.close, target * scaled_of(terms.above_tangent),
                                             rate - target * scaled_of(multiplier(terms.factor, t)));
            loss = select(terms.given, difference + scaled_of(terms.half_log), loss);
        }
        return {loss, rate - target};
    }

private:
    /// What t multiplies: finite beside an infinite x, so that exp(x) decides.
    static LOGITLOSS_INLINE Vec<double> multiplier(Vec<double> factor, Vec<double> t) {
        const Vec<double> zero = splat(0.0);
        return select(equal(t, zero), zero, min(splat(__DBL_MAX__), factor));
    }
    struct Stirling {
        Mask<double> given;         // where t > 1; the loss is exp(x) - t factor + half_log there
        Mask<double> close;         // where |r| is at most ln2 / 2
        Vec<double> factor;         // 1 + r
        Vec<double> above_tangent;  // exp(r) - 1 - r, of a small r
        Vec<double> half_log;       // log(2 pi t) / 2

        LOGITLOSS_INLINE Stirling(Vec<double> x, Vec<double> t) : given(less(splat(1.0), t)) {
            using C = Constants<double>;
            constexpr double log_of_2_pi = 0x1.d67f1c864beb4p+0;
            constexpr std::size_t terms = sizeof C::exp_polynomial / sizeof(double) - 2;  // without 1 + r
            const Vec<double> one = splat(1.0);
            const LogParts<double> log_t = log_normal(max(one, t));
            const Vec<double> r = (x - log_t.high) - log_t.low;
            close = less(abs(r), splat(0.5 * C::ln2));
            factor = one + r;
            Vec<double> sum = splat(C::exp_polynomial[0]);
            for (std::size_t i = 1; i < terms; ++i)
                sum = fma(sum, r, splat(C::exp_polynomial[i]));
            above_tangent = (r * r) * sum;
            half_log = splat(0.5) * (log_t.sum() + splat(log_of_2_pi));
        }
    };
};

/// What far elements are computed from, and what is replaced.
struct FarErrors {
    Vec<double> input, target, weight, upstream;
    Vec<double> loss, gradient;
};

template <class Step>
struct FarErrorStep {
    using Range = FactorRange<double>;
    const ElementBlock<double>& block;
    const Step& step;

    __attribute__((noinline)) void run(FarErrors& at, Vec<double>& summed, std::size_t lane,
                                       LargeLosses<double>& large) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> not_finite =
            (at.input * zero + at.target * zero) + (at.weight * zero + at.upstream * zero);  // 0 or NaN
        const double shown = block.grad_factor - block.grad_factor == 0.0 ? block.grad_factor : 1.0;
        const auto element = step(at.input, at.target);
        Vec<double> least = smaller_factor(at.weight);
        Vec<double> most = larger_factor(at.weight);
        const auto loss_far = far(Step::loss_size(element) + not_finite, least, most);
        least = least * smaller_factor(at.upstream) * smaller_factor(splat(shown));
        most = most * larger_factor(at.upstream) * larger_factor(splat(shown));
        const auto gradient_far =
            far(Step::slope_size(element) + not_finite, least, most) | less(zero, abs(splat(block.grad_exponent)));
        if (!any(loss_far | gradient_far))
            return;
        const ScaledResult result = step.scaled(at.input, at.target);
        const Scaled weight = scaled_of(at.weight);
        Scaled factor = scaled_of(block.grad_factor);
        factor.exponent = factor.exponent + splat(block.grad_exponent);
        const Scaled gradient = result.gradient * factor * scaled_of(at.upstream) * weight;
        at.loss = select(loss_far, value_of(result.loss * weight), at.loss);
        at.gradient = select(gradient_far, value_of(gradient), at.gradient);
        const Vec<double> in_units = value_of(result.loss * weight / scaled_of(large_loss_unit));
        summed = select(loss_far, at.loss, summed);
        sum_apart(select(loss_far, in_units, zero), summed, lane, large);
    }

private:
    static LOGITLOSS_INLINE Mask<double> far(Vec<double> size, Vec<double> least, Vec<double> most) {
        const Vec<double> infinity = splat(__builtin_inf());
        const auto large = less(splat(Range::largest_summed), size * most);
        return large | less(select(less(splat(1.0), most), size * least, infinity), splat(Range::least_normal));
    }
};

template <class T, class Step>
struct ErrorSweep {
    const WideReader<T> inputs, targets, weights, upstreams;
    WideWriter<T> losses, grads;
    const ElementBlock<T>& block;
    const Vec<double> grad_factor;
    const bool weighted;
    const Step step;
    LargeLosses<double>& large;

    LOGITLOSS_INLINE ErrorSweep(const ElementBlock<T>& b, std::size_t n, LargeLosses<double>& large_losses)
        : inputs(b.input, n, static_cast<T>(Step::neutral)),
          targets(b.target, n, T(0)),
          weights(b.weight, n, T(1)),
          upstreams(b.upstream, n, T(1)),
          losses(b.loss, n),
          grads(b.grad, n),
          block(b),
          grad_factor(splat(b.grad_factor)),
          weighted(b.weight != nullptr || b.upstream != nullptr),
          step(b, FarBounds(b, n)),
          large(large_losses) {}

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) {
        const Wide x = inputs.at(group, lane);
        const Wide t = targets.at(group, lane);
        const auto lower = step(x.lower, t.lower);
        const auto upper = step(x.upper, t.upper);
        Wide loss{lower.loss, upper.loss};
        Wide grad{product(lower.slope, grad_factor), product(upper.slope, grad_factor)};
        if (weighted) {
            const Wide w = weights.at(group, lane);
            const Wide u = upstreams.at(group, lane);
            loss = {product(w.lower, loss.lower), product(w.upper, loss.upper)};
            grad = {product(w.lower, product(u.lower, grad.lower)), product(w.upper, product(u.upper, grad.upper))};
        }
        Wide summed = loss;
        if constexpr (sizeof(T) == sizeof(double))
            if (any(step.may_be_far(lower) | step.may_be_far(upper)))
                replace_far(block, large, x, t, weights.at(group, lane), upstreams.at(group, lane), loss, grad, summed,
                            lane);
        if (losses.given())
            losses.set(group, lane, loss);
        if (grads.given())
            grads.set(group, lane, grad);
        return summed;
    }

    static __attribute__((noinline)) void replace_far(const ElementBlock<T>& block, LargeLosses<double>& large,
                                                      const Wide& x, const Wide& t, const Wide& w, const Wide& u,
                                                      Wide& loss, Wide& grad, Wide& summed, std::size_t lane) {
        const Step step(block, FarBounds());
        const FarErrorStep<Step> far{block, step};
        FarErrors lower{x.lower, t.lower, w.lower, u.lower, loss.lower, grad.lower};
        FarErrors upper{x.upper, t.upper, w.upper, u.upper, loss.upper, grad.upper};
        far.run(lower, summed.lower, lane, large);
        far.run(upper, summed.upper, lane + Vec<double>::lanes, large);
        loss = {lower.loss, upper.loss};
        grad = {lower.gradient, upper.gradient};
    }

    /// a b, but 0 where either is 0, whatever the other is.
    static LOGITLOSS_INLINE Vec<double> product(Vec<double> a, Vec<double> b) {
        const Vec<double> zero = splat(0.0);
        return select(equal(a, zero) | equal(b, zero), zero, a * b);
    }
};

template <class T, class Step>
double error_loss(const ElementBlock<T>& block, std::size_t n) {
    LargeLosses<double> large;
    ErrorSweep<T, Step> sweep(block, n, large);
    const double total = sum_wide(n, sweep);
    sweep.losses.finish();
    sweep.grads.finish();
    return large.any ? large.add_to(total, block.large_sum) : total;
}

/// Float32 errors without weights. Their losses are never negative and cannot cancel: a float64 lane takes those of a
/// whole block, and what it rounds away is at most 2^-46 of them.
template <class Error>
struct PlainErrorSweep {
    const GroupReader<float> inputs, targets;
    GroupWriter<float> losses, grads;
    const ElementBlock<float>& block;
    const Vec<double> grad_factor;
    Vec<double> lanes[group_vectors<double>];

    LOGITLOSS_INLINE PlainErrorSweep(const ElementBlock<float>& b, std::size_t n)
        : inputs(b.input, n, 0.0F),
          targets(b.target, n, 0.0F),
          losses(b.loss, n),
          grads(b.grad, n),
          block(b),
          grad_factor(splat(b.grad_factor)) {
        clear(lanes);
    }

    /// Whether this computes what ErrorSweep does: no factor of 0 has to hold against an infinity.
    static LOGITLOSS_INLINE bool takes(const ElementBlock<float>& block) {
        const bool ordinary_factor = block.grad_factor != 0.0 && block.grad_factor - block.grad_factor == 0.0;
        return block.weight == nullptr && block.upstream == nullptr && block.scale == 1.0 &&
               (block.grad == nullptr || ordinary_factor);
    }

    LOGITLOSS_INLINE void step(std::size_t group) {
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<float>; ++i) {
            const std::size_t lane = i * Vec<float>::lanes;
            fetch(group * group_size<float> + lane + 4096 / sizeof(float));
            const Wide x = wide_load(inputs.at(group) + lane);
            const Wide t = wide_load(targets.at(group) + lane);
            const Wide d{x.lower - t.lower, x.upper - t.upper};
            Vec<double>* sums = lanes + 2 * i % group_vectors<double>;
            sums[0] = Error::add(sums[0], d.lower);
            sums[1] = Error::add(sums[1], d.upper);
            if (block.loss != nullptr)
                wide_store(losses.at(group) + lane, {Error::loss(d.lower), Error::loss(d.upper)});
            if (block.grad != nullptr)
                wide_store(grads.at(group) + lane, {gradient(d.lower), gradient(d.upper)});
        }
    }

    LOGITLOSS_INLINE void fetch(std::size_t element) const {
        prefetch_near(block.input, element * sizeof(float));
        prefetch_near(block.target, element * sizeof(float));
        if (block.grad != nullptr && block.grad != block.input)
            prefetch_store(block.grad, element * sizeof(float));
    }

    /// 0, not -0, where there is no error.
    LOGITLOSS_INLINE Vec<double> gradient(Vec<double> d) const { return fma(Error::slope(d), grad_factor, splat(0.0)); }

    LOGITLOSS_INLINE double run(std::size_t n) {
        for (std::size_t group = 0; group < group_count<float>(n); ++group)
            step(group);
        if (block.loss != nullptr)
            losses.finish();
        if (block.grad != nullptr)
            grads.finish();
        EightSums<double> sums;
        flush(sums, lanes);
        return sums.total();
    }
};

/// KernelTable::squared_error, KernelTable::absolute_error.
template <class T, class Error>
double difference_loss(const ElementBlock<T>& block, std::size_t n) {
    if constexpr (sizeof(T) == sizeof(float)) {
        if (PlainErrorSweep<Error>::takes(block))
            return PlainErrorSweep<Error>(block, n).run(n);
    }
    return error_loss<T, DifferenceStep<Error>>(block, n);
}

/// KernelTable::poisson.
template <class T>
double poisson(const ElementBlock<T>& block, bool full, std::size_t n) {
    return full ? error_loss<T, PoissonStep<true>>(block, n) : error_loss<T, PoissonStep<false>>(block, n);
}
