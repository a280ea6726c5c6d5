// Every one of the 2^32 float32 inputs of exp, log and log1p, and of the roundings to float16 and bfloat16, on one
// instruction set:
//
//     logitloss_exhaustive [isa [other_isa]]
//
// prints, per function, the largest error in ulp, the input it was met at and the mean over the finite results, and per
// rounding the inputs that give other bits than the format's definition, as Markdown tables. With two names it compares
// their bits instead. Takes minutes.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "elementary_reference.hpp"
#include "half_reference.hpp"
#include "logitloss/runtime.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {
namespace {

using Function = ElementaryFunction<float, double>;

constexpr std::uint64_t inputs = std::uint64_t(1) << 32;
constexpr std::size_t chunk = 1 << 14;

/// What a thread has seen of a function.
struct Survey {
    double worst = 0.0;
    float where = 0.0f;
    double sum = 0.0;
    std::uint64_t finite = 0;
    std::uint64_t different = 0;

    void merge(const Survey& other) {
        if (other.worst > worst) {
            worst = other.worst;
            where = other.where;
        }
        sum += other.sum;
        finite += other.finite;
        different += other.different;
    }
};

void judge(const Function& function, float x, float y, Survey& survey) {
    const double error = ulp_error(y, function.reference(static_cast<double>(x)));
    if (error > survey.worst) {
        survey.worst = error;
        survey.where = x;
    }
    if (std::isfinite(y)) {
        survey.sum += error;
        ++survey.finite;
    }
}

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

/// The inputs whose chunk number is `first` modulo `step`.
Survey survey_share(const Function& function, const KernelTable& table, const KernelTable* other, std::uint64_t first,
                    std::uint64_t step) {
    Survey survey;
    std::vector<float> x(chunk), y(chunk), z(chunk);
    for (std::uint64_t begin = first * chunk; begin < inputs; begin += step * chunk) {
        for (std::size_t i = 0; i < chunk; ++i)
            x[i] = from_word<float>(begin + i);
        (table.float32.*function.kernel)(x.data(), chunk, y.data());
        if (other != nullptr)
            (other->float32.*function.kernel)(x.data(), chunk, z.data());
        for (std::size_t i = 0; i < chunk; ++i)
            if (other == nullptr)
                judge(function, x[i], y[i], survey);
            else
                survey.different += !same(y[i], z[i]);
    }
    return survey;
}

/// Inputs that the table rounds to other bits than `other` does, or without it the definition. The share is as above.
template <class Half>
Survey survey_rounding_share(const KernelTable& table, const KernelTable* other, std::uint64_t first,
                             std::uint64_t step) {
    Survey survey;
    std::vector<float> x(chunk);
    std::vector<Half> y(chunk), z(chunk);
    for (std::uint64_t begin = first * chunk; begin < inputs; begin += step * chunk) {
        for (std::size_t i = 0; i < chunk; ++i)
            x[i] = from_word<float>(begin + i);
        table.halves<Half>().narrow(x.data(), chunk, StoreMode::cached, y.data());
        if (other != nullptr)
            other->halves<Half>().narrow(x.data(), chunk, StoreMode::cached, z.data());
        for (std::size_t i = 0; i < chunk; ++i)
            survey.different += word_of(y[i]) != (other != nullptr ? word_of(z[i]) : defined_bits<Half>(x[i]));
    }
    return survey;
}

/// What share(first, step) sees for every `first` below `step`, a thread each.
template <class Share>
Survey survey_all(const Share& share) {
    const unsigned count = std::max(1u, std::thread::hardware_concurrency());
    std::vector<Survey> shares(count);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < count; ++i)
        threads.emplace_back([&, i] { shares[i] = share(i, count); });
    Survey all;
    for (unsigned i = 0; i < count; ++i) {
        threads[i].join();
        all.merge(shares[i]);
    }
    return all;
}

/// Whether no input of the rounding to Half gives other bits.
template <class Half>
bool print_rounding(const char* half, const KernelTable& table, const KernelTable* other) {
    const Survey all = survey_all([&](std::uint64_t first, std::uint64_t step) {
        return survey_rounding_share<Half>(table, other, first, step);
    });
    std::printf("| float32 to %s | %llu |\n", half, static_cast<unsigned long long>(all.different));
    std::fflush(stdout);
    return all.different == 0;
}

int run(const std::string& name, const std::string& other_name) {
    const KernelTable* table = kernels_named(name.c_str());
    const KernelTable* other = other_name.empty() ? nullptr : kernels_named(other_name.c_str());
    if (table == nullptr || (other == nullptr && !other_name.empty())) {
        std::fprintf(stderr, "usage: logitloss_exhaustive [isa [other_isa]]; this CPU has:");
        for (const std::string& available : available_isas())
            std::fprintf(stderr, " %s", available.c_str());
        std::fprintf(stderr, "\n");
        return 2;
    }
    bool good = true;
    std::printf(other ? "| %s and %s | inputs that differ |\n|---|---|\n"
                      : "| %s%s | largest error, ulp | at | mean, ulp | finite results |\n|---|---|---|---|---|\n",
                name.c_str(), other_name.c_str());
    for (const Function& function : elementary_functions<float, double>) {
        const Survey all = survey_all([&](std::uint64_t first, std::uint64_t step) {
            return survey_share(function, *table, other, first, step);
        });
        if (other != nullptr)
            std::printf("| %s | %llu |\n", function.name, static_cast<unsigned long long>(all.different));
        else
            std::printf("| %s | %.4f | %.9g (%a) | %.4f | %llu |\n", function.name, all.worst,
                        static_cast<double>(all.where), static_cast<double>(all.where),
                        all.sum / static_cast<double>(all.finite), static_cast<unsigned long long>(all.finite));
        std::fflush(stdout);
        good = good && all.different == 0 && all.worst < 1.0;
    }
    if (other == nullptr)
        std::printf("\n| %s, rounding | inputs of other bits than the definition |\n|---|---|\n", name.c_str());
    good = print_rounding<Float16>("float16", *table, other) && good;
    good = print_rounding<BFloat16>("bfloat16", *table, other) && good;
    return good ? 0 : 1;
}

}  // namespace
}  // namespace logitloss::detail

int main(int argc, char** argv) {
    const std::string name = argc > 1 ? argv[1] : logitloss::isa();
    return logitloss::detail::run(name, argc > 2 ? argv[2] : "");
}
