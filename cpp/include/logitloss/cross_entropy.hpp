// Softmax cross-entropy and its gradient, for class indices and for class probabilities.
#pragma once

#include <cstdint>
#include <optional>

#include "logitloss/array.hpp"
#include "logitloss/reduction.hpp"

namespace logitloss {

/// Options of softmax cross-entropy. The logits are softcapped first, then the margin is taken off, then scaled.
struct CrossEntropyOptions {
    int axis = -1;                                    ///< class axis of the logits
    ArrayView class_weight;                           ///< w, one per class
    ArrayView sample_weight;                          ///< broadcasts to the shape of the per-position loss
    std::optional<std::int64_t> ignore_index = -100;  ///< label whose positions count as 0; nullopt: none
    double label_smoothing = 0.0;                     ///< e in [0, 1]
    double z_loss = 0.0;                              ///< c: adds c L^2 per row
    std::optional<double> softcap;                    ///< s > 0: z becomes s tanh(z / s); -inf stays
    double margin = 0.0;                              ///< subtracted from the target's logit; class indices only
    double scale = 1.0;                               ///< > 0: multiplies the logits, last
    Reduction reduction = Reduction::mean;
    std::optional<double> normalizer;  ///< > 0: divisor in place of the mean's own
    int num_threads = 0;               ///< 0: the library's setting
};

/// Softmax cross-entropy in nats.
///
/// With L = log sum_j exp(z_j) of a row of C logits, e the smoothing and w the class weights, the loss of a row is
///   class indices (integer `target`, shape of `logits` without `axis`):
///       (1-e) w_y (L - z_y) + (e/C) sum_j w_j (L - z_j)
///   class probabilities (`target` of the shape of `logits`):
///       sum_j w_j ((1-e) t_j + e/C) (L - z_j)
/// times the sample weight. The mean divides by the sum of sample_weight * w_y over the rows that are not ignored
/// (probabilities: of sample_weight); it is NaN if that is 0. Rows that are ignored or of sample weight 0 are not read.
/// Logits of -inf are masked classes; a row with +inf elsewhere than at the target has loss +inf, one with NaN is NaN.
///
/// `loss` is 0-d, or of the shape of `logits` without `axis` for Reduction::none; float64 for float64 logits and
/// float32 otherwise. Relative error below 4e-7 (float64: 1e-14), also for confident rows, whose loss is tiny.
/// Throws axis_error; type_error for class indices of a floating dtype; value_error for a label outside
/// [0, C), naming the first such position, and for options and shapes that do not fit.
void cross_entropy(const ArrayView& logits, const ArrayView& target, const MutableArrayView& loss,
                   const CrossEntropyOptions& options = {});

/// The loss and its gradient with respect to the logits, in one pass over memory.
///
/// `grad` has the shape and dtype of `logits` and may be `logits` itself. It is the gradient of the reduced loss, or
/// of each position's own loss for Reduction::none, times `upstream` (a scalar for a reduced loss, broadcastable to
/// the loss for none; not given: 1). Relative error below 1e-6 (float64: 1e-14) at the target too. Exactly 0 in rows
/// that are ignored and at logits of -inf, unless the target lies there; 0 everywhere if the mean is NaN for want of
/// rows or weights. Throws as cross_entropy does.
void cross_entropy_value_and_grad(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                                  const MutableArrayView& loss, const MutableArrayView& grad,
                                  const CrossEntropyOptions& options = {});

}  // namespace logitloss
