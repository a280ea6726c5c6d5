// Softcapped logits s tanh(z / s) and their derivative.

/// exp(y) - 1 for y <= 0, to relative accuracy.
template <class T>
LOGITLOSS_INLINE Vec<T> expm1_nonpositive(Vec<T> y) {
    using C = Constants<T>;
    constexpr std::size_t terms = sizeof(C::exp_polynomial) / sizeof(T) - 1;
    y = max(splat((T(1) - C::bias) * C::ln2), y);
    const Vec<T> n = fma(y, splat(C::log2e), splat(C::magic)) - splat(C::magic);
    Vec<T> t = neg_fma(n, splat(C::ln2_hi), y);
    t = neg_fma(n, splat(C::ln2_lo), t);
    Vec<T> q = splat(C::exp_polynomial[0]);  // e^t = 1 + t q
    for (std::size_t i = 1; i < terms; ++i)
        q = fma(q, t, splat(C::exp_polynomial[i]));
    const Vec<T> scale = power_of_two(n);
    return fma(scale, t * q, scale - splat(T(1)));
}

/// KernelTable::softcap. tanh u = -m / (2 + m) with m = exp(-2|u|) - 1, with the sign of u. Where u^2 / 3 is below half
/// an ulp of 1, s tanh u is z; u itself may have lost its digits there, below the normal numbers.
template <class T>
void softcap(const T* x, std::size_t n, T cap, T* out) {
    const GroupReader<T> logits(x, n, T(0));
    GroupWriter<T> writer(out, n);
    const Vec<T> zero = splat(T(0));
    const Vec<T> far_below_cap = splat(cap * (sizeof(T) == sizeof(float) ? T(0x1p-12) : T(0x1p-26)));
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const Vec<T> z = load(logits.at(group) + i * Vec<T>::lanes);
            const Vec<T> m = expm1_nonpositive(splat(T(-2)) * abs(z / splat(cap)));
            const Vec<T> magnitude = splat(cap) * ((zero - m) / (splat(T(2)) + m));
            const Vec<T> capped = select(less(z, zero), zero - magnitude, magnitude);
            const auto kept = less(abs(z), far_below_cap) | equal(z, splat(T(-__builtin_inf())));
            store(writer.at(group) + i * Vec<T>::lanes, select(kept, z, capped));
        }
    writer.finish();
}

/// KernelTable::softcap_pull_back. The derivative is 1 - tanh^2 u = 4 e / (1 + e)^2 with e = exp(-2|u|), which keeps
/// its relative accuracy where tanh is near 1.
template <class T>
void softcap_pull_back(const T* x, std::size_t n, T cap, T* gradient) {
    const GroupReader<T> logits(x, n, T(0));
    const GroupReader<T> gradients(gradient, n, T(0));
    GroupWriter<T> writer(gradient, n);
    const std::size_t groups = group_count<T>(n);
    for (std::size_t group = 0; group < groups; ++group)
        for (std::size_t i = 0; i < group_vectors<T>; ++i) {
            const std::size_t lane = i * Vec<T>::lanes;
            const Vec<T> z = load(logits.at(group) + lane);
            const Vec<T> g = load(gradients.at(group) + lane);
            const ExpParts<T> parts = exp_parts(splat(T(-2)) * abs(z / splat(cap)), ExpShift<T>(T(0)));
            const Vec<T> e = parts.mantissa * parts.scale;
            const Vec<T> sum = splat(T(1)) + e;
            const Vec<T> result = g * ((splat(T(4)) * e) / (sum * sum));
            store(writer.at(group) + lane, select(equal(z, splat(T(-__builtin_inf()))), g, result));
        }
    writer.finish();
}
