// From the ends of rows to their losses and what their gradients take, in float64, one row a lane; and the numbers that
// rows bring along: labels, sums of losses. Note [row factors]

/// The vectors of double that hold as many rows as one vector of T.
template <class T>
constexpr std::size_t row_parts = Vec<T>::lanes / Vec<double>::lanes;

LOGITLOSS_INLINE void store_rounded(float* p, const Vec<double> (&a)[2]) { store(p, narrow(a[0], a[1])); }
LOGITLOSS_INLINE void store_rounded(double* p, const Vec<double> (&a)[1]) { store(p, a[0]); }

template <class T>
constexpr T smallest_normal = sizeof(T) == sizeof(float) ? T(0x1p-126) : T(0x1p-1022);

template <class T>
LOGITLOSS_INLINE Mask<T> is_finite(Vec<T> a) {
    return less(abs(a), splat(T(__builtin_inf())));
}

/// a b, but 0 for 0 times infinity: a weight of 0 removes an infinite term. NaN stays.
LOGITLOSS_INLINE Vec<double> times(Vec<double> a, Vec<double> b) {
    const Vec<double> zero = splat(0.0);
    const Vec<double> infinity = splat(__builtin_inf());
    const Vec<double> beside_zero = select(equal(a, zero), abs(b), select(equal(b, zero), abs(a), zero));
    return select(equal(beside_zero, infinity), zero, a * b);
}

/// 1 where is_moderate(factor), else 0.
LOGITLOSS_INLINE Vec<double> moderate(Vec<double> factor) {
    const Vec<double> size = abs(factor);
    const Vec<double> zero = splat(0.0);
    const Vec<double> below_most = select(less(splat(most_moderate), size), zero, splat(1.0));
    const Vec<double> number = select(equal(size, size), below_most, zero);
    const Vec<double> above_least = select(less(size, splat(1.0 / most_moderate)), zero, number);
    return select(equal(size, zero), splat(1.0), above_least);
}

/// `ordinary`, but 0 where one of `factors` (null: none) is not moderate.
LOGITLOSS_INLINE Vec<double> unless_extreme(Vec<double> ordinary, const double* factors, std::size_t i) {
    return factors == nullptr ? ordinary : min(ordinary, moderate(load(factors + i)));
}

/// Whether it is more than weights that an index's loss and gradient take.
LOGITLOSS_INLINE bool weighs(const TermOptions& options) { return options.smoothing > 0.0 || options.z_loss != 0.0; }

/// Of one vector of rows, before the factors that multiply all of it:
/// grad_j = mass p_j + linear q_j, and aside_gradient at the class set aside.
struct RowTerms {
    Vec<double> loss;
    Vec<double> mass;
    Vec<double> linear;
    Vec<double> aside_gradient;
    Vec<double> ordinary;  ///< 1 where loss and factors are far from the ends of float64's range, else 0
};

/// (1-e) w (L - z_y) + (e/C) sum_j (L - z_j) + c w L^2, the target y taken out; w: the target's weight, 1 if e > 0.
///
/// Note [smoothing without cancellation]: sum_j (L - z_j) = C (L - max) + sum_j (max - z_j), whose terms all have one
/// sign, and none of which is made of numbers that hold an offset common to all logits; and the gradient at the target
/// is built from 1 - p_y, which the row's end has to relative accuracy.
///
/// Note [smoothing with class weights]: L - max cancels where a class leads by far, which does not show beside the gaps
/// of the others, unless these have weights of 0, or next to it. So with class weights a smoothed index is taken as
/// the distribution that it stands for, by SoftTerms.
template <class T>
struct IndexTerms {
    LOGITLOSS_INLINE RowTerms operator()(const TermRows<T>& rows, std::size_t i, const TermOptions& options) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> gap = load(rows.ends->gap + i);
        const bool weighted = rows.class_weight != nullptr;
        const Vec<double> w = weighted ? load(rows.class_weight + i) : splat(1.0);
        const Vec<double> kept = splat(1.0 - options.smoothing) * w;
        RowTerms terms{weighted || weighs(options) ? times(kept, gap) : gap, kept, zero, zero, splat(1.0)};
        if (rows.scale == nullptr && !weighs(options))
            return terms;
        terms.aside_gradient = splat(-1.0) * kept * load(rows.ends->complement + i);
        if (options.smoothing > 0.0)
            add_smoothing(rows, i, options.smoothing / options.classes, terms);
        if (options.z_loss != 0.0) {
            const Vec<double> lse = load(rows.ends->lse + i);
            const Vec<double> slope = splat(2.0 * options.z_loss) * lse * w;
            terms.loss = terms.loss + times(splat(options.z_loss) * w, lse * lse);
            terms.mass = terms.mass + slope;
            terms.aside_gradient = terms.aside_gradient + slope * load(rows.ends->probability + i);
        }
        return terms;
    }

