// Gradients and Hessian diagonals, in float64 whatever the logits are stored in: of rows side by side, and of elements.
//
// Note [curvature without cancellation]: p (1-p) is never p - p^2. Of a row the largest class is set aside: its 1-p is the
// sum of the others, added up without it, and the p of any other class is at most 1/2, so that 1-p loses no digit there.
// Of an element it is e / (1+e)^2 with e = exp(-|x|). A gradient at a target uses the same 1-p.

/// HessianRule. A NaN stays one, whatever the floor is.
LOGITLOSS_INLINE Vec<double> hessian_of(const HessianRule& rule, Vec<double> gradient, Vec<double> curvature) {
    const Vec<double> size = rule.absolute ? abs(gradient) : curvature;
    return max(splat(rule.floor), size * splat(rule.factor));
}

/// Gives every NaN the same bits, and makes results 0 where `keeps` is 0.
LOGITLOSS_INLINE Vec<double> finished(Vec<double> result, Vec<double> keeps) {
    const Vec<double> one_nan = select(equal(result, result), result, splat(__builtin_nan("")));
    return select(equal(keeps, splat(0.0)), splat(0.0), one_nan);
}

// ----------------------------------------------------------------------------------------------- rows side by side

/// Exponentials are raised by this power of two, so that they stay normal numbers far below the largest, which a factor may
/// bring back.
constexpr double raised_by = 500.0;

/// KernelTable::column_references.
template <class T>
void column_references(const T* x, std::ptrdiff_t stride, TileShape shape, CurvatureRows<T>* rows) {
    using C = Constants<double>;
    const Vec<T> nothing = splat(T(-__builtin_inf()));
    for (std::size_t lane = 0; lane < shape.lanes; lane += wide_lanes) {
        for (std::size_t at = lane; at < lane + wide_lanes; at += Vec<T>::lanes) {
            Vec<T> top = nothing;
            Vec<T> where = splat(T(-1));
            for (std::size_t j = 0; j < shape.classes; ++j) {
                const Vec<T> logit = load(x + static_cast<std::ptrdiff_t>(j) * stride + at);
                where = select(less(top, logit), class_number<T>(j), where);
                top = max(logit, top);
            }
            store(rows->top + at, where);
            store_widened(rows->reference + at, top);
        }
        for (std::size_t at = lane; at < lane + wide_lanes; at += Vec<double>::lanes) {
            const Vec<double> zero = splat(0.0);
            const Vec<double> top = load(rows->reference + at);
            // Where it reduces them exactly, exp_parts gets the logits themselves.
            const Vec<double> given = splat(rows->scale == 1.0 ? 0.0 : __builtin_inf());
            const auto as_given = within_limit(top + given);
            const Vec<double> own = select(as_given, top, zero);
            const Vec<double> n = fma(own, splat(C::log2e), splat(C::magic)) - splat(C::magic);
            store(rows->reference + at, select(as_given, zero, top));
            store(rows->exponent + at, n - splat(raised_by));
        }
    }
}

/// exp((x - reference) scale) / 2^exponent of the rows of one vector.
template <class T>
struct ExponentialsOfRows {
    const Vec<double> reference, scale;
    const ExpShift<double> shift;
    ColumnTotal<EightSums<T>::compensated> others;
    Vec<double> own;

    LOGITLOSS_INLINE ExponentialsOfRows(const CurvatureRows<T>& rows, std::size_t lane)
        : reference(load(rows.reference + lane)),
          scale(splat(rows.scale)),
          shift(load(rows.exponent + lane)),
          own(load(rows.own + lane)) {}

    /// Keeps the exponential of a class, and adds it to the sum unless it is the `top` one.
    LOGITLOSS_INLINE void add(Vec<double> x, Mask<double> top, double* kept) {
        const ExpParts<double> e = exp_parts((x - reference) * scale, shift);
        const Vec<double> value = e.mantissa * e.scale;
        store(kept, value);
        own = select(top, value, own);
        others.add(select(top, splat(0.0), value));
    }
};

