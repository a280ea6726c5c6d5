// Squared and absolute errors on the element traversal.
#include "logitloss/regression.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "arguments/labels.hpp"
#include "arguments/reduction.hpp"
#include "runtime/entry.hpp"
#include "traversal/elements.hpp"

namespace logitloss {
namespace detail {
namespace {

enum class Error { squared, absolute, root_squared };

/// The arguments of one call, checked.
struct ErrorCall {
    const Argument pred, target, weight, upstream;
    const Output loss, grad;
    const Error error;
    const RegressionOptions& options;
    WeightSum weights;  ///< of a mean

    ErrorCall(Error call_error, const ArrayView& pred_view, const ArrayView& target_view,
              const ArrayView& upstream_view, const MutableArrayView& loss_view, const MutableArrayView& grad_view,
              const RegressionOptions& call_options)
        : pred("pred", pred_view),
          target("target", target_view),
          weight("weight", call_options.weight),
          upstream("upstream", upstream_view),
          loss("out", loss_view),
          grad("grad_out", grad_view),
          error(call_error),
          options(call_options) {
        if (error == Error::root_squared && options.reduction != Reduction::mean)
            throw value_error("reduction: got another than the mean, expected Reduction::mean for a root mean");
        require_floating(pred);
        require_shape(target, pred.shape);
        if (weight.given())
            broadcast_strides(weight, pred.shape);
        const Shape loss_shape = per_element() ? pred.shape : Shape{};
        if (upstream.given())
            broadcast_strides(upstream, loss_shape);
        require_dtype(loss, loss_dtype(pred.view.dtype));
        require_shape(loss, loss_shape);
        require_no_overlap(loss, {&pred, &target, &weight, &upstream, &grad});
        if (grad.given()) {
            require_dtype(grad, pred.view.dtype);
            require_shape(grad, pred.shape);
            require_no_overlap(grad, {&pred, &target, &weight, &upstream}, {&pred});
        }
        if (is_mean())
            weights = sum_sample_weights(weight, pred.shape, options.num_threads);
    }
    bool per_element() const { return options.reduction == Reduction::none; }
    bool is_mean() const { return options.reduction == Reduction::mean; }

    /// Whether factors are float64 that float32, in which they would be read, is too narrow for. The weights of a mean
    /// matter by what they are of the sum.
    bool has_wide_factors() const {
        const auto is_wide = [](const Argument& factors) {
            return factors.given() && factors.view.dtype == DType::float64;
        };
        const bool by_weight =
            is_wide(weight) && (is_mean() ? weights.sample_scale != 1.0 : any_far(weight, options.num_threads));
        return by_weight || (is_wide(upstream) && any_far(upstream, options.num_threads));
    }
};

/// Buffers of one worker, used where an array cannot be read or written in place.
template <class T>
struct ErrorScratch {
    BufferSpace space;
    Buffer<T> pred, target, weight, upstream, loss, grad;

    explicit ErrorScratch(std::size_t n) : space(6 * BufferSpace::bytes<T>(n)) {
        for (Buffer<T>* buffer : {&pred, &target, &weight, &upstream, &loss, &grad})
            *buffer = space.take<T>(n);
    }
};

/// The elements of one call, stored as T or staged as that.
template <class T>
class ErrorElements {
public:
    explicit ErrorElements(const ErrorCall& call)
        : call_(call), kernels_(detail::kernels().of<T>()), positions_(call.pred.shape) {
        add(call.pred, pred_);
        add(call.target, target_);
        add(call.weight, weight_);
        add(call.grad, grad_);
        if (call.per_element()) {
            add(call.upstream, upstream_);
            add(call.loss, loss_);
        }
        positions_.simplify(true);
        for (ElementOperand<T>* operand : {&pred_, &target_, &weight_, &grad_, &upstream_, &loss_})
            if (operand->given())
                operand->settle(positions_);
        workers_ = plan_threads(positions_.count(), call.options.num_threads);
        for (int worker = 0; worker < workers_; ++worker)
            scratch_.emplace_back(std::min(block_size, positions_.count()));
    }

    void run() {
        const Normalization normalization(call_.options.reduction, std::nullopt, call_.weights);
        weight_scale_ = normalization.sample_scale;
        double upstream = 1.0;
        if (call_.upstream.given() && !upstream_.given())
            upstream =
                read_number({call_.upstream.view.dtype, call_.upstream.view.byteswapped, 0}, call_.upstream.bytes());
        if (call_.error == Error::root_squared)
            return run_root(normalization, upstream);
        const LargeSum sum = sweep({1.0, FactorOfGradient(upstream, normalization.gradient_factor), true});
        if (!loss_.given())
            set_loss(sum.over(normalization));
    }

private:
    struct Sweep {
        double scale;  ///< a power of two that multiplies differences
        FactorOfGradient grad_factor;
        bool writes;
    };

    void add(const Argument& argument, ElementOperand<T>& operand) {
        if (argument.given())
            operand = ElementOperand<T>(argument, positions_.add(broadcast_strides(argument, call_.pred.shape)));
    }

