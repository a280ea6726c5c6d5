// Gradients and Hessian diagonals of the binary losses, on the element traversal and in float64.
#include "arguments/hessian_rule.hpp"
#include "losses/binary/binary_options.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

/// Writes the Hessian in the place of losses, which are not added up.
struct BinaryDerivatives : LossTraits {
    HessianRule rule;
    std::optional<FocalParameters> focal;  ///< none: binary cross-entropy

    double operator()(const Kernels<double>& kernels, const ElementBlock<double>& block, std::size_t n) const {
        if (focal)
            kernels.focal_derivatives(block, *focal, rule, n);
        else
            kernels.bce_derivatives(block, rule, n);
        return 0.0;
    }
};

void write_derivatives(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                       const MutableArrayView& hess, const ElementOptions& options, const BinaryDerivatives& loss) {
    const ElementCall call("logits", logits, target, {}, hess, grad, options);
    ElementLoss<double, BinaryDerivatives>(call, loss).sweep({});
}

}  // namespace
}  // namespace detail

void bce_with_logits_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                               const MutableArrayView& hess, const BceHessianOptions& options) {
    detail::enter([&] {
        detail::BinaryDerivatives loss;
        loss.rule = detail::convex_hessian_rule(options.hessian, 2.0);
        detail::write_derivatives(logits, target, grad, hess, detail::element_options(options, options.pos_weight),
                                  loss);
    });
}

void sigmoid_focal_loss_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                                  const MutableArrayView& hess, const FocalHessianOptions& options) {
    detail::enter([&] {
        detail::BinaryDerivatives loss;
        loss.rule =
            detail::hessian_rule(options.hessian, 2.0, 1.0, {Hessian::exact, Hessian::clipped}, "'exact' or 'clipped'");
        loss.focal = detail::focal_parameters(options.alpha, options.gamma);
        detail::write_derivatives(logits, target, grad, hess, detail::element_options(options), loss);
    });
}

}  // namespace logitloss
