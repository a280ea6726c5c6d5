// Every kernel on rows, of every instruction set, gives the bits that the scalar one gives, writes where it should and nowhere
// else, and does not depend on alignment or on how its output is stored.
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class RowKernels : public KernelTest {};
INSTANTIATE_TEST_SUITE_P(Isa, RowKernels, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

// ------------------------------------------------------------------------------------------------ sums over a block

template <class T>
Outcome reduce(const Kernels<T>& k, const std::vector<T>& row, const std::vector<T>& weights, std::size_t aside,
               std::size_t shift) {
    const std::size_t n = row.size();
    const Placed<T> x(row, shift);
    const Placed<T> q(weights, shift / 2);
    Outcome outcome;
    BlockState state;
    k.block_state(x.data(), n, no_index, &state, nullptr, nullptr);
    outcome.add(state);
    k.block_state(x.data(), n, aside, &state, nullptr, nullptr);
    outcome.add(state);
    BlockState beside;
    BlockGaps gaps{};
    k.block_gaps(x.data(), n, aside, T(0.75), &beside, &gaps);
    outcome.add(beside);
    for (const double value : {gaps.top_exponential, gaps.others, gaps.gaps, gaps.above})
        outcome.add(value);
    Outcome same, of_state;  // the bits of block_state
    same.add(beside);
    of_state.add(state);
    EXPECT_TRUE(same == of_state);
    outcome.add(k.largest(x.data(), n));
    outcome.add(k.sum(x.data(), n, no_index));
    outcome.add(k.sum(x.data(), n, aside));
    outcome.add(k.sum_gaps(x.data(), q.data(), n, T(1.25)));
    outcome.add(k.sum_gaps(x.data(), nullptr, n, T(1.25)));
    outcome.add(k.dot(q.data(), x.data(), n));
    outcome.add(k.weighted_exponentials(x.data(), q.data(), n, T(3)));
    const double top = k.float64_max(x.data(), n, no_index);
    outcome.add(top);
    const SumBelow below = k.paired_exponentials(x.data(), n, top - top == 0.0 ? top : 1e30);
    outcome.add(below.met);
    outcome.add(below.below.first);
    outcome.add(below.below.second);
    outcome.add(k.float64_max(x.data(), n, aside));
    return outcome;
}

TEST_P(RowKernels, Reductions) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::vector<T> weights = mixed_weights<T>(random, row.size());
            const std::size_t aside = row.empty() ? no_index : random.below(row.size());
            const std::size_t shift = random.below(16);
            this->expect_scalar_bits<T>(what,
                                        [&](const Kernels<T>& k) { return reduce<T>(k, row, weights, aside, shift); });
        });
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernels, Keep) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        for (std::size_t n = 0; n < 150; ++n) {
            Random random(n);
            std::vector<T> row(n), out(n, T(7)), want(n);
            std::vector<unsigned char> where(n);
            for (std::size_t j = 0; j < n; ++j) {
                row[j] = static_cast<T>(random.normal());
                where[j] = random.below(2) == 0 ? 0 : static_cast<unsigned char>(1 + random.below(255));
                want[j] = where[j] != 0 ? row[j] : T(-3);
            }
            this->template kernels<T>().keep(row.data(), where.data(), n, T(-3), out.data());
            EXPECT_EQ(out, want) << n;
        }
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernels, Float64Sums) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(3);
        for (const RowKind<T>& kind : all_rows<T>())
            for (std::size_t n : {0u, 1u, 7u, 8u, 9u, 31u, 100u}) {
                std::vector<T> row(n);
                kind.fill(random, row);
                const std::size_t aside = n == 0 ? no_index : random.below(n);
                const double reference = kernels<T>().float64_max(row.data(), n, no_index);
                this->expect_scalar_bits<T>(kind.name, [&](const Kernels<T>& k) {
                    Outcome outcome;
                    outcome.add(k.float64_sum(row.data(), n, no_index, reference));
                    outcome.add(k.float64_sum(row.data(), n, aside, reference));
                    return outcome;
                });
                if (HasFatalFailure())
                    return;
            }
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernels, AlignmentDoesNotMatter) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(4);
        for (std::size_t n : {1u, 63u, 64u, 65u, 1000u, 4096u}) {
            std::vector<T> row(n);
            ordinary_rows<T>()[0].fill(random, row);
            const std::vector<T> weights = mixed_weights<T>(random, n);
            const Outcome aligned = reduce<T>(kernels<T>(), row, weights, n / 2, 0);
            for (std::size_t shift = 1; shift < 64 / sizeof(T); ++shift)
                ASSERT_TRUE(reduce<T>(kernels<T>(), row, weights, n / 2, shift) == aligned) << n << " at " << shift;
        }
    };
    check(float{});
    check(double{});
}

