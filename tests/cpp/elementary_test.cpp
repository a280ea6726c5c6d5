// exp, log and log1p: errors over a stride of all float32 numbers and over samples of float64, and the scalar bits, on
// every instruction set. tests/cpp/exhaustive.cpp visits every float32; docs/numerics.md has its table.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "elementary_reference.hpp"
#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class Elementary : public KernelTest {
protected:
    template <class T, class Exact>
    void expect_errors_below(const std::vector<T>& x, const double (&bounds)[3]) const {
        std::vector<T> y(x.size());
        for (std::size_t f = 0; f < 3; ++f) {
            const ElementaryFunction<T, Exact>& function = elementary_functions<T, Exact>[f];
            (kernels<T>().*function.kernel)(x.data(), x.size(), y.data());
            double worst = 0.0;
            T where = T(0);
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double error = ulp_error(y[i], function.reference(static_cast<Exact>(x[i])));
                if (error > worst) {
                    worst = error;
                    where = x[i];
                }
            }
            EXPECT_LT(worst, bounds[f]) << function.name << " at " << where;
            EXPECT_GT(worst, 0.5) << function.name << ": the sample meets no hard case";
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Isa, Elementary, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

// Every 8191st bit pattern: a prime, so that all exponents, signs, subnormals and NaNs are met at changing mantissas.
TEST_P(Elementary, Float32Stride) {
    std::vector<float> x;
    for (std::uint64_t word = 0; word <= 0xFFFFFFFFu; word += 8191)
        x.push_back(from_word<float>(word));
    expect_errors_below<float, double>(x, {0.9, 0.9, 0.9});
}

// The ranges in which rows live, more densely.
TEST_P(Elementary, Float32WhereRowsLive) {
    Random random(1);
    std::vector<float> x;
    for (int i = 0; i < 200000; ++i) {
        x.push_back(static_cast<float>(random.uniform(-104, 89)));
        x.push_back(static_cast<float>(std::exp(random.uniform(-20, 20))));
        x.push_back(static_cast<float>(random.uniform(-0.5, 1.5)));
    }
    expect_errors_below<float, double>(x, {0.9, 0.9, 0.9});
}

TEST_P(Elementary, Float64Samples) {
    Random random(2);
    std::vector<double> x;
    for (int i = 0; i < 40000; ++i) {
        x.push_back(random.uniform(-746, 710));
        x.push_back(std::exp(random.uniform(-700, 700)));
        x.push_back(random.uniform(-0.9, 1.5));
        x.push_back(from_word<double>(random.below(~std::size_t(0))));
        x.push_back(from_word<double>(random.below(std::size_t(1) << 53)));  // subnormal, and the least normal
    }
    expect_errors_below<double, long double>(x, {0.9, 0.9, 0.9});
}

TEST_P(Elementary, ExactAndSpecialValues) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const Kernels<T>& k = kernels<T>();
        const T inf = infinity<T>;
        const auto at = [](void (*function)(const T*, std::size_t, T*), T x) {
            T y;
            function(&x, 1, &y);
            return y;
        };
        EXPECT_EQ(at(k.exp, T(0)), T(1));
        EXPECT_EQ(at(k.exp, T(-0.0)), T(1));
        EXPECT_EQ(at(k.exp, -inf), T(0));
        EXPECT_EQ(at(k.exp, inf), inf);
        EXPECT_EQ(at(k.exp, std::numeric_limits<T>::lowest()), T(0));
        EXPECT_EQ(at(k.exp, std::numeric_limits<T>::max()), inf);
        EXPECT_EQ(at(k.exp, std::numeric_limits<T>::denorm_min()), T(1));
        EXPECT_EQ(at(k.log, T(1)), T(0));
        EXPECT_EQ(at(k.log, T(0)), -inf);
        EXPECT_EQ(at(k.log, T(-0.0)), -inf);
        EXPECT_EQ(at(k.log, inf), inf);
        EXPECT_TRUE(std::isnan(at(k.log, T(-1))));
        EXPECT_TRUE(std::isnan(at(k.log, -inf)));
        EXPECT_EQ(at(k.log1p, T(0)), T(0));
        EXPECT_TRUE(std::signbit(at(k.log1p, T(-0.0))));
        EXPECT_EQ(at(k.log1p, T(-1)), -inf);
        EXPECT_EQ(at(k.log1p, inf), inf);
        EXPECT_EQ(at(k.log1p, std::numeric_limits<T>::denorm_min()), std::numeric_limits<T>::denorm_min());
        EXPECT_TRUE(std::isnan(at(k.log1p, T(-1.5))));
        for (auto function : {k.exp, k.log, k.log1p})
            EXPECT_TRUE(std::isnan(at(function, quiet_nan<T>)));
    };
    check(float{});
    check(double{});
}

TEST_P(Elementary, GivesTheScalarBits) {
    const auto check = [&](auto zero, auto word) {
        using T = decltype(zero);
        using Word = decltype(word);
        constexpr std::size_t n = 100003;
        Random random(11);
        std::vector<T> x(n);
        // Any bits at all, and numbers of ordinary size.
        for (std::size_t i = 0; i < n; ++i) {
            const Word bits = static_cast<Word>(random.below(~std::size_t(0)));
            std::memcpy(&x[i], &bits, sizeof bits);
            if (i % 2 != 0)
                x[i] = static_cast<T>(random.uniform(-110, 110));
        }
        for (const ElementaryFunction<T, long double>& function : elementary_functions<T, long double>)
            this->expect_scalar_bits<T>(function.name, [&](const Kernels<T>& k) {
                Guarded<T> fresh(n, 3);
                Guarded<T> in_place(x, 1);
                (k.*function.kernel)(x.data(), n, fresh.data());
                (k.*function.kernel)(in_place.data(), n, in_place.data());
                EXPECT_TRUE(fresh.intact() && in_place.intact());
                Outcome outcome;
                outcome.add(fresh.values());
                outcome.add(in_place.values());
                return outcome;
            });
    };
    check(float{}, std::uint32_t{});
    check(double{}, std::uint64_t{});
}

TEST(UlpError, CountsUnitsOfTheLastPlace) {
    EXPECT_EQ(ulp_error(1.0f, 1.0), 0.0);
    EXPECT_EQ(ulp_error(1.0f, 1.0 + 0x1p-24), 0.5);
    EXPECT_EQ(ulp_error(0.0f, 0x1p-149), 1.0);
    EXPECT_EQ(ulp_error(infinity<float>, 1e39), 0.0);
    EXPECT_EQ(ulp_error(infinity<float>, 1.0), infinity<double>);
    EXPECT_EQ(ulp_error(-infinity<float>, 1e39), infinity<double>);
    EXPECT_EQ(ulp_error(quiet_nan<float>, 1.0), infinity<double>);
    EXPECT_EQ(ulp_error(2.0f, -2.0), 0x1p24);
}

}  // namespace
}  // namespace logitloss::detail
