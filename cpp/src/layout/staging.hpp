// Staging: a block of somebody's array, of any dtype, stride and byte order, as contiguous numbers in a small buffer,
// and back. What already lies as the kernels want it is used where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/kernel_table.hpp"
#include "logitloss/array.hpp"

namespace logitloss::detail {

/// How numbers of type T are stored.
template <class T>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, float>)
        return DType::float32;
    if constexpr (std::is_same_v<T, double>)
        return DType::float64;
    if constexpr (std::is_same_v<T, Float16>)
        return DType::float16;
    return DType::bfloat16;
}

/// One axis of an array: elements `stride` bytes apart.
struct Line {
    DType dtype = DType::float32;
    bool byteswapped = false;
    std::ptrdiff_t stride = 0;

    /// Whether a kernel on T can read the line in place, when every line starts at a multiple of `alignment`.
    template <class T>
    bool direct(std::size_t alignment) const {
        return dtype == dtype_of<T>() && !byteswapped && stride == static_cast<std::ptrdiff_t>(sizeof(T)) &&
               alignment % alignof(T) == 0;
    }
};

/// out[i] = element i of the line that starts at `data`, converted to T (to nearest even where T is narrower).
template <class T>
void gather(const Line& line, const char* data, std::size_t n, T* out);

/// The same where where[i] is not 0, and `fill` elsewhere: what is stored there is not read.
template <class T>
void gather_where(const Line& line, const char* data, const unsigned char* where, std::size_t n, T fill, T* out);

/// Element i of the line = in[i], rounded to nearest even. The line's dtype is floating and in native byte order.
template <class T>
void scatter(const Line& line, const T* in, std::size_t n, char* data);

/// Element 0 as a number.
double read_number(const Line& line, const char* data);

/// Element 0 = value, as scatter() writes it; NaN becomes the one NaN.
void write_number(const Line& line, double value, char* data);

/// out[i] = element i of a line of integers. Values above the largest int64 become the smallest, which no other value of
/// their dtype does; so do floating numbers that are no integers or that int64 does not hold.
void gather_integers(const Line& line, const char* data, std::size_t n, std::int64_t* out);

/// Element 0 of a line of integers, likewise.
std::int64_t read_integer(const Line& line, const char* data);

}  // namespace logitloss::detail
