// From the ends of rows to losses and gradients, labels to class numbers, and sums of losses: the same bits on every
// instruction set, and the formulas in long double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class RowTermKernels : public KernelTest {};
INSTANTIATE_TEST_SUITE_P(Isa, RowTermKernels, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

/// Rows of a made-up call, and room for what becomes of them.
template <class T>
struct Rows {
    AsideEnds<T> ends{};
    T read[most_lanes];
    double gaps[most_lanes], other_mass[most_lanes], aside_mass[most_lanes];
    double class_weight[most_lanes], weight[most_lanes], upstream[most_lanes];
    double loss[most_lanes] = {}, scale[most_lanes] = {}, linear[most_lanes] = {}, value[most_lanes] = {};
    ColumnScales<T> columns{};

    Rows(Random& random, std::size_t lanes) {
        for (std::size_t r = 0; r < lanes; ++r) {
            const double lead = random.uniform(-60, 60);
            const double logit = random.normal();
            ends.logit[r] = static_cast<T>(logit);
            ends.gap[r] = std::log1p(std::exp(-lead));
            ends.lse[r] = static_cast<double>(ends.logit[r]) + ends.gap[r];
            ends.complement[r] = 1 / (1 + std::exp(lead));
            ends.probability[r] = 1 / (1 + std::exp(-lead));
            ends.base[r] = static_cast<double>(random.below(40)) - 20;
            ends.scale[r] = random.uniform(0.001, 1.0);
            ends.above_max[r] = random.uniform(0, 1);
            gaps[r] = random.uniform(0, 100);
            other_mass[r] = random.uniform(0, 2);
            aside_mass[r] = random.below(4) == 0 ? 0.0 : random.uniform(0, 2);
            class_weight[r] = random.below(4) == 0 ? 0.0 : random.normal();
            weight[r] = random.normal();
            upstream[r] = random.normal();
            read[r] = random.below(5) == 0 ? T(0) : T(1);
        }
    }
    /// `arrays`: a bit for each that is given.
    TermRows<T> view(unsigned arrays) {
        TermRows<T> rows{};
        rows.ends = &ends;
        rows.gaps = gaps;
        rows.other_mass = other_mass;
        rows.aside_mass = aside_mass;
        rows.class_weight = arrays & 1 ? class_weight : nullptr;
        rows.weight = arrays & 2 ? weight : nullptr;
        rows.upstream = arrays & 4 ? upstream : nullptr;
        rows.read = arrays & 8 ? read : nullptr;
        rows.loss = loss;
        if (arrays & 16) {
            rows.scale = scale;
            rows.linear = linear;
            rows.value = value;
            rows.columns = &columns;
        }
        return rows;
    }
    Outcome outcome(std::size_t lanes, bool writable) const {
        Outcome all;
        all.add(static_cast<std::int32_t>(writable));
        for (const double* numbers : {loss, scale, linear, value})
            all.add(numbers, lanes);
        for (const T* numbers : {columns.exponent, columns.scale, columns.linear, columns.value})
            all.add(numbers, lanes);
        return all;
    }
};

const TermOptions option_sets[] = {{0.0, 10.0, 0.0, 0.25},
                                   {0.1, 10.0, 0.0, 0.25},
                                   {0.0, 10.0, 1e-3, 0.25},
                                   {0.3, 7.0, 1e-3, -2.0},
                                   {1.0, 7.0, 0.0, 1.0}};

TEST_P(RowTermKernels, GiveTheScalarBits) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        for (const TermOptions& options : option_sets)
            for (unsigned arrays = 0; arrays < 32; ++arrays)
                for (std::size_t lanes : {16u, 64u})
                    for (bool index : {true, false})
                        expect_scalar_bits<T>("terms", [&](const Kernels<T>& k) {
                            Random random(arrays + lanes);
                            Rows<T> rows(random, lanes);
                            const auto terms = index ? k.index_terms : k.soft_terms;
                            const bool writable = terms(rows.view(arrays), lanes, options);
                            return rows.outcome(lanes, writable);
                        });
    };
    check(float{});
    check(double{});
}

