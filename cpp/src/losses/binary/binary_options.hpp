// The options that losses against targets in [0, 1] share, as the element losses take them.
#pragma once

#include "logitloss/binary_cross_entropy.hpp"
#include "logitloss/hessian.hpp"
#include "traversal/element_loss.hpp"

namespace logitloss::detail {

inline ElementOptions element_options(const BinaryOptions& options, const ArrayView& pos_weight = {}) {
    return {options.weight, options.reduction,       options.num_threads,  false,
            pos_weight,     options.label_smoothing, options.ignore_value, options.normalizer};
}

inline ElementOptions element_options(const BinaryHessianOptions& options, const ArrayView& pos_weight = {}) {
    return {options.weight,          Reduction::none,      options.num_threads, false, pos_weight,
            options.label_smoothing, options.ignore_value, std::nullopt,        true};
}

/// The focal loss's own options, checked.
inline FocalParameters focal_parameters(std::optional<double> alpha, double gamma) {
    if (alpha)
        require_unit_interval("alpha", *alpha);
    require_finite("gamma", gamma);
    require_at_least("gamma", gamma, 0.0);
    return {alpha.value_or(1.0), alpha ? 1.0 - *alpha : 1.0, gamma};
}

struct BinaryTraits : LossTraits {
    static constexpr bool takes_detour = true;
};

}  // namespace logitloss::detail
