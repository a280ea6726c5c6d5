// Arrays and numbers from the fuzzer's bytes.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "logitloss/logitloss.hpp"

namespace logitloss {

using Bytes = std::vector<std::uint8_t>;

/// The fuzzer's bytes, zeros after their end.
class Source {
public:
    Source(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
    std::size_t below(std::size_t n) { return byte() % n; }
    bool flag() { return (byte() & 1) != 0; }
    std::uint64_t word() {
        std::uint64_t value = 0;
        for (int i = 0; i < 8; ++i)
            value = value << 8 | byte();
        return value;
    }
    /// A double of the fuzzer's, or one of those that options are apt to be.
    double number() {
        static constexpr double usual[] = {0.0, 0.1, 0.5, 1.0, 2.0, -1.0, 3.5, 30.0, 1e-30, 1e30, -0.0, 1e300};
        const std::size_t choice = below(16);
        if (choice < std::size(usual))
            return usual[choice];
        const std::uint64_t bits = word();
        double value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }

private:
    const std::uint8_t* data_;
    std::size_t size_;
    std::size_t at_ = 0;
};

/// An array in memory of exactly its size, so that a sanitizer sees every byte beside it.
struct Array {
    DType dtype = DType::float32;
    std::vector<std::ptrdiff_t> shape, strides;
    std::ptrdiff_t first = 0;  ///< offset of the element 0, ..., 0
    bool byteswapped = false;
    Bytes bytes;
    bool given = false;

