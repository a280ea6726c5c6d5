// Binary cross-entropy with logits, element by element.

/// loss = positive softplus(-x) + negative softplus(x), gradient = negative sigmoid(x) - positive sigmoid(-x).
template <class T>
struct BceElement {
    static constexpr bool smooths = false;
    static constexpr bool logistic = true;
    static constexpr bool by_exponential = true;  // of -|x|, from which the results are small

    LOGITLOSS_INLINE ElementResult<T> operator()(const LogisticParts<T>& parts, Vec<T> positive,
                                                 Vec<T> negative) const {
        return {parts.cross_entropy(positive, negative), parts.pull(positive, negative) / (splat(T(1)) + parts.e)};
    }

    // Note [far elements]
    LOGITLOSS_INLINE Mask<T> may_be_far(Vec<T> x, const ElementResult<T>&, const Reach<T>& reach) const {
        return less(splat(reach.distance), abs(x));
    }
    LOGITLOSS_INLINE BceElement<double> wide() const { return {}; }
    LOGITLOSS_INLINE Vec<double> large_size(Vec<double> x, Vec<double>) const { return abs(x); }
    LOGITLOSS_INLINE Vec<double> small_size(Vec<double> x, Vec<double>) const {
        const ExpParts<double> parts = exp_parts(splat(0.0) - abs(x), ExpShift<double>(0.0));
        return parts.mantissa * parts.scale;
    }
    static __attribute__((noinline)) void scaled(const Vec<double>& x, const Scaled& positive, const Scaled& negative,
                                                 ScaledResult& out) {
        const ScaledLogistic parts(x);
        out = {parts.cross_entropy(positive, negative), parts.pull(positive, negative) / parts.one_plus_e()};
    }
};

/// KernelTable::bce.
template <class T>
double bce(const ElementBlock<T>& block, std::size_t n) {
    return sweep_elements<T>(block, n, BceElement<T>{});
}
