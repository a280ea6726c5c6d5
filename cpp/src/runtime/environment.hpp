// The library's environment variables that are numbers and switches. LOGITLOSS_ISA is read in dispatch.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace logitloss::detail {

/// What the variables say; one that is empty says nothing.
struct Environment {
    std::optional<int> num_threads;             ///< LOGITLOSS_NUM_THREADS: a whole number >= 1
    std::optional<std::uint64_t> stream_bytes;  ///< LOGITLOSS_STREAM_BYTES: a whole number >= 0
    bool oversubscribe;                         ///< LOGITLOSS_OVERSUBSCRIBE: 0 or 1
};

/// Read once: the environment may not be read while another thread writes it. Throws value_error if any of them says
/// something else, naming it, what was got and what was expected.
const Environment& environment();

}  // namespace logitloss::detail
