// Log-sum-exp, softmax, log-softmax, and their gradients.
#pragma once

#include <vector>

#include "logitloss/array.hpp"

namespace logitloss {

/// Options that every function of this family takes.
struct SoftmaxOptions {
    std::vector<int> axes = {-1};  ///< class axes, taken together; none: every element is a row of its own
    int num_threads = 0;           ///< 0: the library's setting
    /// Which elements count: bools, broadcast against the logits; not given, all do. An element that does not is not read
    /// and is taken for -inf, one with a weight for one of weight 0. Not for the vector-Jacobian products, which see what
    /// was masked in `y`.
    ArrayView where = {};
};

/// log-sum-exp over the class axes:  out = log sum_j exp(a_j).
///
/// `out` has the shape of `a` without those axes, dtype float64 for float64 input and float32 otherwise.
/// Within 1 ulp (float32) or 1.5 ulp (float64) of the true value where that is at least 1 in magnitude.
/// All -inf, or no element: -inf. +inf anywhere: +inf. NaN anywhere: NaN.
/// Throws axis_error, type_error (integer data, a `where` that is not of bools), value_error (an axis named twice, shape of
/// `out` or `where`, overlap).
void logsumexp(const ArrayView& a, const MutableArrayView& out, const SoftmaxOptions& options = {});

/// Weighted log-sum-exp over the class axes:  out = log |sum_j b_j exp(a_j)|,  sign = the sum's sign (0 of no sum).
///
/// `a` and `b` are of any real dtype and of one shape, which zero strides may give them; `out` and `sign`, without the
/// class axes, are float32 or float64, and sums run in float64. A weight of 0 removes its element, even NaN or
/// infinity; an element at -inf adds nothing, also with an infinite weight. Infinite terms of one sign make the sum
/// infinite, of both signs NaN. `sign` may be missing; then a negative sum is NaN.
/// Throws axis_error; value_error for shapes and dtypes that do not fit, an axis named twice, overlap.
void weighted_logsumexp(const ArrayView& a, const ArrayView& b, const MutableArrayView& out,
                        const MutableArrayView& sign, const SoftmaxOptions& options = {});

/// Logarithm of the mean of exponentials over the class axes:  out = log(sum_j exp(a_j) / n), n the number of elements that
/// count. Throws and takes its arguments as logsumexp does.
///
/// With m the largest element, an error of at most 1 ulp (float64: 1.5) of the result where that is at least 1 in
/// magnitude, and elsewhere of the larger of its size and its distance from m; equal elements give themselves. No element:
/// NaN; all -inf: -inf.
void logmeanexp(const ArrayView& a, const MutableArrayView& out, const SoftmaxOptions& options = {});

/// The same with weights:  out = log(sum_j b_j exp(a_j) / n), NaN of a negative sum. n counts elements of any weight.
/// `a`, `b` and `out` are as for weighted_logsumexp. An error may be a few ulp where the result and its distance from m are
/// below 1e-13.
void weighted_logmeanexp(const ArrayView& a, const ArrayView& b, const MutableArrayView& out,
                         const SoftmaxOptions& options = {});

/// The value, and the gradient  upstream * softmax(a)  (shape and dtype of `a`; `grad` may be `a` itself).
/// `upstream` broadcasts to the shape of the value; not given, it is 1. The gradient is exactly 0 at -inf and NaN in a
/// row of only -inf, or with +inf or NaN. Throws as logsumexp does.
void logsumexp_value_and_grad(const ArrayView& a, const ArrayView& upstream, const MutableArrayView& out,
                              const MutableArrayView& grad, const SoftmaxOptions& options = {});

/// softmax over the class axes:  out_j = exp(x_j) / sum_k exp(x_k). `out` has the shape and dtype of `x` and may be `x`.
/// -inf gives exactly 0; a row with +inf or NaN, or of only -inf, is NaN. Throws as logsumexp does.
void softmax(const ArrayView& x, const MutableArrayView& out, const SoftmaxOptions& options = {});

/// log-softmax over the class axes:  out_j = x_j - log sum_k exp(x_k), to relative accuracy also for a dominating class.
/// `out` has the shape and dtype of `x` and may be `x`. -inf gives -inf; rows are NaN where softmax is. Throws as
/// logsumexp does.
void log_softmax(const ArrayView& x, const MutableArrayView& out, const SoftmaxOptions& options = {});

/// Vector-Jacobian product of softmax:  out_j = y_j (dy_j - sum_k y_k dy_k), `y` the forward result.
/// 0 at a class whose y is 0, whatever dy holds there. `dy` is of any real dtype and of the shape of `y`; `out` has the
/// shape and dtype of `y` and may be `y` or `dy`. Throws as logsumexp does.
void softmax_vjp(const ArrayView& y, const ArrayView& dy, const MutableArrayView& out,
                 const SoftmaxOptions& options = {});

/// Vector-Jacobian product of log-softmax:  out_j = dy_j - exp(y_j) sum_k dy_k, `y` the forward result.
/// 0 at a class whose y is -inf. `dy` and `out` as for softmax_vjp. Throws as logsumexp does.
void log_softmax_vjp(const ArrayView& y, const ArrayView& dy, const MutableArrayView& out,
                     const SoftmaxOptions& options = {});

}  // namespace logitloss