// Taking a class out of a row is the same as never having seen it, at every position.
TEST_P(RowKernels, ExclusionIsAMaskedClass) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(5);
        for (std::size_t n = 1; n <= 200; n += n < 70 ? 1 : 13)
            for (std::size_t aside = 0; aside < n; ++aside) {
                std::vector<T> row(n);
                ordinary_rows<T>()[0].fill(random, row);
                row[aside] = aside % 3 == 0 ? T(100) : aside % 3 == 1 ? quiet_nan<T> : infinity<T>;
                std::vector<T> masked = row;
                masked[aside] = -infinity<T>;
                std::vector<T> zeroed = row;
                zeroed[aside] = T(0);
                const Kernels<T>& k = kernels<T>();
                Outcome without;
                Outcome with;
                BlockState state;
                k.block_state(masked.data(), n, no_index, &state, nullptr, nullptr);
                with.add(state);
                with.add(k.sum(zeroed.data(), n, no_index));
                with.add(k.float64_max(masked.data(), n, no_index));
                with.add(k.float64_sum(masked.data(), n, no_index, 1.0));
                k.block_state(row.data(), n, aside, &state, nullptr, nullptr);
                without.add(state);
                without.add(k.sum(row.data(), n, aside));
                without.add(k.float64_max(row.data(), n, aside));
                without.add(k.float64_sum(row.data(), n, aside, 1.0));
                // float64_sum skips the class instead of adding exp(-inf) = 0: the same number.
                ASSERT_TRUE(without == with) << n << " without " << aside << ": " << with.first_difference(without);
            }
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernels, FindGivesTheFirst) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const Kernels<T>& k = kernels<T>();
        for (std::size_t n : row_sizes()) {
            std::vector<T> row(n, T(1));
            const Placed<T> none(row, n % 16);
            ASSERT_EQ(k.find(none.data(), n, T(2)), no_index) << n;
            ASSERT_EQ(k.find(none.data(), n, quiet_nan<T>), no_index) << n;
            for (std::size_t first = 0; first < n; first += n > 300 ? 61 : 1) {
                row[first] = T(2);
                row[n - 1] = T(2);
                const Placed<T> x(row, first % 16);
                ASSERT_EQ(k.find(x.data(), n, T(2)), first) << n;
                row[first] = quiet_nan<T>;
                row[n - 1] = T(1);
            }
        }
        const T zeros[] = {quiet_nan<T>, T(-0.0), T(0.0)};
        EXPECT_EQ(k.find(zeros, 3, T(0.0)), 1u);
    };
    check(float{});
    check(double{});
}

// ------------------------------------------------------------------------------------------------ what is written

/// The scale of a row as the losses would set it, from its state.
template <class T>
bool scale_of(const Kernels<T>& k, const std::vector<T>& row, T linear, RowScale<T>* scale) {
    BlockState state;
    k.block_state(row.data(), row.size(), no_index, &state, nullptr, nullptr);
    if (state.kind != BlockKind::normal)
        return false;
    *scale = {static_cast<T>(state.exponent), static_cast<T>(1.0 / state.sum), linear};
    return true;
}

template <class T>
std::vector<T> write(const Kernels<T>& k, const std::vector<T>& row, const RowScale<T>& scale, const T* q,
                     Patch<T> patch, StoreMode mode, std::size_t shift, bool* intact) {
    const Placed<T> x(row, shift);
    Guarded<T> out(row.size(), shift);
    k.scaled_exponentials(x.data(), nullptr, row.size(), scale, q, patch, mode, out.data());
    *intact = out.intact();
    return out.values();
}

