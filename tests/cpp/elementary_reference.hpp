// References for exp, log and log1p, and the distance to them in ulp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {

/// A function of the kernel table beside what it should be, in the type that judges it: double for float32, long
/// double (64 bits of mantissa or more) for float64.
template <class T, class Exact>
struct ElementaryFunction {
    const char* name;
    void (*Kernels<T>::*kernel)(const T*, std::size_t, T*);
    Exact (*reference)(Exact);
};

template <class T, class Exact>
constexpr ElementaryFunction<T, Exact> elementary_functions[] = {
    {"exp", &Kernels<T>::exp, [](Exact x) { return std::exp(x); }},
    {"log", &Kernels<T>::log, [](Exact x) { return std::log(x); }},
    {"log1p", &Kernels<T>::log1p, [](Exact x) { return std::log1p(x); }},
};

template <class T>
T from_word(std::uint64_t word) {
    T value;
    if constexpr (sizeof(T) == 4) {
        const std::uint32_t narrow = static_cast<std::uint32_t>(word);
        std::memcpy(&value, &narrow, sizeof value);
    } else {
        std::memcpy(&value, &word, sizeof value);
    }
    return value;
}

/// |got - exact| in units of T's last place at `exact`; 0 where both are NaN or the same infinity, infinite where they
/// are not numbers of one kind. An `exact` beyond T's range counts as an infinity from where rounding makes it one.
template <class T, class Exact>
double ulp_error(T got, Exact exact) {
    using Limits = std::numeric_limits<T>;
    constexpr double wrong = std::numeric_limits<double>::infinity();
    if (exact != exact || got != got)
        return exact != exact && got != got ? 0.0 : wrong;
    const Exact largest = static_cast<Exact>(Limits::max());
    const Exact overflow = largest + largest * static_cast<Exact>(Limits::epsilon()) / 4;
    if (std::fabs(exact) >= overflow || std::fabs(got) > Limits::max())
        return std::fabs(exact) > largest * (1 - static_cast<Exact>(Limits::epsilon())) &&
                       std::fabs(got) > Limits::max() && (got > 0) == (exact > 0)
                   ? 0.0
                   : wrong;
    int exponent = 0;
    std::frexp(exact, &exponent);
    exponent = exponent < Limits::min_exponent || exact == 0 ? Limits::min_exponent : exponent;
    const Exact difference = std::fabs(static_cast<Exact>(got) - exact);
    return static_cast<double>(std::ldexp(difference, Limits::digits - exponent));
}

}  // namespace logitloss::detail
