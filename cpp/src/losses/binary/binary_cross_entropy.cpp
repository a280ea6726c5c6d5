// Binary cross-entropy with logits on the element traversal.
#include "logitloss/binary_cross_entropy.hpp"

#include "losses/binary/binary_elements.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

void run_bce(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream, const MutableArrayView& loss,
             const MutableArrayView& grad, const BceOptions& options) {
    const BinaryCall call(logits, target, options.pos_weight, upstream, loss, grad, options);
    run_binary(call, [](const auto& kernels, const auto& block, std::size_t n) { return kernels.bce(block, n); });
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