TEST_P(RowKernels, ScaledExponentials) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            const std::vector<T> weights = mixed_weights<T>(random, n);
            const Placed<T> q(weights, random.below(16));
            RowScale<T> scale;
            if (!scale_of<T>(scalar<T>(), row, T(-0.125), &scale))
                return;
            const std::size_t shift = random.below(16);
            RowScale<T> plain = scale;
            plain.linear = T(0);
            for (int terms = 0; terms < 3; ++terms)
                for (StoreMode mode : {StoreMode::cached, StoreMode::in_place, StoreMode::streaming})
                    this->expect_scalar_bits<T>(what, [&](const Kernels<T>& k) {
                        const Patch<T> patch = terms == 1 || n == 0 ? Patch<T>{} : Patch<T>{n / 3, T(-0.75)};
                        bool intact = false;
                        Outcome outcome;
                        outcome.add(write<T>(k, row, terms == 0 ? plain : scale, terms == 2 ? q.data() : nullptr, patch,
                                             mode, shift, &intact));
                        EXPECT_TRUE(intact) << what;
                        return outcome;
                    });
        });
    };
    check(float{});
    check(double{});
}

// Keeping the exponentials changes no bit of the state, and writing from them none of what is written.
TEST_P(RowKernels, KeptExponentials) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            const std::size_t aside = n == 0 ? no_index : random.below(n);
            RowScale<T> scale;
            if (!scale_of<T>(scalar<T>(), row, T(-0.125), &scale))
                return;
            this->expect_scalar_bits<T>(what, [&](const Kernels<T>& k) {
                Outcome outcome;
                for (std::size_t out : {aside, no_index}) {
                    Guarded<T> kept(padded_length<T>(n));
                    BlockState state, without;
                    k.block_state(row.data(), n, out, &state, kept.data(), nullptr);
                    k.block_state(row.data(), n, out, &without, nullptr, nullptr);
                    Outcome a, b;
                    a.add(state);
                    b.add(without);
                    EXPECT_TRUE(a == b && kept.intact()) << what;
                    if (state.kind != BlockKind::normal)
                        continue;
                    outcome.add(kept.data(), n);
                    EXPECT_TRUE(out == no_index || kept.data()[out] == T(0)) << what;
                    if (out != no_index)
                        continue;
                    const Patch<T> patch{n / 2, T(-0.75)};
                    for (StoreMode mode : {StoreMode::cached, StoreMode::in_place, StoreMode::streaming}) {
                        Guarded<T> written(n);
                        bool intact = false;
                        k.scaled_exponentials(row.data(), kept.data(), n, scale, nullptr, patch, mode, written.data());
                        Outcome from_kept, from_logits;
                        from_kept.add(written.values());
                        from_logits.add(write<T>(k, row, scale, nullptr, patch, mode, 0, &intact));
                        EXPECT_TRUE(from_kept == from_logits && written.intact()) << what;
                    }
                }
                return outcome;
            });
        });
    };
    check(float{});
    check(double{});
}

