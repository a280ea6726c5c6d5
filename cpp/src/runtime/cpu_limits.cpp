#include "runtime/cpu_limits.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>
#include <vector>

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

int affinity_cpus() {
#if defined(__linux__)
    for (int capacity = 1024; capacity <= 1 << 20; capacity *= 2) {  // the kernel refuses masks smaller than its own
        std::vector<cpu_set_t> mask(static_cast<std::size_t>(capacity) / (8 * sizeof(cpu_set_t)));
        const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
        if (sched_getaffinity(0, bytes, mask.data()) == 0)
            return std::max(1, CPU_COUNT_S(bytes, mask.data()));
    }
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int usable_cpus() {
    using Clock = std::chrono::steady_clock;
    static const std::string root = [] {
        const char* replaced = std::getenv("LOGITLOSS_CGROUP_ROOT");
        return std::string(replaced != nullptr && *replaced != '\0' ? replaced : "/sys/fs/cgroup");
    }();
    static std::atomic<int> quota{no_quota};
    static std::atomic<std::int64_t> read_again_at{0};  // nanoseconds; two threads reading at once does no harm

    const std::int64_t now =
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
    if (now >= read_again_at.load(std::memory_order_relaxed)) {
        quota.store(quota_cpus(root, text_of("/proc/self/cgroup")), std::memory_order_relaxed);
        read_again_at.store(now + 1'000'000'000, std::memory_order_relaxed);
    }
    return std::min(affinity_cpus(), quota.load(std::memory_order_relaxed));
}

}  // namespace logitloss::detail
