// Squared, absolute and root mean squared error.
#include "elements.hpp"
#include "logitloss/regression.hpp"

namespace bench {
namespace {

Array draw(std::ptrdiff_t size) { return random_logits(DType::float32, {size}); }

Array draw_target(std::ptrdiff_t size) { return random_logits(DType::float32, {size}, 1); }

using Loss = ElementLoss<logitloss::RegressionOptions>;

}  // namespace

void add_regression() {
    using namespace logitloss;
    for (const Loss& loss : {
             Loss{"mean_squared_error", mean_squared_error, mean_squared_error_value_and_grad, draw, draw_target},
             Loss{"mean_absolute_error", mean_absolute_error, mean_absolute_error_value_and_grad, draw, draw_target},
             Loss{"root_mean_squared_error", root_mean_squared_error, root_mean_squared_error_value_and_grad, draw,
                  draw_target},
         })
        add_element_losses(loss);
}

}  // namespace bench
