#include "layout/staging.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/kernel_table.hpp"
#include "layout/half.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {
namespace {

/// What is stored so is widened and rounded by the kernels where it is contiguous, which takes a fraction of the time
/// of the conversions one by one and gives the same bits.
template <class Stored>
constexpr bool is_half = std::is_same_v<Stored, Float16> || std::is_same_v<Stored, BFloat16>;

/// Elements beside a mask that are looked at together.
constexpr std::size_t where_group = 64;

template <class Stored>
Stored read_bytes(const char* data, bool byteswapped) {
    unsigned char bytes[sizeof(Stored)];
    std::memcpy(bytes, data, sizeof bytes);
    if (byteswapped)
        std::reverse(bytes, bytes + sizeof bytes);
    Stored value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

template <class T, class Stored>
T to_number(Stored value) {
    return static_cast<T>(value);
}
template <class T>
T to_number(Float16 value) {
    return static_cast<T>(to_float(value));
}
template <class T>
T to_number(BFloat16 value) {
    return static_cast<T>(to_float(value));
}

template <class Stored, class T>
Stored from_number(T value) {
    if constexpr (is_half<Stored>)
        return to_half<Stored>(static_cast<float>(value));
    else
        return static_cast<Stored>(value);
}

template <class Stored>
bool contiguous(const Line& line) {
    return line.stride == static_cast<std::ptrdiff_t>(sizeof(Stored)) && !line.byteswapped;
}

template <class T, class Stored>
void gather_as(const Line& line, const char* data, std::size_t n, T* out) {
    if constexpr (is_half<Stored> && std::is_same_v<T, float>)
        if (contiguous<Stored>(line))
            return kernels().halves<Stored>().widen(reinterpret_cast<const Stored*>(data), n, out);
    if (line.byteswapped && sizeof(Stored) > 1) {
        for (std::size_t i = 0; i < n; ++i, data += line.stride)
            out[i] = to_number<T>(read_bytes<Stored>(data, true));
    } else if (contiguous<Stored>(line)) {
        for (std::size_t i = 0; i < n; ++i) {
            Stored value;
            std::memcpy(&value, data + i * sizeof(Stored), sizeof value);
            out[i] = to_number<T>(value);
        }
    } else {
        for (std::size_t i = 0; i < n; ++i, data += line.stride)
            out[i] = to_number<T>(read_bytes<Stored>(data, false));
    }
}

template <class T, class Stored>
void scatter_as(const Line& line, const T* in, std::size_t n, char* data) {
    if constexpr (is_half<Stored> && std::is_same_v<T, float>)
        if (contiguous<Stored>(line))
            return kernels().halves<Stored>().narrow(in, n, StoreMode::cached, reinterpret_cast<Stored*>(data));
    const auto put = [&](std::size_t i, char* to) {
        const Stored value = from_number<Stored>(in[i]);
        std::memcpy(to, &value, sizeof value);
    };
    if (contiguous<Stored>(line))  // which the compiler can turn into vectors
        for (std::size_t i = 0; i < n; ++i)
            put(i, data + i * sizeof(Stored));
    else
        for (std::size_t i = 0; i < n; ++i, data += line.stride)
            put(i, data);
}

/// Calls fn with a value of the type that stores `dtype`. NumPy's bool is a byte that is 0 or not.
template <class Fn>
auto with_stored_type(DType dtype, Fn fn) {
    switch (dtype) {
    case DType::boolean:
    case DType::uint8:
        return fn(std::uint8_t{});
    case DType::int8:
        return fn(std::int8_t{});
    case DType::int16:
        return fn(std::int16_t{});
    case DType::uint16:
        return fn(std::uint16_t{});
    case DType::int32:
        return fn(std::int32_t{});
    case DType::uint32:
        return fn(std::uint32_t{});
    case DType::int64:
        return fn(std::int64_t{});
    case DType::uint64:
        return fn(std::uint64_t{});
    case DType::float16:
        return fn(Float16{});
    case DType::bfloat16:
        return fn(BFloat16{});
    case DType::float32:
        return fn(float{});
    case DType::float64:
        break;
    }
    return fn(double{});
}

}  // namespace

template <class T>
void gather(const Line& line, const char* data, std::size_t n, T* out) {
    with_stored_type(line.dtype, [&](auto stored) { gather_as<T, decltype(stored)>(line, data, n, out); });
    if (line.dtype == DType::boolean)
        std::transform(out, out + n, out, [](T value) { return T(value != T(0)); });
}

namespace {

/// How many of where_group elements from i on a mask keeps.
enum class Kept { none, some, all };

Kept kept_of(const unsigned char* where, std::size_t i, std::size_t n) {
    const std::size_t end = std::min(n, i + where_group);
    unsigned char least = 255;
    unsigned char most = 0;
    for (; i < end; ++i) {
        least = std::min(least, where[i]);
        most = std::max(most, where[i]);
    }
    return least != 0 ? Kept::all : most == 0 ? Kept::none : Kept::some;
}

/// Up to where_group elements, some of them masked: those that are kept are brought together, without a branch on each.
template <class T>
void gather_some(const Line& line, const char* data, const unsigned char* where, std::size_t n, T fill, T* out) {
    std::uint8_t index[where_group];
    std::size_t kept = 0;
    for (std::size_t i = 0; i < n; ++i) {
        index[kept] = static_cast<std::uint8_t>(i);
        kept += where[i] != 0;
    }
    char items[where_group * sizeof(double)];
    T numbers[where_group];
    with_stored_type(line.dtype, [&](auto stored) {
        constexpr std::size_t size = sizeof(stored);
        for (std::size_t j = 0; j < kept; ++j)
            std::memcpy(items + j * size, data + index[j] * line.stride, size);
        gather<T>({line.dtype, line.byteswapped, static_cast<std::ptrdiff_t>(size)}, items, kept, numbers);
    });
    std::fill(out, out + n, fill);
    for (std::size_t j = 0; j < kept; ++j)
        out[index[j]] = numbers[j];
}

}  // namespace

template <class T>
void gather_where(const Line& line, const char* data, const unsigned char* where, std::size_t n, T fill, T* out) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(data) % alignof(T) == 0;
    if (aligned && line.dtype == dtype_of<T>() && contiguous<T>(line))
        return kernels().of<T>().keep(reinterpret_cast<const T*>(data), where, n, fill, out);
    std::size_t end = 0;
    for (std::size_t i = 0; i < n; i = end) {
        const Kept kept = kept_of(where, i, n);
        end = std::min(n, i + where_group);
        while (kept != Kept::some && end < n && kept_of(where, end, n) == kept)
            end = std::min(n, end + where_group);
        const char* from = data + static_cast<std::ptrdiff_t>(i) * line.stride;
        if (kept == Kept::all)
            gather(line, from, end - i, out + i);
        else if (kept == Kept::none)
            std::fill(out + i, out + end, fill);
        else
            gather_some(line, from, where + i, end - i, fill, out + i);
    }
}

