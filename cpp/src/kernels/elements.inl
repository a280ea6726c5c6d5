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

    LOGITLOSS_INLINE LogisticParts(Vec<T> logits, Vec<T> exponential, Vec<T> logarithm)
        : x(logits), below_zero(less(x, splat(T(0)))), e(exponential), log1p_e(logarithm) {
        const Vec<T> one = splat(T(1));
        up = select(below_zero, e, one);
        down = select(below_zero, one, e);
    }
    LOGITLOSS_INLINE LogisticParts(Vec<T> logits, Vec<T> exponential)
        : LogisticParts(logits, exponential, log1p_of_unit(exponential)) {}
    explicit LOGITLOSS_INLINE LogisticParts(Vec<T> logits) : LogisticParts(logits, exponential_of(logits)) {}

    static LOGITLOSS_INLINE Vec<T> exponential_of(Vec<T> logits) {
        const ExpParts<T> parts = exp_parts(splat(T(0)) - abs(logits), ExpShift<T>(T(0)));
        return parts.mantissa * parts.scale;
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

/// Products of the factors of some elements that are not 0: the small and the large ones among them, each with 1.
///
/// Note [far elements]: a loss or gradient may be too small or too large for T before a factor brings it back, or two
/// factors may be. Whether one does is asked of an element's own numbers, so its bits do not depend on its neighbours;
/// it then takes the steps of its loss in numbers with an exponent of their own (Scaled) and is rounded once. A block's
/// factors say from which distance |x| on, and below which result, that need be asked at all.
template <class T>
struct FactorRange {
    static constexpr double least_normal = sizeof(T) == sizeof(float) ? 0x1p-126 : 0x1p-1022;
    static constexpr double largest_summed = sizeof(T) == sizeof(float) ? 0x1p+120 : 0x1p+960;
    double least = 1.0;
    double most = 1.0;

    LOGITLOSS_INLINE void take(double low, double high) {
        least = low < 1.0 ? least * low : least;
        most = high > 1.0 ? most * high : most;
    }
    LOGITLOSS_INLINE void take(double factor) {
        const double size = __builtin_fabs(factor);
        if (size > 0.0 && size < __builtin_inf())
            take(size, size);
    }
    /// The factors of an array; those that are 0 do not count.
    __attribute__((noinline)) void take(const T* x, std::size_t n) {
        if (x == nullptr)
            return;
        constexpr std::size_t lanes = Vec<T>::lanes;
        Vec<T> high[4], low[4];
        for (std::size_t k = 0; k < 4; ++k)
            high[k] = low[k] = splat(T(1));
        const GroupReader<T> groups(x, n, T(1));
        for (std::size_t group = 0; group < group_count<T>(n); ++group)
            for (std::size_t i = 0; i < group_vectors<T>; ++i) {
                const Vec<T> size = abs(load(groups.at(group) + i * lanes));
                high[i % 4] = max(size, high[i % 4]);
                low[i % 4] = min(from_bits(bits(size) - splat_bits(Word(1))), low[i % 4]);  // 0 becomes NaN
            }
        T highs[lanes], lows[lanes];
        store(highs, max(max(high[0], high[1]), max(high[2], high[3])));
        store(lows, min(min(low[0], low[1]), min(low[2], low[3])));
        for (std::size_t k = 1; k < lanes; ++k) {
            highs[0] = highs[k] > highs[0] ? highs[k] : highs[0];
            lows[0] = lows[k] < lows[0] ? lows[k] : lows[0];
        }
        take(static_cast<double>(lows[0]), static_cast<double>(highs[0]));
    }
    /// Whether a factor may raise what others have made too small.
    LOGITLOSS_INLINE bool raises() const { return most > 1.0; }

private:
    using Word = typename Constants<T>::Word;
};

/// Where elements of a block may be far: |x| above `distance`, or a result below `result`.
template <class T>
struct Reach {
    T distance;
    T result;

    LOGITLOSS_INLINE Reach(const FactorRange<T>& factors, bool by_exponential) {
        using Range = FactorRange<T>;
        const double over = Range::largest_summed / (2.0 * factors.most);
        const double under = factors.raises() ? 2.0 * (Range::least_normal / factors.least) : 0.0;  // or infinite
        result = static_cast<T>(under);
        distance = static_cast<T>(over < 2.0 ? -1.0 : over);
        if (by_exponential && under > 0.0) {
            const double exponential = -log_of_power(under) * Constants<double>::ln2 - 1.0;
            distance = exponential < static_cast<double>(distance) ? static_cast<T>(exponential) : distance;
        }
    }

private:
    /// Binary logarithm of a normal number, rounded down.
    static LOGITLOSS_INLINE double log_of_power(double x) {
        std::uint64_t word;
        __builtin_memcpy(&word, &x, sizeof word);
        return static_cast<double>(word >> 52) - 1023.0;
    }
};

/// Losses that are summed apart, in units of large_loss_unit and by their places in a group, so that every instruction set
/// adds them in one order.
template <class T>
struct LargeLosses {
    double lanes[group_size<T>];
    bool any = false;

    void add(std::size_t lane, double loss) {
        for (std::size_t k = 0; !any && k < group_size<T>; ++k)
            lanes[k] = 0.0;
        any = true;
        lanes[lane] += loss;
    }
    /// The sum of all losses, but for those that `large_sum` gets.
    double add_to(double total, double* large_sum) const {
        double sum = 0.0;
        for (const double lane : lanes)
            sum += lane;
        if (sizeof(T) == sizeof(float))
            return total + sum;
        if (large_sum == nullptr)
            return total + sum * large_loss;
        *large_sum += sum;
        return total;
    }
};

/// Takes those of the losses out of `summed` that are too large for a sum. `in_units`: the losses, in units of large_loss_unit
/// for float64, of 1 for float32.
template <class T>
LOGITLOSS_INLINE void sum_apart(Vec<double> in_units, Vec<double>& summed, std::size_t lane, LargeLosses<T>& large) {
    constexpr double units = sizeof(T) == sizeof(float) ? 1.0 : large_loss_unit;
    const Vec<double> bound = splat(FactorRange<T>::largest_summed / units);
    if (!any(less(bound, abs(in_units))))
        return;
    constexpr std::size_t lanes = Vec<double>::lanes;
    double losses[lanes], kept[lanes];
    store(losses, in_units);
    store(kept, summed);
    for (std::size_t k = 0; k < lanes; ++k)
        if (__builtin_fabs(losses[k]) > FactorRange<T>::largest_summed / units &&
            __builtin_fabs(losses[k]) < __builtin_inf()) {
            large.add(lane + k, losses[k]);
            kept[k] = 0.0;
        }
    summed = load(kept);
}

LOGITLOSS_INLINE Vec<double> smaller_factor(Vec<double> factor) {
    const Vec<double> size = abs(factor);
    return select(equal(size, splat(0.0)), splat(1.0), min(splat(1.0), size));
}
LOGITLOSS_INLINE Vec<double> larger_factor(Vec<double> factor) { return max(splat(1.0), abs(factor)); }

/// What a far element is computed from, in float64, and its place in the group.
struct FarElements {
    Vec<double> x, t, pos_weight, weight, upstream, raw_loss, raw_gradient;
    Vec<double> loss, gradient;  // as computed so far; those of far elements are replaced
};

/// Replaces results of elements that are far; 2^960 or 2^120 is where losses are summed apart, in `large`.
template <class T, class Element>
struct FarStep {
    using Range = FactorRange<T>;
    const ElementBlock<T>& block;
    const Element& element;

    __attribute__((noinline)) void run(FarElements& at, Vec<double>& summed, std::size_t lane,
                                       LargeLosses<T>& large) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> one = splat(1.0);
        const auto grad_factor = static_cast<double>(static_cast<T>(block.grad_factor));
        const double shown = grad_factor - grad_factor == 0.0 ? grad_factor : 1.0;
        const Vec<double> half_smoothing = splat(0.5 * block.smoothing);
        Vec<double> least = smaller_factor(at.pos_weight) * smaller_factor(at.weight) * smaller_factor(half_smoothing);
        Vec<double> most = larger_factor(at.pos_weight) * larger_factor(at.weight);
        const auto loss_far = far(at, at.raw_loss, least, most);
        least = least * smaller_factor(at.upstream) * smaller_factor(splat(shown));
        most = most * larger_factor(at.upstream) * larger_factor(splat(shown));
        const auto gradient_far = far(at, at.raw_gradient, least, most) | less(zero, abs(splat(block.grad_exponent)));
        if (!any(loss_far | gradient_far))
            return;
        Vec<double> positive = at.t;
        Vec<double> negative = one - at.t;
        if (block.smoothing != 0.0) {
            const Smoothing<double> smoothing(block.smoothing);
            positive = smoothing(positive);
            negative = smoothing(negative);
        }
        const Scaled weight = scaled_of(at.weight);
        ScaledResult result;
        element.scaled(at.x, scaled_of(positive) * scaled_of(at.pos_weight), scaled_of(negative), result);
        Scaled factor = scaled_of(grad_factor);
        factor.exponent = factor.exponent + splat(block.grad_exponent);
        at.loss = select(loss_far, value_of(result.loss * weight), at.loss);
        at.gradient =
            select(gradient_far, value_of(result.gradient * weight * factor * scaled_of(at.upstream)), at.gradient);
        summed = select(loss_far, at.loss, summed);
        Scaled in_units = result.loss * weight;
        if (sizeof(T) == sizeof(double))
            in_units = in_units / scaled_of(large_loss_unit);
        sum_apart(select(loss_far, value_of(in_units), zero), summed, lane, large);
    }

private:
    /// Not where x or a factor is infinite: the result follows without care.
    Mask<double> far(const FarElements& at, Vec<double> raw, Vec<double> least, Vec<double> most) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> one = splat(1.0);
        const Vec<double> infinity = splat(__builtin_inf());
        const Vec<double> others = at.pos_weight * zero + at.weight * zero + at.upstream * zero;
        const Vec<double> nothing = select(less(abs(at.x), infinity), others, infinity);  // 0, or infinite or NaN
        const Vec<double> largest = element.large_size(at.x, raw) + one;
        const auto large = less(splat(Range::largest_summed), largest * most + nothing * zero);
        const Vec<double> size = element.small_size(at.x, raw) * least + nothing;
        return large | less(select(less(one, most), size, infinity), splat(Range::least_normal));
    }
};

