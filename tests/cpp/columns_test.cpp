// Kernels on rows side by side: the same bits on every instruction set, in tiles of every width, and what the row
// kernels give to rounding.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

/// Rows of every kind, and the same side by side.
template <class T>
struct TileOfRows {
    TileShape shape;
    std::vector<std::vector<T>> rows;
    std::vector<T> columns;

    TileOfRows(const std::vector<RowKind<T>>& kinds, Random& random, std::size_t lanes, std::size_t classes)
        : shape{lanes, classes}, columns(lanes * classes) {
        for (std::size_t r = 0; r < lanes; ++r) {
            rows.emplace_back(classes);
            kinds[r % kinds.size()].fill(random, rows.back());
            for (std::size_t j = 0; j < classes; ++j)
                columns[j * lanes + r] = rows[r][j];
        }
    }
    std::vector<const T*> pointers() const {
        std::vector<const T*> result;
        for (const std::vector<T>& row : rows)
            result.push_back(row.data());
        return result;
    }
};

/// Both sides of every change of path: a transposed quad, a strided sum, a flush into float64.
const std::size_t class_counts[] = {2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 64, 65, 100, 127, 128, 129, 1000};

class ColumnKernels : public KernelTest {};
INSTANTIATE_TEST_SUITE_P(Isa, ColumnKernels, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

template <class T>
std::vector<T> some_classes(Random& random, const TileShape& shape) {
    std::vector<T> classes(shape.lanes);
    for (T& number : classes)
        number = random.below(5) == 0 ? T(-1) : static_cast<T>(random.below(shape.classes));
    return classes;
}

template <class T>
Outcome run_states(const Kernels<T>& k, const TileOfRows<T>& tile, const std::vector<T>* aside, std::vector<T>* kept) {
    std::vector<T> top(tile.shape.lanes), logit(tile.shape.lanes);
    std::vector<double> sum(tile.shape.lanes), exponent(tile.shape.lanes);
    Outcome outcome;
    const ColumnStates<T> states{
        aside == nullptr ? nullptr : aside->data(), logit.data(), top.data(), sum.data(), exponent.data(), {}};
    outcome.add(
        static_cast<std::int32_t>(k.column_states(tile.columns.data(), static_cast<std::ptrdiff_t>(tile.shape.lanes),
                                                  tile.shape, states, kept == nullptr ? nullptr : kept->data())));
    // Sums where the maximum is beyond the domain hold nothing that anybody reads.
    for (std::size_t r = 0; r < tile.shape.lanes; ++r) {
        outcome.add(top[r]);
        outcome.add(logit[r]);
        outcome.add(exponent[r]);
        if (top[r] <= T(131072))
            outcome.add(sum[r]);
    }
    return outcome;
}

TEST_P(ColumnKernels, TransposeThereAndBack) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(1);
        for (std::size_t classes : class_counts)
            for (std::size_t lanes : {16u, 32u, 64u}) {
                const TileOfRows<T> tile(ordinary_rows<T>(), random, lanes, classes);
                Guarded<T> columns(lanes * classes);
                kernels<T>().transpose_rows(tile.pointers().data(), tile.shape, columns.data());
                ASSERT_TRUE(columns.intact());
                ASSERT_EQ(columns.values(), tile.columns) << classes;
                std::vector<Guarded<T>> back;
                back.reserve(lanes);
                std::vector<T*> pointers;
                for (std::size_t r = 0; r < lanes; ++r) {
                    back.emplace_back(classes, random.below(16));
                    pointers.push_back(back.back().data());
                }
                kernels<T>().transpose_columns(tile.columns.data(), tile.shape, pointers.data());
                for (std::size_t r = 0; r < lanes; ++r) {
                    ASSERT_TRUE(back[r].intact()) << classes << ", row " << r;
                    ASSERT_EQ(back[r].values(), tile.rows[r]) << classes << ", row " << r;
                }
            }
    };
    check(float{});
    check(double{});
}

