// What a threading backend provides. One of thread_team_*.cpp is built: LOGITLOSS_THREADING chooses.
#pragma once

namespace logitloss::detail {

/// Threads that a region started by the calling thread may have, as the threading runtime sees it: 1 if it has none
/// to give, or if the calling thread is inside a parallel region already.
int max_team_size();

/// CPUs that the threads of such a region may run on, at least 1.
int team_cpus();

/// Runs body(context, worker) on up to `size` threads at once, worker = 0, 1, ... without gaps, and waits for all.
/// Runs at least worker 0; returns normally whatever fails, false if the system refused the threads. `body` must not
/// throw.
bool run_team(int size, void (*body)(void* context, int worker), void* context);

}  // namespace logitloss::detail