template <class T>
void scatter(const Line& line, const T* in, std::size_t n, char* data) {
    with_stored_type(line.dtype, [&](auto stored) { scatter_as<T, decltype(stored)>(line, in, n, data); });
}

double read_number(const Line& line, const char* data) {
    double value;
    gather<double>(line, data, 1, &value);
    return value;
}

void write_number(const Line& line, double value, char* data) {
    if (value != value)
        value = std::numeric_limits<double>::quiet_NaN();
    scatter(line, &value, 1, data);
}

namespace {

template <class Stored>
std::int64_t to_integer(Stored value) {
    using Limits = std::numeric_limits<std::int64_t>;
    if constexpr (!std::is_integral_v<Stored>) {
        const auto number = to_number<double>(value);
        const auto integer = number > -0x1p63 && number < 0x1p63 ? static_cast<std::int64_t>(number) : Limits::min();
        return static_cast<double>(integer) == number ? integer : Limits::min();
    } else if constexpr (std::is_same_v<Stored, std::uint64_t>)
        return value > static_cast<std::uint64_t>(Limits::max()) ? Limits::min() : static_cast<std::int64_t>(value);
    else
        return static_cast<std::int64_t>(value);
}

}  // namespace

void gather_integers(const Line& line, const char* data, std::size_t n, std::int64_t* out) {
    with_stored_type(line.dtype, [&](auto stored) {
        using Stored = decltype(stored);
        if (contiguous<Stored>(line))
            for (std::size_t i = 0; i < n; ++i)
                out[i] = to_integer(read_bytes<Stored>(data + i * sizeof(Stored), false));
        else
            for (std::size_t i = 0; i < n; ++i, data += line.stride)
                out[i] = to_integer(read_bytes<Stored>(data, line.byteswapped));
    });
}

std::int64_t read_integer(const Line& line, const char* data) {
    std::int64_t value = 0;
    gather_integers(line, data, 1, &value);
    return value;
}

template void gather<float>(const Line&, const char*, std::size_t, float*);
template void gather<double>(const Line&, const char*, std::size_t, double*);
template void gather_where<float>(const Line&, const char*, const unsigned char*, std::size_t, float, float*);
template void gather_where<double>(const Line&, const char*, const unsigned char*, std::size_t, double, double*);
template void scatter<float>(const Line&, const float*, std::size_t, char*);
template void scatter<double>(const Line&, const double*, std::size_t, char*);

}  // namespace logitloss::detail