// Two and three float32 have verbs of their own, where all of a vector's rows follow one another and only there.
TEST_P(ColumnKernels, TransposeRowsOfOneArray) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        for (std::size_t classes : {2u, 3u, 4u})
            for (std::size_t lanes : {16u, 64u})
                for (std::size_t odd_row : {std::size_t(0), std::size_t(1), lanes / 2, lanes - 1, lanes}) {
                    std::vector<T> array(lanes * classes), elsewhere(classes, T(-1)), written(array.size(), T(-7)),
                        written_elsewhere(classes, T(-7)), columns(array.size());
                    std::vector<const T*> rows;
                    std::vector<T*> places;
                    for (std::size_t r = 0; r < lanes; ++r) {
                        rows.push_back(r == odd_row ? elsewhere.data() : array.data() + r * classes);
                        places.push_back(r == odd_row ? written_elsewhere.data() : written.data() + r * classes);
                    }
                    for (std::size_t i = 0; i < array.size(); ++i)
                        array[i] = static_cast<T>(i);
                    kernels<T>().transpose_rows(rows.data(), {lanes, classes}, columns.data());
                    kernels<T>().transpose_columns(columns.data(), {lanes, classes}, places.data());
                    for (std::size_t r = 0; r < lanes; ++r)
                        for (std::size_t j = 0; j < classes; ++j) {
                            ASSERT_EQ(columns[j * lanes + r], rows[r][j]) << classes << ", row " << r;
                            ASSERT_EQ(places[r][j], rows[r][j]) << classes << ", row " << r;
                            if (r == odd_row) {
                                ASSERT_EQ(written[r * classes + j], T(-7)) << classes << ", row " << r;
                            }
                        }
                }
    };
    check(float{});
    check(double{});
}

template <class T>
Outcome run_all(const Kernels<T>& k, const TileOfRows<T>& tile, const TileOfRows<T>& weights,
                const std::vector<T>& aside) {
    const TileShape shape = tile.shape;
    const auto stride = static_cast<std::ptrdiff_t>(shape.lanes);
    const std::size_t size = shape.lanes * shape.classes;
    Outcome outcome = run_states<T>(k, tile, nullptr, nullptr);
    std::vector<T> found(shape.lanes), out(size);
    std::vector<double> sums(shape.lanes);
    k.column_largest(tile.columns.data(), stride, shape, found.data());
    outcome.add(found);
    const std::vector<T> reference(shape.lanes, T(1.25));
    k.column_gaps(tile.columns.data(), stride, weights.columns.data(), shape, reference.data(), sums.data());
    outcome.add(sums);
    k.column_gaps(tile.columns.data(), stride, nullptr, shape, reference.data(), sums.data());
    outcome.add(sums);
    k.column_sum(weights.columns.data(), stride, shape, aside.data(), sums.data());
    outcome.add(sums);
    k.column_sum(weights.columns.data(), stride, shape, nullptr, sums.data());
    outcome.add(sums);
    k.column_dot(weights.columns.data(), stride, tile.columns.data(), stride, shape, sums.data());
    outcome.add(sums);
    k.column_log_softmax(tile.columns.data(), stride, shape, reference.data(), found.data(), stride, out.data());
    outcome.add(out);
    k.column_softmax_vjp(weights.columns.data(), stride, tile.columns.data(), stride, shape, reference.data(), stride,
                         out.data());
    outcome.add(out);
    k.column_log_softmax_vjp(weights.columns.data(), stride, tile.columns.data(), stride, shape, reference.data(),
                             stride, out.data());
    outcome.add(out);
    LogSumExpEnds<T> ends{};
    double wanted[most_lanes];
    for (std::size_t r = 0; r < shape.lanes; ++r) {
        wanted[r] = r % 3 == 1 || r > 40 ? 1.0 : 0.0;
        for (std::size_t j = 0; j < shape.classes; ++j)
            ends.max[r] = std::max(ends.max[r], weights.columns[j * shape.lanes + r]);
    }
    k.column_paired_exponentials(weights.columns.data(), stride, shape, &ends, wanted);
    outcome.add(ends.others, shape.lanes);
    outcome.add(ends.others_rest, shape.lanes);
    return outcome;
}

