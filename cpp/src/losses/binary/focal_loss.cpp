// Sigmoid focal loss on the element traversal.
#include "logitloss/focal_loss.hpp"

#include "losses/binary/binary_options.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

struct FocalLoss : BinaryTraits {
    FocalParameters parameters;

    template <class T>
    double operator()(const Kernels<T>& kernels, const ElementBlock<T>& block, std::size_t n) const {
        return kernels.focal(block, parameters, n);
    }
};

void run_focal(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
               const MutableArrayView& loss, const MutableArrayView& grad, const FocalOptions& options) {
    FocalLoss focal;
    focal.parameters = focal_parameters(options.alpha, options.gamma);
    run_element_loss(ElementCall("logits", logits, target, upstream, loss, grad, element_options(options)), focal);
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
