// Rows of few float32 classes, one row a lane, from logits to losses and gradients in one step.
//
// Note [pairs]: what float64 is taken for elsewhere, two float32 numbers do here, in half as many vectors: a sum and what
// its additions rounded away, a quotient and its remainder, a logarithm before its last addition. Only the exponentials'
// own errors show in a result, as they do where float64 adds them up. Rows that this cannot do, and they are rare, are
// marked as odd and left to the kernels that can: logits that are not finite or huge, a class that leads or trails by
// more than 62, a log-sum-exp within 2^-18 of its maximum where that shows, and factors far from 1.

/// Sum of float32 numbers in two parts.
struct FloatPair {
    Vec<float> high, low;

    explicit LOGITLOSS_INLINE FloatPair(Vec<float> first) : high(first), low(splat(0.0f)) {}
    /// Returns what the addition rounds away.
    LOGITLOSS_INLINE Vec<float> add(Vec<float> term) {
        const Vec<float> sum = high + term;
        const Vec<float> back = sum - high;
        const Vec<float> lost = (high - (sum - back)) + (term - back);
        high = sum;
        return lost;
    }
};

/// exp_at with what the last two steps of its polynomial and its reduction rounded away.
struct CorrectedExp {
    Vec<float> mantissa, error;

    LOGITLOSS_INLINE CorrectedExp(Vec<float> x, Vec<float> n) {
        using C = Constants<float>;
        constexpr std::size_t terms = sizeof(C::exp_polynomial) / sizeof(float);
        const Vec<float> reduced = neg_fma(n, splat(C::ln2_hi), x);
        const Vec<float> t = neg_fma(n, splat(C::ln2_lo), reduced);
        const Vec<float> t_error = neg_fma(n, splat(C::ln2_lo), reduced - t);
        Vec<float> inner = splat(C::exp_polynomial[0]);
        for (std::size_t i = 1; i < terms - 2; ++i)
            inner = fma(inner, t, splat(C::exp_polynomial[i]));
        const Vec<float> one = splat(1.0f);
        const Vec<float> q = fma(inner, t, one);
        mantissa = fma(q, t, one);
        const Vec<float> q_error = fma(inner, t, one - q);
        error = fma(t_error, mantissa, fma(t, q_error, fma(t, q, one - mantissa)));
    }
};

/// log(quotient), quotient in [1, 2^8), to a tenth of an ulp before the last addition.
LOGITLOSS_INLINE LogParts<float> exact_log(Vec<float> quotient) {
    static constexpr float polynomial[] = {0x1.33638cp-5f,  -0x1.74b7d2p-4f, 0x1.df2368p-4f,
                                           -0x1.04b5d4p-3f, 0x1.2463f6p-3f,  -0x1.551934p-3f,
                                           0x1.99975cp-3f,  -0x1.000070p-2f, 0x1.55555ap-2f};
    const ScaledTo1<float> scaled(quotient);
    const Vec<float> f = quotient * scaled.factor - splat(1.0f);
    const Vec<float> f2 = f * f;
    const Vec<float> f2_lost = fma(f, f, splat(0.0f) - f2);
    const Vec<float> a = scaled.exponent * splat(0x1.63p-1f);
    const Vec<float> first = a + f;
    const Vec<float> first_lost = f - (first - a);
    const Vec<float> square = f2 * splat(-0.5f);
    const Vec<float> high = first + square;
    const Vec<float> high_lost = square - (high - first);
    const Vec<float> rest = fma(scaled.exponent, splat(-0x1.bd0106p-13f), (f2 * f) * horner(f, polynomial));
    return {high, high_lost + (first_lost + neg_fma(splat(0.5f), f2_lost, rest))};
}

/// A log-sum-exp and its distance from the maximum.
struct FewLogSumExp {
    Vec<float> above_max, value;

    LOGITLOSS_INLINE FewLogSumExp(Vec<float> top, LogParts<float> log, Vec<float> rest) {
        above_max = log.high + (log.low + rest);
        const Vec<float> sum = top + log.high;
        const Vec<float> back = sum - top;
        const Vec<float> lost = (top - (sum - back)) + (log.high - back);
        value = sum + (lost + (log.low + rest));
    }
};

