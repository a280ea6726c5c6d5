// Binary cross-entropy of probabilities on the element traversal.
#include "arguments/clipping.hpp"
#include "logitloss/probabilities.hpp"
#include "losses/binary/binary_elements.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

template <class Elements>
void require_probabilities(const BinaryCall& call, Elements& elements) {
    if (elements.count_outside_unit() == 0.0)
        return;
    const Argument& weight = call.weight;
    const Shape weight_strides = weight.given() ? broadcast_strides(weight, call.logits.shape) : call.target.strides;
    const Line targets{call.target.view.dtype, call.target.view.byteswapped, 0};
    const Line weights{weight.view.dtype, weight.view.byteswapped, 0};
    reject_first_outside_unit(call.logits, {call.target.strides, weight_strides}, [&](const Positions::Cursor& cursor) {
        return elements.is_ignored(read_number(targets, call.target.bytes() + cursor.offset(1))) ||
               (weight.given() && read_number(weights, weight.bytes() + cursor.offset(2)) == 0.0);
    });
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
            return kernels_for(block).bce_of_probabilities(block, clipping, n);
        };
        BinaryElements<T, decltype(kernel)> elements(call, kernel);
        if (!options.eps)
            require_probabilities(call, elements);
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
