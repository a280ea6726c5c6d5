// What every test of kernels is made of: one run for each instruction set, on rows of every kind and size.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "kernel_corpus.hpp"

namespace logitloss::detail {

/// A test on the kernels of one instruction set.
class KernelTest : public testing::TestWithParam<NamedTable> {
protected:
    template <class T>
    const Kernels<T>& kernels() const {
        return GetParam().table->of<T>();
    }
    /// Those of scalar code, which all others must equal.
    template <class T>
    static const Kernels<T>& scalar() {
        return kernels_named("scalar")->of<T>();
    }

    /// Asserts that run(kernels) has the same outcome with scalar code and with the table in question. Scalar code runs
    /// once: `run` has expectations of its own.
    template <class T, class Run>
    void expect_scalar_bits(const std::string& what, Run run) const {
        const Outcome expected = run(scalar<T>());
        if (&kernels<T>() == &scalar<T>())
            return;
        const Outcome got = run(kernels<T>());
        ASSERT_TRUE(got == expected) << what << ": scalar and " << GetParam().name << " differ at "
                                     << expected.first_difference(got);
    }
};

/// One of this many cases is tried: of three where LOGITLOSS_TEST_SAMPLE is set, under sanitizers and emulators, and before
/// commits.
inline std::size_t sample_step() { return std::getenv("LOGITLOSS_TEST_SAMPLE") == nullptr ? 1 : 3; }

/// Calls check(description, row, random) over `kinds` x row_sizes(), stopping at the first failure. Of a sample every kind
/// meets some of the sizes, beginning at another one than the kind before, and a third of the kinds meets long rows.
template <class T, class Check>
void over_rows(const std::vector<RowKind<T>>& kinds, Check check) {
    Random random(20240607);
    const std::vector<std::size_t>& sizes = row_sizes();
    const std::size_t step = sample_step();
    for (std::size_t kind = 0; kind < kinds.size(); ++kind)
        for (std::size_t size = kind % step; size < sizes.size(); size += step) {
            if (sizes[size] > 512 && kind / step % step != 0)
                continue;
            std::vector<T> row(sizes[size]);
            kinds[kind].fill(random, row);
            check(std::string(kinds[kind].name) + ", " + std::to_string(row.size()), row, random);
            if (testing::Test::HasFatalFailure())
                return;
        }
}

/// Normal numbers, one in seven 0: weights, cotangents.
template <class T>
std::vector<T> mixed_weights(Random& random, std::size_t n) {
    std::vector<T> weights(n);
    fill_each(weights, [&](std::size_t) { return random.below(7) == 0 ? 0.0 : random.normal(); });
    return weights;
}

// ------------------------------------------------------------------------------------------- formulas in long double

using Exact = long double;

template <class T>
constexpr Exact eps = std::numeric_limits<T>::epsilon();

inline Exact softplus(Exact x) { return std::max(x, Exact(0)) + std::log1p(std::exp(-std::fabs(x))); }
inline Exact sigmoid(Exact x) { return 1 / (1 + std::exp(-x)); }

inline void expect_within(Exact got, Exact expected, Exact tolerance) {
    EXPECT_LE(std::fabs(got - expected), tolerance)
        << "got " << static_cast<double>(got) << ", expected " << static_cast<double>(expected);
}

}  // namespace logitloss::detail
