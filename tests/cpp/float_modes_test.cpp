// Results do not depend on the floating-point modes that the caller has set: flush-to-zero, rounding upwards.
#if defined(__x86_64__)
#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "logitloss/logitloss.hpp"

namespace {

using namespace logitloss;

/// Sets MXCSR while it lives.
class Modes {
public:
    explicit Modes(unsigned control) : before_(_mm_getcsr()) { _mm_setcsr(control); }
    ~Modes() { _mm_setcsr(before_); }
    Modes(const Modes&) = delete;
    Modes& operator=(const Modes&) = delete;

private:
    unsigned before_;
};

constexpr unsigned default_modes = 0x1F80;
constexpr unsigned flush_to_zero_and_denormals_are_zero = default_modes | 0x8040;
constexpr unsigned round_upwards = default_modes | 0x4000;

/// Reduced and unreduced results whose last steps, and not only the kernels, would show the modes: subnormal losses,
/// a subnormal weight, sums that are not exact.
std::vector<float> results() {
    const std::ptrdiff_t shape[] = {3, 3};
    const std::ptrdiff_t rows[] = {3};
    const float logits[] = {95, 0, 0, 0.1f, 0.7f, -0.3f, 30, -95, 2};
    const int labels[] = {0, 2, 1};
    const float hard[] = {1, 0, 0, 1, 1, 0, 1, 0, 0};
    const double tiny[] = {1e-310, 1e-310, 1e-310};
    const ArrayView z{logits, DType::float32, 2, shape, nullptr};
    const ArrayView y{labels, DType::int32, 1, rows, nullptr};
    const ArrayView t{hard, DType::float32, 2, shape, nullptr};
    std::vector<float> all;
    const auto keep = [&](const float* values, std::size_t n) { all.insert(all.end(), values, values + n); };
    float loss = 0;
    float grad[9];
    const MutableArrayView loss_view{&loss, DType::float32, 0, nullptr, nullptr};
    const MutableArrayView grad_view{grad, DType::float32, 2, shape, nullptr};
    for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
        CrossEntropyOptions options;
        options.reduction = reduction;
        cross_entropy_value_and_grad(z, y, {}, loss_view, grad_view, options);
        keep(&loss, 1);
        keep(grad, 9);
        options.sample_weight = {tiny, DType::float64, 1, rows, nullptr};
        cross_entropy_value_and_grad(z, y, {}, loss_view, grad_view, options);
        keep(&loss, 1);
        keep(grad, 9);
        BceOptions bce;
        bce.reduction = reduction;
        bce_with_logits_value_and_grad(z, t, {}, loss_view, grad_view, bce);
        keep(&loss, 1);
        keep(grad, 9);
    }
    const std::ptrdiff_t first_row[] = {1, 3};
    const std::ptrdiff_t one[] = {1};
    const ArrayView confident{logits, DType::float32, 2, first_row, nullptr};
    const ArrayView label{labels, DType::int32, 1, one, nullptr};
    cross_entropy(confident, label, loss_view);  // subnormal
    keep(&loss, 1);
    float lse[3];
    logsumexp(z, {lse, DType::float32, 1, rows, nullptr});
    keep(lse, 3);
    softmax(z, grad_view);
    keep(grad, 9);
    return all;
}

void expect_same(unsigned modes) {
    const std::vector<float> want = results();
    std::vector<float> got;
    {
        const Modes changed(modes);
        got = results();
        EXPECT_EQ(_mm_getcsr(), modes) << "the caller's modes are back";
    }
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i)
        EXPECT_EQ(std::memcmp(&got[i], &want[i], sizeof(float)), 0)
            << "result " << i << ": " << got[i] << ", " << want[i];
}

TEST(FloatModes, FlushToZeroChangesNothing) { expect_same(flush_to_zero_and_denormals_are_zero); }
TEST(FloatModes, RoundingUpwardsChangesNothing) { expect_same(round_upwards); }

TEST(FloatModes, TheCasesHoldSubnormals) {
    int subnormal = 0;
    for (const float value : results())
        subnormal += value != 0 && value < 0x1p-126f && value > -0x1p-126f;
    EXPECT_GT(subnormal, 0);
}

}  // namespace
#endif
