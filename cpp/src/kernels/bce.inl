// Binary cross-entropy with logits, element by element.

/// loss = positive softplus(-x) + negative softplus(x), gradient = negative sigmoid(x) - positive sigmoid(-x).
template <class T>
struct BceElement {
    static constexpr bool smooths = false;

    LOGITLOSS_INLINE ElementResult<T> operator()(Vec<T> x, Vec<T> positive, Vec<T> negative) const {
        const LogisticParts<T> parts(x);
        return {parts.cross_entropy(positive, negative), parts.pull(positive, negative) / (splat(T(1)) + parts.e)};
    }
};

/// KernelTable::bce.
template <class T>
double bce(const BceBlock<T>& block, std::size_t n) {
    return sweep_elements<T>(block, n, BceElement<T>{});
}
