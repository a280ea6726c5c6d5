// Squared, absolute and Poisson losses on the element traversal.
#include "logitloss/regression.hpp"

#include <cmath>
#include <limits>

#include "runtime/entry.hpp"
#include "traversal/element_loss.hpp"

namespace logitloss {
namespace detail {
namespace {

ElementOptions element_options(const RegressionOptions& options) {
    ElementOptions shared;
    shared.weight = options.weight;
    shared.reduction = options.reduction;
    shared.num_threads = options.num_threads;
    return shared;
}

struct SquaredError : LossTraits {
    template <class T>
    double operator()(const Kernels<T>& kernels, const ElementBlock<T>& block, std::size_t n) const {
        return kernels.squared_error(block, n);
    }
};

struct AbsoluteError : LossTraits {
    template <class T>
    double operator()(const Kernels<T>& kernels, const ElementBlock<T>& block, std::size_t n) const {
        return kernels.absolute_error(block, n);
    }
};

/// The root of a mean needs the whole sum before its gradient. Squares that leave the range of float64 are summed again,
/// scaled.
template <class Elements>
void run_root(const ElementCall& call, Elements& elements) {
    constexpr double smallest = 1e-280;
    double scale = 1.0;
    LargeSum sum = elements.sweep({}, scale, false);
    const bool too_large = sum.large != 0.0 || sum.sum == std::numeric_limits<double>::infinity();
    if (too_large || (sum.sum >= 0.0 && sum.sum < smallest)) {
        scale = too_large ? 0x1p-600 : 0x1p+600;
        sum = elements.sweep({}, scale, false);
    }
    const Normalization normalization = elements.normalization();
    const double root = std::sqrt(sum.over(normalization));
    const double slope =
        root == 0.0 || normalization.gradient_is_zero ? 0.0 : 0.5 * normalization.gradient_factor / root;
    if (call.grad.given())
        elements.sweep(FactorOfGradient(elements.upstream(), slope), scale);
    call.loss.set_number(root / scale);  // last: the sweep may yet run out of memory
}

/// The public functions are this with a loss of their own, Root for the root of a mean of squares.
struct Root {};

template <class Loss>
void run_error(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream, const MutableArrayView& loss,
               const MutableArrayView& grad, const RegressionOptions& options) {
    enter([&] {
        if (std::is_same_v<Loss, Root> && options.reduction != Reduction::mean)
            throw value_error("reduction: got another than the mean, expected Reduction::mean for a root mean");
        const ElementCall call("pred", pred, target, upstream, loss, grad, element_options(options));
        if constexpr (std::is_same_v<Loss, Root>)
            with_elements(call, SquaredError{}, [&](auto& elements) { run_root(call, elements); });
        else
            run_element_loss(call, Loss{});
    });
}

struct Poisson : LossTraits {
    bool full = false;

    template <class T>
    double operator()(const Kernels<T>& kernels, const ElementBlock<T>& block, std::size_t n) const {
        return kernels.poisson(block, full, n);
    }
};

void run_poisson(const ArrayView& log_rate, const ArrayView& target, const ArrayView& upstream,
                 const MutableArrayView& loss, const MutableArrayView& grad, const PoissonOptions& options) {
    enter([&] {
        const ElementCall call("log_rate", log_rate, target, upstream, loss, grad, element_options(options));
        Poisson poisson;
        poisson.full = options.full;
        with_elements(call, poisson, [&](auto& elements) {
            elements.check(
                call.target, elements.kernels().count_no_counts, [](double t) { return t >= 0.0 && std::isfinite(t); },
                "a finite count of at least 0");
            elements.run();
        });
    });
}

}  // namespace
}  // namespace detail

void mean_squared_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                        const RegressionOptions& options) {
    detail::run_error<detail::SquaredError>(pred, target, {}, loss, {}, options);
}

void mean_squared_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                       const MutableArrayView& loss, const MutableArrayView& grad,
                                       const RegressionOptions& options) {
    detail::run_error<detail::SquaredError>(pred, target, upstream, loss, grad, options);
}

void mean_absolute_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                         const RegressionOptions& options) {
    detail::run_error<detail::AbsoluteError>(pred, target, {}, loss, {}, options);
}

void mean_absolute_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                        const MutableArrayView& loss, const MutableArrayView& grad,
                                        const RegressionOptions& options) {
    detail::run_error<detail::AbsoluteError>(pred, target, upstream, loss, grad, options);
}

void root_mean_squared_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                             const RegressionOptions& options) {
    detail::run_error<detail::Root>(pred, target, {}, loss, {}, options);
}

void root_mean_squared_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                            const MutableArrayView& loss, const MutableArrayView& grad,
                                            const RegressionOptions& options) {
    detail::run_error<detail::Root>(pred, target, upstream, loss, grad, options);
}

void poisson_nll(const ArrayView& log_rate, const ArrayView& target, const MutableArrayView& loss,
                 const PoissonOptions& options) {
    detail::run_poisson(log_rate, target, {}, loss, {}, options);
}

void poisson_nll_value_and_grad(const ArrayView& log_rate, const ArrayView& target, const ArrayView& upstream,
                                const MutableArrayView& loss, const MutableArrayView& grad,
                                const PoissonOptions& options) {
    detail::run_poisson(log_rate, target, upstream, loss, grad, options);
}

}  // namespace logitloss
