// Class-index targets: checked once, before anything is written.
#pragma once

#include <cstdint>
#include <optional>

#include "arguments/arguments.hpp"
#include "arguments/reduction.hpp"

namespace logitloss::detail {

/// What class indices may be stored as: integers, or also floating numbers, each of which check_labels wants to be an integer.
enum class LabelDTypes { integers, real };

/// Whether the target holds class indices (shape `rows`) and not class probabilities (shape `all`). Throws type_error or
/// value_error if it is neither.
bool holds_class_indices(const Argument& target, const Shape& all, const Shape& rows,
                         LabelDTypes dtypes = LabelDTypes::integers);

/// Checks every label and returns the sum over positions that are not ignored of sample_weight * class_weight[label];
/// weights that are not given are 1. Throws value_error naming the first label outside [0, classes) that is not
/// `ignore_index`.
WeightSum check_labels(const Argument& target, std::size_t classes, std::optional<std::int64_t> ignore_index,
                       const Argument& class_weight, const Argument& sample_weight, int num_threads);

/// Sum of the sample weights over `shape`; their number if none are given.
WeightSum sum_sample_weights(const Argument& sample_weight, const Shape& shape, int num_threads);

/// Whether some factor that is finite and not 0 is so far from 1 that products with it may leave float32.
bool any_far(const Argument& factors, int num_threads);

}  // namespace logitloss::detail
