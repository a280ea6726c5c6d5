// What the golden hashes are made of: reproducible values of every dtype, arrays of them, and the hash of an array. The same
// in Python, and described there: tests/python/support/corpus.py.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "logitloss/array.hpp"

namespace logitloss::golden {

constexpr std::uint64_t golden_ratio = 0x9E3779B97F4A7C15;

inline std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

inline std::uint64_t fnv1a(const std::string& name) {
    std::uint64_t state = 0xCBF29CE484222325;
    for (char byte : name)
        state = (state ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
    return state;
}

inline std::vector<std::uint64_t> words(const std::string& name, std::size_t count) {
    std::vector<std::uint64_t> result(count);
    const std::uint64_t seed = fnv1a(name);
    for (std::size_t i = 0; i < count; ++i)
        result[i] = mix(seed + (i + 1) * golden_ratio);
    return result;
}

// ------------------------------------------------------------------------------------------------------------ values

/// The 16-bit formats, as their bits.
struct Float16 {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

template <class T>
constexpr bool is_half = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

/// What the values of T are computed in.
template <class T>
using Real = std::conditional_t<std::is_same_v<T, double>, double, float>;

inline std::uint32_t bits_of(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

/// x as T. Every x of the corpus is 0, infinite, NaN or a normal number of T.
template <class T>
T stored(Real<T> x) {
    if constexpr (std::is_same_v<T, BFloat16>) {
        return {static_cast<std::uint16_t>(bits_of(x) >> 16)};
    } else if constexpr (std::is_same_v<T, Float16>) {
        const auto sign = static_cast<std::uint32_t>(std::signbit(x)) << 15;
        if (x == 0)
            return {static_cast<std::uint16_t>(sign)};
        if (!std::isfinite(x))
            return {static_cast<std::uint16_t>(sign | 0x7C00u | (std::isnan(x) ? 0x200u : 0u))};
        const std::uint32_t magnitude = bits_of(x) & 0x7FFFFFFFu;
        return {static_cast<std::uint16_t>(sign | ((magnitude >> 13) - ((127u - 15u) << 10)))};
    } else {
        return x;
    }
}

template <class T>
bool is_nan(T x) {
    if constexpr (std::is_same_v<T, BFloat16>)
        return (x.bits & 0x7FFF) > 0x7F80;
    else if constexpr (std::is_same_v<T, Float16>)
        return (x.bits & 0x7FFF) > 0x7C00;
    else
        return std::isnan(x);
}

/// In [0, 1).
template <class T>
Real<T> unit(std::uint64_t word) {
    if constexpr (is_half<T>)
        return static_cast<float>(word >> 56) * 0x1p-8f;
    return static_cast<float>(word >> 40) * 0x1p-24f;
}

/// In [-8, 8).
template <class T>
Real<T> plain(std::uint64_t word) {
    if constexpr (std::is_same_v<T, double>)
        return static_cast<double>(static_cast<std::int64_t>(word >> 11) - (std::int64_t{1} << 52)) * 0x1p-49;
    constexpr int bits = std::is_same_v<T, BFloat16> ? 8 : std::is_same_v<T, Float16> ? 11 : 24;
    const auto number = static_cast<std::int32_t>(word >> (64 - bits)) - (1 << (bits - 1));
    return static_cast<Real<T>>(number) * static_cast<Real<T>>(16.0 / (1 << bits));
}

struct Position {
    std::size_t row, column, classes;
};

template <class T>
Real<T> extreme(std::uint64_t word, Position at) {
    using R = Real<T>;
    constexpr R infinity = std::numeric_limits<R>::infinity();
    const R value = plain<T>(word);
    if (at.row % 7 == 6)
        return value * R(is_half<T> ? 4096 : 131072);
    if (at.row % 7 == 5 && at.column == 5 * at.row % at.classes)
        return std::numeric_limits<R>::quiet_NaN();
    if (at.row % 7 == 4 && at.column == at.row % at.classes)
        return infinity;
    if (at.row % 7 == 3)
        return -infinity;
    switch (word & 15) {
    case 0:
        return -infinity;
    case 1:
        return R(is_half<T> ? -32768 : -1073741824);
    case 2:
        return value * R(is_half<T> ? 0x1p-4 : 0x1p-20);
    case 3:
        return R(0);
    case 4:
        return -R(0);
    case 5:
        return value * R(8);
    default:
        return value;
    }
}

template <class T>
Real<T> structured(Position at) {
    using R = Real<T>;
    if (at.row % 3 == 0)
        return R(1.5);
    const auto from_middle = static_cast<std::int64_t>(at.column) - static_cast<std::int64_t>(at.classes / 2);
    if (at.row % 3 == 1)
        return static_cast<R>(from_middle) * R(0x1p-4);
    return at.column == at.row % at.classes ? R(40) : R(0);
}

template <class T>
Real<T> value_of(const std::string& values, std::uint64_t word, Position at) {
    if (values == "plain")
        return plain<T>(word);
    return values == "extreme" ? extreme<T>(word, at) : structured<T>(at);
}

// ------------------------------------------------------------------------------------------------------------ arrays

template <class T>
constexpr DType dtype_of = DType::boolean;
template <>
constexpr DType dtype_of<float> = DType::float32;
template <>
constexpr DType dtype_of<double> = DType::float64;
template <>
constexpr DType dtype_of<Float16> = DType::float16;
template <>
constexpr DType dtype_of<BFloat16> = DType::bfloat16;
template <>
constexpr DType dtype_of<std::uint8_t> = DType::uint8;
template <>
constexpr DType dtype_of<std::int64_t> = DType::int64;

/// A C-contiguous array that owns its elements.
template <class T>
struct Array {
    explicit Array(std::vector<std::ptrdiff_t> shape_) : shape(std::move(shape_)), strides(shape.size()) {
        std::ptrdiff_t size = 1;
        for (std::size_t d = shape.size(); d-- > 0; size *= shape[d])
            strides[d] = size * static_cast<std::ptrdiff_t>(sizeof(T));
        data.resize(static_cast<std::size_t>(size));
    }
    int ndim() const { return static_cast<int>(shape.size()); }
    operator ArrayView() const { return {data.data(), dtype_of<T>, ndim(), shape.data(), strides.data(), false}; }
    operator MutableArrayView() { return {data.data(), dtype_of<T>, ndim(), shape.data(), strides.data()}; }

    std::vector<T> data;
    std::vector<std::ptrdiff_t> shape, strides;
};

struct Hash {
    template <class T>
    void add(const Array<T>& array) {
        using Bits = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                        std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < array.data.size(); ++i) {
            Bits bits;
            std::memcpy(&bits, &array.data[i], sizeof bits);
            const std::uint64_t word = is_nan(array.data[i]) ? ~std::uint64_t{0} : bits;
            sum += mix(word + (i + 1) * golden_ratio);
        }
        state = mix(state + sum);
    }
    std::uint64_t state = 0;
};

}  // namespace logitloss::golden
