// The options that losses against targets in [0, 1] share, as the element losses take them.
#pragma once

#include "logitloss/binary_cross_entropy.hpp"
#include "traversal/element_loss.hpp"

namespace logitloss::detail {

inline ElementOptions element_options(const BinaryOptions& options, const ArrayView& pos_weight = {}) {
    return {options.weight, options.reduction,       options.num_threads,  false,
            pos_weight,     options.label_smoothing, options.ignore_value, options.normalizer};
}

struct BinaryTraits : LossTraits {
    static constexpr bool takes_detour = true;
};

}  // namespace logitloss::detail
