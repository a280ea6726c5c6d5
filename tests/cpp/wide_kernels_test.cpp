// The kernels that compute in float64 whatever the elements are: the scalar bits on every instruction set, and no byte
// written beside an output.
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class WideKernels : public KernelTest {
protected:
    /// Asserts that run(kernels, row, other, shift) has the scalar outcome, over all kinds and sizes of rows. `other` are
    /// numbers of mixed sign, one in seven 0.
    template <class T, class Run>
    void expect_scalar_bits_over_rows(Run run) const {
        over_rows<T>(all_rows<T>(), [&](const std::string& what, const std::vector<T>& row, Random& random) {
            const std::vector<T> other = mixed_weights<T>(random, row.size());
            const std::size_t shift = random.below(16);
            expect_scalar_bits<T>(what, [&](const Kernels<T>& k) { return run(k, row, other, shift); });
        });
    }
};
INSTANTIATE_TEST_SUITE_P(Isa, WideKernels, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

template <class T>
Outcome errors(const Kernels<T>& k, const std::vector<T>& row, const std::vector<T>& other, std::size_t shift) {
    const std::size_t n = row.size();
    const Placed<T> target(other, shift);
    Outcome outcome;
    const auto full = [&k](const auto& block, std::size_t count) { return k.poisson(block, true, count); };
    const auto plain = [&k](const auto& block, std::size_t count) { return k.poisson(block, false, count); };
    using Kernel = std::function<double(const ElementBlock<T>&, std::size_t)>;
    for (const Kernel& kernel : {Kernel(k.squared_error), Kernel(k.absolute_error), Kernel(full), Kernel(plain)})
        for (const bool weighted : {false, true}) {
            Guarded<T> loss(n, shift);
            Guarded<T> grad(row, shift / 2);
            ElementBlock<T> block{};
            block.input = block.grad = grad.data();
            block.target = target.data();
            block.loss = loss.data();
            block.grad_factor = 0.7;
            block.scale = 0.5;
            if (weighted)
                block.weight = block.upstream = target.data();
            outcome.add(kernel(block, n));
            outcome.add(loss.values());
            outcome.add(grad.values());
            EXPECT_TRUE(loss.intact() && grad.intact());
        }
    return outcome;
}

TEST_P(WideKernels, Errors) {
    expect_scalar_bits_over_rows<float>(errors<float>);
    expect_scalar_bits_over_rows<double>(errors<double>);
}

template <class T>
Outcome information_measures(const Kernels<T>& k, const std::vector<T>& row, const std::vector<T>& other,
                             std::size_t shift) {
    const std::size_t n = row.size();
    const Placed<T> x(row, shift);
    const Placed<T> q(other, shift / 2);
    Outcome outcome;
    for (const double unit : {0.0, 2.302585092994046}) {
        Guarded<T> in_place(other, shift);
        k.self_information(in_place.data(), n, unit, in_place.data());
        outcome.add(in_place.values());
        EXPECT_TRUE(in_place.intact());
    }
    const auto add = [&](const SumPair& sums) {
        outcome.add(sums.first);
        outcome.add(sums.second);
    };
    outcome.add(k.entropy(q.data(), n));
    outcome.add(k.entropy(x.data(), n));
    outcome.add(k.cross_entropy_of(q.data(), q.data(), n));
    outcome.add(k.cross_entropy_of(x.data(), q.data(), n));
    add(k.divergence(q.data(), q.data(), n));
    add(k.divergence(q.data(), x.data(), n));
    add(k.exponential_gaps(x.data(), n, no_index, static_cast<double>(k.largest(x.data(), n))));
    add(k.exponential_gaps(x.data(), n, n / 2, 0.5));
    return outcome;
}

TEST_P(WideKernels, InformationMeasures) {
    expect_scalar_bits_over_rows<float>(information_measures<float>);
    expect_scalar_bits_over_rows<double>(information_measures<double>);
}

template <class T>
Outcome losses_of_probabilities(const Kernels<T>& k, const std::vector<T>& row, const std::vector<T>& other,
                                std::size_t shift) {
    const std::size_t n = row.size();
    const Placed<T> x(row, shift);
    const Placed<T> a(other, shift / 2);
    Outcome outcome;
    outcome.add(k.count_outside_unit(x.data(), nullptr, n));
    outcome.add(k.count_outside_unit(x.data(), a.data(), n));
    outcome.add(k.wide_sum(x.data(), n, no_index));
    outcome.add(k.wide_sum(x.data(), n, n / 2));
    for (const T value : {T(0), T(-1.5), T(-__builtin_inf())})
        for (const std::size_t label : {n / 3, n}) {
            const double count = k.count_beating(x.data(), n, value, label);
            outcome.add(count);
            EXPECT_EQ(k.is_beaten(x.data(), n, value, label), count != 0.0);
        }
    for (const T value : {T(0), T(-1.5), T(-__builtin_inf())}) {
        std::vector<std::uint32_t> indices(n), expected;
        indices.resize(k.indices_above(x.data(), n, value, indices.data()));
        for (std::size_t j = 0; j < n; ++j)
            if (row[j] > value)
                expected.push_back(static_cast<std::uint32_t>(j));
        EXPECT_EQ(indices, expected);
    }
    std::vector<T> tops(n / (256 / sizeof(T)));
    k.group_largest(x.data(), n, tops.data());
    outcome.add(tops);
    for (const Clipping& clipping : {Clipping{}, Clipping{true, 0.0625, 0.9375, 3.5}}) {
        const SumPair sums = k.probability_terms(x.data(), a.data(), n, clipping);
        outcome.add(sums.first);
        outcome.add(sums.second);
        Guarded<T> in_place(row, shift);
        outcome.add(k.probability_gradient(in_place.data(), a.data(), n, clipping, {0.25, 2.0, -1.5}, in_place.data())
                        ? 1.0
                        : 0.0);
        outcome.add(in_place.values());
        Guarded<T> loss(n, shift);
        Guarded<T> grad(row, shift / 2);
        ElementBlock<T> block{};
        block.input = grad.data();
        block.target = block.weight = a.data();
        block.loss = loss.data();
        block.grad = grad.data();
        block.grad_factor = T(0.7);
        outcome.add(k.bce_of_probabilities(block, clipping, n));
        outcome.add(loss.values());
        outcome.add(grad.values());
        EXPECT_TRUE(in_place.intact() && loss.intact() && grad.intact());
    }
    return outcome;
}

TEST_P(WideKernels, LossesOfProbabilities) {
    expect_scalar_bits_over_rows<float>(losses_of_probabilities<float>);
    expect_scalar_bits_over_rows<double>(losses_of_probabilities<double>);
}

}  // namespace
}  // namespace logitloss::detail
