// Non-owning views of the caller's arrays: what every public function takes and writes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace logitloss {

/// Element types. Arithmetic runs in float32 for float16, bfloat16 and float32 data and in float64 for float64 data.
enum class DType : std::uint8_t {
    boolean,
    int8,
    uint8,
    int16,
    uint16,
    int32,
    uint32,
    int64,
    uint64,
    float16,
    bfloat16,
    float32,
    float64,
};

/// Bytes of one element.
constexpr std::size_t item_size(DType dtype) {
    switch (dtype) {
    case DType::boolean:
    case DType::int8:
    case DType::uint8:
        return 1;
    case DType::int16:
    case DType::uint16:
    case DType::float16:
    case DType::bfloat16:
        return 2;
    case DType::int32:
    case DType::uint32:
    case DType::float32:
        return 4;
    case DType::int64:
    case DType::uint64:
    case DType::float64:
        return 8;
    }
    return 0;
}

/// Integers of either sign; booleans are none.
constexpr bool is_integer(DType dtype) { return dtype >= DType::int8 && dtype <= DType::uint64; }
/// What logits may be.
constexpr bool is_floating(DType dtype) { return dtype >= DType::float16; }

/// Name as NumPy spells it ("float32", "bool", ...).
const char* name(DType dtype);

/// A read-only n-dimensional array that somebody else owns.
///
/// `shape` and `strides` point at `ndim` <= 64 values which must outlive the call; lengths are at least 0. `strides`
/// count bytes, may be zero or negative, and need not be multiples of the item size: elements may be unaligned. Without
/// strides (nullptr) elements are contiguous, the last axis running fastest. `data` is the element whose indices are all
/// 0. A view without data (`data == nullptr` and `ndim == 0`) stands for an argument that was not given.
struct ArrayView {
    const void* data = nullptr;
    DType dtype = DType::float32;
    int ndim = 0;
    const std::ptrdiff_t* shape = nullptr;
    const std::ptrdiff_t* strides = nullptr;
    bool byteswapped = false;  ///< elements are stored in the other byte order

    /// Whether this stands for an array, be it an empty one.
    bool given() const { return data != nullptr || ndim != 0; }
};

/// An ArrayView of an array that a function writes. Outputs are in native byte order.
struct MutableArrayView {
    void* data = nullptr;
    DType dtype = DType::float32;
    int ndim = 0;
    const std::ptrdiff_t* shape = nullptr;
    const std::ptrdiff_t* strides = nullptr;

    /// Whether this stands for an array, be it an empty one.
    bool given() const { return data != nullptr || ndim != 0; }
    /// What is written can be read.
    operator ArrayView() const {  // NOLINT(google-explicit-constructor): as for pointers to const
        return {data, dtype, ndim, shape, strides, false};
    }
};

}  // namespace logitloss
