// Threads: how many a call uses, and the one loop that runs on them.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace logitloss::detail {

/// Calls of fewer elements than this stay on the calling thread: waking a second one costs as much as they do.
constexpr std::size_t parallel_threshold = 65536;

/// Workers that a call over `work` elements uses, from 1 up: at most `requested` (0: the library's setting,
/// otherwise that and the setting both hold), omp_get_max_threads(), the usable CPUs, and one for every
/// parallel_threshold / 2 elements. 1 inside somebody's parallel region. Throws value_error if
/// an environment variable is none that can be read (Environment).
int plan_threads(std::size_t work, int requested);

namespace threads_detail {
using RangeFunction = void (*)(void* context, std::size_t first, std::size_t last, int worker);
void run(std::size_t items, std::size_t grain, int workers, RangeFunction function, void* context);
}  // namespace threads_detail

/// Calls fn(first, last, worker) for disjoint ranges that cover [0, items), on at most `workers` threads, and returns
/// when all are done. `workers` is what plan_threads gave; `worker` lies in [0, workers) and no two calls at a time
/// share it, so it can index per-thread scratch that the caller allocated beforehand.
///
/// Ranges hold `grain` items (the last one fewer; a single thread gets one range of everything) and are handed out
/// as threads become free, so a thread that lost its CPU delays one range and not the whole loop. Which worker gets
/// which range is therefore up to chance: what is computed must depend on the items alone.
///
/// `fn` must not throw. It runs in the library's floating-point environment. Another loop that is already running on several
/// threads makes this one run on the calling thread alone.
template <class Fn>
void parallel_for(std::size_t items, std::size_t grain, int workers, Fn&& fn) {
    using Function = std::remove_reference_t<Fn>;
    static_assert(std::is_invocable_v<Function&, std::size_t, std::size_t, int>);
    const auto call = [](void* context, std::size_t first, std::size_t last, int worker) noexcept {
        (*static_cast<Function*>(context))(first, last, worker);
    };
    threads_detail::run(items, grain, workers, call, const_cast<void*>(static_cast<const void*>(std::addressof(fn))));
}

}  // namespace logitloss::detail
