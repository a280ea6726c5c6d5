// Elementwise losses of logits against targets in [0, 1]: what they have in common, and the sweep that they share.

/// Loss of one vector of elements, and its derivative with respect to the logits.
template <class T>
struct ElementResult {
    Vec<T> loss;
    Vec<T> gradient;
};

/// The parts of the logistic function of one vector of logits that all losses are made of.
///
/// Note [binary cross-entropy without cancellation]: with e = exp(-|x|), softplus(+-x) = max(+-x, 0) + log1p(e), and
/// the sigmoids are 1/(1+e) and e/(1+e) or the other way round. The loss is a sum of terms of one sign and the
/// gradient of a hard target a single term, so both keep relative accuracy at both ends, unlike sigmoid(x) - t.
/// A factor of 0 makes its term 0 even beside an infinity.
template <class T>
struct LogisticParts {
    Vec<T> x;
    Mask<T> below_zero;
    Vec<T> e;
    Vec<T> log1p_e;
    Vec<T> up;    // (1+e) sigmoid(x)
    Vec<T> down;  // (1+e) sigmoid(-x)

    explicit LOGITLOSS_INLINE LogisticParts(Vec<T> logits) : x(logits) {
        const Vec<T> zero = splat(T(0));
        const Vec<T> one = splat(T(1));
        const ExpParts<T> parts = exp_parts(zero - abs(x), ExpShift<T>(T(0)));
        e = parts.mantissa * parts.scale;
        log1p_e = log1p_of_unit(e);
        below_zero = less(x, zero);
        up = select(below_zero, e, one);
        down = select(below_zero, one, e);
    }

    /// positive softplus(-x) + negative softplus(x): one of them is |x| + log(1+e), the other log(1+e).
    LOGITLOSS_INLINE Vec<T> cross_entropy(Vec<T> positive, Vec<T> negative) const {
        const Vec<T> zero = splat(T(0));
        const Vec<T> at_odds = select(below_zero, positive, negative);
        const Vec<T> agreeing = select(below_zero, negative, positive);
        const Vec<T> large_term = select(equal(at_odds, zero), zero, at_odds * (abs(x) + log1p_e));
        return large_term + select(equal(agreeing, zero), zero, agreeing * log1p_e);
    }
    /// 1+e times the derivative of that:  negative sigmoid(x) - positive sigmoid(-x)
    LOGITLOSS_INLINE Vec<T> pull(Vec<T> positive, Vec<T> negative) const {
        return neg_fma(positive, down, negative * up);
    }
};

/// t becomes (1-e) t + e/2, and so does 1-t, which may be as small as e/2 and is not what is left of 1 then.
template <class T>
struct Smoothing {
    Vec<T> keep;
    Vec<T> half;

    explicit LOGITLOSS_INLINE Smoothing(double e)
        : keep(splat(static_cast<T>(1.0 - e))), half(splat(static_cast<T>(0.5 * e))) {}

    LOGITLOSS_INLINE Vec<T> operator()(Vec<T> t) const { return fma(keep, t, half); }
};

/// What a sweep over elements reads and writes; T arrays of equal length, all but the logits and targets may be null.
/// `Element` is the loss: element(x, positive, negative) is the result for factors positive = pos_weight t and
/// negative = 1-t, with t smoothed already unless `Element::smooths`.
template <class T, bool plain, class Element>
struct ElementSweep {
    const GroupReader<T> logits, targets, weights, pos_weights, upstreams;
    GroupWriter<T> losses, grads;
    const BceBlock<T>& block;
    const Element element;

