// Losses of the difference d = pred - target, element by element, in float64: the square of a float32 error may leave
// the range of float32 where its root, or the mean, does not.

/// d^2 and 2 d.
struct SquaredError {
    static LOGITLOSS_INLINE Vec<double> loss(Vec<double> d) { return d * d; }
    static LOGITLOSS_INLINE Vec<double> slope(Vec<double> d) { return d + d; }
    static LOGITLOSS_INLINE Scaled loss(const Scaled& d) { return d * d; }
    static LOGITLOSS_INLINE Scaled slope(const Scaled& d) { return {d.mantissa, d.exponent + splat(1.0)}; }
    /// The largest d with a loss and a slope of at most `bound`, and the least with none below it; bounds are above 1, and
    /// below. Within a factor of 2.
    static double inverse(double bound) { return __builtin_sqrt(bound); }
};

/// |d| and its sign, 0 at 0.
struct AbsoluteError {
    static LOGITLOSS_INLINE Vec<double> loss(Vec<double> d) { return abs(d); }
    static LOGITLOSS_INLINE Vec<double> slope(Vec<double> d) {
        const Vec<double> zero = splat(0.0);
        const Vec<double> sign = select(less(d, zero), splat(-1.0), select(less(zero, d), splat(1.0), d));
        return select(equal(d, zero), zero, sign);
    }
    static LOGITLOSS_INLINE Scaled loss(const Scaled& d) { return {abs(d.mantissa), d.exponent}; }
    static LOGITLOSS_INLINE Scaled slope(const Scaled& d) { return scaled_of(slope(d.mantissa)); }
    static double inverse(double bound) { return bound; }
};

/// Note [far elements], of differences: only float64 has them. A block's factors say between which |d| none is far.
template <class Error>
struct NearErrors {
    using Range = FactorRange<double>;
    Vec<double> least;
    Vec<double> most;

    LOGITLOSS_INLINE NearErrors(const ElementBlock<double>& block, std::size_t n) {
        Range factors;
        factors.take(block.weight, n);
        factors.take(block.upstream, n);
        factors.take(block.grad_factor);
        const double low = Range::least_normal / (factors.least < Range::least_normal ? 0.0 : factors.least);
        least = splat(factors.raises() ? 4.0 * Error::inverse(low < 0x1p+900 ? low : 0x1p+900) : 0.0);
        most = splat(block.grad_exponent != 0.0 ? -1.0 : 0.25 * Error::inverse(Range::largest_summed / factors.most));
    }
    LOGITLOSS_INLINE NearErrors(const ElementBlock<float>&, std::size_t) : least(splat(0.0)), most(splat(0.0)) {}

    /// Never a d of 0, but for a gradient with an exponent.
    LOGITLOSS_INLINE Mask<double> exclude(Vec<double> d) const {
        const Vec<double> size = from_bits(bits(abs(d)) - splat_bits(std::uint64_t(1)));  // 0 becomes NaN
        return less(most, size) | less(size, least);
    }
};

/// What far errors are computed from, and what is replaced.
struct FarErrors {
    Vec<double> pred, target, weight, upstream;
    Vec<double> loss, gradient;
};

template <class Error>
struct FarErrorStep {
    using Range = FactorRange<double>;
    const ElementBlock<double>& block;

    __attribute__((noinline)) void run(FarErrors& at, Vec<double>& summed, std::size_t lane,
                                       LargeLosses<double>& large) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> d = (at.pred - at.target) * splat(block.scale);
        const Vec<double> not_finite =
            (at.pred * zero + at.target * zero) + (at.weight * zero + at.upstream * zero);  // 0 or NaN
        const double shown = block.grad_factor - block.grad_factor == 0.0 ? block.grad_factor : 1.0;
        Vec<double> least = smaller_factor(at.weight);
        Vec<double> most = larger_factor(at.weight);
        const auto loss_far = far(Error::loss(abs(d)) + not_finite, least, most);
        least = least * smaller_factor(at.upstream) * smaller_factor(splat(shown));
        most = most * larger_factor(at.upstream) * larger_factor(splat(shown));
        const auto gradient_far =
            far(Error::slope(abs(d)) + not_finite, least, most) | less(zero, abs(splat(block.grad_exponent)));
        if (!any(loss_far | gradient_far))
            return;
        const Scaled difference = (scaled_of(at.pred) - scaled_of(at.target)) * scaled_of(block.scale);
        const Scaled weight = scaled_of(at.weight);
        Scaled factor = scaled_of(block.grad_factor);
        factor.exponent = factor.exponent + splat(block.grad_exponent);
        const Scaled gradient = Error::slope(difference) * factor * scaled_of(at.upstream) * weight;
        at.loss = select(loss_far, value_of(Error::loss(difference) * weight), at.loss);
        at.gradient = select(gradient_far, value_of(gradient), at.gradient);
        const Vec<double> in_units = value_of(Error::loss(difference) * weight / scaled_of(large_loss_unit));
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

template <class T, class Error>
struct ErrorSweep {
    const WideReader<T> preds, targets, weights, upstreams;
    WideWriter<T> losses, grads;
    const ElementBlock<T>& block;
    const Vec<double> scale, grad_factor;
    const bool weighted;
    const NearErrors<Error> near;
    LargeLosses<double>& large;

