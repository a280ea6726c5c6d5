#include "logits/store_mode.hpp"

#if defined(__linux__)
#include <unistd.h>
#endif

#include "runtime/environment.hpp"

namespace logitloss::detail {
namespace {

/// The size from which outputs are streamed: what the environment says, or the last cache's size, or 32 MiB.
std::size_t streaming_threshold() {
    if (environment().stream_bytes)
        return static_cast<std::size_t>(*environment().stream_bytes);
#if defined(_SC_LEVEL3_CACHE_SIZE)
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0)
        return static_cast<std::size_t>(cache);
#endif
    return std::size_t{32} << 20;
}

}  // namespace

StoreMode choose_store_mode(bool in_place, std::size_t bytes, bool direct) {
    static const std::size_t threshold = streaming_threshold();
    if (in_place)
        return StoreMode::in_place;
    return direct && bytes >= threshold ? StoreMode::streaming : StoreMode::cached;
}

}  // namespace logitloss::detail
