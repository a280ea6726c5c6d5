// The kernels of binary losses, cross-entropy and focal: the scalar bits on every instruction set, and the formulas in long
// double. The tolerances come from counting roundings.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class BinaryKernels : public KernelTest {};
INSTANTIATE_TEST_SUITE_P(Isa, BinaryKernels, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

constexpr FocalParameters parameter_sets[] = {
    {0.25, 0.75, 2.0}, {1.0, 1.0, 0.0}, {0.5, 0.5, 0.3}, {0.0, 1.0, 5.7}, {0.3, 0.7, 1e300},
};

/// Which of the arrays that may be missing are there, and options.
struct BinaryParts {
    bool weight, pos_weight, upstream, loss, grad, in_place;
    double smoothing = 0.0;
    const FocalParameters* focal = nullptr;  ///< the focal loss instead of the cross-entropy
};

template <class T>
Outcome binary_loss(const Kernels<T>& k, const std::vector<T>& logits, const std::vector<T>& target,
                    const std::vector<T>& factors, const BinaryParts& parts, std::size_t shift) {
    const std::size_t n = logits.size();
    const Placed<T> x(logits, shift);
    const Placed<T> t(target, shift / 2);
    const Placed<T> f(factors, shift / 4);
    Guarded<T> loss(n, shift);
    Guarded<T> grad(logits, shift);
    ElementBlock<T> block{};
    block.input = parts.in_place ? grad.data() : x.data();
    block.target = t.data();
    block.weight = parts.weight ? f.data() : nullptr;
    block.pos_weight = parts.pos_weight ? f.data() : nullptr;
    block.smoothing = parts.weight ? parts.smoothing : 0.0;
    block.upstream = parts.upstream ? f.data() : nullptr;
    block.loss = parts.loss ? loss.data() : nullptr;
    block.grad = parts.grad || parts.in_place ? grad.data() : nullptr;
    block.grad_factor = T(0.7);
    Outcome outcome;
    outcome.add(parts.focal ? k.focal(block, *parts.focal, n) : k.bce(block, n));
    if (parts.loss)
        outcome.add(loss.values());
    outcome.add(grad.values());
    EXPECT_TRUE(loss.intact() && grad.intact());
    return outcome;
}

/// Of both classes; unless `hard`, a third of them between these and a little beyond.
template <class T>
std::vector<T> mixed_targets(Random& random, std::size_t n, bool hard) {
    std::vector<T> target(n);
    fill_each(target, [&](std::size_t i) {
        return hard || i % 3 != 0 ? static_cast<double>(random.below(2)) : random.uniform(-0.1, 1.1);
    });
    return target;
}

TEST_P(BinaryKernels, GiveTheScalarBits) {
    const BinaryParts combinations[] = {
        {false, false, false, true, true, false},  {false, false, false, false, true, true},
        {false, false, false, true, false, false}, {true, false, false, true, true, false},
        {false, true, false, true, true, false},   {false, false, true, true, true, true},
        {true, true, true, false, true, false},    {true, true, false, false, false, false},
    };
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        std::size_t turn = 0;
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::vector<T> target = mixed_targets<T>(random, row.size(), turn / 8 % 2 == 0);
            const std::vector<T> factors = mixed_weights<T>(random, row.size());
            BinaryParts parts = combinations[turn % std::size(combinations)];
            parts.smoothing = turn % 5 < 3 ? 0.1 : 0.0;
            const std::size_t shift = random.below(16);
            for (const FocalParameters* focal :
                 {static_cast<const FocalParameters*>(nullptr), &parameter_sets[turn % std::size(parameter_sets)]}) {
                parts.focal = focal;
                this->expect_scalar_bits<T>(what + (focal ? ", focal" : ""), [&](const Kernels<T>& k) {
                    return binary_loss<T>(k, row, target, factors, parts, shift);
                });
            }
            ++turn;
        });
    };
    check(float{});
    check(double{});
}

// exp and log1p within an ulp, two products and two sums of one sign: 3 eps of the loss; the gradient has an exponential,
// a sum, a product and a division: 3 eps, relative for hard targets. A soft target's gradient is a difference.
TEST_P(BinaryKernels, CrossEntropyValues) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(12);
        const std::size_t n = 3001;
        std::vector<T> x(n), t(n), weight(n), positive_weight(n), loss(n), grad(n);
        fill_each(x, [&](std::size_t i) { return i % 2 ? random.uniform(-80, 80) : 3 * random.normal(); });
        fill_each(t,
                  [&](std::size_t i) { return i % 4 == 0 ? random.uniform(0, 1) : static_cast<double>(i % 4 == 1); });
        fill_each(weight, [&](std::size_t) { return random.uniform(-1, 2); });
        fill_each(positive_weight, [&](std::size_t) { return random.uniform(0.5, 20); });
        for (bool weighted : {false, true}) {
            ElementBlock<T> block{};
            block.input = x.data();
            block.target = t.data();
            block.weight = weighted ? weight.data() : nullptr;
            block.pos_weight = weighted ? positive_weight.data() : nullptr;
            block.upstream = weighted ? weight.data() : nullptr;
            block.loss = loss.data();
            block.grad = grad.data();
            block.grad_factor = T(0.5);
            const double total = kernels<T>().bce(block, n);
            Exact sum = 0, all = 0;
            for (std::size_t i = 0; i < n; ++i) {
                const Exact w = weighted ? weight[i] : T(1);
                const Exact positive = static_cast<Exact>(t[i]) * (weighted ? positive_weight[i] : T(1));
                const Exact negative = 1 - static_cast<Exact>(t[i]);
                const Exact expected = w * (positive * softplus(-x[i]) + negative * softplus(x[i]));
                const Exact up = negative * sigmoid(x[i]);
                const Exact down = positive * sigmoid(-static_cast<Exact>(x[i]));
                const Exact factor = Exact(0.5) * w * (weighted ? weight[i] : T(1));
                SCOPED_TRACE("x " + std::to_string(x[i]) + ", t " + std::to_string(t[i]));
                expect_within(loss[i], expected, 4 * eps<T> * std::fabs(expected));
                expect_within(grad[i], factor * (up - down), 4 * eps<T> * std::fabs(factor) * (up + down));
                sum += expected;
                all += std::fabs(expected);
                if (HasFailure())
                    return;
            }
            expect_within(total, sum, (sizeof(T) == 4 ? 10 : 20) * eps<T> * all);
        }
    };
    check(float{});
    check(double{});
}

