// What is read off the logits of a language model: log-probabilities of tokens, entropies, ranks, the best classes.
#pragma once

#include <cstdint>
#include <optional>

#include "logitloss/array.hpp"

namespace logitloss {

/// Options of token_logprobs. Of the logits z it reads z / temperature: they are multiplied by 1 / temperature, rounded
/// to the arithmetic's type, as by the `scale` of cross_entropy.
struct TokenLogProbsOptions {
    int axis = -1;                                    ///< class axis of the logits
    double temperature = 1.0;                         ///< > 0
    std::optional<std::int64_t> ignore_index = -100;  ///< id that stands for none; nullopt: every id counts
    int num_threads = 0;                              ///< 0: the library's setting
};

/// Where results go. What is not given is not computed. Floating results are float64 for float64 logits and float32
/// otherwise, indices are int64.
struct TokenLogProbsResults {
    MutableArrayView logprob;        ///< shape of `ids`
    MutableArrayView lse;            ///< shape of `logits` without the axis, as are the next two
    MutableArrayView entropy;        ///< in nats
    MutableArrayView argmax;         ///< the first largest class
    MutableArrayView rank;           ///< shape of `ids`
    MutableArrayView topk_ids;       ///< shape of `logits` with k <= C along the axis
    MutableArrayView topk_logprobs;  ///< the same shape
};

/// Log-probabilities of ids and what else is known of each row of logits once they are read.
///
/// With x = z / temperature of a row of C logits z, L = log sum_j exp(x_j) and p_j = exp(x_j - L):
///   logprob  x_i - L of each id i;  lse  L;  entropy  sum_j p_j (L - x_j);
///   rank     how many classes beat the id: by a larger logit z, or by an equal one at a lower index (so rank < k is
///            top-k accuracy);  argmax  the class that no other beats;  topk_*  the k classes that no others beat, best
///            first, and their log-probabilities.
/// `ids` are integers: of the shape of `logits` without the axis, one a row, or with m of them in place of the axis.
/// One id a row gives the bits of -cross_entropy(logits, ids) with a scale of 1 / temperature, unless scaled logits beyond 2^17
/// meet a temperature that is not 1.
///
/// An id of `ignore_index` has logprob 0 and rank -1. A row with ids that are all ignored is not read: its floating
/// results are 0, its indices -1. A logit of -inf is a masked class: logprob -inf. A row with NaN has NaN results, the
/// argmax and topk_ids -1, and rank C. A row with +inf has lse +inf, logprob -inf (NaN at a +inf) and entropy NaN; a row of
/// only -inf has lse -inf and NaN, and its indices are those of equal logits.
/// Relative error below 4e-7 (float64: 1e-14), also where p is near 1 and logprob or entropy tiny; of lse relative to the
/// larger of |L| and L - max. A temperature that is no power of two costs digits that grow with the spread of the logits,
/// as a scale of cross_entropy does.
/// The logits are read once from memory, each row by one thread; but twice for one id a row where rows lie side by side:
/// rows of up to 256 classes (float64: 64), and strided class axes.
/// Throws axis_error; type_error for ids that are no integers; value_error for an id outside [0, C), naming the first, and
/// for options, shapes and outputs that do not fit.
void token_logprobs(const ArrayView& logits, const ArrayView& ids, const TokenLogProbsResults& results,
                    const TokenLogProbsOptions& options = {});

/// Options of token_logprobs_vjp.
struct TokenLogProbsVjpOptions : TokenLogProbsOptions {
    /// Of the shape of `logits` without the axis. It is checked and not read: rounded, it has lost the digits of 1 - p.
    ArrayView lse;
};

/// Gradient of  sum(d_logprob * logprob) + sum(d_entropy * entropy)  with respect to the logits:
///   (sum_i d_i ([j = i] - p_j) + e p_j ((L - x_j) - H)) / temperature
/// at class j of a row with ids i, their d_logprob d_i, d_entropy e and entropy H.
///
/// `d_logprob` broadcasts to the shape of `ids`, `d_entropy` (may be missing: 0) to that of `logits` without the axis; any
/// real dtype. `grad` has the shape and dtype of `logits` and may be `logits` itself. Exactly 0 at logits of -inf
/// without an id, and in rows whose ids are all ignored or whose factors are all 0, which are not read; NaN in other rows
/// that hold NaN or +inf or only -inf. Without d_entropy, one id a row gives the bits of cross_entropy_value_and_grad with
/// upstream gradient d_logprob and sample weight -1. Throws as token_logprobs does.
void token_logprobs_vjp(const ArrayView& logits, const ArrayView& ids, const ArrayView& d_logprob,
                        const ArrayView& d_entropy, const MutableArrayView& grad,
                        const TokenLogProbsVjpOptions& options = {});

}  // namespace logitloss
