// The OpenMP backend, and the cures for what an OpenMP runtime does to the process around it.
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "logitloss/runtime.hpp"
#include "runtime/cpu_limits.hpp"
#include "runtime/thread_probe.hpp"
#include "runtime/thread_team.hpp"

namespace logitloss {

const char* threading_backend() { return "openmp"; }

namespace detail {
namespace {

using Body = void (*)(void* context, int worker);

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

// The runtime keeps a pool of threads for each thread that ever opened a region, until that thread ends: the process of
// a server with 32 request threads would hold 32 idle pools. The first two callers have pools of their own (a main
// thread that tries something, then a worker that does the rest); all others share the one of the Leader.
constexpr int most_owners = 2;
std::atomic<int> owners{0};

/// The calling thread's pool, as far as this library has seen.
struct Pool {
    int size = 1;  ///< threads in it, the owner included
    bool owned = false;

    Pool() = default;
    Pool(const Pool&) = delete;  // would be counted twice
    Pool& operator=(const Pool&) = delete;
    ~Pool() {
        if (owned)
            owners.fetch_sub(1, std::memory_order_relaxed);
    }

    /// Whether this thread is one of those that have a pool, or now becomes one.
    bool own() {
        if (owned)
            return true;
        owned = owners.fetch_add(1, std::memory_order_relaxed) < most_owners;
        if (!owned)
            owners.fetch_sub(1, std::memory_order_relaxed);
        return owned;
    }

    void release() {
        if (release_pool())
            size = 1;
    }
};
thread_local Pool pool;

/// Runs body with first_worker, first_worker + 1, ... on `size` threads of the calling thread's pool; false if there is
/// no such pool and the system does not let it have one.
bool run_on_own_pool(int size, int first_worker, Body body, void* context) {
    if (size > pool.size && !can_create_threads(size - pool.size))
        return false;
#pragma omp parallel num_threads(size)
    body(context, first_worker + omp_get_thread_num());
    pool.size = std::max(pool.size, size);
    return true;
}

/// A thread that brings its pool to the teams of whoever has none. It waits for ever, and is never destroyed.
class Leader {
public:
    /// A leader whose thread runs, or null if the system refuses it one.
    static Leader* start() {
        const WorkerAttributes attributes;
        std::unique_ptr<Leader> leader(new (std::nothrow) Leader);
        if (leader == nullptr || !attributes.suffice())
            return nullptr;
        // The program's signals are for its own threads. The pool inherits that, as it inherits the affinity mask.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pthread_t handle;
        const bool started = pthread_create(&handle, attributes.get(), serve, leader.get()) == 0;
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        if (!started)
            return nullptr;
        pthread_detach(handle);
        return leader.release();
    }

    /// Runs the team of a caller, who is worker 0 of it. False if the caller was alone.
    bool run(int size, Body body, void* context) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            body_ = body;
            context_ = context;
            followers_ = size - 1;
            cpus_ = affinity_mask();
        }
        changed_.notify_all();
        body(context, 0);
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return followers_ == 0; });
        return granted_;
    }

private:
    static void* serve(void* self) {
        static_cast<Leader*>(self)->wait_and_lead();
        return nullptr;
    }

    [[noreturn]] void wait_and_lead() {
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            changed_.wait(lock, [this] { return followers_ != 0; });
            lock.unlock();
            adopt_cpus();
            granted_ = run_on_own_pool(followers_, 1, body_, context_);
            lock.lock();
            followers_ = 0;
            changed_.notify_all();
        }
    }

    /// The pool runs where its caller may run. Where the runtime binds threads, it has its own opinion.
    void adopt_cpus() {
        if (omp_get_proc_bind() != omp_proc_bind_false || cpus_ == affinity_mask())
            return;
        pool.release();
        set_affinity_mask(cpus_);
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    int followers_ = 0;  ///< threads that the caller is waiting for
    Body body_ = nullptr;
    void* context_ = nullptr;
    AffinityMask cpus_;
    bool granted_ = false;
};

Leader* leader = nullptr;  ///< of the thread that runs the team

bool run_with_leader(int size, Body body, void* context) {
    if (leader == nullptr)
        leader = Leader::start();
    if (leader != nullptr)
        return leader->run(size, body, context);
    body(context, 0);
    return false;
}

/// CPUs in the places to which the runtime binds threads.
int cpus_in_places() {
    std::vector<int> cpus;
    for (int place = 0; place < omp_get_num_places(); ++place) {
        const std::size_t before = cpus.size();
        cpus.resize(before + static_cast<std::size_t>(std::max(0, omp_get_place_num_procs(place))));
        omp_get_place_proc_ids(place, cpus.data() + before);
    }
    std::sort(cpus.begin(), cpus.end());
    const auto distinct = static_cast<int>(std::unique(cpus.begin(), cpus.end()) - cpus.begin());
    // A list of places may name CPUs that the process was not given.
    return distinct == 0 ? omp_get_num_procs() : std::min(distinct, omp_get_num_procs());
}

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
    owners.store(pool.owned ? 1 : 0, std::memory_order_relaxed);
    leader = nullptr;  // what it holds may be locked, and is left as it is
}

// Not before the first team: a program that never runs one pays nothing when it forks.
bool fork_handlers_installed() {
    static const bool installed = pthread_atfork(before_fork, nullptr, in_child) == 0;
    return installed;
}

}  // namespace

int max_team_size() {
    if (omp_in_parallel())
        return 1;
    return std::max(1, std::min(omp_get_max_threads(), omp_get_thread_limit()));
}

int team_cpus() {
    // Where the runtime binds threads to places, it has bound this one too: the mask says nothing of the others.
    if (omp_get_proc_bind() == omp_proc_bind_false)
        return affinity_cpus();
    static const int in_places = cpus_in_places();  // they stay as they were when the process began
    return in_places;
}

bool run_team(int size, void (*body)(void* context, int worker), void* context) {
    if (size <= 1 || pool_lost.load(std::memory_order_relaxed) || !fork_handlers_installed() ||
        team_running.exchange(true, std::memory_order_acquire)) {
        body(context, 0);
        return true;
    }
    bool granted = false;
    if (pool.own()) {
        granted = run_on_own_pool(size, 0, body, context);
        if (!granted)
            body(context, 0);
    } else {
        granted = run_with_leader(size, body, context);
    }
    team_running.store(false, std::memory_order_release);
    return granted;
}

}  // namespace detail
}  // namespace logitloss
