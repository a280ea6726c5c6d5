// What kernels make of a row once it is summed: ends, softmaxes and their vector-Jacobian products; and softcap. The bits are
// the scalar ones, and values are compared with the formulas in long double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class RowResultKernels : public KernelTest {};
INSTANTIATE_TEST_SUITE_P(Isa, RowResultKernels, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

/// log_softmax and both vjps: out of place, and in each place that the contract allows.
template <class T>
Outcome write_softmax_family(const Kernels<T>& k, const std::vector<T>& row, const std::vector<T>& cotangent,
                             std::size_t shift) {
    const std::size_t n = row.size();
    const Placed<T> y(row, shift);
    const Placed<T> dy(cotangent, shift / 3);
    const auto run = [&](auto kernel, T* over_y, T* over_dy, Guarded<T>& out) {
        kernel(over_y ? over_y : y.data(), over_dy ? over_dy : dy.data(), n, T(0.37), out.data());
        EXPECT_TRUE(out.intact());
        return out.values();
    };
    Outcome outcome;
    for (auto kernel : {k.softmax_vjp, k.log_softmax_vjp}) {
        Guarded<T> fresh(n, shift);
        Guarded<T> over_y(row, shift);
        Guarded<T> over_dy(cotangent, shift);
        Outcome expected;
        expected.add(run(kernel, nullptr, nullptr, fresh));
        Outcome in_y;
        in_y.add(run(kernel, over_y.data(), nullptr, over_y));
        Outcome in_dy;
        in_dy.add(run(kernel, nullptr, over_dy.data(), over_dy));
        EXPECT_TRUE(in_y == expected) << n << " in place of y: " << expected.first_difference(in_y);
        EXPECT_TRUE(in_dy == expected) << n << " in place of dy: " << expected.first_difference(in_dy);
        outcome.add(fresh.values());
    }
    Guarded<T> fresh(n, shift);
    Guarded<T> over_x(row, shift);
    k.log_softmax(y.data(), n, T(1.5), T(0.25), fresh.data());
    k.log_softmax(over_x.data(), n, T(1.5), T(0.25), over_x.data());
    EXPECT_TRUE(fresh.intact() && over_x.intact());
    outcome.add(fresh.values());
    outcome.add(over_x.values());
    return outcome;
}

TEST_P(RowResultKernels, SoftmaxFamily) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::vector<T> cotangent = mixed_weights<T>(random, row.size());
            const std::size_t shift = random.below(16);
            this->expect_scalar_bits<T>(
                what, [&](const Kernels<T>& k) { return write_softmax_family<T>(k, row, cotangent, shift); });
        });
    };
    check(float{});
    check(double{});
}

TEST_P(RowResultKernels, Softcap) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            const std::vector<T> gradient = mixed_weights<T>(random, n);
            const std::size_t shift = random.below(16);
            const T cap = static_cast<T>(random.below(2) ? 30.0 : random.uniform(0.1, 100));
            this->expect_scalar_bits<T>(what, [&](const Kernels<T>& k) {
                const Placed<T> x(row, shift);
                Guarded<T> fresh(n, shift);
                Guarded<T> over_x(row, shift);
                Guarded<T> pulled(gradient, shift);
                k.softcap(x.data(), n, cap, fresh.data());
                k.softcap(over_x.data(), n, cap, over_x.data());
                k.softcap_pull_back(x.data(), n, cap, pulled.data());
                EXPECT_TRUE(fresh.intact() && over_x.intact() && pulled.intact());
                Outcome outcome;
                outcome.add(fresh.values());
                outcome.add(over_x.values());
                outcome.add(pulled.values());
                return outcome;
            });
        });
    };
    check(float{});
    check(double{});
}

// -------------------------------------------------------------------------------------------------------- row ends