#if defined(LOGITLOSS_ROWS_IN_REGISTERS)
/// A number of classes that the compiler knows.
template <std::size_t count>
struct KnownClasses {
    // NOLINTNEXTLINE(google-explicit-constructor): it is a number
    LOGITLOSS_INLINE constexpr operator std::size_t() const { return count; }
};
/// fn(j) for the classes from `first` on, without a loop.
template <std::size_t count, class Fn>
LOGITLOSS_INLINE void each_class(std::size_t first, KnownClasses<count>, const Fn& fn) {
    LOGITLOSS_UNROLL
    for (std::size_t j = first; j < count; ++j)
        fn(j);
}
#endif
template <class Fn>
LOGITLOSS_INLINE void each_class(std::size_t first, std::size_t count, const Fn& fn) {
    for (std::size_t j = first; j < count; ++j)
        fn(j);
}

/// The logits of as many rows as a vector has lanes, and what they share. `v`: a vector a class.
template <class Classes>
struct FewClassVectors {
    Vec<float>* v;
    Classes classes;
    Vec<float> top, exponent;

    LOGITLOSS_INLINE FewClassVectors(Vec<float>* vectors, Classes count) : v(vectors), classes(count), top(vectors[0]) {
        each_class(1, classes, [&](std::size_t j) { top = max(v[j], top); });
        top = max(top, splat(-__builtin_inff()));  // a NaN in front
        const Vec<float> within = select(within_limit(top), top, splat(0.0f));
        using C = Constants<float>;
        exponent = fma(within, splat(C::log2e), splat(C::magic)) - splat(C::magic);
    }

    /// Sum of all exponentials; with `keep` they replace the logits.
    template <bool keep>
    LOGITLOSS_INLINE FloatPair sum() const {
        const ExpShift<float> shift(exponent);
        const auto term = [&](std::size_t j) {
            const ExpParts<float> e = exp_parts(v[j], shift);
            const Vec<float> exponential = e.mantissa * e.scale;
            if constexpr (keep)
                v[j] = exponential;
            return exponential;
        };
        FloatPair sum(term(0));
        each_class(1, classes, [&](std::size_t j) { sum.low = sum.low + sum.add(term(j)); });
        return sum;
    }

    /// Sum of all exponentials but the class `out`, whose own is `of_out`; with `keep` they replace the logits.
    template <bool keep>
    LOGITLOSS_INLINE FloatPair sum_without(Vec<float> out, Vec<float>& of_out) const {
        const ExpShift<float> shift(exponent);
        const Vec<float> zero = splat(0.0f);
        of_out = zero;
        const auto term = [&](std::size_t j) {
            const ExpParts<float> e = exp_parts(v[j], shift);
            const Vec<float> exponential = e.mantissa * e.scale;
            if constexpr (keep)
                v[j] = exponential;
            const Mask<float> here = equal(class_number<float>(j), out);
            of_out = select(here, exponential, of_out);
            return select(here, zero, exponential);
        };
        FloatPair sum(term(0));
        each_class(1, classes, [&](std::size_t j) { sum.low = sum.low + sum.add(term(j)); });
        return sum;
    }

    /// The sum of the exponentials with their errors, from the logits.
    LOGITLOSS_INLINE FloatPair exact_sum() const {
        using C = Constants<float>;
        const ExpShift<float> shift(exponent);
        FloatPair sum(splat(0.0f));
        each_class(0, classes, [&](std::size_t j) {
            const Vec<float> x = max(shift.lowest, v[j]);
            const Vec<float> z = fma(x, splat(C::log2e), shift.magic);
            const CorrectedExp e(x, z - shift.magic);
            const Vec<float> scale = from_bits(shift_left<C::mantissa_bits>(bits(z)));
            const Vec<float> lost = sum.add(e.mantissa * scale);
            sum.low = sum.low + fma(e.error, scale, lost);
        });
        return sum;
    }

