// parallel_for: what is covered, by whom, and what happens where threads cannot be had.
#include "runtime/threads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cfenv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "logitloss/error.hpp"
#include "logitloss/runtime.hpp"
#include "runtime/cpu_limits.hpp"

#if defined(__linux__)
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace logitloss::detail {
namespace {

constexpr int many = 5;  // more than the machine may have
constexpr std::size_t large = std::size_t{1} << 30;

bool has_threads() { return std::string(threading_backend()) != "serial"; }

/// Sum of [0, items) taken over the ranges of one loop.
std::size_t sum_in_parallel(std::size_t items, std::size_t grain, int workers) {
    std::atomic<std::size_t> sum{0};
    parallel_for(items, grain, workers, [&](std::size_t first, std::size_t last, int) noexcept {
        for (std::size_t i = first; i < last; ++i)
            sum += i;
    });
    return sum;
}

/// Workers that took part in a loop whose items all wait for them, for a while: a busy machine starts threads late.
int workers_seen(int workers) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(workers));
    std::atomic<int> seen{0};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(has_threads() ? 5 : 0);
    parallel_for(200, 1, workers, [&](std::size_t, std::size_t, int worker) noexcept {
        seen += ++calls[static_cast<std::size_t>(worker)] == 1 ? 1 : 0;
        do
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        while (seen < workers && std::chrono::steady_clock::now() < deadline);
    });
    return seen;
}

TEST(ParallelFor, CoversEveryItemOnce) {
    for (std::size_t items : {0, 1, 2, 5, 63, 64, 65, 1000})
        for (std::size_t grain : {0, 1, 3, 64, 5000})
            for (int workers : {1, 2, many}) {
                std::vector<std::atomic<int>> visits(items);
                parallel_for(items, grain, workers, [&](std::size_t first, std::size_t last, int worker) noexcept {
                    EXPECT_LT(first, last);
                    EXPECT_LE(last, items);
                    EXPECT_GE(worker, 0);
                    EXPECT_LT(worker, workers);
                    for (std::size_t i = first; i < last; ++i)
                        ++visits[i];
                });
                for (std::size_t i = 0; i < items; ++i)
                    ASSERT_EQ(visits[i], 1) << "item " << i << " of " << items << ", grain " << grain;
            }
}

TEST(ParallelFor, RangesNearTheEndOfSizeTDoNotWrapAround) {
    const std::size_t items = std::numeric_limits<std::size_t>::max();
    std::atomic<std::size_t> covered{0};
    parallel_for(items, items / 3, many,
                 [&](std::size_t first, std::size_t last, int) noexcept { covered += last - first; });
    EXPECT_EQ(covered, items);
}

TEST(ParallelFor, OneWorkerIsTheCallerAndGetsOneRange) {
    const std::thread::id caller = std::this_thread::get_id();
    int calls = 0;
    parallel_for(100, 7, 1, [&](std::size_t first, std::size_t last, int worker) noexcept {
        ++calls;
        EXPECT_EQ(first, 0u);
        EXPECT_EQ(last, 100u);
        EXPECT_EQ(worker, 0);
        EXPECT_EQ(std::this_thread::get_id(), caller);
    });
    EXPECT_EQ(calls, 1);
}

TEST(ParallelFor, AWorkerNumberBelongsToOneThreadAtATime) {
    std::vector<std::atomic<int>> busy(many);
    std::atomic<int> clashes{0};
    parallel_for(500, 1, many, [&](std::size_t, std::size_t, int worker) noexcept {
        std::atomic<int>& mine = busy[static_cast<std::size_t>(worker)];
        clashes += mine.fetch_add(1) != 0;
        std::this_thread::sleep_for(std::chrono::microseconds(20));
        mine.fetch_sub(1);
    });
    EXPECT_EQ(clashes, 0);
}

TEST(ParallelFor, ReallyUsesThreads) { EXPECT_EQ(workers_seen(many), has_threads() ? many : 1); }

TEST(ParallelFor, OneSlowRangeDoesNotHoldUpTheRest) {
    if (!has_threads())
        GTEST_SKIP() << "the serial backend has no other thread";
    std::atomic<int> others{0};
    std::atomic<bool> timed_out{false};
    parallel_for(100, 1, 2, [&](std::size_t first, std::size_t, int) noexcept {
        if (first != 0) {
            ++others;
            return;
        }
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (others < 99 && !timed_out)  // a static half-and-half split would wait here for itself
            timed_out = std::chrono::steady_clock::now() > deadline;
    });
    EXPECT_FALSE(timed_out);
}

