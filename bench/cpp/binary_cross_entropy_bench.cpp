// Binary cross-entropy with logits, targets as float32 and as uint8.
#include <memory>

#include "cells.hpp"
#include "logitloss/binary_cross_entropy.hpp"

namespace bench {
namespace {

struct Inputs {
    Array logits;
    Array target;
    Array loss;
    Array grad;
};

void add_loss(std::ptrdiff_t size, DType target, bool with_gradient) {
    const std::string name = with_gradient ? "bce_with_logits_value_and_grad/" : "bce_with_logits/";
    add(name + std::to_string(size) + "/float32/" + logitloss::name(target) + "_targets", [=](int threads) {
        auto inputs = std::make_shared<Inputs>(Inputs{
            random_logits(DType::float32, {size}),
            random_targets(target, size),
            Array(DType::float32, {}),
            Array(DType::float32, {with_gradient ? size : 1}),
        });
        logitloss::BceOptions options;
        options.num_threads = threads;
        const auto call = [=] {
            const auto& [logits, targets, loss, grad] = *inputs;
            if (with_gradient)
                logitloss::bce_with_logits_value_and_grad(logits.view(), targets.view(), {}, loss.view_mutable(),
                                                          grad.view_mutable(), options);
            else
                logitloss::bce_with_logits(logits.view(), targets.view(), loss.view_mutable(), options);
        };
        const std::size_t passes = with_gradient ? 2 : 1;
        return Measured{call, passes * inputs->logits.bytes() + inputs->target.bytes(), inputs->logits.size()};
    });
}

}  // namespace

void add_binary_cross_entropy() {
    for (const bool with_gradient : {false, true})
        for (const std::ptrdiff_t size : {10000000, 4096000, 10})
            for (const DType target : {DType::float32, DType::uint8})
                add_loss(size, target, with_gradient);
}

}  // namespace bench
