// Gradients and diagonals of Hessians of losses of logits, for Newton methods and gradient boosting.
#pragma once

#include <cstdint>
#include <optional>

#include "logitloss/array.hpp"

namespace logitloss {

/// What stands for the second derivative of a row's or element's loss, with p a probability, w what multiplies the loss
/// there (weights and the sum of the target's coefficients) and K the number of classes (of binary losses 2).
enum class Hessian : std::uint8_t {
    exact,     ///< the second derivative: w p (1-p) of cross-entropies
    upper,     ///< max(2 w p (1-p), 1e-16), as the softmax objective of XGBoost has it
    friedman,  ///< K / (K-1) w p (1-p), as the multiclass objective of LightGBM has it
    absolute,  ///< the magnitude of the gradient, |p - y| w
    clipped,   ///< max(exact, 0); of the focal loss, which is not convex
};

/// Options of cross_entropy_grad_hess. Those that CrossEntropyOptions has too mean the same.
struct CrossEntropyHessianOptions {
    int axis = -1;                                    ///< class axis of the logits
    ArrayView class_weight;                           ///< w, one per class
    ArrayView sample_weight;                          ///< broadcasts to the shape of the logits without `axis`
    std::optional<std::int64_t> ignore_index = -100;  ///< label whose positions get 0; nullopt: none
    double label_smoothing = 0.0;                     ///< e in [0, 1]
    double scale = 1.0;                               ///< s > 0: multiplies the logits
    Hessian hessian = Hessian::exact;                 ///< any but `clipped`
    int num_threads = 0;                              ///< 0: the library's setting
};

/// Gradient of softmax cross-entropy of each row, and the diagonal of its Hessian, with respect to the logits z.
///
/// With p the softmax of s z, q_j the coefficients of log p_j in the loss (of class indices
/// (1-e) w_y [j = y] + (e/C) w_j, of class probabilities w_j ((1-e) t_j + e/C)), Q their sum and u the sample weight,
///     grad_j = u s (Q p_j - q_j),   hess_j = u s^2 Q p_j (1 - p_j) for Hessian::exact.
/// Hessian::absolute is s |grad_j|; s^2 multiplies the others too, before the floor of Hessian::upper is taken.
///
/// `target` is as for cross_entropy, and class indices may also be of a floating dtype if each is an integer. `grad` and
/// `hess` have the shape of `logits` and one dtype: that of the logits, or float32. `grad` may be `logits` itself.
/// 1 - p is the sum of the other probabilities, so p (1-p) keeps a relative error below 4e-7 (float64 1e-14) at both
/// ends, and so does the gradient at a hard target (of float64 logits besides the rounding of s z, unless s is 1). All
/// arithmetic is in float64, for scales, weights and sums in [2^-200, 2^200]; a probability below 2^-1022 is 0, whatever its
/// weight.
/// Exactly 0 in rows that are ignored, of sample weight 0 or without a target, whatever they hold; NaN in rows with NaN,
/// with +inf, or with -inf alone. At a logit of -inf the gradient is -u s q_j and the exact Hessian 0.
/// Throws axis_error; type_error for class indices of dtype bool; value_error for a label that is no class, naming the
/// first such position, and for options, shapes and dtypes that do not fit.
void cross_entropy_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                             const MutableArrayView& hess, const CrossEntropyHessianOptions& options = {});

/// Options of the binary functions. Those that BinaryOptions has too mean the same.
struct BinaryHessianOptions {
    ArrayView weight;                    ///< broadcasts to the logits
    double label_smoothing = 0.0;        ///< e in [0, 1]: t becomes (1-e) t + e/2
    std::optional<double> ignore_value;  ///< targets equal to this get 0
    Hessian hessian = Hessian::exact;
    int num_threads = 0;  ///< 0: the library's setting
};

/// What binary cross-entropy has beyond these.
struct BceHessianOptions : BinaryHessianOptions {
    ArrayView pos_weight;  ///< multiplies the positive term; broadcasts to the logits
};

/// Gradient of binary cross-entropy of each element, and its second derivative, with respect to the logits x: with
/// p = sigmoid(x), positive = pos_weight t and negative = 1 - t
///     grad = weight (negative p - positive (1-p)),   hess = weight (positive + negative) p (1-p) for Hessian::exact.
/// The other kinds are those of two classes; Hessian::clipped is a value_error.
///
/// `target` is of any real dtype and of the shape of `logits`. `grad` and `hess` are as for cross_entropy_grad_hess. p (1-p)
/// is e / (1+e)^2 with e = exp(-|x|): a relative error below 4e-7 (float64: 1e-14) at both ends. Infinite logits have the
/// formula's limit, a weight of 0 makes both 0. Throws as bce_with_logits does, and for a dtype of an output.
void bce_with_logits_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                               const MutableArrayView& hess, const BceHessianOptions& options = {});

/// What the focal loss has beyond these.
struct FocalHessianOptions : BinaryHessianOptions {
    std::optional<double> alpha = 0.25;  ///< in [0, 1]: weight of positives, 1 - alpha of negatives; none: both 1
    double gamma = 2.0;                  ///< >= 0: focus on what is classified badly
};

/// Gradient of the sigmoid focal loss of each element, and its second derivative. With m = 1 - p_t, a = alpha_t, H the
/// binary cross-entropy, d = 2t - 1 and r = p (1-p) / m
///     grad = weight a m^gamma [ (p - t) - gamma d H r ]
///     hess = weight a m^gamma [ p (1-p) - 2 gamma d (p - t) r + gamma d H r ((gamma - 1) d r - (1 - 2p)) ].
/// The second derivative is negative for elements that are classified badly; Hessian::clipped makes it 0 there. Other
/// kinds than `exact` and `clipped` are a value_error.
///
/// Shapes and dtypes as for bce_with_logits_grad_hess. The power is computed in log space; the error of `hess`
/// relative to its largest term is below 4e-7 (float64: 1e-14 (1 + gamma)) for hard targets. Throws as
/// sigmoid_focal_loss does, and for a dtype of an output.
void sigmoid_focal_loss_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                                  const MutableArrayView& hess, const FocalHessianOptions& options = {});

}  // namespace logitloss
