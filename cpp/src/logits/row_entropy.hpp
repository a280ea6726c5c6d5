// The entropy of a softmax, from sums beside the row's largest logit.
#pragma once

namespace logitloss::detail {

/// What Kernels::exponential_gaps multiplies its sums with.
constexpr double raised = 0x1p64;

/// Nats, as `value` times a power of two.
struct ScaledNats {
    double value = 0.0;
    double scale = 1.0;
};

/// With the largest logit m taken out, S = sum exp(x_j - m) and G = sum (m - x_j) exp(x_j - m) of the others:
///     sum_j p_j (L - x_j) = log(1 + S) + G / (1 + S),
/// a sum of terms that are never negative, as small as a confident row's entropy is. Of an S among the last normal
/// numbers it is S + G, whose digits only the raised sums `others` and `gaps` have.
inline ScaledNats entropy_beside_top(double others, double log1p_others, double gaps) {
    if (others < 0x1p-900 * raised)
        return {others + gaps, 1.0 / raised};
    return {log1p_others + (gaps / raised) / (1.0 + others / raised), 1.0};
}

}  // namespace logitloss::detail