/// KernelTable::column_exponentials.
template <class T>
void column_exponentials(const T* x, std::ptrdiff_t stride, TileShape shape, std::size_t first, CurvatureRows<T>* rows,
                         double* kept, double* sums) {
    constexpr std::size_t half = Vec<double>::lanes;
    const WideColumns<T> columns{x, stride};
    for (std::size_t lane = 0; lane < shape.lanes; lane += wide_lanes) {
        ExponentialsOfRows<T> lower(*rows, lane), upper(*rows, lane + half);
        const Wide top = wide_load(rows->top + lane);
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const Wide logits = columns.at(j, lane);
            const Vec<double> number = class_number<double>(first + j);
            double* const to = kept + j * shape.lanes + lane;
            lower.add(logits.lower, equal(number, top.lower), to);
            upper.add(logits.upper, equal(number, top.upper), to + half);
        }
        lower.others.store_to(sums + lane);
        upper.others.store_to(sums + lane + half);
        store(rows->own + lane, lower.own);
        store(rows->own + lane + half, upper.own);
    }
}

/// What the classes of the rows of one vector are written with.
struct RowCurvatures {
    const HessianRule& rule;
    const Vec<double> top, label, others, sum, inverse, keeps, weight;
    const Vec<double> whole;        // weight and mass
    const Vec<double> pull;         // that of an exponential
    const Vec<double> others_pull;  // the same without the mass of the largest class

    template <class T>
    LOGITLOSS_INLINE RowCurvatures(const CurvatureRows<T>& rows, const HessianRule& call_rule, std::size_t lane,
                                   Vec<double> own_top, Vec<double> own_label, Vec<double> read)
        : rule(call_rule),
          top(own_top),
          label(own_label),
          others(load(rows.others + lane)),
          sum(others + load(rows.own + lane)),
          inverse(splat(1.0) / sum),
          keeps(read),
          weight(load(rows.weight + lane) * splat(rows.scale)),
          whole(weight * load(rows.mass + lane)),
          pull(whole * inverse),
          others_pull((weight * load(rows.others_mass + lane)) * inverse) {}

    /// Of class j, with its exponential e: `q`: its coefficient, if the rows have some beside that of a label.
    template <bool soft>
    LOGITLOSS_INLINE void give(std::size_t j, Vec<double> e, const double* q, Vec<double>& gradient,
                               Vec<double>& hessian) const {
        const Vec<double> own = class_number<double>(j);
        const Mask<double> largest = equal(own, top);
        const Vec<double> complement = select(largest, others, sum - e) * inverse;
        if constexpr (soft) {
            const Vec<double> target = load(q) * weight;
            gradient = select(largest, fma(e, others_pull, splat(0.0) - target * complement),
                              fma(e, pull, splat(0.0) - target));
        } else {
            gradient = select(equal(own, label), splat(0.0) - complement * whole, e * pull);
        }
        hessian = finished(hessian_of(rule, gradient, (e * pull) * complement), keeps);
        gradient = finished(gradient, keeps);
    }
};

template <class T, bool soft>
void write_curvatures(const CurvatureInputs& in, TileShape shape, const CurvatureRows<T>& rows, const HessianRule& rule,
                      const CurvatureOutputs<T>& out) {
    constexpr std::size_t half = Vec<double>::lanes;
    for (std::size_t lane = 0; lane < shape.lanes; lane += wide_lanes) {
        const Wide top = wide_load(rows.top + lane), label = wide_load(rows.label + lane),
                   read = wide_load(rows.read + lane);
        const RowCurvatures lower(rows, rule, lane, top.lower, label.lower, read.lower);
        const RowCurvatures upper(rows, rule, lane + half, top.upper, label.upper, read.upper);
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const std::size_t at = j * shape.lanes + lane;
            const Wide e = wide_load(in.exponentials + at);
            const double* const q = soft ? in.coefficients + at : nullptr;
            Wide gradient, hessian;
            lower.template give<soft>(in.first + j, e.lower, q, gradient.lower, hessian.lower);
            upper.template give<soft>(in.first + j, e.upper, soft ? q + half : q, gradient.upper, hessian.upper);
            const auto row = static_cast<std::ptrdiff_t>(j);
            wide_store(out.grad + row * out.grad_stride + lane, gradient);
            wide_store(out.hess + row * out.hess_stride + lane, hessian);
        }
    }
}

/// KernelTable::column_curvatures.
template <class T>
void column_curvatures(const CurvatureInputs& in, TileShape shape, const CurvatureRows<T>& rows,
                       const HessianRule& rule, const CurvatureOutputs<T>& out) {
    if (in.coefficients != nullptr)
        write_curvatures<T, true>(in, shape, rows, rule, out);
    else
        write_curvatures<T, false>(in, shape, rows, rule, out);
}

// -------------------------------------------------------------------------------------------------------- elements

/// First and second derivative of a loss.
struct Derivatives {
    Vec<double> first;
    Vec<double> second;
};

