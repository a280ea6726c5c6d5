// Losses on probabilities, for models that end in a softmax or a sigmoid of their own. Where the logits are at hand,
// cross_entropy and bce_with_logits are faster and more exact.
#pragma once

#include <cstdint>
#include <optional>

#include "logitloss/array.hpp"
#include "logitloss/binary_cross_entropy.hpp"
#include "logitloss/reduction.hpp"

namespace logitloss {

/// Options of cross-entropy of class probabilities that a model gives.
struct ProbabilityEntropyOptions {
    int axis = -1;                                    ///< class axis of the probabilities
    std::optional<double> eps;                        ///< in [0, 0.5): renormalise and clip; none: true values
    ArrayView class_weight;                           ///< w, one per class
    ArrayView sample_weight;                          ///< broadcasts to the shape of the per-position loss
    std::optional<std::int64_t> ignore_index = -100;  ///< label whose positions count as 0; nullopt: none
    double label_smoothing = 0.0;                     ///< e in [0, 1]
    Reduction reduction = Reduction::mean;
    std::optional<double> normalizer;  ///< > 0: divisor in place of the mean's own
    int num_threads = 0;
};

/// Cross-entropy in nats of rows of C probabilities p against class indices or class probabilities:
///     sum_j a_j (-log q_j),   a_j = w_j ((1-e) t_j + e/C),  t one-hot for a class index,
/// times the sample weight. Without `eps` q is p, used as given, and an a of 0 makes its term 0. With `eps` q is
/// p / sum(p), clipped to [eps, 1-eps]; both bounds are numbers of float32, of float64 for float64 probabilities.
///
/// Targets, weights, mean, dtypes and outputs as for cross_entropy. Rows of sample weight 0, those ignored and, without
/// smoothing, those whose class index has weight 0 are not read; a row whose a_j are all 0 counts as 0, whatever it
/// holds. Without `eps` a probability outside [0, 1] in any other row is a value_error, which names the first. Relative
/// error below 4e-7 (float64: 1e-14) of the sum of the terms' sizes, near p = 1 too.
void cross_entropy_from_probs(const ArrayView& probs, const ArrayView& target, const MutableArrayView& loss,
                              const ProbabilityEntropyOptions& options = {});

/// The loss and its gradient with respect to p:  -a_j / p_j  without `eps`. With it, through the renormalisation,
///     (sum of the a_i that are not clipped) / sum(p) - a_j / p_j,   the second term 0 where q_j is clipped.
/// `grad` has the shape and dtype of `probs` and may be `probs`; `upstream` and errors as for
/// cross_entropy_value_and_grad.
void cross_entropy_from_probs_value_and_grad(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                                             const MutableArrayView& loss, const MutableArrayView& grad,
                                             const ProbabilityEntropyOptions& options = {});

/// Options of binary cross-entropy of probabilities.
struct ProbabilityBceOptions : BinaryOptions {
    std::optional<double> eps;  ///< in [0, 0.5): clip to [eps, 1-eps]; none: true values
};

/// Binary cross-entropy in nats of probabilities p against targets t in [0, 1], hard or soft:
///     weight * [ -t log p - (1-t) log(1-p) ].
/// With `eps` p is clipped to [eps, 1-eps], numbers of float32, of float64 for float64 probabilities. Without it a
/// probability outside [0, 1] that is neither ignored nor of weight 0 is a value_error, which names the first. All else
/// as for bce_with_logits.
void binary_cross_entropy(const ArrayView& probs, const ArrayView& target, const MutableArrayView& loss,
                          const ProbabilityBceOptions& options = {});

/// The loss and its gradient with respect to p:  weight * [ (1-t) / (1-p) - t / p ],  0 where p is clipped.
/// `grad` has the shape and dtype of `probs` and may be `probs`; `upstream` and errors as for
/// bce_with_logits_value_and_grad.
void binary_cross_entropy_value_and_grad(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                                         const MutableArrayView& loss, const MutableArrayView& grad,
                                         const ProbabilityBceOptions& options = {});

}  // namespace logitloss