// (1 - p_t)^gamma is exp of gamma times a logarithm kept in two parts: gamma scales a relative error of about an ulp,
// twice that for soft float64 targets, whose 1 - p_t is itself a sum.
TEST_P(BinaryKernels, FocalValues) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        Random random(21);
        const std::size_t n = 2001;
        std::vector<T> x(n), t(n), loss(n), grad(n);
        fill_each(x, [&](std::size_t i) { return i % 2 ? random.uniform(-30, 30) : 2 * random.normal(); });
        fill_each(t,
                  [&](std::size_t i) { return i % 4 == 0 ? random.uniform(0, 1) : static_cast<double>(i % 4 == 1); });
        for (double gamma : {0.0, 0.5, 2.0}) {
            const FocalParameters parameters{0.25, 0.75, gamma};
            ElementBlock<T> block{};
            block.input = x.data();
            block.target = t.data();
            block.loss = loss.data();
            block.grad = grad.data();
            block.grad_factor = T(1);
            const double total = kernels<T>().focal(block, parameters, n);
            Exact sum = 0;
            for (std::size_t i = 0; i < n && !HasFailure(); ++i) {
                const Exact target = t[i];
                const Exact p = sigmoid(x[i]), q = sigmoid(-static_cast<Exact>(x[i]));
                const Exact missed = (1 - target) * p + target * q;
                const Exact entropy = target * softplus(-x[i]) + (1 - target) * softplus(x[i]);
                const Exact factor = (target / 4 + (1 - target) * 3 / 4) * std::pow(missed, static_cast<Exact>(gamma));
                const Exact second = gamma * (2 * target - 1) * entropy * p * q / missed;
                const Exact pull = (1 - target) * p - target * q;
                const Exact size = (1 - target) * p + target * q + std::fabs(second);
                const Exact tolerance = (8 + 6 * gamma) * eps<T>;
                SCOPED_TRACE("x " + std::to_string(x[i]) + ", t " + std::to_string(t[i]) + ", gamma " +
                             std::to_string(gamma));
                expect_within(loss[i], factor * entropy, tolerance * factor * entropy);
                expect_within(grad[i], factor * (pull - second), tolerance * factor * size);
                sum += factor * entropy;
            }
            expect_within(total, sum, (sizeof(T) == 4 ? 20 : 40) * eps<T> * sum);
        }
    };
    check(float{});
    check(double{});
}

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
    const Exact flushed = 8 * Exact(std::numeric_limits<T>::min());
    for (const FocalParameters& parameters : {FocalParameters{0.3, 0.7, 2.2}, {0.3, 0.7, 0.5}, {1.0, 1.0, 5.0}}) {
        ElementBlock<T> block{};
        block.input = x.data();
        block.target = t.data();
        block.loss = loss.data();
        block.grad = grad.data();
        block.grad_factor = T(1);
        kernels.focal(block, parameters, n);
        for (std::size_t i = 0; i < n; ++i) {
            const ExactFocal exact(x[i], t[i] == T(1), parameters);
            ASSERT_NEAR(loss[i], exact.loss, 4 * eps<T> * exact.loss + flushed) << "x = " << x[i] << ", t = " << t[i];
            ASSERT_NEAR(grad[i], exact.gradient, 5 * eps<T> * std::fabs(exact.gradient) + flushed)
                << "x = " << x[i] << ", t = " << t[i];
        }
    }
}

TEST_P(BinaryKernels, FocalKeepsRelativeAccuracyForHardTargets) {
    expect_exact_values<float>(kernels<float>());
    expect_exact_values<double>(kernels<double>());
}

TEST_P(BinaryKernels, FocalTargetsOutsideTheUnitIntervalAreNaNAndSpareTheirNeighbours) {
    const auto check = [&](auto zero) {
        using T = decltype(zero);
        const std::vector<T> x = {T(1), T(1), T(1), T(-2), infinity<T>};
        const std::vector<T> t = {T(1), T(-0.5), T(1.5), T(0), T(2)};
        std::vector<T> loss(x.size());
        ElementBlock<T> block{};
        block.input = x.data();
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
