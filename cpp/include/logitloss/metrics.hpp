// Metrics of classifiers.
#pragma once

#include <cstdint>
#include <optional>

#include "logitloss/array.hpp"

namespace logitloss {

/// Options of accuracy and error_rate.
struct AccuracyOptions {
    int axis = -1;                                    ///< class axis of the logits
    std::int64_t top_k = 1;                           ///< >= 1
    std::optional<std::int64_t> ignore_index = -100;  ///< label whose positions do not count; nullopt: none
    ArrayView sample_weight;                          ///< broadcasts to the shape of `logits` without the axis
    int num_threads = 0;
};

/// Share of rows whose target is among the top k classes, weighted by the sample weights; NaN if those sum to 0.
///
/// The target is among them if fewer than k classes beat it: by a larger logit, or by an equal one at a lower index, so
/// that k = 1 asks for the index of the first largest. A row that holds NaN is wrong. `target` are class indices, or
/// class probabilities of the shape of `logits`, which count as the index of their first largest. Rows that are ignored
/// or of weight 0 are not read. One pass over the logits, in place.
/// Throws axis_error, type_error and value_error as cross_entropy does.
double accuracy(const ArrayView& logits, const ArrayView& target, const AccuracyOptions& options = {});

/// The share of the other rows, counted and not taken from 1. Arguments and errors as for accuracy.
double error_rate(const ArrayView& logits, const ArrayView& target, const AccuracyOptions& options = {});

/// exp(loss), element by element, of losses in nats: float64 for float64 losses, float32 otherwise. `out` has the shape
/// of `loss`. Throws type_error and value_error for outputs that do not fit.
void perplexity(const ArrayView& loss, const MutableArrayView& out, int num_threads = 0);

}  // namespace logitloss
