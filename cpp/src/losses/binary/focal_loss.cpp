// Sigmoid focal loss on the element traversal.
#include "logitloss/focal_loss.hpp"

#include "losses/binary/binary_elements.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

void run_focal(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
               const MutableArrayView& loss, const MutableArrayView& grad, const FocalOptions& options) {
    if (options.alpha)
        require_unit_interval("alpha", *options.alpha);
    require_finite("gamma", options.gamma);
    require_at_least("gamma", options.gamma, 0.0);
    const BinaryCall call(logits, target, {}, upstream, loss, grad, options);
    const FocalParameters parameters{options.alpha.value_or(1.0), options.alpha ? 1.0 - *options.alpha : 1.0,
                                     options.gamma};
    run_binary(call, [&](const auto& kernels, const auto& block, std::size_t n) {
        return kernels.focal(block, parameters, n);
    });
}

}  // namespace
}  // namespace detail

void sigmoid_focal_loss(const ArrayView& logits, const ArrayView& target, const MutableArrayView& loss,
                        const FocalOptions& options) {
    detail::enter([&] { detail::run_focal(logits, target, {}, loss, {}, options); });
}

void sigmoid_focal_loss_value_and_grad(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                                       const MutableArrayView& loss, const MutableArrayView& grad,
                                       const FocalOptions& options) {
    detail::enter([&] { detail::run_focal(logits, target, upstream, loss, grad, options); });
}

}  // namespace logitloss
