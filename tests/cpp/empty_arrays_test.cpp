// Arrays without elements, which may have no memory at all, are arrays and not arguments left out.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>

#include "logitloss/error.hpp"
#include "logitloss/logitloss.hpp"

namespace logitloss {
namespace {

constexpr std::ptrdiff_t no_rows[] = {0, 3};
constexpr std::ptrdiff_t one_row[] = {1, 3};
const ArrayView logits{nullptr, DType::float32, 2, no_rows};
const ArrayView labels{nullptr, DType::int32, 1, no_rows};
const MutableArrayView grad{nullptr, DType::float32, 2, no_rows};
const MutableArrayView row_losses{nullptr, DType::float32, 1, no_rows};
const MutableArrayView losses{nullptr, DType::float32, 2, no_rows};

struct Scalar {
    float value = 77.0f;
    MutableArrayView view() { return {&value, DType::float32, 0}; }
};

TEST(EmptyArrays, OneLossPerNoRow) {
    CrossEntropyOptions options;
    options.reduction = Reduction::none;
    options.sample_weight = {nullptr, DType::float32, 1, no_rows};
    cross_entropy_value_and_grad(logits, labels, {nullptr, DType::float32, 1, no_rows}, row_losses, grad, options);
    cross_entropy_value_and_grad(logits, logits, {}, row_losses, grad, options);
    BceOptions bce;
    bce.reduction = Reduction::none;
    bce.weight = bce.pos_weight = logits;
    bce_with_logits_value_and_grad(logits, logits, logits, losses, grad, bce);
    FocalOptions focal;
    focal.reduction = Reduction::none;
    sigmoid_focal_loss_value_and_grad(logits, logits, {}, losses, grad, focal);
    RegressionOptions regression;
    regression.reduction = Reduction::none;
    mean_squared_error_value_and_grad(logits, logits, {}, losses, grad, regression);
    logsumexp_value_and_grad(logits, {}, row_losses, grad);
    softmax(logits, grad);
    log_softmax_vjp(logits, logits, grad);
}

TEST(EmptyArrays, ReducedLosses) {
    Scalar mean, sum;
    cross_entropy_value_and_grad(logits, labels, {}, mean.view(), grad);
    EXPECT_TRUE(std::isnan(mean.value));
    CrossEntropyOptions options;
    options.reduction = Reduction::sum;
    cross_entropy_value_and_grad(logits, labels, {}, sum.view(), grad, options);
    EXPECT_EQ(sum.value, 0.0f);
    mean.value = 77.0f;
    bce_with_logits_value_and_grad(logits, logits, {}, mean.view(), grad);
    EXPECT_TRUE(std::isnan(mean.value));
}

TEST(EmptyArrays, ElementsWithoutMemoryAreRefused) {
    Scalar loss;
    EXPECT_THROW(cross_entropy({nullptr, DType::float32, 2, one_row}, labels, loss.view()), value_error);
    const float row[3] = {};
    EXPECT_THROW(softmax({row, DType::float32, 2, one_row}, {nullptr, DType::float32, 2, one_row}), value_error);
}

}  // namespace
}  // namespace logitloss
