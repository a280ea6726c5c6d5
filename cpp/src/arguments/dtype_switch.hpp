// From a dtype to the arithmetic that serves it.
#pragma once

#include "kernels/kernel_table.hpp"
#include "logitloss/array.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {

/// Calls fn(T{}) with double for float64 and float for the other floating dtypes.
template <class Fn>
auto with_arithmetic_type(DType dtype, Fn&& fn) {
    return dtype == DType::float64 ? fn(double{}) : fn(float{});
}

/// The dtype whose arithmetic holds the numbers of both, for losses of their difference: float32's does not hold a
/// float64 or a wide integer.
inline DType common_arithmetic(DType first, DType second) {
    const bool wide = second == DType::float64 || (is_integer(second) && item_size(second) >= 4);
    return wide ? DType::float64 : first;
}

}  // namespace logitloss::detail
