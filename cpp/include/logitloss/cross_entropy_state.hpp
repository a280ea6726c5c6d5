// Softmax cross-entropy of logits whose classes lie in several places: states of rows, merged from shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "logitloss/array.hpp"
#include "logitloss/cross_entropy.hpp"

namespace logitloss {

/// What is known of a row from its classes [first_class, end_class): a few numbers for any transport.
///
/// Sums are those of transformed logits z_j (softcap, margin, scale), less `reference` times the scale. One class is set
/// aside from the sum of exponentials: the target, or the largest where q_j, the coefficients of L - z_j in the loss, are
/// not the same for all classes but the target (class probabilities; label smoothing beside class weights).
struct CrossEntropyState {
    double first_class = 0.0;
    double end_class = 0.0;
    double digits = 0.0;  ///< binary ones of the arithmetic: 53 for float64 logits, otherwise 24
    double sum = 0.0;     ///< sum_j exp(z_j) = sum 2^exponent over the classes that are not set aside
    double exponent = std::numeric_limits<double>::quiet_NaN();  ///< NaN: it is sum exp(max)
    double max = -std::numeric_limits<double>::infinity();       ///< the largest of them
    double aside_class = -1.0;                                   ///< the one set aside; -1: none of these
    double aside_logit = -std::numeric_limits<double>::infinity();
    double gaps = 0.0;        ///< sum_j q_j (z_max - z_j), of all classes
    double mass = 0.0;        ///< sum_j q_j of those that are not set aside; -0: all q_j of the row are 0
    double aside_mass = 0.0;  ///< and of the one that is
    double reference = 0.0;
};

/// Which classes a shard of logits holds.
struct ClassRange {
    std::int64_t first_class = 0;
    std::int64_t num_classes = 0;  ///< of the whole, not of the shard
};

/// The states of the rows of a shard, in C order of its shape without the class axis; `states` has room for as many.
///
/// Class indices and class_weight are those of all classes, class probabilities those of the shard. Of `options`
/// reduction and normalizer are not used. Throws as cross_entropy does, and value_error for a shard that does not lie
/// within the classes, before anything is written.
void cross_entropy_states(const ArrayView& logits_shard, const ArrayView& target, const ClassRange& range,
                          CrossEntropyState* states, const CrossEntropyOptions& options = {});

/// The states of `rows` rows from those of `shards` shards: states[r * shards + s] in order of the classes. `merged` may
/// not overlap them. `class_probabilities`: whether the target holds these.
///
/// Merging is one step over all shards in the order of their classes: the bits follow from where the classes are cut.
/// Throws value_error for shards that overlap, leave classes out between them, or differ in `digits`.
void merge_cross_entropy_states(const CrossEntropyState* states, std::size_t rows, std::size_t shards,
                                bool class_probabilities, CrossEntropyState* merged,
                                const CrossEntropyOptions& options = {});

/// The loss, and one shard's part of its gradient, from states that cover all classes, one a row in C order.
///
/// What cross_entropy_value_and_grad gives for all classes at once: relative errors below 4e-7 (float64: 1e-14) for
/// weights and logits that keep sums of products with them within float64. `grad` has the shape and dtype of
/// `logits_shard` and may be that; `loss` and `grad` may both be left out. A shard of no class, and no `grad`, asks for the
/// loss alone. Throws as cross_entropy_value_and_grad does, and value_error for states that lack a class or have other
/// `digits` than the shard. Without `states` arguments are checked, and that is all.
void cross_entropy_of_states(const ArrayView& logits_shard, const ArrayView& target, const ClassRange& range,
                             const CrossEntropyState* states, const ArrayView& upstream, const MutableArrayView& loss,
                             const MutableArrayView& grad, const CrossEntropyOptions& options = {});

}  // namespace logitloss