TEST(ParallelFor, ALoopInsideALoopStaysOnItsThread) {
    std::atomic<int> strangers{0};
    parallel_for(8, 1, many, [&](std::size_t, std::size_t, int) noexcept {
        EXPECT_EQ(plan_threads(large, many), 1);
        const std::thread::id here = std::this_thread::get_id();
        parallel_for(16, 1, many,
                     [&](std::size_t, std::size_t, int) noexcept { strangers += std::this_thread::get_id() != here; });
    });
    EXPECT_EQ(strangers, 0);
}

TEST(ParallelFor, ConcurrentCallersAllGetTheirResult) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 6; ++i)
        callers.emplace_back([&] {
            for (int repeat = 0; repeat < 50; ++repeat)
                wrong += sum_in_parallel(1000, 10, many) != 499500;
        });
    for (std::thread& caller : callers)
        caller.join();
    EXPECT_EQ(wrong, 0);
}

/// Calls fn(i) on threads 0, 1, ... that all live until the last one has been called, one call after the other: the
/// first ones come to own a pool, and the others share one.
template <class Fn>
void on_threads_in_turn(int count, Fn&& fn) {
    std::atomic<int> turn{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            while (turn != i)
                std::this_thread::yield();
            fn(i);
            ++turn;
            while (turn < count)
                std::this_thread::yield();
        });
    for (std::thread& thread : threads)
        thread.join();
}

TEST(ParallelFor, CallersThatOwnNoPoolHaveATeamToo) {
    on_threads_in_turn(5, [&](int i) {
        for (int workers : {2, many, 3}) {
            EXPECT_EQ(workers_seen(workers), has_threads() ? workers : 1) << "thread " << i;
            EXPECT_EQ(sum_in_parallel(1000, 10, workers), 499500u) << "thread " << i;
        }
    });
}

// ------------------------------------------------------------------------------------------ floating-point environment

// Arithmetic that the compiler neither folds nor moves across a change of the environment.
double third_of(double x) {
    volatile double numerator = x, denominator = 3.0;
    volatile double quotient = numerator / denominator;
    return quotient;
}

TEST(FloatEnvironment, WorkersRoundToNearestWhateverTheCallerDoes) {
    const double nearest = third_of(2.0);
    ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
    ASSERT_NE(third_of(2.0), nearest) << "this number does not tell the modes apart";
    const auto compute = [&](int workers) {
        std::atomic<int> wrong{0};
        parallel_for(100, 1, workers,
                     [&](std::size_t, std::size_t, int) noexcept { wrong += third_of(2.0) != nearest; });
        EXPECT_EQ(wrong, 0) << workers << " workers";
    };
    for (int workers : {1, many})
        compute(workers);
    on_threads_in_turn(4, [&](int) { compute(many); });  // they inherit the mode
    EXPECT_EQ(std::fegetround(), FE_UPWARD);
    std::fesetround(FE_TONEAREST);
}

TEST(FloatEnvironment, LeavesNoStatusFlag) {
    std::feclearexcept(FE_ALL_EXCEPT);
    parallel_for(1, 1, 1, [](std::size_t, std::size_t, int) noexcept { third_of(2.0); });
    EXPECT_EQ(std::fetestexcept(FE_ALL_EXCEPT), 0);
    third_of(2.0);
    EXPECT_NE(std::fetestexcept(FE_INEXACT), 0) << "the division raises no flag by itself";
}