struct BceDerivatives {
    LOGITLOSS_INLINE Derivatives operator()(const LogisticParts<double>& parts, Vec<double> t, Vec<double> one_minus_t,
                                            Vec<double> pos_weight) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> positive = select(equal(t, zero), zero, pos_weight * t);
        const Vec<double> inverse = splat(1.0) / (splat(1.0) + parts.e);
        return {parts.pull(positive, one_minus_t) * inverse,
                ((positive + one_minus_t) * (parts.e * inverse)) * inverse};
    }
};

/// With r = p (1-p) / m and d = 2t - 1, as in FocalElement: the derivative of m is -d m r, that of r is
/// r (1 - 2p + d r).
struct FocalDerivatives {
    const FocalElement<double> element;

    LOGITLOSS_INLINE Derivatives operator()(const LogisticParts<double>& parts, Vec<double> t, Vec<double> one_minus_t,
                                            Vec<double>) const {
        const Vec<double> zero = splat(0.0);
        const Vec<double> one = splat(1.0);
        const Vec<double> gamma = splat(element.gamma);
        const Vec<double> u = fma(one_minus_t, parts.up, t * parts.down);
        const Vec<double> factor = element.factor(parts, u, t, one_minus_t);
        const Vec<double> inverse = one / (one + parts.e);
        const Vec<double> ratio = select(equal(parts.e, zero), zero, (parts.e / u) * inverse);
        const Vec<double> change =
            select(equal(ratio, zero), zero, ratio * parts.cross_entropy(t, one_minus_t)) * gamma;
        const Vec<double> slope = parts.pull(t, one_minus_t) * inverse;
        const Vec<double> side = t - one_minus_t;
        const Vec<double> away = (one - parts.e) * inverse;  // |1 - 2p|
        const Vec<double> turn = fma((gamma - one) * side, ratio, select(parts.below_zero, zero - away, away));
        const Vec<double> gain = (splat(2.0) * gamma * side) * (slope * ratio);
        const Vec<double> second = fma(side * change, turn, (parts.e * inverse) * inverse - gain);
        const auto removed = equal(factor, zero);
        return {select(removed, zero, factor * neg_fma(side, change, slope)), select(removed, zero, factor * second)};
    }
};

/// Writes the gradients of a block to `grad` and what stands for the Hessian to `loss`.
template <class Step>
LOGITLOSS_INLINE void write_derivatives(const ElementBlock<double>& block, const HessianRule& rule, const Step& step,
                                        std::size_t n) {
    const WideReader<double> logits(block.input, n, 0.0), targets(block.target, n, 0.0), weights(block.weight, n, 1.0),
        pos_weights(block.pos_weight, n, 1.0);
    WideWriter<double> grads(block.grad, n), hessians(block.loss, n);
    const Smoothing<double> smoothed(block.smoothing);
    const auto one_vector = [&](Vec<double> x, Vec<double> t, Vec<double> weight, Vec<double> pos_weight,
                                Vec<double>& gradient, Vec<double>& hessian) {
        const Vec<double> one_minus_t = splat(1.0) - t;
        const Derivatives at = step(LogisticParts<double>(x), smoothed(t), smoothed(one_minus_t), pos_weight);
        gradient = finished(weight * at.first, weight);
        hessian = finished(hessian_of(rule, weight * at.first, weight * at.second), weight);
    };
    for (std::size_t group = 0; group < group_count<double>(n); ++group)
        for (std::size_t lane = 0; lane < group_size<double>; lane += wide_lanes) {
            const Wide x = logits.at(group, lane), t = targets.at(group, lane), w = weights.at(group, lane),
                       p = pos_weights.at(group, lane);
            Wide gradient, hessian;
            one_vector(x.lower, t.lower, w.lower, p.lower, gradient.lower, hessian.lower);
            one_vector(x.upper, t.upper, w.upper, p.upper, gradient.upper, hessian.upper);
            grads.set(group, lane, gradient);
            hessians.set(group, lane, hessian);
        }
    grads.finish();
    hessians.finish();
}

/// KernelTable::bce_derivatives.
inline void bce_derivatives(const ElementBlock<double>& block, const HessianRule& rule, std::size_t n) {
    write_derivatives(block, rule, BceDerivatives{}, n);
}

/// KernelTable::focal_derivatives.
inline void focal_derivatives(const ElementBlock<double>& block, const FocalParameters& parameters,
                              const HessianRule& rule, std::size_t n) {
    write_derivatives(block, rule, FocalDerivatives{FocalElement<double>(parameters, 0.0)}, n);
}
