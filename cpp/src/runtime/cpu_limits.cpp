#include "runtime/cpu_limits.hpp"

#include <algorithm>
#include <atomic>
#include <bitset>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace logitloss::detail {
namespace {

std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// "max 100000" and quotas of -1 parse as no quota; so does a file that is not there.
int whole_cpus(const std::string& quota_text, const std::string& period_text) {
    const double quota = std::atof(quota_text.c_str());
    const double period = std::atof(period_text.c_str());
    if (!(quota > 0) || !(period > 0))
        return no_quota;
    // Rounded down: a thread above the quota would be stopped in mid-call, and the others would wait for it.
    return static_cast<int>(std::clamp(quota / period, 1.0, static_cast<double>(no_quota)));
}

int quota_of_v2_group(const std::string& folder) {
    std::istringstream fields(text_of(folder + "/cpu.max"));
    std::string quota, period;
    fields >> quota >> period;
    return whole_cpus(quota, period);
}

int quota_of_v1_group(const std::string& folder) {
    return whole_cpus(text_of(folder + "/cpu.cfs_quota_us"), text_of(folder + "/cpu.cfs_period_us"));
}

// Least quota of root/path and of every folder between it and root.
int least_quota(const std::string& root, std::string path, int (*quota_of)(const std::string&)) {
    int least = no_quota;
    while (true) {
        while (!path.empty() && path.back() == '/')
            path.pop_back();
        least = std::min(least, quota_of(root + path));
        if (path.empty())
            return least;
        const std::size_t slash = path.rfind('/');
        path.erase(slash == std::string::npos ? 0 : slash);
    }
}

bool lists_cpu(const std::string& controllers) {
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');)
        if (name == "cpu")
            return true;
    return false;
}

}  // namespace

int quota_cpus(const std::string& root, const std::string& membership) {
    int least = no_quota;
    std::istringstream lines(membership);
    for (std::string line; std::getline(lines, line);) {  // "hierarchy:controllers:path"
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos)
            continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string path = line.substr(second + 1);
        if (controllers.empty())
            least = std::min(least, least_quota(root, path, quota_of_v2_group));
        else if (lists_cpu(controllers))
            // The hierarchy is mounted under its controllers' names; "cpu" is there too, at least as a link.
            least = std::min({least, least_quota(root + "/cpu", path, quota_of_v1_group),
                              least_quota(root + "/" + controllers, path, quota_of_v1_group)});
    }
    return least;
}

AffinityMask affinity_mask() {
    AffinityMask mask{};
#if defined(__linux__)
    if (sched_getaffinity(0, sizeof(mask), reinterpret_cast<cpu_set_t*>(mask.data())) != 0)
        mask.fill(0);
#endif
    return mask;
}

void set_affinity_mask([[maybe_unused]] const AffinityMask& mask) {
#if defined(__linux__)
    sched_setaffinity(0, sizeof(mask), reinterpret_cast<const cpu_set_t*>(mask.data()));
#endif
}

int affinity_cpus() {
    std::size_t cpus = 0;
    for (const unsigned long part : affinity_mask())
        cpus += std::bitset<8 * sizeof(part)>(part).count();
    return std::max(1, static_cast<int>(cpus == 0 ? std::thread::hardware_concurrency() : cpus));
}

int quota_cpus() {
    using Clock = std::chrono::steady_clock;
    static std::atomic<int> quota{no_quota};
    static std::atomic<std::int64_t> read_again_at{0};  // nanoseconds; two threads reading at once does no harm

    const std::int64_t now =
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
    if (now >= read_again_at.load(std::memory_order_relaxed)) {
        quota.store(quota_cpus("/sys/fs/cgroup", text_of("/proc/self/cgroup")), std::memory_order_relaxed);
        read_again_at.store(now + 1'000'000'000, std::memory_order_relaxed);
    }
    return quota.load(std::memory_order_relaxed);
}

}  // namespace logitloss::detail
