// Reductions: from the sum of the losses to the result, and the factor that the gradient takes.
#pragma once

#include <limits>
#include <optional>

#include "arguments/arguments.hpp"
#include "logitloss/reduction.hpp"

namespace logitloss::detail {

/// A normalizer must be positive and finite, and needs a sum to divide.
inline void check_normalizer(Reduction reduction, std::optional<double> normalizer) {
    if (!normalizer)
        return;
    require_positive_finite("normalizer", *normalizer);
    if (reduction == Reduction::none)
        throw value_error("normalizer: got " + to_string(*normalizer) +
                          " with reduction 'none', expected reduction 'mean' or 'sum'");
}

/// What divides the sum of the losses. `weights` is the mean's own divisor.
struct Normalization {
    double divisor = 1.0;
    double gradient_factor = 1.0;
    bool gradient_is_zero = false;  ///< a mean over nothing is NaN, and its gradient 0

    Normalization() = default;
    Normalization(Reduction reduction, std::optional<double> normalizer, double weights) {
        if (normalizer)
            divisor = *normalizer;
        else if (reduction == Reduction::mean)
            divisor = weights;
        gradient_is_zero = divisor == 0.0;
        gradient_factor = gradient_is_zero ? 0.0 : 1.0 / divisor;
    }
    double reduce(double sum) const {
        return gradient_is_zero ? std::numeric_limits<double>::quiet_NaN() : sum / divisor;
    }
};

}  // namespace logitloss::detail
