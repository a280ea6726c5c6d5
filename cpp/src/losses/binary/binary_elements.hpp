// What the losses of logits against targets in [0, 1] share: arguments, options, and the walk over the elements.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "arguments/reduction.hpp"
#include "logitloss/binary_cross_entropy.hpp"
#include "losses/binary/float64_detour.hpp"
#include "traversal/elements.hpp"

namespace logitloss::detail {

/// The arguments of one call, checked.
struct BinaryCall {
    const Argument logits, target, weight, pos_weight, upstream;
    const Output loss, grad;
    const BinaryOptions& options;
    bool neutral_padding = true;  ///< whether a logit of -inf with target 0 has loss 0, as kernels fill blocks up with
    bool keeps_logits = false;    ///< whether the kernel reads a block's logits once more, when the gradient is written

    BinaryCall(const ArrayView& logits_view, const ArrayView& target_view, const ArrayView& pos_weight_view,
               const ArrayView& upstream_view, const MutableArrayView& loss_view, const MutableArrayView& grad_view,
               const BinaryOptions& call_options, const char* logits_name = "logits")
        : logits(logits_name, logits_view),
          target("target", target_view),
          weight("weight", call_options.weight),
          pos_weight("pos_weight", pos_weight_view),
          upstream("upstream", upstream_view),
          loss("out", loss_view),
          grad("grad_out", grad_view),
          options(call_options) {
        require_unit_interval("label_smoothing", options.label_smoothing);
        if (options.ignore_value && std::isnan(*options.ignore_value))
            throw value_error("ignore_value: got nan, expected a number");
        check_normalizer(options.reduction, options.normalizer);
        require_floating(logits);
        require_shape(target, logits.shape);
        for (const Argument* weights : {&weight, &pos_weight})
            if (weights->given())
                broadcast_strides(*weights, logits.shape);
        const Shape loss_shape = options.reduction == Reduction::none ? logits.shape : Shape{};
        if (upstream.given())
            broadcast_strides(upstream, loss_shape);
        require_dtype(loss, loss_dtype(logits.view.dtype));
        require_shape(loss, loss_shape);
        require_no_overlap(loss, {&logits, &target, &weight, &pos_weight, &upstream, &grad});
        if (grad.given()) {
            require_dtype(grad, logits.view.dtype);
            require_shape(grad, logits.shape);
            require_no_overlap(grad, {&logits, &target, &weight, &pos_weight, &upstream}, {&logits});
        }
    }
};

/// Buffers of one worker, used where an array cannot be read or written in place.
template <class T>
struct BinaryScratch {
    BufferSpace space;
    Buffer<double> exact_target, exact_weight, exact_pos_weight, exact_upstream;
    Buffer<T> logits, target, weight, pos_weight, upstream, loss, grad;
    WideElements<T> wide;

    /// `wide_arguments`: whether there are some that T may not hold.
    BinaryScratch(std::size_t n, bool wide_arguments)
        : space((wide_arguments ? 4 : 1) * BufferSpace::bytes<double>(n) + 7 * BufferSpace::bytes<T>(n)),
          exact_target(space.take<double>(n)) {
        if (wide_arguments) {
            for (Buffer<double>* buffer : {&exact_weight, &exact_pos_weight, &exact_upstream})
                *buffer = space.take<double>(n);
            wide = WideElements<T>(n);
        }
        for (Buffer<T>* buffer : {&logits, &target, &weight, &pos_weight, &upstream, &loss, &grad})
            *buffer = space.take<T>(n);
    }
};

/// The kernels that compute a block.
template <class T>
const Kernels<T>& kernels_for(const BceBlock<T>&) {
    return kernels().of<T>();
}

/// The elements of one call. `Kernel` is the loss: kernel(block, n) computes a BceBlock of floats or doubles.
template <class T, class Kernel>
class BinaryElements {
public:
    BinaryElements(const BinaryCall& call, const Kernel& kernel)
        : call_(call), kernel_(kernel), kernels_(detail::kernels().of<T>()), positions_(call.logits.shape) {
        const bool none = call.options.reduction == Reduction::none;
        add(call.logits, logits_);
        const int target = add(call.target, target_);
        if (call.options.ignore_value || is_wide(call.target))
            exact_target_ = ElementOperand<double>(call.target, target);
        if (call.options.ignore_value)
            ignored_value_ = as_stored(*call.options.ignore_value, call.target.view.dtype);
        add_weights(call.weight, weight_, exact_weight_);
        add_weights(call.pos_weight, pos_weight_, exact_pos_weight_);
        add(call.grad, grad_);
        if (none) {
            add_weights(call.upstream, upstream_, exact_upstream_);
            add(call.loss, loss_);
        }
        positions_.simplify(true);
        for (ElementOperand<T>* operand : {&logits_, &target_, &weight_, &pos_weight_, &grad_, &upstream_, &loss_})
            if (operand->given())
                operand->settle(positions_);
        for (ElementOperand<double>* operand : {&exact_target_, &exact_weight_, &exact_pos_weight_, &exact_upstream_})
            if (operand->given())
                operand->settle(positions_);
        far_factor_ = sizeof(T) < sizeof(double) && (is_far_from_1(call.options.normalizer.value_or(1.0)) ||
                                                     (!none && is_far_from_1(upstream_of_sum())));
        wide_arguments_ = is_wide(call.target) || exact_weight_.given() || exact_pos_weight_.given() ||
                          exact_upstream_.given() || far_factor_;
        workers_ = plan_threads(positions_.count(), call.options.num_threads);
        scratch_.reserve(static_cast<std::size_t>(workers_));
        for (int worker = 0; worker < workers_; ++worker)
            scratch_.emplace_back(std::min(block_size, positions_.count()), wide_arguments_);
    }

