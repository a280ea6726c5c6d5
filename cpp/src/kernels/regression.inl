// Losses of the difference d = pred - target, element by element, in float64: the square of a float32 error may leave
// the range of float32 where its root, or the mean, does not.

/// d^2 and 2 d.
struct SquaredError {
    static LOGITLOSS_INLINE Vec<double> loss(Vec<double> d) { return d * d; }
    static LOGITLOSS_INLINE Vec<double> slope(Vec<double> d) { return d + d; }
};

/// |d| and its sign, 0 at 0.
struct AbsoluteError {
    static LOGITLOSS_INLINE Vec<double> loss(Vec<double> d) { return abs(d); }
    static LOGITLOSS_INLINE Vec<double> slope(Vec<double> d) {
        const Vec<double> zero = splat(0.0);
        const Vec<double> sign = select(less(d, zero), splat(-1.0), select(less(zero, d), splat(1.0), d));
        return select(equal(d, zero), zero, sign);
    }
};

template <class T, class Error>
struct ErrorSweep {
    const WideReader<T> preds, targets, weights, upstreams;
    WideWriter<T> losses, grads;
    const Vec<double> scale, grad_factor;
    const bool weighted;

    LOGITLOSS_INLINE ErrorSweep(const ErrorBlock<T>& block, std::size_t n)
        : preds(block.pred, n, T(0)),
          targets(block.target, n, T(0)),
          weights(block.weight, n, T(1)),
          upstreams(block.upstream, n, T(1)),
          losses(block.loss, n),
          grads(block.grad, n),
          scale(splat(block.scale)),
          grad_factor(splat(block.grad_factor)),
          weighted(block.weight != nullptr || block.upstream != nullptr) {}

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
        if (losses.given())
            losses.set(group, lane, loss);
        if (grads.given())
            grads.set(group, lane, grad);
        return loss;
    }

    /// a b, but 0 where either is 0, whatever the other is.
    static LOGITLOSS_INLINE Vec<double> product(Vec<double> a, Vec<double> b) {
        const Vec<double> zero = splat(0.0);
        return select(equal(a, zero) | equal(b, zero), zero, a * b);
    }
};

/// KernelTable::squared_error, KernelTable::absolute_error.
template <class T, class Error>
double error_loss(const ErrorBlock<T>& block, std::size_t n) {
    ErrorSweep<T, Error> sweep(block, n);
    const double total = sum_wide(n, sweep);
    sweep.losses.finish();
    sweep.grads.finish();
    return total;
}
