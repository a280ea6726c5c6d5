// Losses of regression and their gradients, element by element.
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

}  // namespace logitloss
