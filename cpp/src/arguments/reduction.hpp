// Reductions: from the sum of the losses to the result, and the factor that the gradient takes.
#pragma once

#include <algorithm>
#include <cmath>
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

/// 2^-k for a finite x of magnitude 2^k (1 + f), not 0, as far as that and what it multiplies stay normal numbers.
inline double scale_to_1(double x) { return std::ldexp(1.0, std::clamp(-std::ilogb(x), -1020, 1020)); }

/// Whether 1/x and products with it stay far within the range of float64.
inline bool is_safe_divisor(double x) {
    constexpr double far = 0x1p+100;
    return std::fabs(x) >= 1.0 / far && std::fabs(x) <= far;
}

/// A product of numbers as factor 2^exponent: the exponent is 0 unless the product leaves the range that is safe for it.
struct FactorOfGradient {
    double factor = 1.0;
    double exponent = 0.0;

    FactorOfGradient() = default;
    FactorOfGradient(double a, double b, double c = 1.0) : factor(a * b * c) {
        const auto ordinary = [](double x) { return x != 0.0 && std::isfinite(x); };
        const double size = std::fabs(factor);
        if ((size >= 0x1p-900 && size <= 0x1p+900) || !ordinary(a) || !ordinary(b) || !ordinary(c)) {
            factor = a == 0.0 || b == 0.0 || c == 0.0 ? 0.0 : factor;
            return;
        }
        factor = 1.0;
        for (const double x : {a, b, c}) {
            const double scale = scale_to_1(x);
            factor *= x * scale;
            exponent -= std::ilogb(scale);
        }
    }
};

/// A sum of weights sample_scale sample_weight * class_scale class_weight.
///
/// Note [means of tiny and huge weights]: weights may sum to what has no reciprocal, or to more than float64 holds, and
/// so may their products, though the mean is an ordinary number. Such weights are multiplied by powers of two, which
/// cancel, before anything else is done with them. The scales are 1 for all others.
struct WeightSum {
    double sum = 1.0;
    double sample_scale = 1.0;
    double class_scale = 1.0;
};

/// What divides the sum of the losses. `weights` is the mean's own divisor.
struct Normalization {
    double divisor = 1.0;
    double gradient_factor = 1.0;
    bool gradient_is_zero = false;  ///< a mean over nothing is NaN, and its gradient 0
    double sample_scale = 1.0;  ///< multiplies every element's or row's weight: Note [means of tiny and huge weights]
    double class_scale = 1.0;   ///< multiplies every class weight of class indices

    Normalization() = default;
    Normalization(Reduction reduction, std::optional<double> normalizer, const WeightSum& weights) {
        if (normalizer) {
            sample_scale = is_safe_divisor(*normalizer) ? 1.0 : scale_to_1(*normalizer);
            divisor = *normalizer * sample_scale;
        } else if (reduction == Reduction::mean) {
            sample_scale = weights.sample_scale;
            class_scale = weights.class_scale;
            divisor = weights.sum;
        }
        gradient_is_zero = divisor == 0.0;
        gradient_factor = gradient_is_zero ? 0.0 : 1.0 / divisor;
    }
    double reduce(double sum) const {
        return gradient_is_zero ? std::numeric_limits<double>::quiet_NaN() : sum / divisor;
    }
};

}  // namespace logitloss::detail