    /// The root needs the whole sum before its gradient. Squares that leave the range of float64 are summed again,
    /// scaled.
    void run_root(const Normalization& normalization, double upstream) {
        constexpr double smallest = 1e-280;
        double scale = 1.0;
        LargeSum sum = sweep({scale, {}, false});
        const bool too_large = sum.large != 0.0 || sum.sum == std::numeric_limits<double>::infinity();
        if (too_large || (sum.sum >= 0.0 && sum.sum < smallest)) {
            scale = too_large ? 0x1p-600 : 0x1p+600;
            sum = sweep({scale, {}, false});
        }
        const double root = std::sqrt(sum.over(normalization));
        const double slope =
            root == 0.0 || normalization.gradient_is_zero ? 0.0 : 0.5 * normalization.gradient_factor / root;
        if (grad_.given())
            sweep({scale, FactorOfGradient(upstream, slope), true});
        set_loss(root / scale);  // last: the sweep may yet run out of memory
    }

    void set_loss(double loss) const {
        if (loss != loss)
            loss = std::numeric_limits<double>::quiet_NaN();
        scatter(Line{call_.loss.view.dtype, false, 0}, &loss, 1, call_.loss.data);
    }

    LargeSum sweep(const Sweep& how) {
        return sum_large_element_blocks(positions_, workers_,
                                        [&](const Positions::Cursor& at, std::size_t n, int worker, double* large) {
                                            return block(at, n, how, scratch_[static_cast<std::size_t>(worker)], large);
                                        });
    }

    /// Note [means of tiny and huge weights]
    const T* weights(const Positions::Cursor& cursor, std::size_t n, ErrorScratch<T>& scratch) const {
        if (!weight_.given())
            return nullptr;
        const T* weight = weight_.read(cursor, n, scratch.weight.data());
        if (weight_scale_ == 1.0)
            return weight;
        for (std::size_t i = 0; i < n; ++i)
            scratch.weight[i] = static_cast<T>(static_cast<double>(weight[i]) * weight_scale_);
        return scratch.weight.data();
    }

    double block(const Positions::Cursor& cursor, std::size_t n, const Sweep& how, ErrorScratch<T>& scratch,
                 double* large) const {  // NOLINT(readability-non-const-parameter): the kernel adds to it
        const auto read = [&](const ElementOperand<T>& operand, const Buffer<T>& buffer) {
            return operand.given() ? operand.read(cursor, n, buffer.data()) : nullptr;
        };
        const auto place = [&](const ElementOperand<T>& operand, const Buffer<T>& buffer) {
            return operand.given() && how.writes ? operand.place(cursor, buffer.data()) : nullptr;
        };
        const ErrorBlock<T> arrays{read(pred_, scratch.pred),
                                   read(target_, scratch.target),
                                   weights(cursor, n, scratch),
                                   read(upstream_, scratch.upstream),
                                   place(loss_, scratch.loss),
                                   place(grad_, scratch.grad),
                                   how.grad_factor.factor,
                                   how.grad_factor.exponent,
                                   how.scale,
                                   large};
        const double sum =
            (call_.error == Error::absolute ? kernels_.absolute_error : kernels_.squared_error)(arrays, n);
        const bool plain = std::isfinite(sum) && std::isfinite(how.grad_factor.factor) && !upstream_.given();
        finish(loss_, cursor, n, arrays.loss, plain);
        finish(grad_, cursor, n, arrays.grad, plain);
        return sum;
    }

    void finish(const ElementOperand<T>& output, const Positions::Cursor& cursor, std::size_t n, T* values,
                bool plain) const {
        if (values == nullptr)
            return;
        if (!plain)
            kernels_.canonical_nan(values, n);
        output.store(cursor, n, values);
    }

    const ErrorCall& call_;
    const Kernels<T>& kernels_;
    Positions positions_;
    ElementOperand<T> pred_, target_, weight_, grad_, upstream_, loss_;
    double weight_scale_ = 1.0;
    int workers_ = 1;
    std::vector<ErrorScratch<T>> scratch_;
};

void run_error(Error error, const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
               const MutableArrayView& loss, const MutableArrayView& grad, const RegressionOptions& options) {
    const ErrorCall call(error, pred, target, upstream, loss, grad, options);
    with_arithmetic_type(common_arithmetic(pred.dtype, call.has_wide_factors() ? DType::float64 : target.dtype),
                         [&](auto number) { ErrorElements<decltype(number)>(call).run(); });
}

}  // namespace
}  // namespace detail

void mean_squared_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                        const RegressionOptions& options) {
    detail::enter([&] { detail::run_error(detail::Error::squared, pred, target, {}, loss, {}, options); });
}

void mean_squared_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                       const MutableArrayView& loss, const MutableArrayView& grad,
                                       const RegressionOptions& options) {
    detail::enter([&] { detail::run_error(detail::Error::squared, pred, target, upstream, loss, grad, options); });
}

void mean_absolute_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                         const RegressionOptions& options) {
    detail::enter([&] { detail::run_error(detail::Error::absolute, pred, target, {}, loss, {}, options); });
}

void mean_absolute_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                        const MutableArrayView& loss, const MutableArrayView& grad,
                                        const RegressionOptions& options) {
    detail::enter([&] { detail::run_error(detail::Error::absolute, pred, target, upstream, loss, grad, options); });
}

void root_mean_squared_error(const ArrayView& pred, const ArrayView& target, const MutableArrayView& loss,
                             const RegressionOptions& options) {
    detail::enter([&] { detail::run_error(detail::Error::root_squared, pred, target, {}, loss, {}, options); });
}

void root_mean_squared_error_value_and_grad(const ArrayView& pred, const ArrayView& target, const ArrayView& upstream,
                                            const MutableArrayView& loss, const MutableArrayView& grad,
                                            const RegressionOptions& options) {
    detail::enter([&] { detail::run_error(detail::Error::root_squared, pred, target, upstream, loss, grad, options); });
}

}  // namespace logitloss
