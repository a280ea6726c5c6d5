// float16 and bfloat16 to and from float32, one number at a time: what the scalar kernels are made of, and so the
// definition that the instructions and integer steps of all other instruction sets must equal bit for bit.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/kernel_table.hpp"

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
template <class Half>
std::uint32_t word_of(Half h) {
    std::uint16_t word;
    std::memcpy(&word, h.bytes, sizeof word);
    return word;
}
template <class Half>
Half half_of(std::uint32_t bits) {
    const auto word = static_cast<std::uint16_t>(bits);
    Half h;
    std::memcpy(h.bytes, &word, sizeof word);
    return h;
}

/// Exact.
inline float to_float(BFloat16 h) { return float_of(word_of(h) << 16); }

/// Exact. The exponent is moved by a multiplication, which also normalises subnormals. A signalling NaN becomes quiet
/// and keeps its payload, as where an instruction converts it.
inline float to_float(Float16 h) {
    const std::uint32_t sign = (word_of(h) & 0x8000) << 16;
    const std::uint32_t magnitude = (word_of(h) & 0x7fff) << 13;
    const bool special = magnitude >= 0x0f800000;  // infinity or NaN
    const std::uint32_t quiet = magnitude > 0x0f800000 ? 0x00400000 : 0;
    const float scaled = float_of(magnitude) * 0x1p112f;
    return float_of(sign | (special ? magnitude | 0x7f800000 | quiet : bits_of(scaled)));
}

template <class Half>
Half to_half(float x);

/// Rounded to nearest even; subnormals kept; NaN becomes the quiet NaN.
template <>
inline BFloat16 to_half<BFloat16>(float x) {
    const std::uint32_t u = bits_of(x);
    const std::uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    return half_of<BFloat16>(x != x ? 0x7fc0 : rounded);
}

/// Rounded to nearest even; overflow gives infinity, subnormals are kept; NaN becomes the quiet NaN.
template <>
inline Float16 to_half<Float16>(float x) {
    const std::uint32_t u = bits_of(x);
    const std::uint32_t sign = (u >> 16) & 0x8000;
    const std::uint32_t magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return half_of<Float16>(0x7e00);
    if (magnitude >= 0x477ff000)  // rounds to 2^16 or more
        return half_of<Float16>(sign | 0x7c00);
    if (magnitude < 0x38800000) {  // subnormal: adding 1/2 leaves the rounded multiple of 2^-24 in the low bits
        const float shifted = float_of(magnitude) + 0.5f;
        return half_of<Float16>(sign | (bits_of(shifted) - bits_of(0.5f)));
    }
    const std::uint32_t rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1);
    return half_of<Float16>(sign | (rounded >> 13));
}

}  // namespace logitloss::detail