// A row that is written during another one's sweep is the row that scaled_exponentials writes, and the sweep sees nothing
// of it, whatever kind of block it goes over.
TEST_P(RowKernels, RowsWrittenAlong) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const Kernels<T>& k = kernels<T>();
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::size_t n = row.size();
            std::vector<T> earlier(n);
            ordinary_rows<T>()[0].fill(random, earlier);
            RowScale<T> scale;
            if (!scale_of<T>(k, earlier, T(-0.125), &scale))
                return;
            Guarded<T> exponentials(padded_length<T>(n)), kept(padded_length<T>(n)), kept_alone(padded_length<T>(n));
            BlockState state, alone;
            k.block_state(earlier.data(), n, no_index, &state, exponentials.data(), nullptr);
            const std::size_t aside = random.below(2) == 0 ? no_index : random.below(n);
            k.block_state(row.data(), n, aside, &alone, kept_alone.data(), nullptr);
            for (T linear : {T(-0.125), T(0)})
                for (std::size_t patched : {no_index, std::size_t{0}, n - 1}) {
                    scale.linear = linear;
                    const Patch<T> patch{patched, T(-0.75)};
                    const std::size_t shift = random.below(16);
                    Guarded<T> expected(n, shift), written(n, shift);
                    k.scaled_exponentials(earlier.data(), exponentials.data(), n, scale, nullptr, patch,
                                          StoreMode::cached, expected.data());
                    const PendingRow<T> along{
                        exponentials.data(), scale.scale, linear == T(0) ? T(-0.0) : linear, patch,
                        written.data(),      patched == 0};
                    k.block_state(row.data(), n, aside, &state, kept.data(), &along);
                    Outcome with, without;
                    with.add(state);
                    without.add(alone);
                    with.add(written.values());
                    without.add(expected.values());
                    if (state.kind != BlockKind::needs_float64) {
                        with.add(kept.data(), n);
                        without.add(kept_alone.data(), n);
                    }
                    EXPECT_TRUE(with == without) << what << ": " << with.first_difference(without);
                    EXPECT_TRUE(written.intact() && kept.intact() && exponentials.intact()) << what;
                }
        });
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernels, StoreModesAndPatchesAgree) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const Kernels<T>& k = kernels<T>();
        Random random(7);
        for (std::size_t n : {1u, 2u, 63u, 64u, 65u, 128u, 130u, 300u}) {
            std::vector<T> row(n);
            ordinary_rows<T>()[0].fill(random, row);
            RowScale<T> scale{};
            ASSERT_TRUE(scale_of<T>(k, row, T(0), &scale));
            bool intact = false;
            const std::vector<T> plain = write<T>(k, row, scale, nullptr, {}, StoreMode::cached, 0, &intact);
            for (std::size_t index = 0; index <= n; ++index) {
                const Patch<T> patch = index == n ? Patch<T>{} : Patch<T>{index, T(-7)};
                std::vector<T> expected = plain;
                if (index < n)
                    expected[index] = T(-7);
                for (StoreMode mode : {StoreMode::cached, StoreMode::in_place, StoreMode::streaming}) {
                    ASSERT_EQ(write<T>(k, row, scale, nullptr, patch, mode, index % 16, &intact), expected)
                        << n << ", patch at " << index;
                    ASSERT_TRUE(intact) << n << ", patch at " << index;
                }
                Guarded<T> in_place(row, index % 16);
                k.scaled_exponentials(in_place.data(), nullptr, n, scale, nullptr, patch, StoreMode::in_place,
                                      in_place.data());
                ASSERT_EQ(in_place.values(), expected) << n << " in place, patch at " << index;
                ASSERT_TRUE(in_place.intact()) << n << " in place";
            }
        }
    };
    check(float{});
    check(double{});
}

TEST_P(RowKernels, Float64Writes) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(8);
        for (const RowKind<T>& kind : all_rows<T>())
            for (std::size_t n : {1u, 7u, 64u, 65u, 100u}) {
                std::vector<T> row(n);
                kind.fill(random, row);
                const std::vector<double> q = mixed_weights<double>(random, n);
                const double reference = scalar<T>().float64_max(row.data(), n, no_index);
                for (double linear : {0.0, 0.5})
                    this->expect_scalar_bits<T>(kind.name, [&](const Kernels<T>& k) {
                        Guarded<T> out(n, n % 16);
                        Outcome outcome;
                        k.float64_write(row.data(), n, reference, 0.3, linear, nullptr, {n / 2, T(9)}, out.data());
                        outcome.add(out.values());
                        k.float64_write(row.data(), n, reference, 0.3, linear, q.data(), {}, out.data());
                        outcome.add(out.values());
                        EXPECT_TRUE(out.intact()) << kind.name;
                        return outcome;
                    });
                if (HasFatalFailure())
                    return;
            }
    };
    check(float{});
    check(double{});
}

}  // namespace
}  // namespace logitloss::detail