    /// max + log(sum / exp(max)), where `exact_terms` says whether the sum holds the errors of its terms.
    LOGITLOSS_INLINE FewLogSumExp log_sum_exp(const FloatPair& sum, bool exact_terms) const {
        const CorrectedExp e(select(within_limit(top), top, splat(0.0f)), exponent);
        const Vec<float> quotient = sum.high / e.mantissa;
        const Vec<float> remainder = neg_fma(quotient, e.mantissa, sum.high) + sum.low;
        const Vec<float> missing =
            exact_terms ? remainder - quotient * e.error : fma(e.error, splat(1.0f) - quotient, remainder);
        const Vec<float> rest = missing / sum.high;
        const LogParts<float> log = exact_terms ? exact_log(quotient) : log_normal(quotient);
        return FewLogSumExp(top, log, rest);
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
};

/// Whether a result holds: a NaN makes it odd.
LOGITLOSS_INLINE Vec<float> odd_unless(Mask<float> fine) { return select(fine, splat(0.0f), splat(1.0f)); }

/// odd_for_gradient where a factor is neither 0 nor near enough to 1 for single products in float32, else 0.
LOGITLOSS_INLINE Vec<float> odd_factor(Vec<float> factor) {
    const Vec<float> zero = splat(0.0f);
    const Vec<float> odd = splat(odd_for_gradient);
    const Vec<float> size = abs(factor);
    const Vec<float> above = select(less(splat(0x1p-100f), size), zero, odd);
    return select(less(size, splat(0x1p20f)), select(equal(size, zero), zero, above), odd);
}

/// Numbers of the lanes from `lane` on, rounded.
LOGITLOSS_INLINE Vec<float> narrowed(const double* numbers, std::size_t lane) {
    return narrow(load(numbers + lane), load(numbers + lane + Vec<double>::lanes));
}
LOGITLOSS_INLINE Vec<float> factor_of(const FewClasses& in, std::size_t lane) {
    return in.factor == nullptr ? splat(in.same_factor) : narrowed(in.factor, lane);
}

/// Log-sum-exps: Note [log-sum-exp near 0]. Up to four classes they are near 0 as a rule.
template <class Classes>
LOGITLOSS_INLINE Vec<float> few_log_sum_exps(const FewClasses& in, std::size_t lane,
                                             const FewClassVectors<Classes>& rows) {
    const bool exact = rows.classes <= 4;
    FewLogSumExp end = rows.log_sum_exp(exact ? rows.exact_sum() : rows.template sum<false>(), exact);
    const Mask<float> near = less(max(abs(end.value), end.above_max), splat(1.0f));
    Vec<float> odd = odd_unless(within_limit(rows.top)) + odd_unless(equal(end.value, end.value));
    if (any(near)) {
        if (!exact) {
            const FewLogSumExp again = rows.log_sum_exp(rows.exact_sum(), true);
            end.above_max = select(near, again.above_max, end.above_max);
            end.value = select(near, again.value, end.value);
        }
        odd = odd + select(near, odd_unless(less(splat(0x1p-18f), end.above_max)), splat(0.0f));
    }
    store(in.lse + lane, end.value);
    return odd;
}

/// Softmax times a factor, in place of the logits.
template <class Classes>
LOGITLOSS_INLINE Vec<float> few_softmaxes(const FewClasses& in, std::size_t lane,
                                          const FewClassVectors<Classes>& rows) {
    const FloatPair sum = rows.template sum<true>();
    const Vec<float> total = sum.high + sum.low;
    const Vec<float> factor = factor_of(in, lane);
    const Vec<float> scale = factor / total;
    each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = rows.v[j] * scale; });
    return odd_unless(within_limit(rows.top)) + odd_factor(factor) + odd_unless(equal(total, total));
}

/// What smoothing adds to rows' losses, and their gradient at the target: Note [smoothing without cancellation].
template <class Classes>
LOGITLOSS_INLINE FloatPair few_gaps(const FewClassVectors<Classes>& rows) {
    FloatPair gaps(rows.top - rows.v[0]);
    each_class(1, rows.classes, [&](std::size_t j) { gaps.low = gaps.low + gaps.add(rows.top - rows.v[j]); });
    return gaps;
}