#if defined(__x86_64__)
constexpr std::uint64_t flush_subnormals = 0x8040;  // flush to zero, and take subnormal inputs for zero
std::uint64_t float_control() { return _mm_getcsr(); }
void set_float_control(std::uint64_t control) { _mm_setcsr(static_cast<unsigned>(control)); }
#elif defined(__aarch64__)
constexpr std::uint64_t flush_subnormals = std::uint64_t{1} << 24;
std::uint64_t float_control() {
    std::uint64_t control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
void set_float_control(std::uint64_t control) { asm volatile("msr fpcr, %0" : : "r"(control)); }
#endif

#if defined(__x86_64__) || defined(__aarch64__)
float half_of_smallest_normal() {
    volatile float number = std::numeric_limits<float>::min(), half = 0.5f;
    volatile float product = number * half;
    return product;
}

TEST(FloatEnvironment, SubnormalNumbersSurviveAProgramThatFlushesThem) {
    const std::uint64_t before = float_control();
    set_float_control(before | flush_subnormals);
    const bool flushed_outside = half_of_smallest_normal() == 0.0f;
    for (int workers : {1, many}) {
        std::atomic<int> flushed{0};
        parallel_for(100, 1, workers,
                     [&](std::size_t, std::size_t, int) noexcept { flushed += half_of_smallest_normal() == 0.0f; });
        EXPECT_EQ(flushed, 0) << workers << " workers";
    }
    const std::uint64_t after = float_control();
    set_float_control(before);
    EXPECT_TRUE(flushed_outside);
    EXPECT_EQ(after & flush_subnormals, flush_subnormals);
}
#endif

// -------------------------------------------------------------------------------------------------------------- limits

TEST(PlanThreads, SmallWorkStaysWithTheCaller) {
    EXPECT_EQ(plan_threads(0, 0), 1);
    EXPECT_EQ(plan_threads(parallel_threshold - 1, many), 1);
}

TEST(PlanThreads, NeverAboveTheRequestOrTheLimit) {
    EXPECT_EQ(plan_threads(large, 1), 1);
    EXPECT_EQ(plan_threads(large, 1000000), get_num_threads());
    EXPECT_LE(plan_threads(large, 2), 2);
    EXPECT_LE(plan_threads(parallel_threshold, 1000), 2);
}

TEST(PlanThreads, SettingHoldsInEveryThread) {
    const int before = get_num_threads();
    set_num_threads(1);
    int elsewhere = 0;
    std::thread([&] { elsewhere = get_num_threads(); }).join();
    EXPECT_EQ(elsewhere, 1);
    EXPECT_EQ(get_num_threads(), 1);
    set_num_threads(std::numeric_limits<int>::max());
    EXPECT_EQ(get_num_threads(), before);
}

TEST(PlanThreads, RefusesLessThanOne) {
    EXPECT_THROW(set_num_threads(0), value_error);
    EXPECT_THROW(set_num_threads(-3), value_error);
}

#if defined(__linux__)

TEST(PlanThreads, AffinityIsThisThreads) {
    EXPECT_GE(affinity_cpus(), 1);
    cpu_set_t before, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    EXPECT_EQ(affinity_cpus(), CPU_COUNT(&before));
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before))
        ++cpu;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(affinity_cpus(), 1);
    sched_setaffinity(0, sizeof(before), &before);
}

TEST(ParallelFor, ATeamRunsWhereItsCallerMayRun) {
#if defined(__clang__)
    GTEST_SKIP() << "LLVM's OpenMP runtime gives its threads, callers too, the mask that it found when it started";
#endif
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    const int all = CPU_COUNT(&before);
    on_threads_in_turn(6, [&](int i) {  // by turns on a CPU of its own and on all of them
        int cpu = 0;
        while (!CPU_ISSET(cpu, &before))
            ++cpu;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (i % 2 == 0)
            sched_setaffinity(0, sizeof(one), &one);
        std::atomic<int> elsewhere{0};
        parallel_for(200, 1, 3, [&](std::size_t, std::size_t, int) noexcept {
            elsewhere += affinity_cpus() != (i % 2 == 0 ? 1 : all);
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        });
        EXPECT_EQ(elsewhere, 0) << "thread " << i;
    });
}

class CgroupQuota : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "/cgroupXXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
    }
    void TearDown() override { ASSERT_EQ(std::system(("rm -r '" + root_ + "'").c_str()), 0); }

    void write(const std::string& path, const std::string& text) {
        for (std::size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
            mkdir((root_ + "/" + path.substr(0, slash)).c_str(), 0700);
        std::ofstream(root_ + "/" + path) << text << "\n";
    }

    std::string root_;
};

TEST_F(CgroupQuota, NoFileMeansNoQuota) {
    EXPECT_EQ(quota_cpus(root_, ""), no_quota);
    EXPECT_EQ(quota_cpus(root_, "0::/\n"), no_quota);
    EXPECT_EQ(quota_cpus(root_, "nonsense\n:\n::\n"), no_quota);
}

