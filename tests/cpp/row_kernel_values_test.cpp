// What the kernels on rows compute, against the formulas in long double, on every instruction set. The tolerances come from
// counting roundings: eps is 2^-23 for float32 and 2^-52 for float64, and an exponential is within one ulp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class RowKernelValues : public KernelTest {};
INSTANTIATE_TEST_SUITE_P(Isa, RowKernelValues, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

/// Calls check(row) on ordinary rows of sizes that cover tails, flushes and a whole block.
template <class T, class Check>
void over_ordinary_rows(Check check) {
    Random random(77);
    for (const RowKind<T>& kind : ordinary_rows<T>())
        for (std::size_t n : {1u, 2u, 3u, 17u, 64u, 100u, 1024u, 1025u, 4096u}) {
            std::vector<T> row(n);
            kind.fill(random, row);
            SCOPED_TRACE(std::string(kind.name) + ", " + std::to_string(n));
            check(row, random);
            if (testing::Test::HasFailure())
                return;
        }
}

template <class T>
Exact top_of(const std::vector<T>& row, std::size_t aside = no_index) {
    Exact top = -infinity<Exact>;
    for (std::size_t i = 0; i < row.size(); ++i)
        if (i != aside)
            top = std::max(top, static_cast<Exact>(row[i]));
    return top;
}

/// sum_j exp(x_j - reference) but `aside`.
template <class T>
Exact exact_sum(const std::vector<T>& row, Exact reference, std::size_t aside = no_index) {
    Exact sum = 0;
    for (std::size_t i = 0; i < row.size(); ++i)
        if (i != aside)
            sum += std::exp(static_cast<Exact>(row[i]) - reference);
    return sum;
}

/// exponent ln 2 - x, to long double's accuracy where the difference is small: ln 2 in two parts.
Exact exponent_gap(Exact exponent, Exact x) {
    constexpr Exact ln2_high = 0x0.b17217f7d1cf79acp0L;
    constexpr Exact ln2_low = -0x0.361c4c67fc0d0950bfp-64L;
    return std::fma(exponent, ln2_high, -x) + exponent * ln2_low;
}

// Every term within 1 ulp, i.e. 1 eps relative, and 16 additions in float32 at half an ulp each, of which a share:
// the measured worst is below 1.5 eps. float64 adds 64 terms a lane in float64.
TEST_P(RowKernelValues, BlockState) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_ordinary_rows<T>([&](const std::vector<T>& row, Random& random) {
            for (std::size_t aside : {no_index, random.below(row.size())}) {
                BlockState state;
                kernels<T>().block_state(row.data(), row.size(), aside, &state, nullptr, nullptr);
                const Exact top = top_of(row, aside);
                ASSERT_EQ(static_cast<Exact>(state.max), top);
                if (row.size() == 1 && aside == 0) {
                    ASSERT_EQ(state.kind, BlockKind::deep);
                    ASSERT_EQ(state.sum, 0.0);
                    ASSERT_EQ(state.exponent, no_exponent);
                    continue;
                }
                ASSERT_EQ(state.kind, BlockKind::normal);
                ASSERT_EQ(state.exponent, std::rint(state.exponent));
                // In units of exp(top), to stay inside long double's range.
                const Exact expected = exact_sum(row, top, aside);
                const Exact unit = std::exp(exponent_gap(state.exponent, top));
                expect_within(state.sum * unit, expected, 3 * eps<T> * expected);
            }
        });
    };
    check(float{});
    check(double{});
}