// Ten roundings in float64.
TEST_P(RowTermKernels, AreTheFormulas) {
    Random random(3);
    constexpr std::size_t lanes = 64;
    for (const TermOptions& options : option_sets)
        for (unsigned given : {16u, 31u}) {
            // with smoothing, class weights are soft_terms's business
            const unsigned arrays = options.smoothing > 0.0 ? given & ~1u : given;
            Rows<double> rows(random, lanes);
            kernels<double>().index_terms(rows.view(arrays), lanes, options);
            for (std::size_t r = 0; r < lanes; ++r) {
                const bool counts = !(arrays & 8) || rows.read[r] != 0;
                const Exact w = arrays & 1 ? rows.class_weight[r] : 1;
                const Exact weight = counts ? (arrays & 2 ? rows.weight[r] : 1) : 0;
                const Exact factor = options.grad_factor * weight * (arrays & 4 ? rows.upstream[r] : 1);
                const Exact e = options.smoothing, c = options.z_loss, lse = rows.ends.lse[r];
                const Exact mass = rows.other_mass[r] + Exact(rows.aside_mass[r]);
                const Exact smooth = mass * Exact(rows.ends.above_max[r]) + rows.gaps[r];
                const Exact loss = (1 - e) * w * rows.ends.gap[r] + e / options.classes * smooth + c * w * lse * lse;
                expect_within(rows.loss[r], weight * loss, 1e-14 * (std::fabs(loss) + 1));
                if (!counts)
                    continue;
                const Exact of_p = (1 - e) * w + e / options.classes * mass + 2 * c * w * lse;
                expect_within(rows.scale[r], factor * of_p * rows.ends.scale[r], 1e-13);
                expect_within(rows.linear[r], -factor * e / options.classes, 1e-15);
                const Exact p = rows.ends.probability[r];
                const Exact at_target =
                    -(1 - e) * w * rows.ends.complement[r] + e / options.classes * (mass * p - 1) + 2 * c * w * lse * p;
                expect_within(rows.value[r], factor * at_target, 1e-13);
            }
        }
}

TEST_P(RowTermKernels, SayWhatCannotBeWrittenSideBySide) {
    Random random(4);
    const TermOptions smoothed{0.1, 10.0, 0.0, 1.0};
    Rows<float> rows(random, 16);
    EXPECT_TRUE(kernels<float>().index_terms(rows.view(16), 16, smoothed));
    rows.ends.scale[5] = infinity<double>;
    EXPECT_FALSE(kernels<float>().index_terms(rows.view(16), 16, smoothed));
    std::fill(rows.read, rows.read + 16, 1.0f);
    rows.read[5] = 0.0f;
    EXPECT_TRUE(kernels<float>().index_terms(rows.view(16 + 8), 16, smoothed));
    EXPECT_EQ(rows.columns.scale[5], 0.0f);
    rows.weight[7] = 0.0;  // no linear factor left
    for (std::size_t r = 0; r < 16; ++r)
        rows.weight[r] = r == 7 ? 0.0 : 1.0;
    EXPECT_FALSE(kernels<float>().index_terms(rows.view(16 + 8 + 2), 16, smoothed));
}

constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t two_to_52 = std::int64_t(1) << 52;

TEST_P(RowTermKernels, LabelsBecomeClassNumbers) {
    const std::vector<std::int64_t> labels = {0,  1,         9, 10, -1,        -100,          least, most,
                                              11, two_to_52, 7, 8,  least + 3, two_to_52 + 3, 3,     -two_to_52};
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        std::vector<T> numbers(16), read(16);
        for (std::int64_t ignored : {std::int64_t(-1), std::int64_t(7)}) {
            EXPECT_FALSE(kernels<T>().class_numbers(labels.data(), 16, 10, ignored, numbers.data(), read.data()));
            for (std::size_t i = 0; i < 16; ++i) {
                const bool inside = labels[i] >= 0 && labels[i] < 10;
                EXPECT_EQ(numbers[i], inside ? static_cast<T>(labels[i]) : T(-1)) << labels[i];
                EXPECT_EQ(read[i], inside && labels[i] != ignored ? T(1) : T(0)) << labels[i];
            }
        }
        const std::vector<std::int64_t> good(16, 999999);
        EXPECT_TRUE(kernels<T>().class_numbers(good.data(), 16, 1000000, -1, numbers.data(), read.data()));
        EXPECT_EQ(numbers[15], T(999999));
    };
    check(float{});
    check(double{});
}