template <class T>
Outcome row_ends(const Kernels<T>& k, Random random) {
    LogSumExpEnds<T> plain{};
    AsideEnds<T> aside{};
    for (std::size_t i = 0; i < row_batch; ++i) {
        plain.max[i] = static_cast<T>(random.below(2) ? random.uniform(-131072, 131072) : random.normal());
        plain.exponent[i] = std::rint(static_cast<double>(plain.max[i]) * 1.4426950408889634);
        plain.sum[i] = random.uniform(0.75, 4096.0);
        aside.logit[i] = static_cast<T>(random.below(2) ? random.uniform(-131072, 131072) : random.normal());
        aside.exponent[i] =
            std::rint((static_cast<double>(aside.logit[i]) + random.uniform(-200, 200)) * 1.4426950408889634);
        aside.sum[i] = random.uniform(0.75, 4096.0);
        if (random.below(8) == 0) {
            aside.sum[i] = 0.0;
            aside.exponent[i] = no_exponent;
        }
    }
    plain.max[0] = T(-0.5);  // a row near 0
    plain.exponent[0] = 0.0;
    plain.sum[0] = 0.875;
    Outcome outcome;
    outcome.add(k.log_sum_exp_ends(&plain, row_batch) ? 1.0 : 0.0);
    T max[row_batch];
    for (std::size_t i = 0; i < row_batch; ++i) {
        const double others = aside.exponent[i] * 0.6931471805599453;
        max[i] = std::max(aside.logit[i], static_cast<T>(others));
    }
    aside.max = max;
    k.aside_ends(&aside, row_batch, EndParts::smoothed);
    AsideEnds<T> parts = aside;
    for (EndParts some : {EndParts::gap, EndParts::gradient, EndParts::all}) {
        std::fill(parts.gap, parts.gap + row_batch, -1.0);
        std::fill(parts.scale, parts.scale + row_batch, -1.0);
        k.aside_ends(&parts, row_batch, some);
        outcome.add(parts.gap, row_batch);
        outcome.add(parts.scale, row_batch);
        for (std::size_t i = 0; i < row_batch; ++i) {
            EXPECT_EQ(parts.gap[i], aside.gap[i]) << i;
            EXPECT_EQ(parts.scale[i], some == EndParts::gap ? -1.0 : aside.scale[i]) << i;
        }
    }
    outcome.add(plain.above_max, row_batch);
    outcome.add(plain.lse, row_batch);
    outcome.add(plain.scale, row_batch);
    outcome.add(plain.others, row_batch);
    outcome.add(plain.others_rest, row_batch);
    outcome.add(plain.near, row_batch);
    k.paired_ends(&plain, nullptr, row_batch);
    outcome.add(plain.above_max, row_batch);
    outcome.add(plain.lse, row_batch);
    outcome.add(aside.gap, row_batch);
    outcome.add(aside.base, row_batch);
    outcome.add(aside.scale, row_batch);
    outcome.add(aside.complement, row_batch);
    outcome.add(aside.probability, row_batch);
    outcome.add(aside.lse, row_batch);
    outcome.add(aside.above_max, row_batch);
    return outcome;
}

TEST_P(RowResultKernels, RowEnds) {
    for (std::uint64_t seed = 0; seed < 500 && !HasFatalFailure(); ++seed) {
        expect_scalar_bits<float>("float32", [&](const Kernels<float>& k) { return row_ends<float>(k, Random(seed)); });
        expect_scalar_bits<double>("float64",
                                   [&](const Kernels<double>& k) { return row_ends<double>(k, Random(seed)); });
    }
}

// Outputs of canonical_nan are compared as they are, since all NaNs are one to Outcome.
TEST_P(RowResultKernels, CanonicalNan) {
    const auto check = [&](auto zero, auto word) {
        using T = decltype(zero);
        using Word = decltype(word);
        const Word exponent = sizeof(T) == 4 ? Word(0x7F800000u) : static_cast<Word>(0x7FF0000000000000u);
        const Word sign = Word(1) << (8 * sizeof(T) - 1);
        const Word quiet = sizeof(T) == 4 ? Word(0x7FC00000u) : static_cast<Word>(0x7FF8000000000000u);
        for (std::size_t n : {0u, 1u, 5u, 64u, 100u}) {
            std::vector<Word> words(n);
            for (std::size_t i = 0; i < n; ++i)
                words[i] = i % 4 == 0   ? (exponent | 1)
                           : i % 4 == 1 ? (sign | quiet | 5)
                           : i % 4 == 2 ? exponent
                                        : Word(i);
            std::vector<T> values(n);
            if (n != 0)
                std::memcpy(values.data(), words.data(), n * sizeof(T));
            Guarded<T> x(values, n % 16);
            kernels<T>().canonical_nan(x.data(), n);
            EXPECT_TRUE(x.intact());
            for (std::size_t i = 0; i < n; ++i) {
                Word got;
                std::memcpy(&got, x.data() + i, sizeof got);
                Word canonical;
                const T nan = quiet_nan<T>;
                std::memcpy(&canonical, &nan, sizeof canonical);
                ASSERT_EQ(got, i % 4 < 2 ? canonical : words[i]) << i << " of " << n;
            }
        }
    };
    check(float{}, std::uint32_t{});
    check(double{}, std::uint64_t{});
}