    /// How many logits that are neither ignored nor of weight 0 are outside [0, 1]: where they are probabilities.
    double count_outside_unit() {
        return sum_element_blocks(
            positions_, workers_, [&](const Positions::Cursor& cursor, std::size_t n, int worker) {
                BinaryScratch<T>& scratch = scratch_[static_cast<std::size_t>(worker)];
                BceBlock<T> arrays{};
                arrays.logits = logits_.read(cursor, n, scratch.logits.data());
                arrays.weight = weight_.given() ? weight_.read(cursor, n, scratch.weight.data()) : nullptr;
                if (call_.options.ignore_value)
                    drop_ignored(arrays, cursor, n, scratch);
                return kernels_.count_outside_unit(arrays.logits, arrays.weight, n);
            });
    }
    bool is_ignored(double target) const { return call_.options.ignore_value && target == ignored_value_; }

    void run() {
        const std::size_t count = positions_.count();
        const int workers = workers_;
        const double kept = call_.options.ignore_value ? count_kept(workers) : static_cast<double>(count);
        const Normalization normalization(call_.options.reduction, call_.options.normalizer, {kept});
        const FactorOfGradient factor(normalization.gradient_factor, upstream_.given() ? 1.0 : upstream_of_sum(),
                                      normalization.sample_scale);
        exact_grad_factor_ = factor.factor;
        grad_exponent_ = factor.exponent;
        grad_factor_ = static_cast<T>(exact_grad_factor_);
        LargeSum sum = sum_large_element_blocks(
            positions_, workers, [&](const Positions::Cursor& cursor, std::size_t n, int worker, double* large) {
                return block(cursor, n, scratch_[static_cast<std::size_t>(worker)], large);
            });
        if (!loss_.given()) {
            sum.sum *= normalization.sample_scale;
            sum.large *= normalization.sample_scale;
            double loss = sum.over(normalization);
            if (loss != loss)
                loss = std::numeric_limits<double>::quiet_NaN();
            scatter(Line{call_.loss.view.dtype, false, 0}, &loss, 1, call_.loss.data);
        }
    }

private:
    static bool is_wide(const Argument& argument) {
        return sizeof(T) < sizeof(double) && argument.given() && argument.view.dtype == DType::float64;
    }
    double upstream_of_sum() const {
        const Argument& upstream = call_.upstream;
        return upstream.given() ? read_number({upstream.view.dtype, upstream.view.byteswapped, 0}, upstream.bytes())
                                : 1.0;
    }

    int add(const Argument& argument, ElementOperand<T>& operand) {
        if (!argument.given())
            return -1;
        const int number = positions_.add(broadcast_strides(argument, call_.logits.shape));
        operand = ElementOperand<T>(argument, number);
        return number;
    }
    void add_weights(const Argument& argument, ElementOperand<T>& operand, ElementOperand<double>& exact) {
        const int number = add(argument, operand);
        if (is_wide(argument))
            exact = ElementOperand<double>(argument, number);
    }

    /// The value that a floating dtype has for this one; integers are compared as they are.
    static double as_stored(double value, DType dtype) {
        if (!is_floating(dtype))
            return value;
        const Line line{dtype, false, 0};
        char bytes[8];
        scatter(line, &value, 1, bytes);
        return read_number(line, bytes);
    }

    double count_kept(int workers) {
        return sum_element_blocks(positions_, workers, [&](const Positions::Cursor& cursor, std::size_t n, int worker) {
            const double* t =
                exact_target_.read(cursor, n, scratch_[static_cast<std::size_t>(worker)].exact_target.data());
            std::size_t kept = 0;
            for (std::size_t i = 0; i < n; ++i)
                kept += t[i] != ignored_value_;
            return static_cast<double>(kept);
        });
    }

