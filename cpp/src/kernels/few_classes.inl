// Rows of few float32 classes, one row a lane: from logits to losses and gradients in one step. few_class_rows.inl brings
// the rows here and takes them back.
//
// Note [pairs]: what float64 is taken for elsewhere, two float32 numbers do here, in half as many vectors: a sum and what
// its additions rounded away, a quotient and its remainder, a logarithm before its last addition. Only the exponentials'
// own errors show in a result, as they do where float64 adds them up. Rows for which this does not do are rare. They are
// marked as odd and left to the kernels that can: logits that are not finite or huge; a target, or in a log-softmax the
// largest class, that leads or trails by more than 62; a log-sum-exp near 0 within 2^-18 of its maximum; factors far
// from 1.

/// Sum of float32 numbers in two parts.
struct FloatPair {
    Vec<float> high, low;

    explicit LOGITLOSS_INLINE FloatPair(Vec<float> first) : high(first), low(splat(0.0f)) {}
    LOGITLOSS_INLINE void add(Vec<float> term) {
        const TwoSum two(high, term);
        high = two.sum;
        low = low + two.lost;
    }
    /// Adds a term whose own rounding error is error * scale.
    LOGITLOSS_INLINE void add(Vec<float> term, Vec<float> error, Vec<float> scale) {
        const TwoSum two(high, term);
        high = two.sum;
        low = low + fma(error, scale, two.lost);
    }
    LOGITLOSS_INLINE Vec<float> rounded() const { return high + low; }
};

/// log(quotient), quotient in [1, 2^8), to a tenth of an ulp before the last addition.
LOGITLOSS_INLINE LogParts<float> exact_log(Vec<float> quotient) {
    const ScaledTo1<float> scaled(quotient);
    const Vec<float> f = quotient * scaled.factor - splat(1.0f);
    const Vec<float> f2 = f * f;
    const Vec<float> f2_lost = fma(f, f, splat(0.0f) - f2);
    const Vec<float> a = scaled.exponent * splat(FloatLog::ln2_upper);
    const Vec<float> first = a + f;
    const Vec<float> first_lost = f - (first - a);
    const Vec<float> square = f2 * splat(-0.5f);
    const Vec<float> high = first + square;
    const Vec<float> high_lost = square - (high - first);
    const Vec<float> cube = (f2 * f) * horner(f, FloatLog::polynomial);
    const Vec<float> rest = fma(scaled.exponent, splat(FloatLog::ln2_lower), cube);
    return {high, high_lost + (first_lost + neg_fma(splat(0.5f), f2_lost, rest))};
}

#if defined(LOGITLOSS_ROWS_IN_REGISTERS)
/// A number of classes that the compiler knows.
template <std::size_t count>
struct KnownClasses {
    // NOLINTNEXTLINE(google-explicit-constructor): it is a number
    LOGITLOSS_INLINE constexpr operator std::size_t() const { return count; }
};
/// fn(j) for the classes from `first` on, `step` apart, without a loop.
template <std::size_t step = 1, std::size_t count, class Fn>
LOGITLOSS_INLINE void each_class(std::size_t first, KnownClasses<count>, const Fn& fn) {
    LOGITLOSS_UNROLL
    for (std::size_t j = first; j < count; j += step)
        fn(j);
}
#endif
/// Whether the rows are in registers. That code is as large as their classes are many: it leaves rare cases to
/// few_classes_anywhere.
template <class Classes>
constexpr bool in_registers = !std::is_same_v<Classes, std::size_t>;

template <std::size_t step = 1, class Fn>
LOGITLOSS_INLINE void each_class(std::size_t first, std::size_t count, const Fn& fn) {
    for (std::size_t j = first; j < count; j += step)
        fn(j);
}

/// The logits of as many rows as a vector has lanes, a vector a class, and what the rows share.
template <class Classes>
struct FewClassVectors {
    Vec<float>* v;
    Classes classes;
    Vec<float> top;         ///< the largest logit
    Vec<float> within_top;  ///< 0 where that is not within the exponential's domain
    Vec<float> exponent;    ///< the power of two that exponentials are computed under

    LOGITLOSS_INLINE FewClassVectors(Vec<float>* vectors, Classes count)
        : v(vectors), classes(count), top(splat(-__builtin_inff())) {
        each_class(0, classes, [&](std::size_t j) { top = max(v[j], top); });  // which passes over NaN
        within_top = select(within_limit(top), top, splat(0.0f));
        exponent = exp_at(within_top).exponent;
    }

