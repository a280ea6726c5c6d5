// Binary cross-entropy of probabilities on the element traversal.
#include <cmath>

#include "arguments/clipping.hpp"
#include "layout/scaled_number.hpp"
#include "logitloss/probabilities.hpp"
#include "losses/binary/binary_elements.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

/// Throws for what is no probability. Returns whether one may be tiny.
template <class Elements>
bool require_probabilities(const BinaryCall& call, Elements& elements) {
    const double count = elements.count_outside_unit();
    if (count < 0.5)
        return count > 0.0;
    const Argument& weight = call.weight;
    const Shape weight_strides = weight.given() ? broadcast_strides(weight, call.logits.shape) : call.target.strides;
    const Line targets{call.target.view.dtype, call.target.view.byteswapped, 0};
    const Line weights{weight.view.dtype, weight.view.byteswapped, 0};
    reject_first_outside_unit(call.logits, {call.target.strides, weight_strides}, [&](const Positions::Cursor& cursor) {
        return elements.is_ignored(read_number(targets, call.target.bytes() + cursor.offset(1))) ||
               (weight.given() && read_number(weights, weight.bytes() + cursor.offset(2)) == 0.0);
    });
    return true;
}

/// The gradients of tiny probabilities, where the slope that a kernel had was out of range: a weight, an upstream
/// gradient or the factor of a mean brings it back.
template <class T>
void mend_gradients(const BceBlock<T>& block, const Clipping& clipping, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        const auto p = static_cast<double>(block.logits[i]);
        const bool tiny = p > 0.0 && p < static_cast<double>(tiny_probability<T>) && p >= clipping.lower;
        if (!tiny || std::isfinite(block.grad[i]))
            continue;
        const auto t = static_cast<double>(block.target[i]);
        const double keep = 1.0 - block.smoothing;
        const Scaled positive(keep * t + 0.5 * block.smoothing), negative(keep * (1.0 - t) + 0.5 * block.smoothing);
        Scaled slope = (negative - positive / Scaled(p)) * Scaled(static_cast<double>(block.grad_factor));
        for (const T* factors : {block.weight, block.upstream})
            if (factors != nullptr)
                slope = slope * Scaled(static_cast<double>(factors[i]));
        block.grad[i] = static_cast<T>(slope.value());
    }
}

void run_binary_from_probs(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                           const MutableArrayView& loss, const MutableArrayView& grad,
                           const ProbabilityBceOptions& options) {
    check_eps(options.eps);
    BinaryCall call(probs, target, {}, upstream, loss, grad, options, "probs");
    call.neutral_padding = !options.eps;
    const Clipping clipping = clipping_of(options.eps, probs.dtype);
    with_arithmetic_type(probs.dtype, [&](auto number) {
        using T = decltype(number);
        const auto kernel = [&](const auto& block, std::size_t n) {
            const double sum = kernels_for(block).bce_of_probabilities(block, clipping, n);
            if (call.keeps_logits && block.grad != nullptr)
                mend_gradients(block, clipping, n);
            return sum;
        };
        BinaryElements<T, decltype(kernel)> elements(call, kernel);
        if (options.eps)
            call.keeps_logits = clipping.lower < static_cast<double>(tiny_probability<T>);
        else
            call.keeps_logits = require_probabilities(call, elements);
        elements.run();
    });
}

}  // namespace
}  // namespace detail

void binary_cross_entropy(const ArrayView& probs, const ArrayView& target, const MutableArrayView& loss,
                          const ProbabilityBceOptions& options) {
    detail::enter([&] { detail::run_binary_from_probs(probs, target, {}, loss, {}, options); });
}

void binary_cross_entropy_value_and_grad(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                                         const MutableArrayView& loss, const MutableArrayView& grad,
                                         const ProbabilityBceOptions& options) {
    detail::enter([&] { detail::run_binary_from_probs(probs, target, upstream, loss, grad, options); });
}

}  // namespace logitloss