/// (1 - e) log1p(sum' / e_y) + e / C sum_j (L - z_j), and gradients in place of the logits: Note [confident rows].
template <bool writes, class Classes>
LOGITLOSS_INLINE Vec<float> few_cross_entropies(const FewClasses& in, std::size_t lane,
                                                const FewClassVectors<Classes>& rows) {
    const Vec<float> zero = splat(0.0f);
    const Vec<float> target = load(in.target + lane);
    const bool smooths = in.spread != 0.0f;
    const Vec<float> kept = splat(in.kept);
    const Vec<float> spread = splat(in.spread);
    const Vec<float> count = class_number<float>(rows.classes);
    FloatPair gaps(zero);
    if (smooths)
        gaps = few_gaps(rows);
    Vec<float> e;
    FloatPair sum = rows.template sum_without<writes>(target, e);
    const Vec<float> others = sum.high + sum.low;
    Vec<float> loss = log1p_moderate(others / e);
    const Vec<float> least = splat(0x1p-90f);
    Vec<float> odd = odd_unless(within_limit(rows.top)) + odd_unless(less(least, others)) + odd_unless(less(least, e));
    if (smooths) {
        FloatPair all = sum;
        all.low = all.low + all.add(e);
        const Vec<float> above = rows.log_sum_exp(all, false).above_max;
        loss = fma(kept, loss, spread * fma(count, above, gaps.high + gaps.low));
        odd = odd + odd_unless(less(abs(loss), splat(__builtin_inff())));
    }
    if constexpr (writes) {
        const Vec<float> factor = factor_of(in, lane);
        const Vec<float> total = sum.high + (e + sum.low);
        const Vec<float> scale = factor / total;
        Vec<float> at_target = zero - others * scale;
        odd = odd + odd_factor(factor);
        if (smooths) {
            const Vec<float> linear = spread * factor;
            const Vec<float> pulled = fma(count, e * scale, zero - factor);
            at_target = fma(kept, at_target, spread * pulled);
            each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = fma(rows.v[j], scale, zero - linear); });
        } else {
            each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = rows.v[j] * scale; });
        }
        each_class(0, rows.classes, [&](std::size_t j) {
            rows.v[j] = select(equal(class_number<float>(j), target), at_target, rows.v[j]);
        });
        Mask<float> nothing = equal(factor, zero);
        if (in.read != nullptr)
            nothing = nothing | equal(load(in.read + lane), zero);
        if (any(nothing))
            each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = select(nothing, zero, rows.v[j]); });
    }
    if (in.read != nullptr)
        odd = select(equal(load(in.read + lane), zero), zero, odd);
    const Vec<double> parts[] = {widen<0>(loss), widen<1>(loss)};
    LOGITLOSS_UNROLL
    for (std::size_t part = 0; part < 2; ++part) {
        const std::size_t i = lane + part * Vec<double>::lanes;
        Vec<double> weighted = in.weight == nullptr ? parts[part] : load(in.weight + i) * parts[part];
        if (in.read != nullptr)
            weighted = select(equal(widened(in.read, i), splat(0.0)), splat(0.0), weighted);
        store(in.loss + i, weighted);
    }
    return odd;
}

/// log-softmax in place of the logits.
template <class Classes>
LOGITLOSS_INLINE Vec<float> few_log_softmaxes(const FewClassVectors<Classes>& rows) {
    Vec<float> e;
    const FloatPair sum = rows.template sum_without<false>(rows.largest(), e);
    const Vec<float> others = sum.high + sum.low;
    const Vec<float> above = log1p_moderate(others / e);
    each_class(0, rows.classes, [&](std::size_t j) { rows.v[j] = (rows.v[j] - rows.top) - above; });
    return odd_unless(within_limit(rows.top)) + odd_unless(less(splat(0x1p-90f), others));
}

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
    else if constexpr (task == FewClassTask::cross_entropy)
        return few_cross_entropies<false>(in, lane, rows);
    else
        return few_cross_entropies<true>(in, lane, rows);
}

constexpr bool few_writes(FewClassTask task) {
    return task != FewClassTask::log_sum_exp && task != FewClassTask::cross_entropy;
}

/// Rows `step` apart.
template <class T>
struct EvenRows {
    T* first;
    std::ptrdiff_t step;

    LOGITLOSS_INLINE T* operator[](std::size_t i) const { return first + static_cast<std::ptrdiff_t>(i) * step; }
};

/// The last rows, fewer than a vector has lanes, and `beyond` them one that is there.
template <class T>
struct LastRows {
    T* rows[Vec<float>::lanes];

    LOGITLOSS_INLINE LastRows(const EvenRows<T>& all, std::size_t count, T* beyond) {
        for (std::size_t i = 0; i < Vec<float>::lanes; ++i)
            rows[i] = i < count ? all[i] : beyond;
    }
    LOGITLOSS_INLINE T* operator[](std::size_t i) const { return rows[i]; }
};

template <class Rows>
LOGITLOSS_INLINE void load_few_rows(const Rows& rows, std::size_t classes, Vec<float>* v) {
    constexpr std::size_t lanes = Vec<float>::lanes;
    if (classes < 4) {
        float column[lanes];
        for (std::size_t j = 0; j < classes; ++j) {
            for (std::size_t i = 0; i < lanes; ++i)
                column[i] = rows[i][j];
            v[j] = load(column);
        }
        return;
    }
    for (std::size_t done = 0; done < classes; done += 4) {
        const std::size_t j = done + 4 <= classes ? done : classes - 4;  // the last ones overlap
        if (done % 16 == 0)
            for (std::size_t i = 0; i < lanes; ++i)
                prefetch_near(rows[i] + j, 4096);
        Vec<float> quad[4];
        load_transposed(rows, j, quad);
        for (std::size_t i = 0; i < 4; ++i)
            v[j + i] = quad[i];
    }
}

