// Information measures of probabilities.
#pragma once

#include <optional>

#include "logitloss/array.hpp"

namespace logitloss {

/// In what follows p and q are masses >= 0, used as given: rows need not sum to 1, and 0 log 0 is 0. Results are
/// float64 for float64 `p` and float32 otherwise; computed in float64, to a relative error of half an ulp (float32) or
/// 1e-14 (float64) of the sum of the terms' sizes. A negative number or NaN makes its row NaN, and no other.
/// Throws axis_error, type_error and value_error before anything is written.
struct InformationOptions {
    int axis = -1;               ///< of the classes
    std::optional<double> base;  ///< of the logarithm, > 0 and not 1: 2 gives bits; none: nats
    int num_threads = 0;
};

/// -log p, element by element; +inf at 0. In bits exact for powers of two. `out` has the shape of `p`.
/// `options.axis` is not used.
void self_information(const ArrayView& p, const MutableArrayView& out, const InformationOptions& options = {});

/// Shannon entropy  -sum_j p_j log p_j  of each row; `out` has the shape of `p` without the axis, here and below.
void entropy(const ArrayView& p, const MutableArrayView& out, const InformationOptions& options = {});

/// Entropy of softmax(logits), to relative accuracy for confident rows too, whose entropy is tiny. A logit of -inf is a
/// class of probability 0; a row with +inf or NaN, or of only -inf, is NaN.
void entropy_from_logits(const ArrayView& logits, const MutableArrayView& out, const InformationOptions& options = {});

/// Kullback-Leibler divergence  sum_j p_j log(p_j / q_j)  of q from p; +inf where q is 0 and p is not. `q` is of any
/// real dtype and broadcasts to the shape of `p`. Where the true value is >= 0, as it is for rows that sum alike, the
/// result is; where rows that do not sum alike have a negative divergence, it is negative.
void kl_divergence(const ArrayView& p, const ArrayView& q, const MutableArrayView& out,
                   const InformationOptions& options = {});

/// Cross-entropy  -sum_j p_j log q_j  of q relative to p, which is entropy(p) + kl_divergence(p, q).
void cross_entropy_of(const ArrayView& p, const ArrayView& q, const MutableArrayView& out,
                      const InformationOptions& options = {});

}  // namespace logitloss