TEST_P(RowTermKernels, LabelsAreCounted) {
    const NumberKernels& k = GetParam().table->numbers;
    Random random(5);
    const std::int64_t strange[] = {-1, -100, least, most, two_to_52, two_to_52 + 3, -two_to_52, 10, 11};
    for (std::size_t n = 0; n <= 70; ++n)
        for (std::int64_t ignored : {std::int64_t(-100), std::int64_t(3), least, most})
            for (bool ignores : {false, true})
                for (bool all_good : {false, true}) {
                    std::vector<std::int64_t> labels(n);
                    for (std::int64_t& label : labels)
                        label = all_good || random.below(3) ? static_cast<std::int64_t>(random.below(10))
                                                            : strange[random.below(std::size(strange))];
                    double wrong = 0, counted = 0;
                    for (std::int64_t label : labels) {
                        const bool skip = ignores && label == ignored;
                        wrong += !skip && !(label >= 0 && label < 10);
                        counted += !skip;
                    }
                    const SumPair counts = k.count_labels(labels.data(), n, 10, ignores, ignored);
                    ASSERT_EQ(counts.first, wrong) << n;
                    ASSERT_EQ(counts.second, counted) << n;
                }
}

TEST_P(RowTermKernels, SumsOfLossesAreCompensated) {
    const NumberKernels& k = GetParam().table->numbers;
    Random random(6);
    std::vector<double> values(64);
    for (double& value : values)
        value = random.normal() * (random.below(2) ? 1e16 : 1.0);
    double sums[8] = {}, lost[8] = {};
    k.add_strided(values.data(), 64, sums, lost);
    for (std::size_t lane = 0; lane < 8; ++lane) {
        double sum = 0, error = 0;
        for (std::size_t i = lane; i < 64; i += 8) {
            const double next = sum + values[i];
            const double back = next - sum;
            error += (sum - (next - back)) + (values[i] - back);
            sum = next;
        }
        EXPECT_EQ(sums[lane], sum);
        EXPECT_EQ(lost[lane], error);
        EXPECT_NE(lost[lane], 0.0);
    }
    double kept[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    k.add_strided(values.data(), 0, kept, lost);
    EXPECT_EQ(kept[7], 8.0);
}

TEST_P(RowTermKernels, ScalesAreRounded) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        double exponent[16], scale[16], factor[16];
        for (std::size_t r = 0; r < 16; ++r) {
            exponent[r] = static_cast<double>(r) - 8;
            scale[r] = 1.0 / static_cast<double>(r + 3);
            factor[r] = static_cast<double>(r) - 2;
        }
        ColumnScales<T> columns;
        EXPECT_TRUE(kernels<T>().scale_rows(exponent, scale, factor, 16, &columns));
        for (std::size_t r = 0; r < 16; ++r) {
            EXPECT_EQ(scale[r], 1.0 / static_cast<double>(r + 3) * factor[r]);
            EXPECT_EQ(columns.scale[r], static_cast<T>(scale[r]));
            EXPECT_EQ(columns.exponent[r], static_cast<T>(exponent[r]));
        }
        scale[13] = quiet_nan<double>;
        EXPECT_FALSE(kernels<T>().scale_rows(exponent, scale, nullptr, 16, &columns));
    };
    check(float{});
    check(double{});
}

}  // namespace
}  // namespace logitloss::detail