TEST_P(ColumnKernels, EqualScalar) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(2);
        for (std::size_t classes : class_counts) {
            const TileOfRows<T> tile(all_rows<T>(), random, 64, classes);
            const TileOfRows<T> weights(ordinary_rows<T>(), random, 64, classes);
            const std::vector<T> aside = some_classes<T>(random, tile.shape);
            const TileOfRows<T> plain(ordinary_rows<T>(), random, 64, classes);
            this->expect_scalar_bits<T>(std::to_string(classes) + " classes", [&](const Kernels<T>& k) {
                Outcome outcome = run_all<T>(k, tile, weights, aside);
                std::vector<T> kept(plain.columns.size());
                outcome.add(run_states<T>(k, plain, &aside, &kept));
                outcome.add(kept);
                return outcome;
            });
            if (HasFatalFailure())
                return;
        }
    };
    check(float{});
    check(double{});
}

// A row's numbers do not depend on how many rows stand beside it, nor on what they hold.
TEST_P(ColumnKernels, RowsDoNotTouchEachOther) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(3);
        for (std::size_t classes : class_counts) {
            const TileOfRows<T> wide(all_rows<T>(), random, 64, classes);
            std::vector<double> sum(64), sum_of_part(16), exponent(64);
            std::vector<T> top(64), part(16 * classes);
            kernels<T>().column_states(wide.columns.data(), 64, wide.shape,
                                       {nullptr, nullptr, top.data(), sum.data(), exponent.data(), {}}, nullptr);
            for (std::size_t first = 0; first < 64; first += 16) {
                for (std::size_t j = 0; j < classes; ++j)
                    std::copy_n(wide.columns.data() + j * 64 + first, 16, part.data() + j * 16);
                kernels<T>().column_states(part.data(), 16, {16, classes},
                                           {nullptr, nullptr, top.data(), sum_of_part.data(), exponent.data(), {}},
                                           nullptr);
                Outcome alone, beside;
                for (std::size_t r = 0; r < 16; ++r)
                    if (top[r] <= T(131072)) {
                        alone.add(sum_of_part[r]);
                        beside.add(sum[first + r]);
                    }
                ASSERT_TRUE(alone == beside) << classes;
            }
        }
    };
    check(float{});
    check(double{});
}

// The row kernels add in another order, and agree to a few roundings.
TEST_P(ColumnKernels, AgreeWithTheRowKernels) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(4);
        const double tolerance = sizeof(T) == 4 ? 4e-7 : 4e-16;
        for (std::size_t classes : class_counts) {
            const TileOfRows<T> tile(ordinary_rows<T>(), random, 16, classes);
            const TileOfRows<T> weights(ordinary_rows<T>(), random, 16, classes);
            std::vector<T> aside = some_classes<T>(random, tile.shape);
            std::vector<T> top(16), kept(16 * classes), row_kept(padded_length<T>(classes)), out(16 * classes),
                row_out(classes);
            std::vector<double> sum(16), exponent(16);
            std::vector<T> logit(16);
            ASSERT_TRUE(kernels<T>().column_states(
                tile.columns.data(), 16, tile.shape,
                {aside.data(), logit.data(), top.data(), sum.data(), exponent.data(), {}}, kept.data()));
            for (std::size_t r = 0; r < 16; ++r)
                ASSERT_EQ(logit[r], aside[r] < T(0) ? T(0) : tile.rows[r][static_cast<std::size_t>(aside[r])]);
            ColumnScales<T> rows{};
            for (std::size_t r = 0; r < 16; ++r) {
                rows.exponent[r] = static_cast<T>(exponent[r]);
                rows.scale[r] = T(0.5);
                rows.linear[r] = T(0.25);
                rows.patched[r] = aside[r];
                rows.value[r] = T(7);
            }
            kernels<T>().write_columns({tile.columns.data(), 16, kept.data(), nullptr}, tile.shape, true, rows, 16,
                                       out.data());
            std::vector<T> computed_again(out.size()), weighted(out.size()), row_weighted(classes);
            kernels<T>().write_columns({tile.columns.data(), 16, nullptr, nullptr}, tile.shape, true, rows, 16,
                                       computed_again.data());
            EXPECT_EQ(computed_again, out) << classes;
            kernels<T>().write_columns({tile.columns.data(), 16, kept.data(), weights.columns.data()}, tile.shape, true,
                                       rows, 16, weighted.data());
            for (std::size_t r = 0; r < 16; ++r) {
                const std::size_t index = aside[r] < T(0) ? no_index : static_cast<std::size_t>(aside[r]);
                BlockState state;
                kernels<T>().block_state(tile.rows[r].data(), classes, index, &state, row_kept.data(), nullptr);
                EXPECT_EQ(static_cast<double>(top[r]), state.max);
                EXPECT_EQ(exponent[r], state.exponent);
                EXPECT_NEAR(sum[r], state.sum, tolerance * state.sum) << classes;
                kernels<T>().scaled_exponentials(tile.rows[r].data(), row_kept.data(), classes,
                                                 {static_cast<T>(state.exponent), T(0.5), T(0.25)}, nullptr,
                                                 {index, T(7)}, StoreMode::cached, row_out.data());
                kernels<T>().scaled_exponentials(
                    tile.rows[r].data(), row_kept.data(), classes, {static_cast<T>(state.exponent), T(0.5), T(0.25)},
                    weights.rows[r].data(), {index, T(7)}, StoreMode::cached, row_weighted.data());
                for (std::size_t j = 0; j < classes; ++j) {
                    ASSERT_EQ(out[j * 16 + r], row_out[j]) << classes << ", class " << j;
                    ASSERT_EQ(weighted[j * 16 + r], row_weighted[j]) << classes << ", class " << j;
                }
            }
        }
    };
    check(float{});
    check(double{});
}

