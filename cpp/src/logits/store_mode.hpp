// How a gradient of a given size is best stored.
#pragma once

#include <cstddef>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {

/// In place where the input is overwritten. Past the caches where the output is larger than the last of them and kernels
/// write it themselves (`direct`); the environment variable LOGITLOSS_STREAM_BYTES moves that size. Otherwise through
/// the caches. The choice changes speed only.
StoreMode choose_store_mode(bool in_place, std::size_t bytes, bool direct);

}  // namespace logitloss::detail
