// What the losses on probabilities share: clipping, and the refusal of what is no probability.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "arguments/arguments.hpp"
#include "kernels/kernel_table.hpp"

namespace logitloss::detail {

inline void check_eps(std::optional<double> eps) {
    if (eps && !(*eps >= 0.0 && *eps < 0.5))
        throw value_error("eps: got " + to_string(*eps) + ", expected None or a value in [0, 0.5)");
}

/// x as float32 has it. By way of memory: GCC 12 takes a pair of such conversions there and back for nothing.
inline double in_float32(double x) {
    const volatile float rounded = static_cast<float>(x);
    return static_cast<double>(rounded);
}

/// Bounds as the arithmetic of the probabilities' dtype has them: 1 - 1e-7 is 0.99999988 in float32.
inline Clipping clipping_of(std::optional<double> eps, DType dtype) {
    if (!eps)
        return {};
    if (dtype == DType::float64)
        return {true, *eps, 1.0 - *eps, 1.0};
    return {true, in_float32(*eps), in_float32(1.0 - *eps), 1.0};
}

inline bool is_probability(double p) { return p >= 0.0 && p <= 1.0; }
constexpr const char* probability_expected = "a probability in [0, 1], or an eps to clip others with";

}  // namespace logitloss::detail