// Sums in two parts are right to 2^-56 of each term in float64, and to an ulp of float64 over float32 data; the value is
// log1p of the other classes' sum, which may be far below an ulp of 1.
TEST_P(RowResultKernels, SumsBesideTheMaximum) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        for (const double depth : {0.5, 30.0, 45.0, 80.0}) {
            std::vector<T> row(300);
            fill_each(row, [&](std::size_t i) { return -depth - 0.01 * static_cast<double>(i); });
            row[123] = T(0);
            Exact others = 0;
            for (std::size_t i = 0; i < row.size(); ++i)
                others += i == 123 ? Exact(0) : std::exp(static_cast<Exact>(row[i]));
            const SumBelow sum = kernels<T>().paired_exponentials(row.data(), row.size(), 0.0);
            EXPECT_EQ(sum.met, 1.0);
            expect_within((static_cast<Exact>(sum.below.first) + sum.below.second) * Exact(0x1p-512), others,
                          others * (sizeof(T) == 4 ? 0x1p-52L : 0x1p-55L));
            LogSumExpEnds<T> ends{};
            for (std::size_t i = 0; i < row_batch; ++i) {
                ends.others[i] = sum.below.first;
                ends.others_rest[i] = sum.below.second;
                ends.near[i] = i % 2 == 0 ? 1.0 : 0.0;
                ends.lse[i] = 7.0;
            }
            kernels<T>().paired_ends(&ends, nullptr, row_batch);
            for (std::size_t i = 0; i < row_batch; ++i)
                expect_within(ends.lse[i], i % 2 == 0 ? std::log1p(others) : Exact(7),
                              eps<double> * std::log1p(others));
        }
    };
    check(float{});
    check(double{});
}

// tanh and its derivative keep relative accuracy, at small arguments and where tanh is near 1: expm1 or exp within an
// ulp or so, a division before it whose half ulp the exponential multiplies by its argument, and four more roundings.
TEST_P(RowResultKernels, SoftcapKeepsRelativeAccuracy) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const Kernels<T>& k = kernels<T>();
        Random random(15);
        const std::size_t n = 5000;
        for (T cap : {T(30), T(0.7), T(1000)}) {
            std::vector<T> x(n), capped(n), pulled(n, T(1.5));
            fill_each(x, [&](std::size_t i) {
                return (i % 2 ? random.uniform(-20, 20) : std::exp(random.uniform(-30, 1))) * static_cast<double>(cap);
            });
            x[0] = -infinity<T>;
            x[1] = infinity<T>;
            k.softcap(x.data(), n, cap, capped.data());
            k.softcap_pull_back(x.data(), n, cap, pulled.data());
            EXPECT_EQ(capped[0], -infinity<T>);
            EXPECT_EQ(pulled[0], T(1.5));
            EXPECT_EQ(capped[1], cap);
            EXPECT_EQ(pulled[1], T(0));
            for (std::size_t i = 2; i < n && !HasFailure(); ++i) {
                const Exact u = static_cast<Exact>(x[i]) / cap;
                const Exact value = cap * std::tanh(u);
                const Exact slope = 1 / (std::cosh(u) * std::cosh(u));
                SCOPED_TRACE("u " + std::to_string(u));
                expect_within(capped[i], value, 5 * eps<T> * std::fabs(value));
                expect_within(pulled[i], Exact(1.5) * slope, (5 + std::fabs(u)) * eps<T> * Exact(1.5) * slope);
            }
        }
    };
    check(float{});
    check(double{});
}

}  // namespace
}  // namespace logitloss::detail