    LOGITLOSS_INLINE ErrorSweep(const ElementBlock<T>& b, std::size_t n, LargeLosses<double>& large_losses)
        : preds(b.input, n, T(0)),
          targets(b.target, n, T(0)),
          weights(b.weight, n, T(1)),
          upstreams(b.upstream, n, T(1)),
          losses(b.loss, n),
          grads(b.grad, n),
          block(b),
          scale(splat(b.scale)),
          grad_factor(splat(b.grad_factor)),
          weighted(b.weight != nullptr || b.upstream != nullptr),
          near(b, n),
          large(large_losses) {}

    LOGITLOSS_INLINE Wide operator()(std::size_t group, std::size_t lane) {
        const Wide p = preds.at(group, lane);
        const Wide t = targets.at(group, lane);
        const Wide d{(p.lower - t.lower) * scale, (p.upper - t.upper) * scale};
        Wide loss{Error::loss(d.lower), Error::loss(d.upper)};
        Wide grad{product(Error::slope(d.lower), grad_factor), product(Error::slope(d.upper), grad_factor)};
        if (weighted) {
            const Wide w = weights.at(group, lane);
            const Wide u = upstreams.at(group, lane);
            loss = {product(w.lower, loss.lower), product(w.upper, loss.upper)};
            grad = {product(w.lower, product(u.lower, grad.lower)), product(w.upper, product(u.upper, grad.upper))};
        }
        Wide summed = loss;
        if constexpr (sizeof(T) == sizeof(double))
            if (any(near.exclude(d.lower) | near.exclude(d.upper)))
                replace_far(block, large, p, t, weights.at(group, lane), upstreams.at(group, lane), loss, grad, summed,
                            lane);
        if (losses.given())
            losses.set(group, lane, loss);
        if (grads.given())
            grads.set(group, lane, grad);
        return summed;
    }

    static __attribute__((noinline)) void replace_far(const ElementBlock<T>& block, LargeLosses<double>& large,
                                                      const Wide& p, const Wide& t, const Wide& w, const Wide& u,
                                                      Wide& loss, Wide& grad, Wide& summed, std::size_t lane) {
        const FarErrorStep<Error> step{block};
        FarErrors lower{p.lower, t.lower, w.lower, u.lower, loss.lower, grad.lower};
        FarErrors upper{p.upper, t.upper, w.upper, u.upper, loss.upper, grad.upper};
        step.run(lower, summed.lower, lane, large);
        step.run(upper, summed.upper, lane + Vec<double>::lanes, large);
        loss = {lower.loss, upper.loss};
        grad = {lower.gradient, upper.gradient};
    }

    /// a b, but 0 where either is 0, whatever the other is.
    static LOGITLOSS_INLINE Vec<double> product(Vec<double> a, Vec<double> b) {
        const Vec<double> zero = splat(0.0);
        return select(equal(a, zero) | equal(b, zero), zero, a * b);
    }
};

/// KernelTable::squared_error, KernelTable::absolute_error.
template <class T, class Error>
double error_loss(const ElementBlock<T>& block, std::size_t n) {
    LargeLosses<double> large;
    ErrorSweep<T, Error> sweep(block, n, large);
    const double total = sum_wide(n, sweep);
    sweep.losses.finish();
    sweep.grads.finish();
    return large.any ? large.add_to(total, block.large_sum) : total;
}
