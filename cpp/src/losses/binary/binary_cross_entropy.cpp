// Binary cross-entropy with logits on the element traversal.
#include "logitloss/binary_cross_entropy.hpp"

#include "losses/binary/binary_options.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

struct BinaryCrossEntropy : BinaryTraits {
    template <class T>
    double operator()(const Kernels<T>& kernels, const ElementBlock<T>& block, std::size_t n) const {
        return kernels.bce(block, n);
    }
};

void run_bce(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream, const MutableArrayView& loss,
             const MutableArrayView& grad, const BceOptions& options) {
    const ElementOptions shared = element_options(options, options.pos_weight);
    run_element_loss(ElementCall("logits", logits, target, upstream, loss, grad, shared), BinaryCrossEntropy{});
}

}  // namespace
}  // namespace detail

void bce_with_logits(const ArrayView& logits, const ArrayView& target, const MutableArrayView& loss,
                     const BceOptions& options) {
    detail::enter([&] { detail::run_bce(logits, target, {}, loss, {}, options); });
}

void bce_with_logits_value_and_grad(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                                    const MutableArrayView& loss, const MutableArrayView& grad,
                                    const BceOptions& options) {
    detail::enter([&] { detail::run_bce(logits, target, upstream, loss, grad, options); });
}

}  // namespace logitloss
