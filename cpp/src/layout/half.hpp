// float16 and bfloat16 to and from float32, by integer steps, so that every CPU gives the same bits.
#pragma once

#include <cstdint>
#include <cstring>

namespace logitloss::detail {

inline std::uint32_t bits_of(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float float_of(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

/// Exact.
inline float float_from_bfloat16(std::uint16_t h) { return float_of(static_cast<std::uint32_t>(h) << 16); }

/// Rounded to nearest even; subnormals kept; NaN becomes the quiet NaN.
inline std::uint16_t bfloat16_from_float(float x) {
    const std::uint32_t u = bits_of(x);
    const std::uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    return static_cast<std::uint16_t>(x != x ? 0x7fc0 : rounded);
}

/// Exact. The exponent is moved by a multiplication, which also normalises subnormals.
inline float float_from_float16(std::uint16_t h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
    const std::uint32_t magnitude = static_cast<std::uint32_t>(h & 0x7fff) << 13;
    const bool special = magnitude >= 0x0f800000;  // infinity or NaN
    const float scaled = float_of(magnitude) * 0x1p112f;
    return float_of(sign | (special ? magnitude | 0x7f800000 : bits_of(scaled)));
}

/// Rounded to nearest even; overflow gives infinity, subnormals are kept; NaN becomes the quiet NaN.
inline std::uint16_t float16_from_float(float x) {
    const std::uint32_t u = bits_of(x);
    const std::uint32_t sign = (u >> 16) & 0x8000;
    const std::uint32_t magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return 0x7e00;
    if (magnitude >= 0x477ff000)  // rounds to 2^16 or more
        return static_cast<std::uint16_t>(sign | 0x7c00);
    if (magnitude < 0x38800000) {  // subnormal: adding 1/2 leaves the rounded multiple of 2^-24 in the low bits
        const float shifted = float_of(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign | (bits_of(shifted) - bits_of(0.5f)));
    }
    const std::uint32_t rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1);
    return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

}  // namespace logitloss::detail
