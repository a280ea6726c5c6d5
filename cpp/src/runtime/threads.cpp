#include "runtime/threads.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>

#include "logitloss/error.hpp"
#include "logitloss/runtime.hpp"
#include "runtime/cpu_limits.hpp"
#include "runtime/environment.hpp"
#include "runtime/float_environment.hpp"
#include "runtime/thread_team.hpp"

namespace logitloss {
namespace detail {
namespace {

constexpr int no_limit = std::numeric_limits<int>::max();

// Whatever the environment says wrong is reported from the first call on.
std::atomic<int>& thread_limit() {
    static std::atomic<int> limit{environment().num_threads.value_or(no_limit)};
    return limit;
}

/// The limit on this process's teams, leaving aside what the threading runtime grants the calling thread.
int process_limit() {
    const int limit = thread_limit().load(std::memory_order_relaxed);
    return environment().oversubscribe || limit == 1 ? limit : std::min({limit, team_cpus(), quota_cpus()});
}

// Whether the system ever refused a thread, and whether somebody has been told.
enum : int { refusal_never, refusal_new, refusal_told };
std::atomic<int> thread_refusal{refusal_never};

struct Loop {
    std::size_t items;
    std::size_t grain;
    threads_detail::RangeFunction function;
    void* context;
    std::atomic<std::size_t> next{0};
};

void take_ranges(Loop& loop, int worker) {
    while (true) {
        // Read first: threads that find the loop exhausted must not push the counter on, it could wrap around.
        std::size_t first = loop.next.load(std::memory_order_relaxed);
        do {
            if (first >= loop.items)
                return;
        } while (!loop.next.compare_exchange_weak(first, first + std::min(loop.grain, loop.items - first),
                                                  std::memory_order_relaxed));
        loop.function(loop.context, first, first + std::min(loop.grain, loop.items - first), worker);
    }
}

void run_worker(void* context, int worker) {
    in_float_environment([&] { take_ranges(*static_cast<Loop*>(context), worker); });
}

}  // namespace

int plan_threads(std::size_t work, int requested) {
    const int limit = thread_limit().load(std::memory_order_relaxed);  // reports a bad variable from the first call on
    if (work < parallel_threshold || requested == 1 || limit == 1)
        return 1;
    const std::size_t worth_waking = work / (parallel_threshold / 2);
    int workers = static_cast<int>(std::min<std::size_t>(worth_waking, no_limit));
    if (requested > 0)
        workers = std::min(workers, requested);
    workers = std::min(workers, max_team_size());
    return workers == 1 ? 1 : std::min(workers, process_limit());
}

void threads_detail::run(std::size_t items, std::size_t grain, int workers, RangeFunction function, void* context) {
    if (items == 0)
        return;
    grain = std::max<std::size_t>(grain, 1);
    const std::size_t ranges = (items - 1) / grain + 1;
    const int size = static_cast<int>(std::min<std::size_t>(ranges, static_cast<std::size_t>(std::max(workers, 1))));
    Loop loop{items, size == 1 ? items : grain, function, context};
    if (!run_team(size, run_worker, &loop)) {
        int never = refusal_never;
        thread_refusal.compare_exchange_strong(never, refusal_new, std::memory_order_relaxed);
    }
}

}  // namespace detail

void set_num_threads(int n) {
    if (n < 1)
        throw value_error("num_threads: got " + std::to_string(n) + ", expected at least 1");
    detail::thread_limit().store(n, std::memory_order_relaxed);
}

bool take_thread_refusal() {
    int refusal = detail::refusal_new;
    return detail::thread_refusal.compare_exchange_strong(refusal, detail::refusal_told, std::memory_order_relaxed);
}

int get_num_threads() { return detail::plan_threads(std::numeric_limits<std::size_t>::max(), 0); }

}  // namespace logitloss

#if defined(__GNUC__)
#define LOGITLOSS_EXPORT extern "C" __attribute__((visibility("default"), used))
#else
#define LOGITLOSS_EXPORT extern "C"
#endif

// For tools that limit the threads of every library in a process, such as threadpoolctl. They restore what they read,
// so the first function gives the limit as it stands for the whole process and not what the calling thread would get,
// which may be under a limit of its own at that moment.
LOGITLOSS_EXPORT int logitloss_get_num_threads() { return logitloss::detail::process_limit(); }
LOGITLOSS_EXPORT void logitloss_set_num_threads(int n) { logitloss::set_num_threads(n < 1 ? 1 : n); }