    /// Sum of all exponentials; with `keep` they replace the logits.
    template <bool keep>
    LOGITLOSS_INLINE FloatPair sum() const {
        const ExpShift<float> shift(exponent);
        FloatPair sum(exponential<keep>(0, shift));
        each_class(1, classes, [&](std::size_t j) { sum.add(exponential<keep>(j, shift)); });
        return sum;
    }

    /// Sum of all exponentials but that of the class set aside, which goes to `of_aside`; with `keep` they replace the
    /// logits.
    template <bool keep>
    LOGITLOSS_INLINE FloatPair sum_beside(Vec<float> aside, Vec<float>& of_aside) const {
        const ExpShift<float> shift(exponent);
        of_aside = splat(0.0f);
        const auto other = [&](std::size_t j) {
            const Vec<float> e = exponential<keep>(j, shift);
            const Mask<float> here = equal(class_number<float>(j), aside);
            of_aside = select(here, e, of_aside);
            return select(here, splat(0.0f), e);
        };
        FloatPair sum(other(0));
        each_class(1, classes, [&](std::size_t j) { sum.add(other(j)); });
        return sum;
    }

    /// Sum of the exponentials with their errors, from the logits.
    LOGITLOSS_INLINE FloatPair exact_sum() const {
        using C = Constants<float>;
        const ExpShift<float> shift(exponent);
        FloatPair sum(splat(0.0f));
        each_class(0, classes, [&](std::size_t j) {
            const Vec<float> x = max(shift.lowest, v[j]);
            const Vec<float> z = fma(x, splat(C::log2e), shift.magic);
            const CorrectedExp<float> e(x, z - shift.magic);
            const Vec<float> scale = from_bits(shift_left<C::mantissa_bits>(bits(z)));
            sum.add(e.mantissa * scale, e.error, scale);
        });
        return sum;
    }

    /// log(sum / exp(max)); `exact`: whether the sum holds the errors of its terms, and the logarithm is to be as exact.
    LOGITLOSS_INLINE LogParts<float> log_above_max(const FloatPair& sum, bool exact) const {
        const CorrectedExp<float> e(within_top, exponent);
        const Vec<float> quotient = sum.high / e.mantissa;
        const Vec<float> remainder = neg_fma(quotient, e.mantissa, sum.high) + sum.low;
        const Vec<float> missing =
            exact ? remainder - quotient * e.error : fma(e.error, splat(1.0f) - quotient, remainder);
        LogParts<float> log = exact ? exact_log(quotient) : log_normal(quotient);
        log.low = log.low + missing / sum.high;
        return log;
    }

    /// sum_j (max - z_j)
    LOGITLOSS_INLINE Vec<float> gaps() const {
        FloatPair gaps(top - v[0]);
        each_class(1, classes, [&](std::size_t j) { gaps.add(top - v[j]); });
        return gaps.rounded();
    }

    /// Number of the first largest class.
    LOGITLOSS_INLINE Vec<float> largest() const {
        Vec<float> where = splat(-1.0f);
        Vec<float> most = splat(-__builtin_inff());
        each_class(0, classes, [&](std::size_t j) {
            where = select(less(most, v[j]), class_number<float>(j), where);
            most = max(v[j], most);
        });
        return where;
    }

private:
    template <bool keep>
    LOGITLOSS_INLINE Vec<float> exponential(std::size_t j, const ExpShift<float>& shift) const {
        const ExpParts<float> e = exp_parts(v[j], shift);
        const Vec<float> value = e.mantissa * e.scale;
        if constexpr (keep)
            v[j] = value;
        return value;
    }
};

/// 1 where a result does not hold, else 0.
LOGITLOSS_INLINE Vec<float> odd_unless(Mask<float> holds) { return select(holds, splat(0.0f), splat(1.0f)); }

/// Sums below it may have lost digits to terms that count as 0.
constexpr float least_few_sum = 0x1p-90f;

/// odd_for_gradient where a factor is neither 0 nor near enough to 1 for single products in float32, else 0.
LOGITLOSS_INLINE Vec<float> odd_factor(Vec<float> factor) {
    const Vec<float> zero = splat(0.0f);
    const Vec<float> odd = splat(odd_for_gradient);
    const Vec<float> size = abs(factor);
    const Vec<float> above = select(less(splat(0x1p-100f), size), zero, odd);
    return select(less(size, splat(0x1p20f)), select(equal(size, zero), zero, above), odd);
}

/// What multiplies the gradients of the rows from `lane` on.
LOGITLOSS_INLINE Vec<float> factor_of(const FewClasses& in, std::size_t lane) {
    if (in.factor == nullptr)
        return splat(in.same_factor);
    return narrow(load(in.factor + lane), load(in.factor + lane + Vec<double>::lanes));
}