    std::size_t count() const {
        std::size_t n = 1;
        for (std::ptrdiff_t length : shape)
            n *= static_cast<std::size_t>(length);
        return n;
    }
    ArrayView view() const {
        if (!given)
            return {};
        return {bytes.data() + first, dtype, static_cast<int>(shape.size()), shape.data(), strides.data(), byteswapped};
    }
    MutableArrayView output() {
        if (!given)
            return {};
        return {bytes.data() + first, dtype, static_cast<int>(shape.size()), shape.data(), strides.data()};
    }
};

/// Strides that lay an array out in one of the ways that callers have: C or Fortran order, backwards, with gaps, or
/// (`may_repeat`) the same elements again and again.
inline void lay_out(Source& source, Array& array, bool may_repeat) {
    const auto item = static_cast<std::ptrdiff_t>(item_size(array.dtype));
    const std::size_t kind = source.below(may_repeat ? 7 : 6);
    const std::size_t dimensions = array.shape.size();
    std::ptrdiff_t stride = kind == 4 ? item + 1 : kind == 5 ? 2 * item : item;
    array.strides.assign(dimensions, 0);
    array.first = 0;
    for (std::size_t i = 0; i < dimensions; ++i) {
        const std::size_t axis = kind == 1 ? i : dimensions - 1 - i;
        if (kind == 6 && source.flag())
            continue;
        array.strides[axis] = stride;
        stride *= array.shape[axis];
    }
    std::ptrdiff_t last = 0;
    for (std::size_t axis = 0; axis < dimensions; ++axis) {
        const std::ptrdiff_t reach = array.strides[axis] * (array.shape[axis] - 1);
        last += array.shape[axis] > 0 ? reach : 0;
        if (kind >= 2 && kind <= 3 && array.shape[axis] > 0 && (kind == 2 || source.flag())) {
            array.first += reach;
            array.strides[axis] = -array.strides[axis];
        }
    }
    if (array.count() == 0)
        array.first = 0;  // of no memory
    array.bytes.assign(array.count() == 0 ? 0 : static_cast<std::size_t>(last + item), 0x4D);
    array.given = true;
}

/// A float32's magnitude as a float16, truncated: large ones become infinities, NaNs stay, small ones become 0.
inline std::uint64_t half_magnitude(std::uint32_t bits) {
    const std::uint32_t exponent = bits >> 23;
    if (exponent > 142)
        return bits > 0x7F800000 ? 0x7E00 : 0x7C00;
    return exponent < 113 ? 0 : (exponent - 112) << 10 | ((bits >> 13) & 1023);
}

/// Values of a few kinds; the bytes of what is no number of the dtype (a boolean of 7) are avoided.
inline void fill(Source& source, Array& array, std::size_t labels) {
    const std::size_t kind = source.below(8);
    std::uint64_t state = source.word();
    const auto next = [&] {
        state += 0x9E3779B97F4A7C15u;
        std::uint64_t z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    };
    const std::size_t item = item_size(array.dtype);
    for (std::size_t start = 0; start + item <= array.bytes.size(); start += item) {
        const std::uint64_t word = next();
        const bool special = word % 64 == 7;
        std::uint64_t bits = word >> 8;
        if (array.dtype == DType::boolean)
            bits &= 1;
        else if (is_integer(array.dtype))
            bits = kind == 0 && special ? bits : labels == 0 ? bits % 2 : bits % labels;
        else if (kind < 5) {
            static constexpr double specials[] = {0.0, -0.0, 1.0, -1e9, 3e38, 1e-40};
            double value = static_cast<double>(bits % 2000) / 100.0 - 10.0;
            if (kind == 1)
                value *= 100.0;
            if (kind == 2)
                value = static_cast<double>(bits % 1001) / 1000.0;
            if (special && kind == 3)
                value = bits % 8 < 6 ? specials[bits % 8] : bits % 8 == 6 ? HUGE_VAL : -HUGE_VAL;
            if (special && kind == 4)
                value = std::numeric_limits<double>::quiet_NaN();
            const auto narrow = static_cast<float>(value);
            std::uint32_t word32;
            std::memcpy(&word32, &narrow, sizeof word32);
            std::memcpy(&bits, &value, sizeof bits);
            if (array.dtype == DType::float32)
                bits = word32;
            else if (array.dtype == DType::bfloat16)
                bits = word32 >> 16;
            else if (array.dtype == DType::float16)
                bits = (word32 >> 31) << 15 | half_magnitude(word32 & 0x7FFFFFFF);
        }
        std::memcpy(array.bytes.data() + start, &bits, item);
    }
}

inline Array input(Source& source, std::vector<std::ptrdiff_t> shape, DType dtype, std::size_t labels = 0) {
    Array array;
    array.dtype = dtype;
    array.shape = std::move(shape);
    lay_out(source, array, true);
    fill(source, array, labels);
    array.byteswapped = item_size(dtype) > 1 && source.below(8) == 7;
    return array;
}

inline Array output(Source& source, std::vector<std::ptrdiff_t> shape, DType dtype) {
    Array array;
    array.dtype = dtype;
    array.shape = std::move(shape);
    lay_out(source, array, false);
    return array;
}

inline DType floating(Source& source) {
    static constexpr DType all[] = {DType::float32, DType::float64, DType::float16, DType::bfloat16};
    return all[source.below(4)];
}
inline DType any_dtype(Source& source) { return static_cast<DType>(source.below(13)); }

/// Small sizes mostly, and those around a group and a block.
inline std::ptrdiff_t length(Source& source) {
    static constexpr std::ptrdiff_t edges[] = {63, 64, 65, 127, 129, 255, 257, 1000, 4095, 4096, 4097, 9000};
    const std::size_t choice = source.byte();
    return choice < 240 ? static_cast<std::ptrdiff_t>(choice % 40) : edges[(choice - 240) % std::size(edges)];
}

/// A shape that broadcasts to `shape`, most of the time.
inline std::vector<std::ptrdiff_t> broadcasting(Source& source, std::vector<std::ptrdiff_t> shape) {
    for (std::ptrdiff_t& extent : shape)
        if (source.below(4) == 0)
            extent = source.below(16) == 0 ? extent + 1 : 1;
    if (!shape.empty() && source.flag())
        shape.erase(shape.begin());
    return shape;
}

}  // namespace logitloss
