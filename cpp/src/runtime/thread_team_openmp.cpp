// The OpenMP backend, and the cures for what an OpenMP runtime does to the process around it.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "logitloss/runtime.hpp"
#include "runtime/thread_team.hpp"

#if defined(__unix__) || defined(__APPLE__)
#define LOGITLOSS_HAVE_PTHREAD 1
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace logitloss {

const char* threading_backend() { return "openmp"; }

namespace detail {
namespace {

/// Only one thread at a time runs a team: six callers would otherwise mean six teams competing for the CPUs.
std::atomic<bool> team_running{false};

/// Set in a forked child whose pool could not be given up before the fork: those threads do not exist any more, and
/// the runtime would wait for them for ever.
std::atomic<bool> pool_lost{false};

/// Gives the calling thread's pool back to the system. False if it could not.
bool release_pool() {
#if defined(LOGITLOSS_HAVE_OMP_PAUSE)
    return omp_pause_resource_all(omp_pause_soft) == 0;
#else
    return false;
#endif
}

// The runtime keeps a pool of threads for each thread that ever opened a region, until that thread ends. The first
// two such threads keep theirs (a main thread that tries something, then a worker that does the rest); others give
// it back after every call, or the process of a server with 32 request threads would hold 32 idle pools.
constexpr int pools_to_keep = 2;
std::atomic<int> pools_kept{0};

/// The calling thread's pool, as far as this library has seen.
struct Pool {
    int size = 1;  ///< threads in it, the owner included
    bool kept = false;

    Pool() = default;
    Pool(const Pool&) = delete;  // would be counted twice
    Pool& operator=(const Pool&) = delete;
    ~Pool() {
        if (kept)
            pools_kept.fetch_sub(1, std::memory_order_relaxed);
    }

    void keep_or_release(int team_size) {
        size = team_size;
        if (kept)
            return;
        kept = pools_kept.fetch_add(1, std::memory_order_relaxed) < pools_to_keep;
        if (kept)
            return;
        pools_kept.fetch_sub(1, std::memory_order_relaxed);
        if (release_pool())
            size = 1;
    }
};
thread_local Pool pool;

#if defined(LOGITLOSS_HAVE_PTHREAD)

thread_local bool pool_kept_over_fork = false;

void before_fork() {
    pool_kept_over_fork = !release_pool();
    if (!pool_kept_over_fork)
        pool.size = 1;
}

void in_child() {
    if (pool_kept_over_fork)
        pool_lost.store(true, std::memory_order_relaxed);
    // The other threads, with their teams and pools, stayed behind in the parent.
    team_running.store(false, std::memory_order_relaxed);
    pools_kept.store(pool.kept ? 1 : 0, std::memory_order_relaxed);
}

// Not before the first team: a program that never runs one pays nothing when it forks.
bool fork_handlers_installed() {
    static const bool installed = pthread_atfork(before_fork, nullptr, in_child) == 0;
    return installed;
}

/// Bytes of stack that OMP_STACKSIZE asks for ("64 M"; kilobytes without a unit); 0 if it says nothing.
std::size_t stack_size_of_workers() {
    const char* text = std::getenv("OMP_STACKSIZE");
    if (text == nullptr)
        return 0;
    char* end = nullptr;
    const double number = std::strtod(text, &end);
    while (*end == ' ')
        ++end;
    const char unit = static_cast<char>(*end == '\0' ? 'k' : *end | 0x20);
    const double bytes = number * (unit == 'b' ? 1.0 : unit == 'k' ? 0x1p10 : unit == 'm' ? 0x1p20 : 0x1p30);
    return bytes >= 1.0 && bytes < 0x1p46 ? static_cast<std::size_t>(bytes) : 0;
}

struct ProbeThread {
    pthread_t handle;
    pthread_mutex_t* gate;
    long system_id;
};

void* wait_at_gate(void* argument) {
    ProbeThread& self = *static_cast<ProbeThread*>(argument);
#if defined(__linux__)
    self.system_id = syscall(SYS_gettid);
#endif
    pthread_mutex_lock(self.gate);
    pthread_mutex_unlock(self.gate);
    return nullptr;
}

// A joined thread counts against the limits for a moment longer, until the system has buried it.
void wait_until_buried([[maybe_unused]] const ProbeThread& thread) {
#if defined(__linux__)
    constexpr int patience = 10000;
    for (int i = 0; i < patience && syscall(SYS_tgkill, getpid(), thread.system_id, 0) == 0; ++i)
        sched_yield();
#endif
}

/// Whether the system lets this process have `count` more threads now. Tried out, because the limits that may
/// stand in the way (processes per user, pids of a cgroup, address space) cannot be read off in one place, and because
/// OpenMP runtimes end the process when they cannot create a thread.
bool can_create_threads(int count) {
    const std::unique_ptr<ProbeThread[]> threads(new (std::nothrow) ProbeThread[static_cast<std::size_t>(count)]);
    if (threads == nullptr)
        return false;
    static const std::size_t stack_size = stack_size_of_workers();
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    if (stack_size != 0)
        pthread_attr_setstacksize(&attributes, stack_size);  // a size that is refused leaves the default, as in OpenMP
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&gate);
    int created = 0;
    for (; created < count; ++created) {
        ProbeThread& thread = threads[created];
        thread.gate = &gate;
        if (pthread_create(&thread.handle, &attributes, wait_at_gate, &thread) != 0)
            break;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < created; ++i)
        pthread_join(threads[i].handle, nullptr);
    for (int i = 0; i < created; ++i)
        wait_until_buried(threads[i]);
    pthread_mutex_destroy(&gate);
    pthread_attr_destroy(&attributes);
    return created == count;
}

#else

bool fork_handlers_installed() { return true; }
bool can_create_threads(int) { return true; }

#endif

bool can_run(int size) { return size <= pool.size || can_create_threads(size - pool.size); }

}  // namespace

int max_team_size() {
    if (omp_in_parallel())
        return 1;
    return std::max(1, std::min(omp_get_max_threads(), omp_get_thread_limit()));
}

bool run_team(int size, void (*body)(void* context, int worker), void* context) {
    if (size <= 1 || pool_lost.load(std::memory_order_relaxed) || !fork_handlers_installed() ||
        team_running.exchange(true, std::memory_order_acquire)) {
        body(context, 0);
        return true;
    }
    const bool granted = can_run(size);
    if (granted) {
#pragma omp parallel num_threads(size)
        body(context, omp_get_thread_num());
        pool.keep_or_release(size);
    } else {
        body(context, 0);
    }
    team_running.store(false, std::memory_order_release);
    return granted;
}

}  // namespace detail
}  // namespace logitloss