/// Log-sum-exps: Note [log-sum-exp near 0]. Up to four classes they are near 0 as a rule.
template <class Classes>
LOGITLOSS_INLINE Vec<float> few_log_sum_exps(const FewClasses& in, std::size_t lane,
                                             const FewClassVectors<Classes>& rows) {
    const bool exact = rows.classes <= 4;
    const LogParts<float> log = rows.log_above_max(exact ? rows.exact_sum() : rows.template sum<false>(), exact);
    Vec<float> above_max = log.sum();
    Vec<float> value = add_log(rows.top, log);
    const Mask<float> near = less(max(abs(value), above_max), splat(1.0f));
    Vec<float> odd = odd_unless(within_limit(rows.top)) + odd_unless(equal(value, value));
    if (!exact && in_registers<Classes>) {
        odd = odd + select(near, splat(1.0f), splat(0.0f));
    } else if (any(near)) {
        if (!exact) {
            const LogParts<float> again = rows.log_above_max(rows.exact_sum(), true);
            above_max = select(near, again.sum(), above_max);
            value = select(near, add_log(rows.top, again), value);
        }
        odd = odd + select(near, odd_unless(less(splat(0x1p-18f), above_max)), splat(0.0f));
    }
    store(in.lse + lane, value);
    return odd;
}

/// Softmax times a factor, in place of the logits.
template <class Classes>
LOGITLOSS_INLINE Vec<float> few_softmaxes(const FewClasses& in, std::size_t lane,
                                          const FewClassVectors<Classes>& rows) {
    const Vec<float> total = rows.template sum<true>().rounded();
    const Vec<float> factor = factor_of(in, lane);
    const Vec<float> scale = factor / total;
    each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = rows.v[j] * scale; });
    return odd_unless(within_limit(rows.top)) + odd_factor(factor) + odd_unless(equal(total, total));
}

/// log-softmax in place of the logits.
template <class Classes>
LOGITLOSS_INLINE Vec<float> few_log_softmaxes(const FewClassVectors<Classes>& rows) {
    Vec<float> e;
    const Vec<float> others = rows.template sum_beside<false>(rows.largest(), e).rounded();
    const Vec<float> above = log1p_moderate(others / e);
    each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = (rows.v[j] - rows.top) - above; });
    return odd_unless(within_limit(rows.top)) + odd_unless(less(splat(least_few_sum), others));
}

/// Rows of a cross-entropy: (1 - e) log1p(sum' / e_y) + e / C sum_j (L - z_j), with gradients as Note [confident rows] and
/// Note [smoothing without cancellation] have them.
template <class Classes>
struct FewCrossEntropies {
    const FewClassVectors<Classes>& rows;
    Vec<float> target, kept, spread, count;  ///< kept = 1 - e, spread = e / C, count = C
    bool smooths;

    LOGITLOSS_INLINE FewCrossEntropies(const FewClasses& in, std::size_t lane, const FewClassVectors<Classes>& vectors)
        : rows(vectors),
          target(load(in.target + lane)),
          kept(splat(in.kept)),
          spread(splat(in.spread)),
          count(class_number<float>(vectors.classes)),
          smooths(!in_registers<Classes> && in.spread != 0.0f) {}

    /// Losses; with `keep`, exponentials replace the logits. Marks odd rows.
    template <bool keep>
    LOGITLOSS_INLINE Vec<float> losses(FloatPair& sum, Vec<float>& e, Vec<float>& odd) const {
        const Vec<float> gaps = smooths ? rows.gaps() : splat(0.0f);  // while the logits are there
        sum = rows.template sum_beside<keep>(target, e);
        const Vec<float> others = sum.rounded();
        const Vec<float> least = splat(least_few_sum);
        const Vec<float> loss = log1p_moderate(others / e);
        odd = odd_unless(within_limit(rows.top)) + odd_unless(less(least, others)) + odd_unless(less(least, e));
        if (!smooths)
            return loss;
        FloatPair all = sum;
        all.add(e);
        const Vec<float> smoothed = fma(kept, loss, spread * fma(count, rows.log_above_max(all, false).sum(), gaps));
        odd = odd + odd_unless(less(abs(smoothed), splat(__builtin_inff())));
        return smoothed;
    }