private:
    static LOGITLOSS_INLINE void add_smoothing(const TermRows<T>& rows, std::size_t i, double each, RowTerms& terms) {
        const Vec<double> spread = splat(each);
        const Vec<double> mass = load(rows.other_mass + i) + load(rows.aside_mass + i);
        terms.loss = terms.loss + spread * (times(mass, load(rows.ends->above_max + i)) + load(rows.gaps + i));
        terms.mass = terms.mass + spread * mass;
        terms.linear = splat(-each);
        const Vec<double> pulled = mass * load(rows.ends->probability + i) - splat(1.0);
        terms.aside_gradient = terms.aside_gradient + spread * pulled;
    }
};

/// sum_j q_j (L - z_j) + c w L^2, w the weight of the target's class or 1, the largest logit's class a taken out: q (L - z_a) + sum_j q_j (z_a - z_j) cancels
/// nowhere, and at a the gradient sum(q) p_a - q_a of a confident row is sum_{j != a} q_j - sum(q) (1 - p_a).
template <class T>
struct SoftTerms {
    LOGITLOSS_INLINE RowTerms operator()(const TermRows<T>& rows, std::size_t i, const TermOptions& options) const {
        const Vec<double> other_mass = load(rows.other_mass + i);
        const Vec<double> aside_mass = load(rows.aside_mass + i);
        const Vec<double> mass = other_mass + aside_mass;
        const Vec<double> complement = load(rows.ends->complement + i);
        const Vec<double> probability = load(rows.ends->probability + i);
        const Vec<double> confident = other_mass - mass * complement;
        RowTerms terms{times(mass, load(rows.ends->gap + i)) + load(rows.gaps + i), mass, splat(-1.0),
                       select(less(complement, splat(0.5)), confident, mass * probability - aside_mass), splat(1.0)};
        if (options.z_loss != 0.0) {
            const Vec<double> zero = splat(0.0);
            const Vec<double> w = rows.class_weight == nullptr ? splat(1.0) : load(rows.class_weight + i);
            const Vec<double> c = splat(options.z_loss) * w;
            const Vec<double> lse = load(rows.ends->lse + i);
            const Vec<double> slope = select(equal(c, zero), zero, splat(2.0) * c * lse);
            terms.loss = terms.loss + select(equal(c, zero), zero, c * lse * lse);
            terms.mass = terms.mass + slope;
            terms.aside_gradient = terms.aside_gradient + slope * probability;
        }
        return terms;
    }
};

LOGITLOSS_INLINE Vec<double> factor_of(const double* factors, std::size_t i) {
    return factors == nullptr ? splat(1.0) : load(factors + i);
}

/// The terms of one vector of rows, whose losses are stored. Rows that do not count are ordinary.
template <class T, class Terms>
LOGITLOSS_INLINE RowTerms terms_and_losses(const TermRows<T>& rows, std::size_t i, const TermOptions& options) {
    RowTerms terms = Terms()(rows, i, options);
    Vec<double> loss = factor_of(rows.weight, i) * terms.loss;
    terms.ordinary = select(less(abs(loss), splat(large_loss)), terms.ordinary, splat(0.0));
    terms.ordinary = unless_extreme(terms.ordinary, rows.class_weight, i);
    terms.ordinary = unless_extreme(terms.ordinary, rows.weight, i);
    terms.ordinary = unless_extreme(terms.ordinary, rows.upstream, i);
    if (rows.read != nullptr) {
        const Mask<double> unread = equal(widened(rows.read, i), splat(0.0));
        loss = select(unread, splat(0.0), loss);
        terms.ordinary = select(unread, splat(1.0), terms.ordinary);
    }
    store(rows.loss + i, loss);
    return terms;
}

