// The backend without threads.
#include "logitloss/runtime.hpp"
#include "runtime/cpu_limits.hpp"
#include "runtime/thread_team.hpp"

namespace logitloss {

const char* threading_backend() { return "serial"; }

namespace detail {

int max_team_size() { return 1; }

int team_cpus() { return affinity_cpus(); }

bool run_team(int, void (*body)(void* context, int worker), void* context) {
    body(context, 0);
    return true;
}

}  // namespace detail
}  // namespace logitloss