    /// Gradients in place of the exponentials.
    LOGITLOSS_INLINE void write_gradients(const FloatPair& sum, Vec<float> e, Vec<float> factor) const {
        const Vec<float> zero = splat(0.0f);
        const Vec<float> scale = factor / (sum.high + (e + sum.low));
        Vec<float> at_target = zero - sum.rounded() * scale;
        const auto put = [&](std::size_t j, Vec<float> gradient) LOGITLOSS_INLINE_LAMBDA {
            rows.v[j] = select(equal(class_number<float>(j), target), at_target, gradient);
        };
        if (smooths) {
            const Vec<float> pulled = fma(count, e * scale, zero - factor);
            at_target = fma(kept, at_target, spread * pulled);
            const Vec<float> linear = zero - spread * factor;
            each_class(0, rows.classes, [&](std::size_t j) { put(j, fma(rows.v[j], scale, linear)); });
        } else {
            each_class(0, rows.classes, [&](std::size_t j) { put(j, rows.v[j] * scale); });
        }
    }
};

/// Losses times their weights; 0 of rows that do not count.
LOGITLOSS_INLINE void store_losses(const FewClasses& in, std::size_t lane, Vec<float> loss) {
    const Vec<double> parts[] = {widen<0>(loss), widen<1>(loss)};
    LOGITLOSS_UNROLL
    for (std::size_t part = 0; part < 2; ++part) {
        const std::size_t i = lane + part * Vec<double>::lanes;
        Vec<double> weighted = in.weight == nullptr ? parts[part] : load(in.weight + i) * parts[part];
        if (in.read != nullptr)
            weighted = select(equal(widened(in.read, i), splat(0.0)), splat(0.0), weighted);
        store(in.loss + i, weighted);
    }
}

/// Losses, and gradients in place of the logits.
template <bool writes, class Classes>
LOGITLOSS_INLINE Vec<float> few_cross_entropies(const FewClasses& in, std::size_t lane,
                                                const FewClassVectors<Classes>& rows) {
    const Vec<float> zero = splat(0.0f);
    const FewCrossEntropies<Classes> terms(in, lane, rows);
    FloatPair sum(zero);
    Vec<float> e, odd;
    store_losses(in, lane, terms.template losses<writes>(sum, e, odd));
    const Vec<float> read = in.read == nullptr ? splat(1.0f) : load(in.read + lane);
    if constexpr (writes) {
        const Vec<float> factor = factor_of(in, lane);
        terms.write_gradients(sum, e, factor);
        odd = odd + odd_factor(factor);
        const Mask<float> nothing = equal(factor, zero) | equal(read, zero);
        if (any(nothing))
            each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = select(nothing, zero, rows.v[j]); });
    }
    return select(equal(read, zero), zero, odd);
}

/// Losses of rows whose first largest class is the target, and of others, among which are those with a NaN.
template <class Classes>
LOGITLOSS_INLINE void few_largest(const FewClasses& in, std::size_t lane, const FewClassVectors<Classes>& rows) {
    const Vec<float> zero = splat(0.0f);
    const Vec<float> largest = max(rows.largest(), zero);  // of logits that are all -inf: the first
    Vec<float> nan = zero;
    each_class(0, rows.classes, [&](std::size_t j) { nan = select(equal(rows.v[j], rows.v[j]), nan, rows.v[j]); });
    const Vec<float> other = splat(in.spread);
    const Vec<float> loss = select(equal(largest, load(in.target + lane)), splat(in.kept), other);
    store_losses(in, lane, select(equal(nan, nan), loss, other));
}

/// What `task` makes of the logits in `v`, which it may replace. Returns which rows are odd.
template <FewClassTask task, class Classes>
LOGITLOSS_INLINE Vec<float> few_classes_step(const FewClasses& in, std::size_t lane, Vec<float>* v, Classes classes) {
    const FewClassVectors<Classes> rows(v, classes);
    if constexpr (task == FewClassTask::log_sum_exp)
        return few_log_sum_exps(in, lane, rows);
    else if constexpr (task == FewClassTask::softmax)
        return few_softmaxes(in, lane, rows);
    else if constexpr (task == FewClassTask::log_sum_exp_gradient) {
        const Vec<float> odd = few_log_sum_exps(in, lane, rows);
        return odd + few_softmaxes(in, lane, rows);
    } else if constexpr (task == FewClassTask::log_softmax)
        return few_log_softmaxes(rows);
    else if constexpr (task == FewClassTask::largest) {
        few_largest(in, lane, rows);
        return splat(0.0f);
    } else if constexpr (task == FewClassTask::cross_entropy)
        return few_cross_entropies<false>(in, lane, rows);
    else
        return few_cross_entropies<true>(in, lane, rows);
}

constexpr bool few_writes(FewClassTask task) {
    return task != FewClassTask::log_sum_exp && task != FewClassTask::cross_entropy && task != FewClassTask::largest;
}