/// What a sweep over elements reads and writes; T arrays of equal length, all but the logits and targets may be null.
/// `plain`: whether there are no factors but one for all gradients; `gradients`: whether these are computed. `Element` is
/// the loss: element(x, positive, negative) is the result for factors positive = pos_weight t and negative = 1-t, with t
/// smoothed already unless `Element::smooths`; one that is `logistic` takes LogisticParts of x.
///
/// Note [steps side by side]: an element is a chain of some thirty steps, each of which waits for the one before. The
/// groups that are summed together take all their exponentials, then all their logarithms, then the rest, so that there
/// is always another chain to go on with.
template <class T, bool plain, bool gradients, class Element>
struct ElementSweep {
    const GroupReader<T> logits, targets, weights, pos_weights, upstreams;
    GroupWriter<T> losses, grads;
    const ElementBlock<T>& block;
    const T grad_factor;
    const Element element;
    const Element& far_element;  // the same, where its address may be known
    const Reach<T> reach;
    const bool looks;  // for far elements
    LargeLosses<T>& large;
    const std::size_t groups;
    struct {
        Vec<T> e[groups_per_flush * group_vectors<T>], log1p_e[groups_per_flush * group_vectors<T>];
    } stages;  // Note [steps side by side]

    LOGITLOSS_INLINE ElementSweep(const ElementBlock<T>& b, std::size_t n, const Element& loss,
                                  const Reach<T>& of_factors, bool looks_for_far, LargeLosses<T>& large_losses)
        // Note [neutral padding]: a logit of -inf with target 0 has loss 0 and gradient 0. A smoothed target is never
        // 0, and a clipped probability has a loss; what makes the padding neutral then is its weight of 0.
        : logits(b.input, n, T(-__builtin_inf())),
          targets(b.target, n, T(0)),
          weights(b.weight ? b.weight : b.target, n, T(0)),
          pos_weights(b.pos_weight ? b.pos_weight : b.target, n, T(0)),
          upstreams(b.upstream ? b.upstream : b.target, n, T(0)),
          losses(b.loss, n),
          grads(b.grad, n),
          block(b),
          grad_factor(static_cast<T>(b.grad_factor)),
          element(loss),
          far_element(loss),
          reach(of_factors),
          looks(looks_for_far),
          large(large_losses),
          groups(group_count<T>(n)) {}

