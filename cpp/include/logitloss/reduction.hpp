// How the losses of single positions become the result.
#pragma once

namespace logitloss {

/// What a loss function returns of the losses of the positions.
enum class Reduction {
    none,  ///< one loss per position
    sum,   ///< their sum
    mean,  ///< their sum divided by a normalizer, which each loss defines
};

}  // namespace logitloss
