#include "layout/overlap.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

namespace logitloss::detail {
namespace {

bool is_empty(const ArrayView& a) { return std::find(a.shape, a.shape + a.ndim, 0) != a.shape + a.ndim; }

/// The bytes an array spans when the axes whose stride is a multiple of `modulus` (0: none) stand still.
Interval span_within(const ArrayView& a, std::ptrdiff_t modulus) {
    Interval span{reinterpret_cast<std::intptr_t>(a.data), 0};
    span.high = span.low + static_cast<std::intptr_t>(item_size(a.dtype));
    for (int axis = 0; axis < a.ndim; ++axis) {
        if (modulus != 0 && a.strides[axis] % modulus == 0)
            continue;
        const std::ptrdiff_t reach = (a.shape[axis] - 1) * a.strides[axis];
        (reach < 0 ? span.low : span.high) += reach;
    }
    return span;
}

/// Whether the two arrays keep to disjoint bytes of every period of `modulus` bytes.
bool disjoint_modulo(const ArrayView& a, const ArrayView& b, std::ptrdiff_t modulus) {
    const Interval x = span_within(a, modulus);
    const Interval y = span_within(b, modulus);
    if (x.high - x.low > modulus || y.high - y.low > modulus)
        return false;
    const std::intptr_t ahead = ((y.low - x.low) % modulus + modulus) % modulus;
    return ahead >= x.high - x.low && ahead + (y.high - y.low) <= modulus;
}

}  // namespace

bool same_array(const ArrayView& a, const ArrayView& b) {
    if (a.data != b.data || a.dtype != b.dtype || a.byteswapped != b.byteswapped || a.ndim != b.ndim)
        return false;
    for (int axis = 0; axis < a.ndim; ++axis)
        if (a.shape[axis] != b.shape[axis] || (a.shape[axis] > 1 && a.strides[axis] != b.strides[axis]))
            return false;
    return true;
}

Interval span_of(const ArrayView& a) { return is_empty(a) ? Interval{} : span_within(a, 0); }

bool may_overlap(const ArrayView& a, const ArrayView& b) {
    if (!intersect(span_of(a), span_of(b)))
        return false;
    // Two slices of one array, [:, :k] and [:, k:] say, or every second column, interleave: they have a stride in
    // common and keep to different parts of its period.
    for (const ArrayView* view : {&a, &b})
        for (int axis = 0; axis < view->ndim; ++axis) {
            const std::ptrdiff_t modulus = std::abs(view->strides[axis]);
            if (view->shape[axis] > 1 && modulus != 0 && disjoint_modulo(a, b, modulus))
                return false;
        }
    return true;
}

namespace {

bool is_contiguous(const ArrayView& a) {
    auto stride = static_cast<std::ptrdiff_t>(item_size(a.dtype));
    for (int axis = a.ndim; axis-- > 0;) {
        if (a.shape[axis] > 1 && a.strides[axis] != stride)
            return false;
        stride *= a.shape[axis];
    }
    return true;
}

}  // namespace

bool may_overlap_itself(const ArrayView& a) {
    if (is_contiguous(a) || is_empty(a))
        return false;
    std::vector<std::pair<std::ptrdiff_t, std::ptrdiff_t>> axes;  // stride, length
    for (int axis = 0; axis < a.ndim; ++axis)
        if (a.shape[axis] > 1)
            axes.emplace_back(std::abs(a.strides[axis]), a.shape[axis]);
    std::sort(axes.begin(), axes.end());
    auto reach = static_cast<std::ptrdiff_t>(item_size(a.dtype));
    for (const auto& [stride, length] : axes) {
        if (stride < reach)
            return true;
        reach += (length - 1) * stride;
    }
    return false;
}

}  // namespace logitloss::detail
