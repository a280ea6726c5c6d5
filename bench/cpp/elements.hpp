// Losses of elements: one loop for all that take a number and a target each.
#pragma once

#include <memory>

#include "cells.hpp"

namespace bench {

using logitloss::ArrayView;
using logitloss::MutableArrayView;

/// The two functions of a loss, and how its arguments are drawn.
template <class Options>
struct ElementLoss {
    std::string name;
    void (*value)(const ArrayView&, const ArrayView&, const MutableArrayView&, const Options&);
    void (*value_and_grad)(const ArrayView&, const ArrayView&, const ArrayView&, const MutableArrayView&,
                           const MutableArrayView&, const Options&);
    Array (*draw)(std::ptrdiff_t size);
    Array (*draw_target)(std::ptrdiff_t size);
};

struct ElementArrays {
    Array input;
    Array target;
    Array loss;
    Array grad;  // of one element for the loss alone
};

/// `about` ends the benchmark's name, where there is more to say.
template <class Options>
void add_element_loss(const ElementLoss<Options>& loss, std::ptrdiff_t size, bool with_gradient,
                      const std::string& about = "") {
    const std::string name = loss.name + (with_gradient ? "_value_and_grad/" : "/");
    add(name + std::to_string(size) + "/float32" + about, [=](int threads) {
        auto arrays = std::make_shared<ElementArrays>(ElementArrays{
            loss.draw(size),
            loss.draw_target(size),
            Array(DType::float32, {}),
            Array(DType::float32, {with_gradient ? size : 1}),
        });
        Options options;
        options.num_threads = threads;
        const auto call = [=] {
            const auto& [input, target, value, grad] = *arrays;
            if (with_gradient)
                loss.value_and_grad(input.view(), target.view(), {}, value.view_mutable(), grad.view_mutable(),
                                    options);
            else
                loss.value(input.view(), target.view(), value.view_mutable(), options);
        };
        const std::size_t passes = with_gradient ? 2 : 1;
        return Measured{call, passes * arrays->input.bytes() + arrays->target.bytes(), arrays->input.size()};
    });
}

/// Alone and with its gradient, from memory, from the last cache, and the price of a call.
template <class Options>
void add_element_losses(const ElementLoss<Options>& loss, const std::string& about = "") {
    for (const bool with_gradient : {false, true})
        for (const std::ptrdiff_t size : {10000000, 4096000, 10})
            add_element_loss(loss, size, with_gradient, about);
}

}  // namespace bench
