// float16 and bfloat16 from the definition of their formats, in float64: what conversions are judged by.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "layout/half.hpp"
#include "logitloss/array.hpp"

namespace logitloss::detail {

/// A format: bits of the stored mantissa, exponent of the smallest normal number, bits of infinity and of the NaN.
template <class Half>
struct Format;
template <>
struct Format<Float16> {
    static constexpr DType dtype = DType::float16;
    static constexpr int mantissa = 10;
    static constexpr int least_exponent = -14;
    static constexpr std::uint32_t infinity = 0x7c00;
    static constexpr std::uint32_t quiet_nan = 0x7e00;
};
template <>
struct Format<BFloat16> {
    static constexpr DType dtype = DType::bfloat16;
    static constexpr int mantissa = 7;
    static constexpr int least_exponent = -126;
    static constexpr std::uint32_t infinity = 0x7f80;
    static constexpr std::uint32_t quiet_nan = 0x7fc0;
};

/// The number that a half's bits stand for, from the definition of the format; of its NaNs NaN.
template <class Half>
double defined_value(std::uint32_t word) {
    using F = Format<Half>;
    const std::uint32_t magnitude = word & 0x7fff;
    const double sign = word & 0x8000 ? -1.0 : 1.0;
    if (magnitude >= F::infinity)
        return magnitude == F::infinity ? sign * std::numeric_limits<double>::infinity()
                                        : std::numeric_limits<double>::quiet_NaN();
    const auto exponent = static_cast<int>(magnitude >> F::mantissa);
    const std::uint32_t fraction = magnitude & ((1u << F::mantissa) - 1);
    const std::uint32_t significand = exponent == 0 ? fraction : fraction | 1u << F::mantissa;
    return sign * std::ldexp(significand, F::least_exponent - F::mantissa + (exponent == 0 ? 0 : exponent - 1));
}

/// The bits of a half to which x rounds: its significand in units of the last place, in float64, to nearest even.
template <class Half>
std::uint32_t defined_bits(float x) {
    using F = Format<Half>;
    if (std::isnan(x))
        return F::quiet_nan;
    const std::uint32_t sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isinf(x))
        return sign | F::infinity;
    const double magnitude = std::fabs(static_cast<double>(x));
    const int exponent = magnitude == 0.0 ? F::least_exponent : std::max(F::least_exponent, std::ilogb(magnitude));
    const double units = std::nearbyint(std::ldexp(magnitude, F::mantissa - exponent));
    // The bits of consecutive halves are consecutive, so a carry into the exponent, or to infinity, needs no care.
    const auto biased = static_cast<std::uint32_t>(exponent - F::least_exponent);
    return sign | std::min(F::infinity, (biased << F::mantissa) + static_cast<std::uint32_t>(units));
}

}  // namespace logitloss::detail
