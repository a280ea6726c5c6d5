// The arguments of a cross-entropy of rows, checked: of logits or of probabilities, against class indices or class
// probabilities.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "arguments/arguments.hpp"
#include "arguments/reduction.hpp"
#include "logitloss/cross_entropy_state.hpp"
#include "logitloss/probabilities.hpp"

namespace logitloss::detail {

/// Which of `all` classes the input holds, and the states of its rows, if a call has any.
struct ClassShard {
    std::int64_t first = 0;
    std::optional<std::int64_t> all;  ///< nullopt: those of the input
    const CrossEntropyState* states = nullptr;
};

/// The arguments of one call, checked, all but the probabilities that ProbabilityCall has as its input.
template <class Options>
struct CrossEntropyCall {
    const Argument input;  ///< the logits or probabilities of the rows
    const Argument target, class_weight, sample_weight, upstream;
    const Output loss, grad;
    const Options& options;
    int axis = 0;
    const ClassShard shard;
    std::size_t classes = 0;      ///< of the input
    std::size_t first_class = 0;  ///< number of its first one
    std::size_t all_classes = 0;
    bool indices = false;  ///< whether the target holds class indices
    Shape rows;            ///< shape of the per-position loss
    Normalization normalization;

    CrossEntropyCall(const char* input_name, const ArrayView& input_view, const ArrayView& target_view,
                     const ArrayView& upstream_view, const MutableArrayView& loss_view,
                     const MutableArrayView& grad_view, const Options& call_options,
                     const ClassShard& class_shard = {});

private:
    void check_options() const;
    void check_shard();
    WeightSum mean_weights() const;
};

using LogitCall = CrossEntropyCall<CrossEntropyOptions>;
using ProbabilityCall = CrossEntropyCall<ProbabilityEntropyOptions>;

extern template struct CrossEntropyCall<CrossEntropyOptions>;
extern template struct CrossEntropyCall<ProbabilityEntropyOptions>;

/// The body of cross_entropy_value_and_grad, and without `upstream` and `grad` of cross_entropy.
void run_cross_entropy(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                       const MutableArrayView& loss, const MutableArrayView& grad, const CrossEntropyOptions& options);

}  // namespace logitloss::detail
