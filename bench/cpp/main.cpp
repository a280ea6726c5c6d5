// Google Benchmark over the public C++ API.
//
//   logitloss_bench [--benchmark_filter=avx2/cross_entropy/512] ...    the instruction set in use, or LOGITLOSS_ISA's
//   logitloss_bench --all_isas ...                                     one process for each that this CPU runs
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cells.hpp"
#include "logitloss/runtime.hpp"

extern char** environ;

namespace bench {
namespace {

void run(benchmark::State& state, const std::function<Measured(int)>& prepare, int threads) {
    try {
        const Measured measured = prepare(threads);
        measured.call();  // errors before the loop; caches and threads warm
        for (auto _ : state)
            measured.call();
        state.SetBytesProcessed(static_cast<std::int64_t>(measured.bytes) * state.iterations());
        state.SetItemsProcessed(static_cast<std::int64_t>(measured.elements) * state.iterations());
    } catch (const std::exception& error) {
        state.SkipWithError(error.what());
    }
}

/// Runs this program once more, as `LOGITLOSS_ISA=<isa> <arguments>`; its exit code.
int run_with(const std::string& isa, char** arguments) {
    setenv("LOGITLOSS_ISA", isa.c_str(), 1);
    pid_t child = 0;
    if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ) != 0)
        return 1;
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int run_all_isas(std::vector<char*> arguments) {
    int code = 0;
    for (const std::string& isa : logitloss::available_isas())
        code |= run_with(isa, arguments.data());
    return code;
}

}  // namespace

void add(const std::string& name, std::function<Measured(int threads)> prepare) {
    const int all = logitloss::get_num_threads();
    for (const int threads : all > 1 ? std::vector<int>{1, all} : std::vector<int>{1}) {
        const std::string full = logitloss::isa() + "/" + name + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) { run(state, prepare, threads); })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
    }
}

}  // namespace bench

int main(int argc, char** argv) {
    std::vector<char*> arguments(argv, argv + argc);
    const auto flag = std::find_if(arguments.begin() + 1, arguments.end(),
                                   [](const char* text) { return std::strcmp(text, "--all_isas") == 0; });
    const bool all_isas = flag != arguments.end();
    if (all_isas)
        arguments.erase(flag);
    int count = static_cast<int>(arguments.size());
    arguments.push_back(nullptr);
    if (all_isas)
        return bench::run_all_isas(arguments);

    try {
        benchmark::Initialize(&count, arguments.data());
        if (benchmark::ReportUnrecognizedArguments(count, arguments.data()))
            return 1;
        benchmark::AddCustomContext("logitloss", logitloss::version());
        benchmark::AddCustomContext("instruction_set", logitloss::isa());
        benchmark::AddCustomContext("threads", std::to_string(logitloss::get_num_threads()));
        benchmark::AddCustomContext("compiler", logitloss::compiler());
        bench::add_bandwidth();
        bench::add_log_sum_exp();
        bench::add_cross_entropy();
        bench::add_binary_cross_entropy();
        bench::add_probabilities();
        bench::add_information();
        bench::add_regression();
        bench::add_metrics();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "logitloss_bench: %s\n", error.what());
        return 1;
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
