// Binary cross-entropy of probabilities on the element traversal.
#include <cmath>

#include "arguments/clipping.hpp"
#include "layout/scaled_number.hpp"
#include "logitloss/probabilities.hpp"
#include "losses/binary/binary_options.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

/// The gradients of tiny probabilities, where the slope that a kernel had was out of range: a weight, an upstream
/// gradient or the factor of a mean brings it back.
template <class T>
void mend_gradients(const ElementBlock<T>& block, const Clipping& clipping, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
        const auto p = static_cast<double>(block.input[i]);
        const bool tiny = p > 0.0 && p < static_cast<double>(tiny_probability<T>) && p >= clipping.lower;
        if (!tiny || std::isfinite(block.grad[i]))
            continue;
        const auto t = static_cast<double>(block.target[i]);
        const double keep = 1.0 - block.smoothing;
        const Scaled positive(keep * t + 0.5 * block.smoothing), negative(keep * (1.0 - t) + 0.5 * block.smoothing);
        Scaled slope =
            (negative - positive / Scaled(p)) *
            Scaled(static_cast<double>(static_cast<T>(block.grad_factor)), static_cast<int>(block.grad_exponent));
        for (const T* factors : {block.weight, block.upstream})
            if (factors != nullptr)
                slope = slope * Scaled(static_cast<double>(factors[i]));
        block.grad[i] = static_cast<T>(slope.value());
    }
}

struct ProbabilityLoss : BinaryTraits {
    Clipping clipping;

    template <class T>
    double operator()(const Kernels<T>& kernels, const ElementBlock<T>& block, std::size_t n) const {
        const double sum = kernels.bce_of_probabilities(block, clipping, n);
        if (keeps_input && block.grad != nullptr)
            mend_gradients(block, clipping, n);
        return sum;
    }
};

void run_binary_from_probs(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                           const MutableArrayView& loss, const MutableArrayView& grad,
                           const ProbabilityBceOptions& options) {
    check_eps(options.eps);
    const ElementCall call("probs", probs, target, upstream, loss, grad, element_options(options));
    ProbabilityLoss step;
    step.clipping = clipping_of(options.eps, probs.dtype);
    step.neutral_padding = !options.eps;
    with_elements(call, step, [&](auto& elements) {
        using T = typename std::decay_t<decltype(elements)>::Number;
        if (options.eps)
            step.keeps_input = step.clipping.lower < static_cast<double>(tiny_probability<T>);
        else
            step.keeps_input = elements.check(call.input, elements.kernels().count_outside_unit, is_probability,
                                              probability_expected) > 0.0;
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