// Sums beside the largest logit, of rows with ties and of rows that it outweighs. `others` may be a difference of sums,
// which doubles its error; terms of the gaps are products, eight of which are added in float32.
TEST_P(RowKernelValues, BlockGaps) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_ordinary_rows<T>([&](std::vector<T> row, Random& random) {
            for (const T lead : {T(0), T(1), T(20)}) {
                const std::size_t at = random.below(row.size());
                row[at] = static_cast<T>(top_of(row)) + lead;
                if (!(static_cast<double>(row[at]) <= fast_limit))
                    continue;  // no normal block
                BlockState state;
                BlockGaps gaps{};
                const T value = row[random.below(row.size())];
                kernels<T>().block_gaps(row.data(), row.size(), no_index, value, &state, &gaps);
                ASSERT_EQ(state.kind, BlockKind::normal);
                const Exact top = top_of(row);
                Exact falls = 0, above = 0;
                for (const T x : row) {
                    falls += (top - static_cast<Exact>(x)) * std::exp(static_cast<Exact>(x) - top);
                    above += x > value ? 1 : 0;
                }
                const Exact others = exact_sum(row, top, at);
                const Exact unit = std::exp(exponent_gap(state.exponent, top));
                ASSERT_EQ(static_cast<Exact>(gaps.above), above);
                expect_within(gaps.top_exponential * unit, 1, 2 * eps<T>);
                // What is below 2^-126 (float64: 2^-1022) of the largest may be lost.
                const Exact lost = std::numeric_limits<T>::min() * 100 * static_cast<Exact>(row.size());
                expect_within(gaps.others * unit, others, 8 * eps<T> * others + lost);
                expect_within(gaps.gaps * unit, falls, 8 * eps<T> * falls + lost);
            }
        });
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernelValues, KindsOfBlocks) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const auto kind_of = [&](std::vector<T> row) {
            BlockState state;
            kernels<T>().block_state(row.data(), row.size(), no_index, &state, nullptr, nullptr);
            return state.kind;
        };
        EXPECT_EQ(kind_of({}), BlockKind::deep);
        EXPECT_EQ(kind_of({T(0)}), BlockKind::normal);
        EXPECT_EQ(kind_of({T(131072)}), BlockKind::normal);
        EXPECT_EQ(kind_of({T(-131072)}), BlockKind::normal);
        EXPECT_EQ(kind_of({T(131073)}), BlockKind::needs_float64);
        EXPECT_EQ(kind_of({T(-131073)}), BlockKind::deep);
        EXPECT_EQ(kind_of({-infinity<T>, -infinity<T>}), BlockKind::deep);
        EXPECT_EQ(kind_of({T(1), infinity<T>}), BlockKind::needs_float64);
        EXPECT_EQ(kind_of({quiet_nan<T>}), BlockKind::needs_float64);
        EXPECT_EQ(kind_of({-infinity<T>, quiet_nan<T>}), BlockKind::needs_float64);
        for (std::size_t position : {0u, 1u, 63u, 64u, 199u}) {
            std::vector<T> row(200, T(1));
            row[position] = quiet_nan<T>;
            BlockState state;
            kernels<T>().block_state(row.data(), row.size(), no_index, &state, nullptr, nullptr);
            EXPECT_TRUE(std::isnan(state.sum)) << position;
            std::fill(row.begin(), row.end(), T(-1e9));
            row[position] = quiet_nan<T>;
            EXPECT_EQ(kind_of(row), BlockKind::needs_float64) << position;
        }
    };
    check(float{});
    check(double{});
}

// Each lane adds at most two terms in T between widenings (float64: all 128 of a block).
TEST_P(RowKernelValues, Sums) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_ordinary_rows<T>([&](const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            std::vector<T> q(n);
            fill_each(q, [&](std::size_t) { return random.below(5) == 0 ? 0.0 : random.normal(); });
            const Exact reference = top_of(row);
            Exact sum = 0, gaps = 0, weighted = 0, products = 0, all = 0, all_weighted = 0, all_products = 0;
            for (std::size_t i = 0; i < n; ++i) {
                const Exact gap = reference - static_cast<Exact>(row[i]);
                sum += row[i];
                gaps += gap;
                weighted += q[i] * gap;
                products += static_cast<Exact>(q[i]) * row[i];
                all += std::fabs(static_cast<Exact>(row[i]));
                all_weighted += std::fabs(q[i] * gap);
                all_products += std::fabs(static_cast<Exact>(q[i]) * row[i]);
            }
            const Kernels<T>& k = kernels<T>();
            const Exact tolerance = (sizeof(T) == 4 ? 10 : 20) * eps<T>;
            const Exact least = n * static_cast<Exact>(std::numeric_limits<T>::denorm_min());
            expect_within(k.sum(row.data(), n, no_index), sum, tolerance * all + least);
            expect_within(k.sum_gaps(row.data(), nullptr, n, static_cast<T>(reference)), gaps,
                          tolerance * gaps + least);
            expect_within(k.sum_gaps(row.data(), q.data(), n, static_cast<T>(reference)), weighted,
                          tolerance * all_weighted + least);
            expect_within(k.dot(q.data(), row.data(), n), products, tolerance * all_products + least);
            expect_within(k.float64_sum(row.data(), n, no_index, static_cast<double>(reference)),
                          exact_sum(row, reference), 1e-12L * exact_sum(row, reference));
        });
    };
    check(float{});
    check(double{});
}