TEST_F(CgroupQuota, VersionTwo) {
    write("cpu.max", "max 100000");
    EXPECT_EQ(quota_cpus(root_, "0::/\n"), no_quota);
    write("cpu.max", "300000 100000");
    EXPECT_EQ(quota_cpus(root_, "0::/\n"), 3);
    write("cpu.max", "290000 100000");
    EXPECT_EQ(quota_cpus(root_, "0::/\n"), 2) << "a quota is never exceeded";
    write("cpu.max", "10000 100000");
    EXPECT_EQ(quota_cpus(root_, "0::/\n"), 1) << "one thread is always allowed";
}

TEST_F(CgroupQuota, TheLeastQuotaOnTheWayToTheRootHolds) {
    write("outer/cpu.max", "200000 100000");
    write("outer/inner/cpu.max", "800000 100000");
    EXPECT_EQ(quota_cpus(root_, "0::/outer/inner\n"), 2);
    EXPECT_EQ(quota_cpus(root_, "0::/outer/inner/unseen/from/here\n"), 2);
    EXPECT_EQ(quota_cpus(root_, "0::/other\n"), no_quota);
}

TEST_F(CgroupQuota, VersionOne) {
    write("cpu/cpu.cfs_period_us", "100000");
    write("cpu/cpu.cfs_quota_us", "-1");
    const std::string membership = "4:memory:/job\n3:cpu,cpuacct:/job\n2:cpuset:/job\n";
    EXPECT_EQ(quota_cpus(root_, membership), no_quota);
    write("cpu/job/cpu.cfs_period_us", "50000");
    write("cpu/job/cpu.cfs_quota_us", "200000");
    EXPECT_EQ(quota_cpus(root_, membership), 4);
    write("cpu,cpuacct/job/cpu.cfs_period_us", "50000");
    write("cpu,cpuacct/job/cpu.cfs_quota_us", "100000");
    EXPECT_EQ(quota_cpus(root_, membership), 2);
    EXPECT_EQ(quota_cpus(root_, "2:cpuset:/job\n"), no_quota) << "cpuset is another controller";
}

// --------------------------------------------------------------------------------------------------- hostile processes

TEST(Fork, ChildOfAProcessWithAPoolComputesAndEnds) {
    ASSERT_EQ(sum_in_parallel(1000, 10, many), 499500u);
    const pid_t child = fork();
    ASSERT_NE(child, -1);
    if (child == 0) {
        alarm(60);  // a hang is the failure this is about
        _exit(sum_in_parallel(1000, 10, many) == 499500 ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
    EXPECT_EQ(sum_in_parallel(1000, 10, many), 499500u) << "in the parent, afterwards";
}

TEST(Fork, ChildOfAProcessWithASharedPoolComputesInParallel) {
    on_threads_in_turn(5, [](int i) {
        ASSERT_EQ(sum_in_parallel(1000, 10, many), 499500u);
        if (i < 3)
            return;
        const pid_t child = fork();  // from a thread that owns no pool
        ASSERT_NE(child, -1);
        if (child == 0) {
            alarm(60);
            bool right = workers_seen(many) == (has_threads() ? many : 1);
            for (int k = 0; k < 4; ++k)
                std::thread([&] { right = right && sum_in_parallel(1000, 10, many) == 499500; }).join();
            _exit(right ? 0 : 1);
        }
        int status = -1;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
        EXPECT_EQ(sum_in_parallel(1000, 10, many), 499500u) << "in the parent, afterwards";
    });
}

TEST(Fork, ChildForkedInsideALoopComputesAndEnds) {
    std::atomic<int> failures{0};
    parallel_for(4, 1, 2, [&](std::size_t first, std::size_t, int) noexcept {
        if (first != 0)
            return;
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);
            _exit(sum_in_parallel(1000, 10, many) == 499500 ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        failures += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    });
    EXPECT_EQ(failures, 0);
}

#if !defined(__SANITIZE_ADDRESS__)  // it reserves terabytes of address space
[[noreturn]] void compute_where_no_stack_fits() {
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t room = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE)) + (1 << 20);
    const rlimit limit{room, room};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        std::_Exit(2);
    std::_Exit(sum_in_parallel(1000, 10, many) == 499500 && workers_seen(many) == 1 ? 0 : 1);
}

TEST(ThreadCreationDeathTest, WhereThreadsCannotBeHadTheCallerWorksAlone) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";  // a fresh process, whose pool is empty
    EXPECT_EXIT(compute_where_no_stack_fits(), testing::ExitedWithCode(0), "");
}
#endif

#endif  // __linux__

}  // namespace
}  // namespace logitloss::detail