/// Entropies, losses of probabilities and counts.
template <class T>
Outcome run_wide(const Kernels<T>& k, const TileOfRows<T>& tile, const TileOfRows<T>& weights,
                 const std::vector<T>& aside) {
    const TileShape shape = tile.shape;
    const auto stride = static_cast<std::ptrdiff_t>(shape.lanes);
    const T* x = tile.columns.data();
    const T* q = weights.columns.data();
    std::vector<double> first(shape.lanes), second(shape.lanes), totals(shape.lanes, 3.5), numbers(shape.lanes, -0.5);
    std::vector<T> counts(shape.lanes), out(shape.lanes * shape.classes);
    Outcome outcome;
    const auto add = [&] {
        outcome.add(first);
        outcome.add(second);
    };
    for (const T* p : {x, q}) {
        k.column_entropy(p, stride, shape, first.data());
        k.column_cross_entropy_of(p, stride, q, stride, shape, second.data());
        add();
        k.column_divergence(p, stride, q, stride, shape, first.data(), second.data());
        add();
        k.column_divergence(q, stride, p, stride, shape, first.data(), second.data());
        add();
        k.column_outside_unit(p, stride, shape, counts.data());
        outcome.add(counts);
        k.column_beating(p, stride, shape, aside.data(), counts.data());
        outcome.add(counts);
    }
    k.column_exponential_gaps(x, stride, shape, aside.data(), numbers.data(), first.data(), second.data());
    add();
    k.column_wide_sum(x, stride, shape, aside.data(), first.data());
    for (const Clipping& clipping : {Clipping{}, Clipping{true, 0.0625, 0.9375, 1.0}}) {
        const ProbabilityColumns<T> in{x, stride, q, stride, totals.data()};
        k.column_probability_terms(in, shape, clipping, first.data(), second.data());
        add();
        const bool finite = k.column_probability_gradient(in, shape, clipping, numbers.data(), totals.data(),
                                                          totals.data(), stride, out.data());
        outcome.add(finite ? 1.0 : 0.0);
        outcome.add(out);
    }
    return outcome;
}

TEST_P(ColumnKernels, ThoseOfProbabilitiesEqualScalar) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(3);
        for (std::size_t classes : class_counts)
            for (std::size_t lanes : {16u, 48u}) {
                const TileOfRows<T> tile(all_rows<T>(), random, lanes, classes);
                TileOfRows<T> weights(ordinary_rows<T>(), random, lanes, classes);
                for (T& weight : weights.columns)
                    weight = random.below(7) == 0 ? T(0) : T(random.below(1000)) / T(997);
                const std::vector<T> aside = some_classes<T>(random, tile.shape);
                expect_scalar_bits<T>(std::to_string(classes),
                                      [&](const Kernels<T>& k) { return run_wide<T>(k, tile, weights, aside); });
            }
    };
    check(float{});
    check(double{});
}

}  // namespace
}  // namespace logitloss::detail
