// Losses of regression and their gradients, element by element: of errors, and of counts.
#pragma once

#include "logitloss/array.hpp"
#include "logitloss/reduction.hpp"

namespace logitloss {

/// Options of the regression losses.
struct RegressionOptions {
    ArrayView weight;                       ///< w; broadcasts to the predictions
    Reduction reduction = Reduction::mean;  ///< not of the root mean squared error, which is a mean
    int num_threads = 0;
};

/// Mean squared error:  sum_i w_i (pred_i - target_i)^2 / sum_i w_i;  Reduction::sum and none do not divide.
///
/// `target` is of any real dtype and of the shape of `pred`. `loss` is 0-d, or of the shape of `pred` for
/// Reduction::none; float64 for float64 predictions, float32 otherwise. Computed in float64: the relative error of a
/// float32 result is half an ulp, of a float64 one below 1e-14, and a float32 square leaves the range of numbers only
/// where the result does. A weight of 0 removes its element. A mean whose weights sum to 0 is NaN, its gradient 0.
/// Throws type_error and value_error for dtypes, shapes and outputs that do not fit, before anything is written.
void mean_squared_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                        const RegressionOptions& options = {});

/// The loss and its gradient with respect to the predictions. `grad` has the shape and dtype of `pred` and may be `pred`.
/// `upstream` multiplies it: a number for a reduced loss, else an array that broadcasts to the loss. Errors as above.
void mean_squared_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                       const MutableArrayView& loss, const MutableArrayView& grad,
                                       const RegressionOptions& options = {});

/// Mean absolute error:  sum_i w_i |pred_i - target_i| / sum_i w_i. All else as for the mean squared error.
void mean_absolute_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                         const RegressionOptions& options = {});

/// The loss and its gradient, which takes 0 as the slope of |d| at 0.
void mean_absolute_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                        const MutableArrayView& loss, const MutableArrayView& grad,
                                        const RegressionOptions& options = {});

/// Root of the mean squared error, in the unit of the predictions. `options.reduction` must be Reduction::mean. Squares
/// beyond the range of float64 do no harm.
void root_mean_squared_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                             const RegressionOptions& options = {});

/// The loss and its gradient  w_i (pred_i - target_i) / (loss sum_i w_i),  0 where the loss is 0. Takes two sweeps.
void root_mean_squared_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                            const MutableArrayView& loss, const MutableArrayView& grad,
                                            const RegressionOptions& options = {});

/// What the Poisson loss has beyond the options of all regression losses.
struct PoissonOptions : RegressionOptions {
    bool full = false;  ///< whether log(target!) is added, by Stirling's formula and where the target is above 1
};

/// Negative log-likelihood, in nats, of counts t under a Poisson distribution whose rate has the logarithm x:
///     sum_i w_i [ exp(x_i) - t_i x_i ] / sum_i w_i;   `full` adds  t log t - t + log(2 pi t) / 2  where t > 1.
///
/// `target` has the shape of `log_rate`, any real dtype, and finite numbers of at least 0. `loss` is 0-d, or of the shape of
/// `log_rate` for Reduction::none; float64 for a float64 `log_rate`, float32 otherwise. Computed in float64, with an
/// error below 4e-16 (exp(x) + |loss|); with `full` and t > 1 below 2e-15 loss + 5e-16 |exp(x) - t|. +inf where exp(x) leaves the range of numbers and t x does not bring it back. x = -inf with
/// t = 0 has loss 0, with t > 0 loss +inf. A weight of 0 removes its element. A mean whose weights sum to 0 is NaN.
/// Throws type_error for a `log_rate` of an integer dtype; value_error for shapes and outputs that do not fit, and for the
/// first target that is negative, infinite or NaN and whose weight is not 0; nothing is written then.
///
///     const double log_rate[] = {0.0, 1.0}, counts[] = {1.0, 3.0};
///     const std::ptrdiff_t shape[] = {2};
///     double loss;
///     poisson_nll({log_rate, DType::float64, 1, shape}, {counts, DType::float64, 1, shape}, {&loss, DType::float64});
///
/// As torch.nn.functional.poisson_nll_loss with log_input=True.
void poisson_nll(const ArrayView& log_rate, const ArrayView& target, const MutableArrayView& loss,
                 const PoissonOptions& options = {});

/// The loss and its gradient  w_i (exp(x_i) - t_i) / sum_i w_i.  `grad` and `upstream` as for the mean squared error; throws
/// as poisson_nll does. An error below 4e-16 (exp(x) + |exp(x) - t|), times the factors, and half an ulp of a float32 or
/// narrower gradient.
void poisson_nll_value_and_grad(const ArrayView& log_rate, const ArrayView& target, const ArrayView& upstream,
                                const MutableArrayView& loss, const MutableArrayView& grad,
                                const PoissonOptions& options = {});

}  // namespace logitloss
