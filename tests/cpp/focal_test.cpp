// The focal kernel: the scalar bits on every instruction set, and the formula in long double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "kernel_corpus.hpp"

namespace logitloss::detail {
namespace {

class FocalKernel : public testing::TestWithParam<NamedTable> {
protected:
    template <class T>
    const Kernels<T>& kernels() const {
        return GetParam().table->of<T>();
    }
};
INSTANTIATE_TEST_SUITE_P(Isa, FocalKernel, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

constexpr FocalParameters parameter_sets[] = {
    {0.25, 0.75, 2.0}, {1.0, 1.0, 0.0}, {0.5, 0.5, 0.3}, {0.0, 1.0, 5.7}, {0.3, 0.7, 1e300},
};

template <class T>
Outcome focal(const Kernels<T>& k, const std::vector<T>& logits, const std::vector<T>& target,
              const std::vector<T>& factors, const FocalParameters& parameters, bool weighted, std::size_t shift) {
    const std::size_t n = logits.size();
    const Placed<T> t(target, shift);
    const Placed<T> f(factors, shift / 2);
    Guarded<T> loss(n, shift);
    Guarded<T> grad(logits, shift);
    BceBlock<T> block{};
    block.logits = grad.data();
    block.target = t.data();
    block.smoothing = weighted ? 0.125 : 0.0;
    block.weight = weighted ? f.data() : nullptr;
    block.upstream = weighted ? f.data() : nullptr;
    block.loss = loss.data();
    block.grad = grad.data();
    block.grad_factor = T(0.7);
    Outcome outcome;
    outcome.add(k.focal(block, parameters, n));
    outcome.add(loss.values());
    outcome.add(grad.values());
    EXPECT_TRUE(loss.intact() && grad.intact());
    return outcome;
}

template <class T>
std::vector<T> mixed_targets(Random& random, std::size_t n, bool hard) {
    std::vector<T> target(n);
    fill_each(target, [&](std::size_t i) {
        return hard || i % 3 != 0 ? static_cast<double>(random.below(2)) : random.uniform(-0.1, 1.1);
    });
    return target;
}

template <class T>
void expect_scalar_bits(const Kernels<T>& kernels, const std::string& isa) {
    Random random(20170807);
    std::size_t turn = 0;
    std::vector<RowKind<T>> kinds = ordinary_rows<T>();
    kinds.insert(kinds.end(), special_rows<T>().begin(), special_rows<T>().end());
    for (const RowKind<T>& kind : kinds)
        for (std::size_t n : row_sizes()) {
            std::vector<T> row(n);
            kind.fill(random, row);
            std::vector<T> factors(n);
            fill_each(factors, [&](std::size_t) { return random.below(7) == 0 ? 0.0 : random.uniform(0, 1); });
            const std::vector<T> target = mixed_targets<T>(random, n, turn % 2 == 0);
            const FocalParameters& parameters = parameter_sets[turn % std::size(parameter_sets)];
            const bool weighted = turn % 3 == 0;
            const std::size_t shift = random.below(16);
            ++turn;
            const Outcome expected =
                focal<T>(kernels_named("scalar")->of<T>(), row, target, factors, parameters, weighted, shift);
            const Outcome got = focal<T>(kernels, row, target, factors, parameters, weighted, shift);
            ASSERT_TRUE(got == expected) << kind.name << ", " << n << ": scalar and " << isa << " differ at "
                                         << expected.first_difference(got);
        }
}

TEST_P(FocalKernel, GivesTheScalarBits) {
    expect_scalar_bits<float>(kernels<float>(), GetParam().name);
    expect_scalar_bits<double>(kernels<double>(), GetParam().name);
}

using Exact = long double;

Exact softplus(Exact x) { return std::max(x, Exact(0)) + std::log1p(std::exp(-std::fabs(x))); }

struct ExactFocal {
    Exact loss, gradient;

    ExactFocal(Exact x, bool positive, const FocalParameters& p) {
        const Exact sign = positive ? -1 : 1;  // of the logit that raises the loss
        const Exact miss = std::exp(-softplus(-sign * x));
        const Exact entropy = softplus(sign * x);
        const Exact factor = (positive ? p.alpha : p.one_minus_alpha) * std::pow(miss, Exact(p.gamma));
        loss = factor * entropy;
        gradient = sign * factor * (miss + Exact(p.gamma) * entropy * (1 - miss));
    }
};

// Measured over a million logits: 3.2 eps of the loss and 3.6 of the gradient, for gamma up to 5. A power whose
// exponent were rounded to T would be off by 40 eps at an exponent of -80.
template <class T>
void expect_exact_values(const Kernels<T>& kernels) {
    Random random(33);
    const std::size_t n = 4001;
    std::vector<T> x(n), t(n), loss(n), grad(n);
    fill_each(x, [&](std::size_t i) { return i % 2 ? random.uniform(-80, 80) : 3 * random.normal(); });
    fill_each(t, [&](std::size_t) { return static_cast<double>(random.below(2)); });
    const Exact eps = std::numeric_limits<T>::epsilon();
    const Exact flushed = 8 * Exact(std::numeric_limits<T>::min());
    for (const FocalParameters& parameters : {FocalParameters{0.3, 0.7, 2.2}, {0.3, 0.7, 0.5}, {1.0, 1.0, 5.0}}) {
        BceBlock<T> block{};
        block.logits = x.data();
        block.target = t.data();
        block.loss = loss.data();
        block.grad = grad.data();
        block.grad_factor = T(1);
        kernels.focal(block, parameters, n);
        for (std::size_t i = 0; i < n; ++i) {
            const ExactFocal exact(x[i], t[i] == T(1), parameters);
            ASSERT_NEAR(loss[i], exact.loss, 4 * eps * exact.loss + flushed) << "x = " << x[i] << ", t = " << t[i];
            ASSERT_NEAR(grad[i], exact.gradient, 5 * eps * std::fabs(exact.gradient) + flushed)
                << "x = " << x[i] << ", t = " << t[i];
        }
    }
}

TEST_P(FocalKernel, KeepsRelativeAccuracyForHardTargets) {
    expect_exact_values<float>(kernels<float>());
    expect_exact_values<double>(kernels<double>());
}

TEST_P(FocalKernel, TargetsOutsideTheUnitIntervalAreNaNAndSpareTheirNeighbours) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const std::vector<T> x = {T(1), T(1), T(1), T(-2), infinity<T>};
        const std::vector<T> t = {T(1), T(-0.5), T(1.5), T(0), T(2)};
        std::vector<T> loss(x.size());
        BceBlock<T> block{};
        block.logits = x.data();
        block.target = t.data();
        block.loss = loss.data();
        EXPECT_TRUE(std::isnan(kernels<T>().focal(block, parameter_sets[0], x.size())));
        EXPECT_TRUE(std::isfinite(loss[0]) && std::isfinite(loss[3]));
        EXPECT_TRUE(std::isnan(loss[1]) && std::isnan(loss[2]) && std::isnan(loss[4]));
    };
    check(float{});
    check(double{});
}

}  // namespace
}  // namespace logitloss::detail
