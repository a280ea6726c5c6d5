// How many CPUs this process may really use.
#pragma once

#include <string>

namespace logitloss::detail {

/// CPUs in the calling thread's affinity mask, at least 1.
int affinity_cpus();

/// Whole CPUs that the cgroup quota of this process allows, at least 1; no_quota if there is none.
///
/// `root` is where the cgroup file systems are mounted, /sys/fs/cgroup; `membership` is the text of
/// /proc/self/cgroup. Version 2 (cpu.max) and version 1 (cpu.cfs_quota_us) are understood; the group and all groups
/// above it count. In a container the group's own path may not be visible, which leaves the groups above it.
int quota_cpus(const std::string& root, const std::string& membership);

constexpr int no_quota = 1 << 30;

/// The smaller of both for this process. The quota is read again at most once a second: it is a few small files,
/// and may be changed while the process runs. LOGITLOSS_CGROUP_ROOT replaces the root (for tests).
int usable_cpus();

}  // namespace logitloss::detail
