// Binary cross-entropy with logits and its gradient, element by element.
#pragma once

#include <optional>

#include "logitloss/array.hpp"
#include "logitloss/reduction.hpp"

namespace logitloss {

/// Options of every loss of logits against targets in [0, 1].
struct BinaryOptions {
    ArrayView weight;                    ///< broadcasts to the logits
    double label_smoothing = 0.0;        ///< e in [0, 1]: t becomes (1-e) t + e/2
    std::optional<double> ignore_value;  ///< targets equal to this count as 0
    Reduction reduction = Reduction::mean;
    std::optional<double> normalizer;  ///< > 0: divisor in place of the number of elements
    int num_threads = 0;               ///< 0: the library's setting
};

/// What binary cross-entropy has beyond these.
struct BceOptions : BinaryOptions {
    ArrayView pos_weight;  ///< multiplies the positive term; broadcasts to the logits
};

/// Binary cross-entropy in nats of logits x against targets t in [0, 1], hard or soft:
///     weight * [ pos_weight t softplus(-x) + (1-t) softplus(x) ],   softplus(x) = max(x, 0) + log1p(exp(-|x|)).
///
/// `target` is of any real dtype and of the shape of `logits`. `loss` is 0-d, or of the shape of the logits for
/// Reduction::none; float64 for float64 logits, float32 otherwise. The mean divides by the number of elements that
/// are not ignored. Relative error below 4e-7 (float64: 1e-14) at both ends: x = -40, t = 0 gives 4.2e-18, not 0.
/// Infinite logits: 0 where a hard target agrees, +inf otherwise. A factor of 0 makes its term 0. NaN gives NaN.
/// Throws type_error for logits of an integer dtype; value_error for shapes and options that do not fit.
void bce_with_logits(const ArrayView& logits, const ArrayView& target, const MutableArrayView& loss,
                     const BceOptions& options = {});

/// The loss and its gradient with respect to the logits x,
///     upstream * weight * [ (1-t) sigmoid(x) - pos_weight t sigmoid(-x) ],
/// divided by what the loss is divided by. `grad` has the shape and dtype of `logits` and may be `logits` itself;
/// `upstream` is one number, or for Reduction::none broadcasts to the loss; not given, it is 1. An upstream of 0 makes a
/// gradient 0, and a gradient of 0 stays so under an infinite upstream. Relative error below 1e-6 (float64: 1e-14) for
/// hard targets. Throws as bce_with_logits does.
void bce_with_logits_value_and_grad(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                                    const MutableArrayView& loss, const MutableArrayView& grad,
                                    const BceOptions& options = {});

}  // namespace logitloss