    LOGITLOSS_INLINE void operator()(std::size_t group, Vec<T> (&lanes)[group_vectors<T>]) {
        if (gradients && block.grad != nullptr && block.grad != block.input)
            for (std::size_t line = 0; line < 256; line += 64)
                prefetch_store(block.grad + group * group_size<T>, 4096 + line);
        if constexpr (Element::logistic) {
            if (group % groups_per_flush == 0)
                take_logistic_stages(group);
            const std::size_t first = group % groups_per_flush * group_vectors<T>;
            for (std::size_t i = 0; i < group_vectors<T>; ++i)
                element_step(group, i * Vec<T>::lanes, lanes[i], [&](Vec<T> x) LOGITLOSS_INLINE_LAMBDA {
                    return LogisticParts<T>(x, stages.e[first + i], stages.log1p_e[first + i]);
                });
        } else {
            for (std::size_t i = 0; i < group_vectors<T>; ++i)
                element_step(group, i * Vec<T>::lanes, lanes[i], [&](Vec<T> x) LOGITLOSS_INLINE_LAMBDA {
                    prefetch_group(block.input, group, i);
                    return x;
                });
        }
    }

    /// Of the groups that are summed together.
    LOGITLOSS_INLINE void take_logistic_stages(std::size_t first) {
        const std::size_t last = first + groups_per_flush < groups ? first + groups_per_flush : groups;
        Vec<T>* e = stages.e;
        for (std::size_t group = first; group < last; ++group) {
            const T* x = logits.at(group);
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < group_vectors<T>; ++i) {
                prefetch_group(block.input, group, i);
                *e++ = LogisticParts<T>::exponential_of(load(x + i * Vec<T>::lanes));
            }
        }
        for (Vec<T>*from = stages.e, *to = stages.log1p_e; from < e;) {
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < group_vectors<T>; ++i)
                *to++ = log1p_of_unit(*from++);
        }
    }

    template <class PartsOf>
    LOGITLOSS_INLINE void element_step(std::size_t group, std::size_t lane, Vec<T>& sum, const PartsOf& parts_of) {
        const Vec<T> zero = splat(T(0));
        const Vec<T> x = load(logits.at(group) + lane);
        const Vec<T> t = load(targets.at(group) + lane);
        Vec<T> positive = t;
        Vec<T> negative = splat(T(1)) - t;
        if constexpr (!plain) {
            if (block.smoothing != 0.0 && !Element::smooths) {
                const Smoothing<T> smoothing(block.smoothing);
                positive = smoothing(positive);
                negative = smoothing(negative);
            }
            if (block.pos_weight != nullptr) {
                const Vec<T> pos_weight = load(pos_weights.at(group) + lane);
                positive = select(equal(positive, zero) | equal(pos_weight, zero), zero, positive * pos_weight);
            }
        }
        ElementResult<T> result = element(parts_of(x), positive, negative);
        if constexpr (!gradients)
            result.gradient = zero;
        Vec<T> loss = result.loss;
        Vec<T> factor = splat(grad_factor);
        if constexpr (!plain) {
            if (block.pos_weight != nullptr)  // with both terms, the element is removed, though x be NaN
                result.gradient = select(equal(abs(positive) + abs(negative), zero), zero, result.gradient);
            if (block.weight != nullptr) {
                const Vec<T> weight = load(weights.at(group) + lane);
                loss = select(equal(weight, zero) | equal(loss, zero), zero, loss * weight);
                factor = factor * weight;
            }
        }
        Vec<T> gradient = scaled(result.gradient, factor, group, lane);
        Vec<T> summed = loss;
        if (looks && any(element.may_be_far(x, result, reach)))
            replace_far(block, far_element, large,
                        {x, t, factor_at(block.pos_weight, pos_weights, group, lane),
                         factor_at(block.weight, weights, group, lane),
                         factor_at(block.upstream, upstreams, group, lane), result.loss, result.gradient},
                        loss, gradient, summed, lane);
        sum = sum + summed;
        if (block.loss != nullptr)
            store(losses.at(group) + lane, loss);
        if (gradients && block.grad != nullptr)
            store(grads.at(group) + lane, gradient);
    }

    static LOGITLOSS_INLINE Vec<T> factor_at(const T* given, const GroupReader<T>& factors, std::size_t group,
                                             std::size_t lane) {
        return given == nullptr ? splat(T(1)) : load(factors.at(group) + lane);
    }

    LOGITLOSS_INLINE Vec<T> scaled(Vec<T> gradient, Vec<T> factor, std::size_t group, std::size_t lane) const {
        if constexpr (plain)
            return gradient * factor;
        const Vec<T> zero = splat(T(0));
        Vec<T> result = gradient * factor;
        auto removed = equal(gradient, zero) | equal(splat(grad_factor), zero);
        if (block.upstream != nullptr) {
            const Vec<T> upstream = load(upstreams.at(group) + lane);
            result = result * upstream;
            removed = removed | equal(upstream, zero);
        }
        if (block.weight != nullptr)
            removed = removed | equal(load(weights.at(group) + lane), zero);
        return select(removed, zero, result);
    }

    /// Note [far elements]. `in`: x, t, pos_weight, weight, upstream, loss and gradient before those factors. It does not
    /// know the sweep, which stays in registers.
    static __attribute__((noinline)) void replace_far(const ElementBlock<T>& block, const Element& element,
                                                      LargeLosses<T>& large, const Vec<T> (&in)[7], Vec<T>& loss,
                                                      Vec<T>& gradient, Vec<T>& summed, std::size_t lane) {
        const FarStep<T, decltype(element.wide())> step{block, element.wide()};
        if constexpr (sizeof(T) == sizeof(double)) {
            FarElements at{in[0], in[1], in[2], in[3], in[4], in[5], in[6], loss, gradient};
            step.run(at, summed, lane, large);
            loss = at.loss;
            gradient = at.gradient;
        } else {
            FarElements lower{widen<0>(in[0]), widen<0>(in[1]), widen<0>(in[2]), widen<0>(in[3]),   widen<0>(in[4]),
                              widen<0>(in[5]), widen<0>(in[6]), widen<0>(loss),  widen<0>(gradient)};
            FarElements upper{widen<1>(in[0]), widen<1>(in[1]), widen<1>(in[2]), widen<1>(in[3]),   widen<1>(in[4]),
                              widen<1>(in[5]), widen<1>(in[6]), widen<1>(loss),  widen<1>(gradient)};
            Vec<double> lower_summed = widen<0>(summed);
            Vec<double> upper_summed = widen<1>(summed);
            step.run(lower, lower_summed, lane, large);
            step.run(upper, upper_summed, lane + Vec<double>::lanes, large);
            loss = narrow(lower.loss, upper.loss);
            gradient = narrow(lower.gradient, upper.gradient);
            summed = narrow(lower_summed, upper_summed);
        }
    }

    LOGITLOSS_INLINE double run(std::size_t n) {
        const double total = sum_groups<T>(n, *this);
        if (block.loss != nullptr)
            losses.finish();
        if (block.grad != nullptr)
            grads.finish();
        return large.any ? large.add_to(total, block.large_sum) : total;
    }
};

