// Softmax cross-entropy: the loss alone, with the gradient in another array, with the gradient in place.
#include <memory>

#include "cells.hpp"
#include "logitloss/cross_entropy.hpp"

namespace bench {
namespace {

enum class Gradient { none, separate, in_place };

struct Inputs {
    Array logits;
    Array labels;
    Array loss;
    Array grad;  // of one element unless the gradient goes to an array of its own
};

void add_loss(const std::string& name, const Cell& cell, Gradient gradient) {
    add(name + "/" + describe(cell), [cell, gradient](int threads) {
        const bool separate = gradient == Gradient::separate;
        auto inputs = std::make_shared<Inputs>(Inputs{
            random_logits(cell.dtype, {cell.rows, cell.classes}),
            random_labels(cell.rows, cell.classes),
            Array(loss_dtype(cell.dtype), {}),
            separate ? Array(cell.dtype, {cell.rows, cell.classes}) : Array(cell.dtype, {1}),
        });
        logitloss::CrossEntropyOptions options;
        options.num_threads = threads;
        // In place, every call after the first runs on the gradient of the one before: other values, the same work.
        const auto call = [=] {
            const auto& [logits, labels, loss, grad] = *inputs;
            if (gradient == Gradient::none)
                logitloss::cross_entropy(logits.view(), labels.view(), loss.view_mutable(), options);
            else
                logitloss::cross_entropy_value_and_grad(logits.view(), labels.view(), {}, loss.view_mutable(),
                                                        (separate ? grad : logits).view_mutable(), options);
        };
        const std::size_t passes = gradient == Gradient::none ? 1 : 2;
        return Measured{call, passes * inputs->logits.bytes() + inputs->labels.bytes(), inputs->logits.size()};
    });
}

}  // namespace

void add_cross_entropy() {
    for (const Cell& cell : matrices())
        add_loss("cross_entropy", cell, Gradient::none);
    for (const Cell& cell : matrices())
        add_loss("cross_entropy_value_and_grad", cell, Gradient::separate);
    for (const Cell& cell : matrices())
        add_loss("cross_entropy_value_and_grad_in_place", cell, Gradient::in_place);
}

}  // namespace bench