// An exponential within an ulp, a product, and additions as in `sum`.
TEST_P(RowKernelValues, WeightedExponentials) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_ordinary_rows<T>([&](const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            std::vector<T> b(n);
            fill_each(b, [&](std::size_t) { return random.below(5) == 0 ? 0.0 : random.normal(); });
            BlockState state;
            kernels<T>().block_state(row.data(), n, no_index, &state, nullptr, nullptr);
            Exact sum = 0, all = 0;
            for (std::size_t i = 0; i < n; ++i) {
                const Exact term = b[i] * std::exp(-exponent_gap(state.exponent, row[i]));
                sum += term;
                all += std::fabs(term);
            }
            const double got =
                kernels<T>().weighted_exponentials(row.data(), b.data(), n, static_cast<T>(state.exponent));
            expect_within(got, sum, (sizeof(T) == 4 ? 10 : 20) * eps<T> * all);
        });
        const std::vector<T> x = {quiet_nan<T>, T(0), -infinity<T>, infinity<T>};
        const std::vector<T> b = {T(0), T(2), T(5), T(-0.0)};
        EXPECT_EQ(kernels<T>().weighted_exponentials(x.data(), b.data(), 4, T(1)), 1.0);
    };
    check(float{});
    check(double{});
}

// Factors of 0 add 0 beside anything.
TEST_P(RowKernelValues, ZeroFactorsMaskInfinitiesAndNans) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const std::vector<T> q = {T(0), T(2), T(-0.0), T(0)};
        const std::vector<T> x = {quiet_nan<T>, T(3), infinity<T>, -infinity<T>};
        const Kernels<T>& k = kernels<T>();
        EXPECT_EQ(k.sum_gaps(x.data(), q.data(), 4, T(4)), 2.0);
        EXPECT_EQ(k.dot(q.data(), x.data(), 4), 6.0);
        std::vector<T> out(4);
        k.softmax_vjp(q.data(), x.data(), 4, T(0.5), out.data());  // half of 1
        EXPECT_EQ(out, (std::vector<T>{T(0), T(4), T(0), T(0)}));
        const std::vector<T> y = {-infinity<T>, T(0)};
        const std::vector<T> dy = {quiet_nan<T>, T(5)};
        std::vector<T> pulled(2);
        k.log_softmax_vjp(y.data(), dy.data(), 2, T(2), pulled.data());
        EXPECT_EQ(pulled, (std::vector<T>{T(0), T(3)}));
    };
    check(float{});
    check(double{});
}

// One ulp of the exponential and half of one for each of the two products; terms below 2^-126.9 (2^-1022.9) of
// 2^exponent are 0.
TEST_P(RowKernelValues, ScaledExponentials) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_ordinary_rows<T>([&](const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            BlockState state;
            const Kernels<T>& k = kernels<T>();
            k.block_state(row.data(), n, no_index, &state, nullptr, nullptr);
            std::vector<T> q(n);
            fill_each(q, [&](std::size_t) { return random.normal(); });
            const RowScale<T> scale{static_cast<T>(state.exponent), static_cast<T>(1 / state.sum), T(-0.375)};
            for (const T* weights : {static_cast<const T*>(q.data()), static_cast<const T*>(nullptr)}) {
                std::vector<T> out(n);
                k.scaled_exponentials(row.data(), nullptr, n, scale, weights, {}, StoreMode::cached, out.data());
                for (std::size_t i = 0; i < n; ++i) {
                    const Exact first = scale.scale * std::exp(-exponent_gap(state.exponent, row[i]));
                    const Exact second = static_cast<Exact>(scale.linear) * (weights ? weights[i] : T(1));
                    expect_within(out[i], first + second,
                                  2 * eps<T> * first + eps<T> * std::fabs(first + second) +
                                      2 * static_cast<Exact>(std::numeric_limits<T>::min()));
                }
            }
        });
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernelValues, MaskedClassesGetExactlyZero) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        std::vector<T> row(70, -infinity<T>);
        row[3] = T(2);
        row[66] = T(1e5);
        for (T exponent : {T(-200), T(0), T(144270)}) {
            std::vector<T> out(row.size(), T(9));
            row[66] = exponent > T(0) ? T(1e5) : T(-130);
            row[3] = exponent < T(0) ? T(-140) : T(0);
            kernels<T>().scaled_exponentials(row.data(), nullptr, row.size(), {exponent, T(1), T(0)}, nullptr, {},
                                             StoreMode::cached, out.data());
            for (std::size_t i = 0; i < row.size(); ++i)
                if (i != 3 && i != 66) {
                    ASSERT_EQ(out[i], T(0)) << i;
                }
            EXPECT_GT(out[66] + out[3], T(0));
        }
    };
    check(float{});
    check(double{});
}