/// Losses and gradients of n elements; returns the sum of the losses.
template <class T, class Element>
LOGITLOSS_INLINE double sweep_elements(const ElementBlock<T>& block, std::size_t n, const Element& element) {
    const auto grad_factor = static_cast<T>(block.grad_factor);
    const T magnitude = __builtin_fabs(grad_factor);
    const bool ordinary_factor = magnitude > T(0) && magnitude <= T(1);
    FactorRange<T> factors;
    LargeLosses<T> large;
    if (block.weight == nullptr && block.pos_weight == nullptr && block.upstream == nullptr && block.smoothing == 0.0 &&
        (block.grad == nullptr || ordinary_factor)) {
        // Without factors only the sum may leave the range, and is then taken again; in place it must not.
        const Reach<T> reach(factors, Element::by_exponential);
        ElementBlock<T> given = block;
        for (bool looks = block.grad == block.input;; looks = true) {
            const double total =
                given.grad == nullptr
                    ? ElementSweep<T, true, false, Element>(given, n, element, reach, looks, large).run(n)
                    : ElementSweep<T, true, true, Element>(given, n, element, reach, looks, large).run(n);
            if (looks || total - total == 0.0)
                return total;
            given.loss = given.grad = nullptr;
        }
    }
    factors.take(0.5 * block.smoothing);
    factors.take(block.pos_weight, n);
    factors.take(block.weight, n);
    if (block.grad != nullptr) {
        factors.take(block.upstream, n);
        factors.take(static_cast<double>(grad_factor));
        if (block.grad_exponent != 0.0)
            factors.most = __builtin_inf();
    }
    const Reach<T> reach(factors, Element::by_exponential);
    return ElementSweep<T, false, true, Element>(block, n, element, reach, true, large).run(n);
}