/// The factors of as many rows as a vector of T has lanes. Returns 0 where T does not hold them, else 1; and in
/// `ordinary` the least RowTerms::ordinary.
template <class T, class Terms>
LOGITLOSS_INLINE Vec<T> terms_and_factors(const TermRows<T>& rows, std::size_t first, const TermOptions& options,
                                          Vec<double>& ordinary) {
    Vec<double> scale[row_parts<T>], linear[row_parts<T>], value[row_parts<T>], base[row_parts<T>];
    LOGITLOSS_UNROLL
    for (std::size_t part = 0; part < row_parts<T>; ++part) {
        const std::size_t i = first + part * Vec<double>::lanes;
        const RowTerms terms = terms_and_losses<T, Terms>(rows, i, options);
        ordinary = min(ordinary, terms.ordinary);
        const Vec<double> weighted = splat(options.grad_factor) * factor_of(rows.weight, i);
        const Vec<double> factor = weighted * factor_of(rows.upstream, i);
        base[part] = load(rows.ends->base + i);
        const Vec<double> zero = splat(0.0);  // a sum with it is no -0: a gradient of 0 has one sign
        scale[part] = fma(factor * terms.mass, load(rows.ends->scale + i), zero);
        linear[part] = fma(factor, terms.linear, zero);
        value[part] = fma(factor, terms.aside_gradient, zero);
        store(rows.scale + i, scale[part]);
        store(rows.linear + i, linear[part]);
        store(rows.value + i, value[part]);
    }
    ColumnScales<T>& columns = *rows.columns;
    store_rounded(columns.exponent + first, base);
    store_rounded(columns.scale + first, scale);
    store_rounded(columns.linear + first, linear);
    store_rounded(columns.value + first, value);
    const Vec<T> none = splat(T(0));
    const Vec<T> fine = select(is_finite(load(columns.scale + first)), splat(T(1)), none);
    if (rows.gaps == nullptr)
        return fine;
    const Vec<T> rounded_linear = load(columns.linear + first);
    const Mask<T> below_normal = less(abs(rounded_linear), splat(smallest_normal<T>));
    return select(is_finite(rounded_linear), select(below_normal, none, fine), none);
}

/// KernelTable::index_terms, KernelTable::soft_terms.
template <class T, class Terms>
bool row_terms(const TermRows<T>& rows, std::size_t count, const TermOptions& options) {
    Vec<double> ordinary = splat(1.0);
    if (rows.scale == nullptr) {
        for (std::size_t i = 0; i < count; i += Vec<double>::lanes)
            ordinary = min(ordinary, terms_and_losses<T, Terms>(rows, i, options).ordinary);
        return !any(equal(ordinary, splat(0.0)));
    }
    const Vec<T> none = splat(T(0));
    Vec<T> all_fine = splat(T(1));
    for (std::size_t first = 0; first < count; first += Vec<T>::lanes) {
        const Vec<T> fine = terms_and_factors<T, Terms>(rows, first, options, ordinary);
        if (rows.read == nullptr) {
            all_fine = min(all_fine, fine);
            continue;
        }
        const Mask<T> unread = equal(load(rows.read + first), none);
        all_fine = select(unread, all_fine, min(all_fine, fine));
        const auto clear = [&](T* numbers) { store(numbers + first, select(unread, none, load(numbers + first))); };
        clear(rows.columns->exponent);
        clear(rows.columns->scale);
        clear(rows.columns->linear);
        clear(rows.columns->value);
    }
    return !any(equal(all_fine, none)) && !any(equal(ordinary, splat(0.0)));
}

/// KernelTable::scale_rows.
template <class T>
bool scale_rows(const double* exponent, double* scale, const double* factor, std::size_t count,
                ColumnScales<T>* columns) {
    Vec<T> bad = splat(T(0));
    for (std::size_t first = 0; first < count; first += Vec<T>::lanes) {
        Vec<double> base[row_parts<T>], product[row_parts<T>];
        LOGITLOSS_UNROLL
        for (std::size_t part = 0; part < row_parts<T>; ++part) {
            const std::size_t i = first + part * Vec<double>::lanes;
            base[part] = load(exponent + i);
            product[part] = load(scale + i);
            if (factor != nullptr)
                product[part] = product[part] * load(factor + i);
            store(scale + i, product[part]);
        }
        store_rounded(columns->exponent + first, base);
        store_rounded(columns->scale + first, product);
        bad = select(is_finite(load(columns->scale + first)), bad, splat(T(1)));
    }
    return !any(equal(bad, splat(T(1))));
}

/// 64-bit integers in [0, 2^52) as the numbers that they are; infinity for all others, negative ones included.
LOGITLOSS_INLINE Vec<double> small_integers(Bits<double> words) {
    const Vec<double> two_to_52 = splat(0x1p52);
    const Vec<double> upper = from_bits(shift_right<52>(words) | bits(two_to_52)) - two_to_52;
    const Vec<double> lower = from_bits(shift_right<12>(shift_left<12>(words)) | bits(two_to_52)) - two_to_52;
    return select(equal(upper, splat(0.0)), lower, splat(__builtin_inf()));
}

LOGITLOSS_INLINE Bits<double> load_words(const std::int64_t* p) {
    return bits(load(reinterpret_cast<const double*>(p)));
}