    double block(const Positions::Cursor& cursor, std::size_t n, BinaryScratch<T>& scratch,
                 double* large) const {  // NOLINT(readability-non-const-parameter): the kernel adds to it
        const auto read = [&](const ElementOperand<T>& operand, const Buffer<T>& buffer) {
            return operand.given() ? operand.read(cursor, n, buffer.data()) : nullptr;
        };
        BceBlock<T> arrays{};
        arrays.logits = read(logits_, scratch.logits);
        arrays.target = read(target_, scratch.target);
        arrays.weight = read(weight_, scratch.weight);
        arrays.pos_weight = read(pos_weight_, scratch.pos_weight);
        arrays.upstream = read(upstream_, scratch.upstream);
        arrays.loss = loss_.given() ? loss_.place(cursor, scratch.loss.data()) : nullptr;
        arrays.grad = grad_.given() ? grad_.place(cursor, scratch.grad.data()) : nullptr;
        arrays.grad_factor = grad_factor_;
        arrays.grad_exponent = grad_exponent_;
        arrays.large_sum = large;
        arrays.smoothing = call_.options.label_smoothing;
        if ((arrays.smoothing != 0.0 || !call_.neutral_padding) && arrays.weight == nullptr) {
            std::fill_n(scratch.weight.data(), n, T(1));
            arrays.weight = scratch.weight.data();
        }
        if (call_.keeps_logits && arrays.logits == arrays.grad) {
            std::copy_n(arrays.logits, n, scratch.logits.data());
            arrays.logits = scratch.logits.data();
        }
        if (call_.options.ignore_value)
            drop_ignored(arrays, cursor, n, scratch);
        if (wide_arguments_)
            take_out_wide(arrays, cursor, n, scratch);
        double sum = wide_arguments_ && scratch.wide.took_all(n) ? 0.0 : kernel_(arrays, n);
        if (wide_arguments_)
            sum += scratch.wide.put_back(kernel_, arrays, exact_grad_factor_);
        finish(loss_, cursor, n, arrays.loss, sum);
        finish(grad_, cursor, n, arrays.grad, sum);
        return sum;
    }

    /// An ignored element has weight 0.
    void drop_ignored(BceBlock<T>& arrays, const Positions::Cursor& cursor, std::size_t n,
                      BinaryScratch<T>& scratch) const {
        const double* t = exact_target_.read(cursor, n, scratch.exact_target.data());
        for (std::size_t i = 0; i < n; ++i)
            scratch.weight[i] = t[i] == ignored_value_ ? T(0) : arrays.weight != nullptr ? arrays.weight[i] : T(1);
        arrays.weight = scratch.weight.data();
    }

    /// Note [elements in float64]
    void take_out_wide(BceBlock<T>& arrays, const Positions::Cursor& cursor, std::size_t n,
                       BinaryScratch<T>& scratch) const {
        const auto read = [&](const ElementOperand<double>& operand, const Buffer<double>& buffer) {
            return operand.given() ? operand.read(cursor, n, buffer.data()) : nullptr;
        };
        const double* t = read(exact_target_, scratch.exact_target);
        const ExactArguments exact{is_wide(call_.target) ? t : nullptr, read(exact_weight_, scratch.exact_weight),
                                   read(exact_pos_weight_, scratch.exact_pos_weight),
                                   read(exact_upstream_, scratch.exact_upstream)};
        const bool ignores = call_.options.ignore_value.has_value();
        scratch.wide.take_out(arrays, n, exact, far_factor_, scratch.weight.data(),
                              [&](std::size_t i) { return !ignores || t[i] != ignored_value_; });
    }

    void finish(const ElementOperand<T>& output, const Positions::Cursor& cursor, std::size_t n, T* values,
                double sum) const {
        if (values == nullptr)
            return;
        if (!std::isfinite(sum) || !std::isfinite(grad_factor_) || upstream_.given())
            kernels_.canonical_nan(values, n);
        output.store(cursor, n, values);
    }

    const BinaryCall& call_;
    const Kernel& kernel_;
    const Kernels<T>& kernels_;
    Positions positions_;
    ElementOperand<T> logits_, target_, weight_, pos_weight_, grad_, upstream_, loss_;
    ElementOperand<double> exact_target_;  // for comparison with the value to ignore, and as the next ones:
    ElementOperand<double> exact_weight_, exact_pos_weight_, exact_upstream_;  // Note [elements in float64]
    bool wide_arguments_ = false;
    bool far_factor_ = false;  // a normalizer or an upstream gradient of the whole call
    double ignored_value_ = 0.0;
    double exact_grad_factor_ = 1.0;
    double grad_exponent_ = 0.0;
    T grad_factor_ = T(1);
    int workers_ = 1;
    std::vector<BinaryScratch<T>> scratch_;
};

/// Runs a loss over a checked call. compute(kernels of T, block of T, n) is the loss.
template <class Compute>
void run_binary(const BinaryCall& call, const Compute& compute) {
    with_arithmetic_type(call.logits.view.dtype, [&](auto number) {
        using T = decltype(number);
        const auto kernel = [&](const auto& block, std::size_t n) { return compute(kernels_for(block), block, n); };
        BinaryElements<T, decltype(kernel)>(call, kernel).run();
    });
}

}  // namespace logitloss::detail
