// Gradients and Hessian diagonals of the binary losses, on the element traversal and in float64.
#include "arguments/hessian_rule.hpp"
#include "losses/binary/binary_options.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

/// Writes the Hessian in the place of losses, which are not added up.
struct BceDerivatives : LossTraits {
    HessianRule rule;

    double operator()(const Kernels<double>& kernels, const ElementBlock<double>& block, std::size_t n) const {
        kernels.bce_derivatives(block, rule, n);
        return 0.0;
    }
};

struct FocalDerivatives : LossTraits {
    HessianRule rule;
    FocalParameters parameters;

    double operator()(const Kernels<double>& kernels, const ElementBlock<double>& block, std::size_t n) const {
        kernels.focal_derivatives(block, parameters, rule, n);
        return 0.0;
    }
};

template <class Loss>
void write_derivatives(const ElementCall& call, const Loss& loss) {
    ElementLoss<double, Loss>(call, loss).sweep({});
}

}  // namespace
}  // namespace detail

void bce_with_logits_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                               const MutableArrayView& hess, const BceHessianOptions& options) {
    detail::enter([&] {
        detail::BceDerivatives loss;
        loss.rule = detail::convex_hessian_rule(options.hessian, 2.0);
        const detail::ElementCall call("logits", logits, target, {}, hess, grad,
                                       detail::element_options(options, options.pos_weight));
        detail::write_derivatives(call, loss);
    });
}

void sigmoid_focal_loss_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                                  const MutableArrayView& hess, const FocalHessianOptions& options) {
    detail::enter([&] {
        detail::FocalDerivatives loss;
        loss.rule =
            detail::hessian_rule(options.hessian, 2.0, 1.0, {Hessian::exact, Hessian::clipped}, "'exact' or 'clipped'");
        loss.parameters = detail::focal_parameters(options.alpha, options.gamma);
        const detail::ElementCall call("logits", logits, target, {}, hess, grad, detail::element_options(options));
        detail::write_derivatives(call, loss);
    });
}

}  // namespace logitloss