template <class T>
AsideEnds<T> ends_without(const Kernels<T>& k, const std::vector<T>& row, std::size_t target) {
    BlockState state;
    k.block_state(row.data(), row.size(), target, &state, nullptr, nullptr);
    AsideEnds<T> ends{};
    for (std::size_t i = 0; i < row_batch; ++i) {
        ends.sum[i] = state.sum;
        ends.exponent[i] = state.exponent;
        ends.logit[i] = row[target];
    }
    k.aside_ends(&ends, row_batch, EndParts::all);
    return ends;
}

// Two exponentials within an ulp each and a sum: 3 eps. The target leads by -80 to 80 and the others by their spread.
TEST_P(RowKernelValues, ConfidentRowsKeepRelativeAccuracy) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(6);
        for (int lead = -80; lead <= 80; lead += 4)
            for (std::size_t n : {2u, 10u, 100u}) {
                std::vector<T> row(n);
                ordinary_rows<T>()[0].fill(random, row);
                const std::size_t target = random.below(n);
                row[target] = static_cast<T>(top_of(row, target) + lead + random.uniform(0, 1));
                const Exact ratio = exact_sum(row, static_cast<Exact>(row[target]), target);
                const AsideEnds<T> ends = ends_without<T>(kernels<T>(), row, target);
                const Exact tolerance = 3 * eps<T>;
                for (std::size_t lane : {std::size_t(0), row_batch - 1}) {
                    SCOPED_TRACE(std::to_string(lead) + ", " + std::to_string(n));
                    expect_within(ends.gap[lane], std::log1p(ratio), tolerance * std::log1p(ratio));
                    expect_within(ends.complement[lane], ratio / (1 + ratio), tolerance * ratio / (1 + ratio));
                    expect_within(ends.probability[lane], 1 / (1 + ratio), tolerance / (1 + ratio));
                    const Exact lse = static_cast<Exact>(row[target]) + std::log1p(ratio);
                    expect_within(ends.lse[lane], lse, 2 * tolerance * std::max<Exact>(1, std::fabs(lse)));
                }
            }
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernelValues, RowsOfOneClassHaveNoGap) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        for (T logit : {T(-1e5), T(0), T(3.25), T(1e5)}) {
            const AsideEnds<T> ends = ends_without<T>(kernels<T>(), {logit}, 0);
            EXPECT_EQ(ends.gap[5], 0.0);
            EXPECT_EQ(ends.complement[5], 0.0);
            EXPECT_NEAR(ends.probability[5], 1.0, 4e-16);
        }
    };
    check(float{});
    check(double{});
}

// Note [log-sum-exp at the maximum]: K equal logits give max + log K, whatever they are; float64 to half an ulp or so.
TEST_P(RowKernelValues, EqualLogitsGiveTheLogOfTheirNumber) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        for (T logit : {T(-100000.5), T(-0.1), T(0), T(7.3), T(99999.75)})
            for (std::size_t n : {1u, 2u, 3u, 10u, 1000u, 4096u}) {
                const std::vector<T> row(n, logit);
                BlockState state;
                kernels<T>().block_state(row.data(), n, no_index, &state, nullptr, nullptr);
                LogSumExpEnds<T> ends{};
                for (std::size_t i = 0; i < row_batch; ++i) {
                    ends.sum[i] = state.sum;
                    ends.exponent[i] = state.exponent;
                    ends.max[i] = logit;
                }
                kernels<T>().log_sum_exp_ends(&ends, row_batch);
                const Exact expected = std::log(static_cast<Exact>(n));
                for (std::size_t i = 0; i < row_batch; ++i)
                    expect_within(ends.above_max[i], expected,
                                  (sizeof(T) == 4 ? 1e-7L : 1e-15L) * std::max(expected, Exact(0)));
            }
    };
    check(float{});
    check(double{});
}

