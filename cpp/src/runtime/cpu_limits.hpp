// How many CPUs this process may really use.
#pragma once

#include <array>
#include <climits>
#include <string>

namespace logitloss::detail {

/// A bit for every CPU, as the system gives it, for as many as Linux has; all 0 where there is no such thing.
using AffinityMask = std::array<unsigned long, 8192 / (CHAR_BIT * sizeof(unsigned long))>;

/// The calling thread's mask, and how to change it.
AffinityMask affinity_mask();
void set_affinity_mask(const AffinityMask& mask);

/// CPUs in the calling thread's affinity mask, at least 1.
int affinity_cpus();

constexpr int no_quota = 1 << 30;

/// Whole CPUs that the cgroup quota of this process allows, at least 1; no_quota if there is none. It is read again at
/// most once a second: it is a few small files, and may be changed while the process runs.
int quota_cpus();

/// The quota of a process that says `membership` in /proc/self/cgroup, the cgroup file systems being mounted in `root`.
///
/// Version 2 (cpu.max) and version 1 (cpu.cfs_quota_us) are understood; the group and all groups above it count. In a
/// container the group's own path may not be visible, which leaves the groups above it.
int quota_cpus(const std::string& root, const std::string& membership);

}  // namespace logitloss::detail