template <class Rows>
LOGITLOSS_INLINE void store_few_rows(const Vec<float>* v, std::size_t classes, bool fetch, const Rows& rows) {
    constexpr std::size_t lanes = Vec<float>::lanes;
    if (classes < 4) {
        float column[lanes];
        for (std::size_t j = 0; j < classes; ++j) {
            store(column, v[j]);
            for (std::size_t i = 0; i < lanes; ++i)
                rows[i][j] = column[i];
        }
        return;
    }
    for (std::size_t done = 0; done < classes; done += 4) {
        const std::size_t j = done + 4 <= classes ? done : classes - 4;
        if (done % 16 == 0 && fetch)
            for (std::size_t i = 0; i < lanes; ++i)
                prefetch_store(rows[i] + j, 4096);
        const Vec<float> quad[4] = {v[j], v[j + 1], v[j + 2], v[j + 3]};
        store_transposed(quad, rows, j);
    }
}

/// Any number of classes, in any layout: whole vectors of columns, or rows wherever they begin.
LOGITLOSS_INLINE void load_few(const FewClasses& in, std::size_t lane, Vec<float>* v) {
    if (in.class_step != 1) {
        const std::uintptr_t next = in.next.start + lane * static_cast<std::uintptr_t>(in.next.lane_step);
        const bool next_line = lane % (64 / sizeof(float)) == 0;
        for (std::size_t j = 0; j < in.classes; ++j) {
            v[j] = load(in.x + static_cast<std::ptrdiff_t>(j) * in.class_step + lane);
            if (next_line)
                // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read there
                prefetch_near(reinterpret_cast<const void*>(next + j * in.next.class_step), 0);
        }
        return;
    }
    const EvenRows<const float> rows{in.x + static_cast<std::ptrdiff_t>(lane) * in.row_step, in.row_step};
    if (lane + Vec<float>::lanes <= in.rows)
        load_few_rows(rows, in.classes, v);
    else
        load_few_rows(LastRows<const float>(rows, in.rows - lane, rows[0]), in.classes, v);
}

LOGITLOSS_INLINE void store_few(const FewClasses& in, std::size_t lane, const Vec<float>* v) {
    if (in.out_class_step != 1) {
        for (std::size_t j = 0; j < in.classes; ++j)
            store(in.out + static_cast<std::ptrdiff_t>(j) * in.out_class_step + lane, v[j]);
        return;
    }
    const EvenRows<float> rows{in.out + static_cast<std::ptrdiff_t>(lane) * in.out_row_step, in.out_row_step};
    if (lane + Vec<float>::lanes <= in.rows)
        return store_few_rows(v, in.classes, in.out != in.x, rows);
    float beyond[most_few_classes];
    store_few_rows(v, in.classes, false, LastRows<float>(rows, in.rows - lane, beyond));
}

/// Vectors of rows from `first` on, in any layout.
template <FewClassTask task>
bool few_classes_anywhere(const FewClasses& in, std::size_t first) {
    Vec<float> v[most_few_classes];
    Vec<float> odd = splat(0.0f);
    for (std::size_t lane = first; lane < in.rows; lane += Vec<float>::lanes) {
        load_few(in, lane, v);
        const Vec<float> here = few_classes_step<task>(in, lane, v, in.classes);
        store(in.odd + lane, here);
        odd = odd + here;
        if constexpr (few_writes(task)) {
            if (const Mask<float> kept = less(splat(0.0f), here); any(kept)) {
                Vec<float> logits[most_few_classes];
                load_few(in, lane, logits);
                each_class(0, in.classes, [&](std::size_t j) { v[j] = select(kept, logits[j], v[j]); });
            }
            store_few(in, lane, v);
        }
    }
    return any(less(splat(0.0f), odd));
}

#if defined(LOGITLOSS_ROWS_IN_REGISTERS)
template <std::size_t classes>
LOGITLOSS_INLINE void load_known(const float* x, Vec<float> (&v)[classes]) {
    if constexpr (classes < 4) {
        load_rows(x, v);
    } else {
        const EvenRows<const float> rows{x, classes};
        LOGITLOSS_UNROLL
        for (std::size_t done = 0; done < classes; done += 4) {
            const std::size_t j = done + 4 <= classes ? done : classes - 4;
            Vec<float> quad[4];
            load_transposed(rows, j, quad);
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < 4; ++i)
                v[j + i] = quad[i];
        }
    }
}

