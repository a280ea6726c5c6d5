// Rows that the fast sweeps leave alone: +inf, NaN, or a maximum beyond the exact range of the reduction. Scalar, in
// float64, against the row's own maximum: differences of such numbers are exact or decide nothing.

/// exp(x), log(x) and log1p(x) of one number.
template <Vec<double> (*function)(Vec<double>)>
double scalar_function(double x) {
    double lanes[Vec<double>::lanes] = {};
    for (double& lane : lanes)
        lane = x;
    store(lanes, function(load(lanes)));
    return lanes[0];
}

/// scale exp(x) for x <= 0 and finite `scale`, rounded once where it is a normal number, though exp(x) may be none.
LOGITLOSS_INLINE Vec<double> exp_times(Vec<double> x, Vec<double> scale) {
    using C = Constants<double>;
    const ExpAt<double> e = exp_at(max(splat(-2100.0), x));  // no scale makes more than 0 of what is below
    const Vec<double> third = fma(e.exponent, splat(1.0 / 3.0), splat(C::magic)) - splat(C::magic);
    const Vec<double> power = power_of_two(third);
    return (((scale * power) * e.mantissa) * power) * power_of_two(e.exponent - (third + third));
}
double exp_times(double x, double scale) {
    double lanes[Vec<double>::lanes];
    store(lanes, exp_times(splat(x), splat(scale)));
    return lanes[0];
}

/// KernelTable::float64_max: the largest element but `aside`; NaN if there is a NaN; -inf of nothing.
template <class T>
double float64_max(const T* x, std::size_t n, std::size_t aside) {
    double top = -__builtin_inf();
    for (std::size_t i = 0; i < n; ++i) {
        if (i == aside)
            continue;
        const double value = static_cast<double>(x[i]);
        if (value != value)
            return value;
        top = value > top ? value : top;
    }
    return top;
}

/// KernelTable::float64_sum: sum_j exp(x_j - reference) but `aside`, in eight strided sums, and what their additions
/// round away: logits so large lie on a coarse grid, where many additions round the same way.
template <class T>
double float64_sum(const T* x, std::size_t n, std::size_t aside, double reference) {
    double t[8] = {};
    double lost[8] = {};
    for (std::size_t i = 0; i < n; ++i) {
        if (i == aside)
            continue;
        const double term = scalar_function<exp_everywhere<double>>(static_cast<double>(x[i]) - reference);
        double& part = t[i % 8];
        const double sum = part + term;
        const double back = sum - part;
        lost[i % 8] += (part - (sum - back)) + (term - back);
        part = sum;
    }
    const double sum = ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
    return sum + (((lost[0] + lost[4]) + (lost[2] + lost[6])) + ((lost[1] + lost[5]) + (lost[3] + lost[7])));
}

/// KernelTable::float64_write: out_j = scale exp(x_j - reference) + linear q_j, then the patch. A class at -inf has
/// exponential 0 whatever the reference is, and a term of 0 stays 0 under an infinite factor.
template <class T>
void float64_write(const T* x, std::size_t n, double reference, double scale, double linear, const double* q,
                   Patch<T> patch, T* out) {
    for (std::size_t i = 0; i < n; ++i) {
        const double value = static_cast<double>(x[i]);
        double result = 0.0;
        if (scale - scale == 0.0)
            result = value == -__builtin_inf() ? 0.0 : exp_times(value - reference, scale);
        else if (scalar_function<exp_everywhere<double>>(value - reference) != 0.0)
            result = scale;
        const double coefficient = q != nullptr ? q[i] : 1.0;
        if (linear != 0.0 && coefficient != 0.0)
            result += linear * coefficient;
        out[i] = static_cast<T>(result);
    }
    if (patch.index != no_index)
        out[patch.index] = patch.value;
}
