// Whether arrays share memory, which decides whether an output may be written.
#pragma once

#include <cstdint>

#include "logitloss/array.hpp"

namespace logitloss::detail {

/// Bytes from `low` up to but not including `high`.
struct Interval {
    std::intptr_t low = 0;
    std::intptr_t high = 0;
};

/// From an array's first byte in memory to its last; nothing for one without elements.
Interval span_of(const ArrayView& a);
inline bool intersect(const Interval& x, const Interval& y) { return x.high > y.low && y.high > x.low; }

/// Whether two arrays are the same elements in the same order: writing one is writing the other, element by element.
bool same_array(const ArrayView& a, const ArrayView& b);

/// Whether two arrays may share a byte. True only if they do, or if their strides interleave in a way that slices of
/// one array, along any of its axes, do not.
bool may_overlap(const ArrayView& a, const ArrayView& b);

/// Whether two elements of one array may share a byte, as in a broadcast view.
bool may_overlap_itself(const ArrayView& a);

}  // namespace logitloss::detail