template <std::size_t classes>
LOGITLOSS_INLINE void store_known(const Vec<float> (&v)[classes], float* out) {
    if constexpr (classes < 4) {
        store_rows(v, out);
    } else {
        const EvenRows<float> rows{out, classes};
        LOGITLOSS_UNROLL
        for (std::size_t done = 0; done < classes; done += 4) {
            const std::size_t j = done + 4 <= classes ? done : classes - 4;
            const Vec<float> quad[4] = {v[j], v[j + 1], v[j + 2], v[j + 3]};
            store_transposed(quad, rows, j);
        }
    }
}

/// Rows that follow one another without a gap: from memory to registers and back.
template <FewClassTask task, std::size_t classes>
bool few_classes_known(const FewClasses& in, std::size_t) {
    constexpr std::size_t lanes = Vec<float>::lanes;
    constexpr std::size_t line = 64 / sizeof(float);
    Vec<float> odd = splat(0.0f);
    std::size_t lane = 0;
    for (; lane + lanes <= in.rows; lane += lanes) {
        const float* x = in.x + lane * classes;
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < lanes * classes; i += line) {
            prefetch_near(x + i, 4096);
            if constexpr (few_writes(task))
                if (in.out != in.x)
                    prefetch_store(in.out + lane * classes + i, 4096);
        }
        Vec<float> v[classes];
        load_known(x, v);
        const Vec<float> here = few_classes_step<task>(in, lane, v, KnownClasses<classes>());
        store(in.odd + lane, here);
        odd = odd + here;
        if constexpr (few_writes(task)) {
            if (const Mask<float> kept = less(splat(0.0f), here); any(kept)) {
                Vec<float> logits[classes];
                load_known(x, logits);
                each_class(0, KnownClasses<classes>(), [&](std::size_t j) { v[j] = select(kept, logits[j], v[j]); });
            }
            store_known(v, in.out + lane * classes);
        }
    }
    const bool any_odd = any(less(splat(0.0f), odd));
    return lane < in.rows ? few_classes_anywhere<task>(in, lane) || any_odd : any_odd;
}

template <FewClassTask task>
constexpr bool (*few_classes_by_number[])(const FewClasses&, std::size_t) = {
    few_classes_known<task, 2>,  few_classes_known<task, 3>,  few_classes_known<task, 4>,  few_classes_known<task, 5>,
    few_classes_known<task, 6>,  few_classes_known<task, 7>,  few_classes_known<task, 8>,  few_classes_known<task, 9>,
    few_classes_known<task, 10>, few_classes_known<task, 11>, few_classes_known<task, 12>, few_classes_known<task, 13>,
    few_classes_known<task, 14>, few_classes_known<task, 15>, few_classes_known<task, 16>};
#endif

template <FewClassTask task>
bool few_classes_of(const FewClasses& in) {
#if defined(LOGITLOSS_ROWS_IN_REGISTERS)
    const auto step = static_cast<std::ptrdiff_t>(in.classes);
    const bool no_gaps = in.class_step == 1 && in.row_step == step;
    const bool out_alike = !few_writes(task) || (in.out_class_step == 1 && in.out_row_step == step);
    constexpr bool is_frequent = task != FewClassTask::log_sum_exp_gradient;
    if constexpr (is_frequent)
        if (in.classes <= 16 && no_gaps && out_alike)
            return few_classes_by_number<task>[in.classes - 2](in, 0);
#endif
    return few_classes_anywhere<task>(in, 0);
}

/// KernelTable::few_classes.
bool few_classes(const FewClasses& in, FewClassTask task) {
    using Task = FewClassTask;
    switch (task) {
    case Task::log_sum_exp:
        return few_classes_of<Task::log_sum_exp>(in);
    case Task::log_sum_exp_gradient:
        return few_classes_of<Task::log_sum_exp_gradient>(in);
    case Task::softmax:
        return few_classes_of<Task::softmax>(in);
    case Task::log_softmax:
        return few_classes_of<Task::log_softmax>(in);
    case Task::cross_entropy:
        return few_classes_of<Task::cross_entropy>(in);
    default:
        return few_classes_of<Task::cross_entropy_gradient>(in);
    }
}
