// Binary cross-entropy with logits, targets as float32 and as uint8; focal loss.
#include "elements.hpp"
#include "logitloss/binary_cross_entropy.hpp"
#include "logitloss/focal_loss.hpp"

namespace bench {
namespace {

Array draw_logits(std::ptrdiff_t size) { return random_logits(DType::float32, {size}); }

template <DType dtype>
Array draw_targets(std::ptrdiff_t size) {
    return random_targets(dtype, size);
}

}  // namespace

void add_binary_cross_entropy() {
    ElementLoss<logitloss::BceOptions> bce{"bce_with_logits", logitloss::bce_with_logits,
                                           logitloss::bce_with_logits_value_and_grad, draw_logits,
                                           draw_targets<DType::float32>};
    add_element_losses(bce, "/float32_targets");
    bce.draw_target = draw_targets<DType::uint8>;
    add_element_losses(bce, "/uint8_targets");
    add_element_losses(ElementLoss<logitloss::FocalOptions>{"sigmoid_focal_loss", logitloss::sigmoid_focal_loss,
                                                            logitloss::sigmoid_focal_loss_value_and_grad, draw_logits,
                                                            draw_targets<DType::float32>});
}

}  // namespace bench