/// Whether all of `count` labels, whole vectors of double, are in [0, classes): the sign of either difference tells.
LOGITLOSS_INLINE bool all_are_classes(const std::int64_t* labels, std::size_t count, std::size_t classes) {
    const Bits<double> last = splat_bits(static_cast<std::uint64_t>(classes) - 1);
    Bits<double> signs = splat_bits(std::uint64_t(0));
    for (std::size_t i = 0; i < count; i += Vec<double>::lanes) {
        prefetch_near(labels + i, 4096);
        const Bits<double> label = load_words(labels + i);
        signs = signs | label | (last - label);
    }
    return !any(less(splat(0.0), small_integers(shift_right<63>(signs))));
}

/// Integers in [0, 2^52) as the numbers that they are.
LOGITLOSS_INLINE Vec<double> small_number(const std::int64_t* label) {
    const Vec<double> two_to_52 = splat(0x1p52);
    return from_bits(load_words(label) | bits(two_to_52)) - two_to_52;
}

/// KernelTable::class_numbers.
template <class T>
bool class_numbers(const std::int64_t* labels, std::size_t count, std::size_t classes, std::int64_t ignored, T* numbers,
                   T* read) {
    if (ignored < 0 && all_are_classes(labels, count, classes)) {
        for (std::size_t first = 0; first < count; first += Vec<T>::lanes) {
            Vec<double> number[row_parts<T>];
            LOGITLOSS_UNROLL
            for (std::size_t part = 0; part < row_parts<T>; ++part)
                number[part] = small_number(labels + first + part * Vec<double>::lanes);
            store_rounded(numbers + first, number);
            store(read + first, splat(T(1)));
        }
        return true;
    }
    const Vec<double> limit = splat(static_cast<double>(classes));
    const Vec<double> skipped = splat(static_cast<double>(ignored));
    Vec<T> all = splat(T(1));
    for (std::size_t first = 0; first < count; first += Vec<T>::lanes) {
        Vec<double> number[row_parts<T>], counts[row_parts<T>];
        LOGITLOSS_UNROLL
        for (std::size_t part = 0; part < row_parts<T>; ++part) {
            const Vec<double> label = small_integers(load_words(labels + first + part * Vec<double>::lanes));
            const Mask<double> inside = less(label, limit);
            number[part] = select(inside, label, splat(-1.0));
            counts[part] = select(equal(label, skipped), splat(0.0), select(inside, splat(1.0), splat(0.0)));
        }
        store_rounded(numbers + first, number);
        store_rounded(read + first, counts);
        all = min(all, load(read + first));
    }
    return !any(equal(all, splat(T(0))));
}

/// NumberKernels::count_labels.
SumPair count_labels(const std::int64_t* labels, std::size_t n, std::size_t classes, bool ignores,
                     std::int64_t ignored) {
    constexpr std::size_t lanes = Vec<double>::lanes;
    if (n % lanes == 0 && classes > 0 && !(ignores && static_cast<std::uint64_t>(ignored) < classes) &&
        all_are_classes(labels, n, classes))
        return {0.0, static_cast<double>(n)};
    const Vec<double> zero = splat(0.0);
    const Vec<double> one = splat(1.0);
    const Vec<double> limit = splat(static_cast<double>(classes));
    const Bits<double> skipped = splat_bits(static_cast<std::uint64_t>(ignored));
    Vec<double> wrong = zero;
    Vec<double> counted = zero;
    const auto take = [&](const std::int64_t* from, Vec<double> in_use) {
        const Bits<double> words = load_words(from);
        const Vec<double> counts =
            ignores ? select(equal(small_integers(words - skipped), zero), zero, in_use) : in_use;
        counted = counted + counts;
        wrong = wrong + select(less(small_integers(words), limit), zero, counts);
    };
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes)
        take(labels + i, one);
    if (i < n) {
        std::int64_t padded[lanes] = {};
        for (std::size_t k = i; k < n; ++k)
            padded[k - i] = labels[k];
        take(padded, select(less(load(lane_numbers<double>.values), splat(static_cast<double>(n - i))), one, zero));
    }
    double sums[2][lanes];
    store(sums[0], wrong);
    store(sums[1], counted);
    SumPair result{0.0, 0.0};
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        result.first += sums[0][lane];
        result.second += sums[1][lane];
    }
    return result;
}

/// NumberKernels::add_strided.
void add_strided(const double* values, std::size_t n, double* sums, double* lost) {
    for (std::size_t lane = 0; lane < 8; lane += Vec<double>::lanes) {
        Vec<double> sum = load(sums + lane);
        Vec<double> error = load(lost + lane);
        for (std::size_t i = lane; i < n; i += 8) {
            const TwoSum two(sum, load(values + i));
            sum = two.sum;
            error = error + two.lost;
        }
        store(sums + lane, sum);
        store(lost + lane, error);
    }
}
