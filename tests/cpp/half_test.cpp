// float16 and bfloat16: every instruction set converts them as the formats define it, bit for bit, and writes where it
// should and nowhere else; layouts that are converted one by one give the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "half_reference.hpp"
#include "kernel_fixture.hpp"
#include "layout/half.hpp"
#include "layout/staging.hpp"

namespace logitloss::detail {
namespace {

template <class Half>
std::vector<Half> all_halves() {
    std::vector<Half> all(65536);
    for (std::uint32_t word = 0; word < 65536; ++word)
        all[word] = half_of<Half>(word);
    return all;
}

/// Floats at which rounding changes: every half, every midpoint of neighbours (infinity counted as the next number), and
/// the floats beside these; both signs.
template <class Half>
std::vector<float> rounding_boundaries() {
    std::vector<float> x;
    const auto add = [&](std::uint32_t bits) {
        for (const std::uint32_t sign : {0x00000000u, 0x80000000u})
            x.push_back(float_of(sign | bits));
    };
    for (std::uint32_t word = 0; word < Format<Half>::infinity; ++word) {
        const auto here = static_cast<float>(defined_value<Half>(word));
        const double next = word + 1 == Format<Half>::infinity
                                ? 2.0 * defined_value<Half>(word) - defined_value<Half>(word - 1)
                                : defined_value<Half>(word + 1);
        const auto midpoint = static_cast<float>((static_cast<double>(here) + next) / 2.0);
        for (const std::uint32_t bits : {bits_of(here), bits_of(midpoint)}) {
            if (bits != 0)
                add(bits - 1);
            add(bits);
            add(bits + 1);
        }
    }
    for (const float special : {infinity<float>, std::numeric_limits<float>::max(), 0x1p-126f, 0x1p-149f, 65536.0f})
        add(bits_of(special));
    return x;
}

/// NaNs of either sign, quiet and signalling, with each bit of the payload and with all.
std::vector<float> nans() {
    std::vector<float> x;
    for (const std::uint32_t sign : {0x00000000u, 0x80000000u})
        for (int bit = 0; bit < 23; ++bit)
            for (const std::uint32_t rest : {0u, 0x00400000u, 0x007fffffu})
                x.push_back(float_of(sign | 0x7f800000 | 1u << bit | rest));
    return x;
}

std::uint32_t bits_with_one_nan(float x) { return bits_of(x == x ? x : quiet_nan<float>); }

template <class Half>
class Halves : public testing::Test {
protected:
    /// Calls check(name, kernels) for every instruction set.
    template <class Check>
    static void over_tables(Check check) {
        for (const NamedTable& named : tables_that_run_here()) {
            SCOPED_TRACE(named.name);
            check(named.table->template halves<Half>());
            if (testing::Test::HasFatalFailure())
                return;
        }
    }
    static void expect_narrowed(const HalfKernels<Half>& kernels, const std::vector<float>& x) {
        std::vector<Half> got(x.size());
        kernels.narrow(x.data(), x.size(), StoreMode::cached, got.data());
        for (std::size_t i = 0; i < x.size(); ++i) {
            const std::uint32_t want = defined_bits<Half>(x[i]);
            ASSERT_EQ(word_of(got[i]), want) << std::hex << bits_of(x[i]) << " (" << std::hexfloat << x[i] << ")";
            ASSERT_EQ(word_of(to_half<Half>(x[i])), want) << std::hex << bits_of(x[i]) << ", one by one";
        }
    }
};
using BothHalves = testing::Types<Float16, BFloat16>;
TYPED_TEST_SUITE(Halves, BothHalves);

TYPED_TEST(Halves, EveryOneIsWidenedExactly) {
    const std::vector<TypeParam> all = all_halves<TypeParam>();
    this->over_tables([&](const HalfKernels<TypeParam>& kernels) {
        std::vector<float> got(all.size());
        kernels.widen(all.data(), all.size(), got.data());
        for (std::uint32_t word = 0; word < 65536; ++word) {
            const auto want = static_cast<float>(defined_value<TypeParam>(word));
            ASSERT_EQ(bits_with_one_nan(got[word]), bits_with_one_nan(want)) << std::hex << word;
            ASSERT_EQ(std::signbit(got[word]), (word & 0x8000) != 0) << std::hex << word;
            ASSERT_EQ(bits_of(got[word]), bits_of(to_float(all[word]))) << std::hex << word << ", payload of a NaN";
        }
    });
}

TYPED_TEST(Halves, EveryRoundingBoundary) {
    const std::vector<float> x = rounding_boundaries<TypeParam>();
    this->over_tables([&](const HalfKernels<TypeParam>& kernels) { this->expect_narrowed(kernels, x); });
}

TYPED_TEST(Halves, EveryNanBecomesTheOneNan) {
    const std::vector<float> x = nans();
    for (const float value : x)
        ASSERT_TRUE(std::isnan(value));
    this->over_tables([&](const HalfKernels<TypeParam>& kernels) { this->expect_narrowed(kernels, x); });
}

// All 2^32 floats: tests/cpp/exhaustive.cpp.
TYPED_TEST(Halves, FloatsOfAllKinds) {
    std::vector<float> x;
    for (std::uint64_t bits = 0; bits < std::uint64_t(1) << 32; bits += 16381)
        x.push_back(float_of(static_cast<std::uint32_t>(bits)));
    this->over_tables([&](const HalfKernels<TypeParam>& kernels) { this->expect_narrowed(kernels, x); });
}

TYPED_TEST(Halves, WidenedAndRoundedIsTheSame) {
    const std::vector<TypeParam> all = all_halves<TypeParam>();
    this->over_tables([&](const HalfKernels<TypeParam>& kernels) {
        std::vector<float> wide(all.size());
        std::vector<TypeParam> back(all.size());
        kernels.widen(all.data(), all.size(), wide.data());
        kernels.narrow(wide.data(), wide.size(), StoreMode::cached, back.data());
        for (std::uint32_t word = 0; word < 65536; ++word)
            ASSERT_EQ(word_of(back[word]), std::isnan(wide[word]) ? Format<TypeParam>::quiet_nan : word);
    });
}

TYPED_TEST(Halves, EveryLengthAndAddress) {
    using Half = TypeParam;
    const std::vector<Half> all = all_halves<Half>();
    Random random(17);
    this->over_tables([&](const HalfKernels<Half>& kernels) {
        for (std::size_t n = 0; n <= 300; ++n)
            for (const std::size_t odd_bytes : {0, 1, 2, 7, 33}) {
                std::vector<unsigned char> bytes(2 * n);
                std::vector<float> numbers(n);
                for (std::size_t i = 0; i < n; ++i) {
                    const Half h = all[random.below(all.size())];
                    std::memcpy(&bytes[2 * i], h.bytes, 2);
                    numbers[i] = to_float(all[random.below(all.size())]) * 1.0009765f;
                }
                const Placed<unsigned char> halves(bytes, odd_bytes);
                Guarded<float> wide(n, odd_bytes);
                kernels.widen(reinterpret_cast<const Half*>(halves.data()), n, wide.data());
                const Placed<float> x(numbers, odd_bytes);
                Guarded<unsigned char> narrow(2 * n, odd_bytes);
                kernels.narrow(x.data(), n, odd_bytes % 2 ? StoreMode::cached : StoreMode::in_place,
                               reinterpret_cast<Half*>(narrow.data()));
                Guarded<unsigned char> streamed(2 * n);
                kernels.narrow(x.data(), n, StoreMode::streaming, reinterpret_cast<Half*>(streamed.data()));
                ASSERT_TRUE(wide.intact() && narrow.intact() && streamed.intact()) << n << " at " << odd_bytes;
                for (std::size_t i = 0; i < n; ++i) {
                    Half h;
                    std::memcpy(h.bytes, &bytes[2 * i], 2);
                    ASSERT_EQ(bits_of(wide.data()[i]), bits_of(to_float(h))) << n << ", " << i;
                    const Half want = to_half<Half>(numbers[i]);
                    ASSERT_EQ(std::memcmp(narrow.data() + 2 * i, want.bytes, 2), 0) << n << ", " << i;
                    ASSERT_EQ(std::memcmp(streamed.data() + 2 * i, want.bytes, 2), 0) << n << ", " << i;
                }
            }
    });
}

// The sums of a row of halves are those of the same numbers in float.
template <class Half>
void expect_block_of_floats(const KernelTable& table, const std::vector<Half>& row, std::size_t aside, bool keeps,
                            const PendingRow<float>* pending) {
    const std::size_t n = row.size();
    std::vector<float> wide(n);
    table.halves<Half>().widen(row.data(), n, wide.data());
    Guarded<float> kept(padded_length<float>(n)), expected(padded_length<float>(n));
    BlockState state, of_floats;
    table.float32.block_state(wide.data(), n, aside, &of_floats, keeps ? expected.data() : nullptr, pending);
    table.halves<Half>().block_state(row.data(), n, aside, &state, keeps ? kept.data() : nullptr, pending);
    Outcome got, want;
    got.add(state);
    want.add(of_floats);
    if (keeps && state.kind != BlockKind::needs_float64) {
        got.add(kept.data(), n);
        want.add(expected.data(), n);
    }
    EXPECT_TRUE(got == want && kept.intact()) << n << " halves, differing at " << want.first_difference(got);
    BlockGaps gaps{}, gaps_of_floats{};
    BlockState again;
    table.float32.block_gaps(wide.data(), n, aside, 0.5f, &of_floats, &gaps_of_floats);
    table.halves<Half>().block_gaps(row.data(), n, aside, 0.5f, &again, &gaps);
    EXPECT_EQ(std::memcmp(&gaps, &gaps_of_floats, sizeof gaps), 0) << n << " halves";
}

template <class Half>
void check_blocks(const KernelTable& table) {
    over_rows<float>(all_rows<float>(), [&](const std::string& what, const std::vector<float>& row, Random& random) {
        const std::size_t n = row.size();
        std::vector<Half> halves(n);
        table.halves<Half>().narrow(row.data(), n, StoreMode::cached, halves.data());
        std::vector<float> exponentials(padded_length<float>(n), 0.5f);
        std::vector<float> written(n + 1);
        const PendingRow<float> pending{exponentials.data(), 0.5f, -0.0f, {}, written.data(), false};
        for (const std::size_t aside : {no_index, n == 0 ? no_index : random.below(n), n == 0 ? no_index : n - 1})
            for (const bool keeps : {false, true}) {
                SCOPED_TRACE(what);
                expect_block_of_floats<Half>(table, halves, aside, keeps, keeps ? &pending : nullptr);
                EXPECT_EQ(written[n], 0.0f);
            }
    });
}

TYPED_TEST(Halves, BlocksAreThoseOfFloats) {
    for (const NamedTable& named : tables_that_run_here()) {
        SCOPED_TRACE(named.name);
        check_blocks<TypeParam>(*named.table);
    }
}

// Contiguous halves go through the kernels, others one by one.
TYPED_TEST(Halves, AnyLayoutIsStagedToTheSameBits) {
    using Half = TypeParam;
    const std::vector<Half> all = all_halves<Half>();
    const std::size_t n = 4097;
    for (std::size_t first = 0; first + n <= all.size(); first += n) {
        std::vector<float> want(n);
        for (std::size_t i = 0; i < n; ++i)
            want[i] = to_float(all[first + i]);
        for (const std::ptrdiff_t stride : {2, -2, 6, 5})
            for (const bool byteswapped : {false, true}) {
                const std::size_t step = static_cast<std::size_t>(std::abs(stride));
                std::vector<char> bytes(step * n + 2, '\x55');
                char* start = bytes.data() + (stride < 0 ? step * (n - 1) : 1);
                for (std::size_t i = 0; i < n; ++i) {
                    char* at = start + static_cast<std::ptrdiff_t>(i) * stride;
                    at[byteswapped] = static_cast<char>(all[first + i].bytes[0]);
                    at[!byteswapped] = static_cast<char>(all[first + i].bytes[1]);
                }
                const Line line{Format<Half>::dtype, byteswapped, stride};
                std::vector<float> got(n);
                std::vector<double> wide(n);
                gather(line, start, n, got.data());
                gather(line, start, n, wide.data());
                for (std::size_t i = 0; i < n; ++i) {
                    ASSERT_EQ(bits_of(got[i]), bits_of(want[i])) << stride << ", " << byteswapped << ", " << i;
                    ASSERT_TRUE(wide[i] == want[i] || want[i] != want[i]) << i;
                }
                if (byteswapped)
                    continue;  // outputs are native
                std::vector<char> written(bytes.size(), '\x55');
                char* out = written.data() + (start - bytes.data());
                scatter(line, want.data(), n, out);
                for (std::size_t i = 0; i < n; ++i)
                    std::memcpy(start + static_cast<std::ptrdiff_t>(i) * stride, to_half<Half>(want[i]).bytes, 2);
                ASSERT_EQ(written, bytes) << stride;
            }
    }
}

}  // namespace
}  // namespace logitloss::detail