    LOGITLOSS_INLINE ElementSweep(const BceBlock<T>& b, std::size_t n, const Element& loss)
        // Note [neutral padding]: a logit of -inf with target 0 has loss 0 and gradient 0. A smoothed target is never
        // 0, and a clipped probability has a loss; what makes the padding neutral then is its weight of 0.
        : logits(b.logits, n, T(-__builtin_inf())),
          targets(b.target, n, T(0)),
          weights(b.weight ? b.weight : b.target, n, T(0)),
          pos_weights(b.pos_weight ? b.pos_weight : b.target, n, T(0)),
          upstreams(b.upstream ? b.upstream : b.target, n, T(0)),
          losses(b.loss, n),
          grads(b.grad, n),
          block(b),
          element(loss) {}

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) {
        if (block.grad != nullptr && block.grad != block.logits)
            for (std::size_t line = 0; line < 256; line += 64)
                prefetch_store(block.grad + group * group_size<T>, 4096 + line);
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < group_vectors<T>; ++i)
            element_step(group, i * Vec<T>::lanes, lanes[i]);
    }

    LOGITLOSS_INLINE void element_step(std::size_t group, std::size_t lane, Vec<T>& sum) {
        const Vec<T> zero = splat(T(0));
        prefetch_near(block.logits + group * group_size<T>, lane * sizeof(T) + 4096);
        const Vec<T> t = load(targets.at(group) + lane);
        Vec<T> positive = t;
        Vec<T> negative = splat(T(1)) - t;
        if constexpr (!plain) {
            if (block.smoothing != 0.0 && !Element::smooths) {
                const Smoothing<T> smoothing(block.smoothing);
                positive = smoothing(positive);
                negative = smoothing(negative);
            }
            if (block.pos_weight != nullptr)
                positive = select(equal(positive, zero), zero, positive * load(pos_weights.at(group) + lane));
        }
        const ElementResult<T> result = element(load(logits.at(group) + lane), positive, negative);
        Vec<T> loss = result.loss;
        Vec<T> factor = splat(block.grad_factor);
        if constexpr (!plain)
            if (block.weight != nullptr) {
                const Vec<T> weight = load(weights.at(group) + lane);
                loss = select(equal(weight, zero) | equal(loss, zero), zero, loss * weight);
                factor = factor * weight;
            }
        sum = sum + loss;
        if (block.loss != nullptr)
            store(losses.at(group) + lane, loss);
        if (block.grad != nullptr)
            store(grads.at(group) + lane, scaled(result.gradient, factor, group, lane));
    }

    LOGITLOSS_INLINE Vec<T> scaled(Vec<T> gradient, Vec<T> factor, std::size_t group, std::size_t lane) const {
        if constexpr (plain)
            return gradient * factor;
        const Vec<T> zero = splat(T(0));
        Vec<T> result = gradient * factor;
        auto removed = equal(gradient, zero) | equal(splat(block.grad_factor), zero);
        if (block.upstream != nullptr) {
            const Vec<T> upstream = load(upstreams.at(group) + lane);
            result = result * upstream;
            removed = removed | equal(upstream, zero);
        }
        if (block.weight != nullptr)
            removed = removed | equal(load(weights.at(group) + lane), zero);
        return select(removed, zero, result);
    }

    LOGITLOSS_INLINE double run(std::size_t n) {
        const double total = sum_groups<T>(n, *this);
        if (block.loss != nullptr)
            losses.finish();
        if (block.grad != nullptr)
            grads.finish();
        return total;
    }
};

/// Losses and gradients of n elements; returns the sum of the losses.
template <class T, class Element>
LOGITLOSS_INLINE double sweep_elements(const BceBlock<T>& block, std::size_t n, const Element& element) {
    const T magnitude = __builtin_fabs(block.grad_factor);
    const bool ordinary_factor = magnitude > T(0) && magnitude < T(__builtin_inf());
    const bool plain = block.weight == nullptr && block.pos_weight == nullptr && block.upstream == nullptr &&
                       block.smoothing == 0.0 && ordinary_factor;
    return plain ? ElementSweep<T, true, Element>(block, n, element).run(n)
                 : ElementSweep<T, false, Element>(block, n, element).run(n);
}