// The sum within 3 eps, whose logarithm is 3 eps in absolute terms, and one rounding: max and log may cancel.
TEST_P(RowKernelValues, LogSumExp) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_ordinary_rows<T>([&](const std::vector<T>& row, Random&) {
            BlockState state;
            kernels<T>().block_state(row.data(), row.size(), no_index, &state, nullptr, nullptr);
            LogSumExpEnds<T> ends{};
            for (std::size_t i = 0; i < row_batch; ++i) {
                ends.sum[i] = state.sum;
                ends.exponent[i] = state.exponent;
                ends.max[i] = static_cast<T>(state.max);
            }
            kernels<T>().log_sum_exp_ends(&ends, row_batch);
            const Exact top = top_of(row);
            const Exact sum = exact_sum(row, top);
            for (std::size_t lane : {std::size_t(0), std::size_t(7), row_batch - 1}) {
                expect_within(ends.above_max[lane], std::log(sum), 3 * eps<T> + eps<double> * std::log(sum));
                expect_within(ends.lse[lane], top + std::log(sum),
                              3 * eps<T> + eps<double> / 2 * std::fabs(top + std::log(sum)));
                expect_within(ends.scale[lane] * state.sum, 1, eps<double>);
            }
        });
    };
    check(float{});
    check(double{});
}

// Differences of one sign: half an ulp of each.
TEST_P(RowKernelValues, LogSoftmaxAndVjps) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const Kernels<T>& k = kernels<T>();
        over_ordinary_rows<T>([&](const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            const T top = static_cast<T>(top_of(row));
            const T above = static_cast<T>(std::log(exact_sum(row, top)));
            std::vector<T> y(n), dy(n), out(n);
            fill_each(dy, [&](std::size_t) { return random.normal(); });
            k.log_softmax(row.data(), n, top, above, y.data());
            const Exact least = std::numeric_limits<T>::min();
            for (std::size_t i = 0; i < n; ++i) {
                const Exact expected = (static_cast<Exact>(row[i]) - top) - above;
                expect_within(y[i], expected, eps<T> * std::fabs(expected));
            }
            k.log_softmax_vjp(y.data(), dy.data(), n, T(-1.5), out.data());
            for (std::size_t i = 0; i < n; ++i) {
                const Exact term = std::exp(static_cast<Exact>(y[i])) * Exact(1.5);
                expect_within(out[i], dy[i] + term, eps<T> * (2 * term + std::fabs(dy[i] + term)) + least);
            }
            std::vector<T> p(n);
            fill_each(p, [&](std::size_t i) { return std::exp(static_cast<double>(y[i])); });
            k.softmax_vjp(p.data(), dy.data(), n, T(0.125), out.data());  // half of 0.25
            for (std::size_t i = 0; i < n; ++i) {
                const Exact expected = static_cast<Exact>(p[i]) * (static_cast<Exact>(dy[i]) - Exact(0.25));
                expect_within(out[i], expected, eps<T> * std::fabs(expected) + least);
            }
        });
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernelValues, Float64KernelsOnInfiniteAndHugeRows) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const Kernels<T>& k = kernels<T>();
        const std::vector<T> huge = {T(1e30), T(1e30), T(-1e30), -infinity<T>};
        EXPECT_EQ(k.float64_max(huge.data(), 4, no_index), static_cast<double>(T(1e30)));
        EXPECT_EQ(k.float64_sum(huge.data(), 4, no_index, static_cast<double>(T(1e30))), 2.0);
        std::vector<T> out(4);
        k.float64_write(huge.data(), 4, static_cast<double>(T(1e30)), 0.5, 0.0, nullptr, {2, T(8)}, out.data());
        EXPECT_EQ(out, (std::vector<T>{T(0.5), T(0.5), T(8), T(0)}));
        k.float64_write(huge.data(), 4, static_cast<double>(T(1e30)), 0.5, 3.0, nullptr, {}, out.data());
        EXPECT_EQ(out, (std::vector<T>{T(3.5), T(3.5), T(3), T(3)}));
        const std::vector<T> with_nan = {T(1), quiet_nan<T>, infinity<T>};
        EXPECT_TRUE(std::isnan(k.float64_max(with_nan.data(), 3, no_index)));
        EXPECT_EQ(k.float64_max(with_nan.data(), 3, 1), infinity<double>);
        EXPECT_EQ(k.float64_max(with_nan.data(), 0, no_index), -infinity<double>);
    };
    check(float{});
    check(double{});
}

}  // namespace
}  // namespace logitloss::detail
