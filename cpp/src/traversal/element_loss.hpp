// Elementwise losses of an input (logits, probabilities, predictions) against a target of its shape: arguments, options,
// and the walk over the elements. A loss adds which kernel computes a block.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "arguments/labels.hpp"
#include "arguments/reduction.hpp"
#include "traversal/elements.hpp"
#include "traversal/float64_detour.hpp"

namespace logitloss::detail {

/// The options of all elementwise losses; those that a loss does not have stay as they are here.
struct ElementOptions {
    ArrayView weight;
    Reduction reduction = Reduction::mean;
    int num_threads = 0;
    bool mean_of_weights = true;  ///< whether a mean divides by the sum of the weights, or by the number of elements
    ArrayView pos_weight;
    double label_smoothing = 0.0;
    std::optional<double> ignore_value;
    std::optional<double> normalizer;
    bool hessian = false;  ///< whether a Hessian diagonal is written in the place of losses, with Reduction::none
};

/// The arguments of one call, checked.
struct ElementCall {
    const Argument input, target, weight, pos_weight, upstream;
    const Output loss, grad;
    const ElementOptions options;
    WeightSum weights;  ///< of a mean of weights

    ElementCall(const char* input_name, const ArrayView& input_view, const ArrayView& target_view,
                const ArrayView& upstream_view, const MutableArrayView& loss_view, const MutableArrayView& grad_view,
                const ElementOptions& call_options)
        : input(input_name, input_view),
          target("target", target_view),
          weight("weight", call_options.weight),
          pos_weight("pos_weight", call_options.pos_weight),
          upstream("upstream", upstream_view),
          loss(call_options.hessian ? "hess_out" : "out", loss_view),
          grad("grad_out", grad_view),
          options(call_options) {
        require_unit_interval("label_smoothing", options.label_smoothing);
        if (options.ignore_value && std::isnan(*options.ignore_value))
            throw value_error("ignore_value: got nan, expected a number");
        check_normalizer(options.reduction, options.normalizer);
        require_floating(input);
        require_shape(target, input.shape);
        for (const Argument* factors : {&weight, &pos_weight})
            if (factors->given())
                broadcast_strides(*factors, input.shape);
        const Shape loss_shape = per_element() ? input.shape : Shape{};
        if (upstream.given())
            broadcast_strides(upstream, loss_shape);
        if (options.hessian)
            require_grad_and_hess(input, {&input, &target, &weight, &pos_weight}, grad, loss);
        else
            require_value_and_grad(input, loss_shape, {&input, &target, &weight, &pos_weight, &upstream}, loss, grad);
        if (options.mean_of_weights && options.reduction == Reduction::mean)
            weights = sum_sample_weights(weight, input.shape, options.num_threads);
    }
    bool per_element() const { return options.reduction == Reduction::none; }

    /// The dtype whose arithmetic holds the numbers of all arguments. The weights of a mean matter by what they are of
    /// the sum.
    DType common_dtype() const {
        const auto is_far = [&](const Argument& factors) {
            return factors.given() && factors.view.dtype == DType::float64 && any_far(factors, options.num_threads);
        };
        const bool far_weight = options.reduction == Reduction::mean
                                    ? weight.view.dtype == DType::float64 && weights.sample_scale != 1.0
                                    : is_far(weight);
        return common_arithmetic(input.view.dtype, far_weight || is_far(upstream) ? DType::float64 : target.view.dtype);
    }
};

/// What ElementLoss asks of a loss, which has in addition
///     double operator()(const Kernels<U>&, const ElementBlock<U>& block, std::size_t n) const,
/// the kernel that computes a block and returns the sum of its losses.
struct LossTraits {
    /// Whether arithmetic is that of the input's dtype, with a detour for elements that it is too narrow for. Otherwise a
    /// call that has such arguments is float64 throughout.
    static constexpr bool takes_detour = false;
    bool neutral_padding = true;  ///< whether what kernels fill blocks up with has loss 0 without a weight of 0
    bool keeps_input = false;     ///< whether the input is read again once the gradient is written
};

/// Buffers of one worker, used where an array cannot be read or written in place.
template <class T>
struct ElementScratch {
    BufferSpace space;
    Buffer<T> input, target, weight, pos_weight, upstream, loss, grad;
    Buffer<double> exact_target, exact_weight, exact_pos_weight, exact_upstream;
    Float64Detour<T> detour;

    /// `detours`: whether there are arguments that T may not hold.
    ElementScratch(std::size_t n, bool detours)
        : space(7 * BufferSpace::bytes<T>(n) + (detours ? 4 : 1) * BufferSpace::bytes<double>(n)) {
        for (Buffer<T>* buffer : {&input, &target, &weight, &pos_weight, &upstream, &loss, &grad})
            *buffer = space.take<T>(n);
        exact_target = space.take<double>(n);
        if (!detours)
            return;
        for (Buffer<double>* buffer : {&exact_weight, &exact_pos_weight, &exact_upstream})
            *buffer = space.take<double>(n);
        detour = Float64Detour<T>(n);
    }
};

/// The elements of one call, stored as T or staged as that.
template <class T, class Loss>
class ElementLoss {
public:
    using Number = T;

    ElementLoss(const ElementCall& call, const Loss& loss)
        : call_(call),
          step_(loss),
          table_(detail::kernels()),
          operands_(call.input.shape),
          input_(operands_.add(call.input)),
          target_(operands_.add(call.target)),
          weight_(operands_.add(call.weight)),
          pos_weight_(operands_.add(call.pos_weight)),
          grad_(operands_.add(call.grad)),
          upstream_(operands_.add(call.upstream, call.per_element())),
          loss_(operands_.add(call.loss, call.per_element())) {
        operands_.settle();
        if (call.options.ignore_value)
            ignored_value_ = as_stored(*call.options.ignore_value, call.target.view.dtype);
        if constexpr (detours) {
            far_factor_ = is_far_from_1(call.options.normalizer.value_or(1.0)) || is_far_from_1(upstream());
            detours_ = far_factor_ || is_wide(call.target) || is_wide(call.weight) || is_wide(call.pos_weight) ||
                       (upstream_.given() && is_wide(call.upstream));
        }
        workers_ = plan_threads(positions().count(), call.options.num_threads);
        scratch_.reserve(static_cast<std::size_t>(workers_));
        for (int worker = 0; worker < workers_; ++worker)
            scratch_.emplace_back(std::min(block_size, positions().count()), detours_);
    }

    void run() {
        const Normalization divisor = normalization();
        const double sum_scale = call_.options.mean_of_weights ? 1.0 : divisor.sample_scale;
        LargeSum sum = sweep(FactorOfGradient(divisor.gradient_factor, upstream(), sum_scale));
        if (call_.per_element())
            return;
        sum.sum *= sum_scale;
        sum.large *= sum_scale;
        call_.loss.set_number(sum.over(divisor));
    }

    /// One sweep over the elements, and the sum of their losses. `scale` is ElementBlock::scale. If it `writes`, losses and
    /// gradients go to their arrays.
    LargeSum sweep(const FactorOfGradient& factor, double scale = 1.0, bool writes = true) {
        // NOLINTNEXTLINE(readability-non-const-parameter): the kernel writes there
        const auto block_of = [&](const Positions::Cursor& at, std::size_t n, int worker, double* large) {
            ElementBlock<T> arrays{};
            arrays.grad_factor = factor.factor;
            arrays.grad_exponent = factor.exponent;
            arrays.large_sum = large;
            arrays.smoothing = call_.options.label_smoothing;
            arrays.scale = scale;
            return block(arrays, at, n, writes, scratch_of(worker));
        };
        return sum_large_element_blocks(positions(), workers_, block_of);
    }

    /// Throws for the first element of `values`, the input or the target, that is not valid(x) and counts: its weight is not
    /// 0, nor is its target ignored. `count_invalid` is the kernel that finds whether there is one. Returns what it counts.
    template <class Valid>
    double check(const Argument& values, double (*count_invalid)(const T*, const T*, std::size_t), const Valid& valid,
                 const char* expected) {
        const ElementOperand& operand = &values == &call_.input ? input_ : target_;
        const double count =
            sum_element_blocks(positions(), workers_, [&](const Positions::Cursor& at, std::size_t n, int worker) {
                ElementScratch<T>& scratch = scratch_of(worker);
                const T* weight = read_weight(at, n, scratch);
                return count_invalid(operand.read(at, n, scratch.input.data()), weight, n);
            });
        if (count < 0.5)
            return count;
        const Argument& weight = call_.weight;
        const Shape& target_strides = call_.target.strides;
        reject_first(
            values, {target_strides, weight.given() ? broadcast_strides(weight, call_.input.shape) : target_strides},
            valid,
            [&](const Positions::Cursor& at) {
                const double t = read_number(call_.target.line(), call_.target.bytes() + at.offset(1));
                return (call_.options.ignore_value && t == ignored_value_) ||
                       (weight.given() && read_number(weight.line(), weight.bytes() + at.offset(2)) == 0.0);
            },
            expected);
        return count;
    }
    Normalization normalization() {
        const ElementOptions& options = call_.options;
        const WeightSum elements{options.ignore_value ? count_kept() : static_cast<double>(positions().count())};
        return {options.reduction, options.normalizer, options.mean_of_weights ? call_.weights : elements};
    }
    const Kernels<T>& kernels() const { return table_.of<T>(); }
    /// The upstream gradient of a reduced loss.
    double upstream() const { return call_.per_element() ? 1.0 : call_.upstream.number(); }

private:
    static constexpr bool detours = Loss::takes_detour && sizeof(T) < sizeof(double);

    const Positions& positions() const { return operands_.positions(); }
    ElementScratch<T>& scratch_of(int worker) { return scratch_[static_cast<std::size_t>(worker)]; }
    static bool is_wide(const Argument& argument) { return argument.given() && argument.view.dtype == DType::float64; }

    /// The value that a floating dtype has for this one; integers are compared as they are.
    static double as_stored(double value, DType dtype) {
        if (!is_floating(dtype))
            return value;
        const Line line{dtype, false, 0};
        char bytes[8];
        scatter(line, &value, 1, bytes);
        return read_number(line, bytes);
    }

    double count_kept() {
        return sum_element_blocks(positions(), workers_, [&](const Positions::Cursor& at, std::size_t n, int worker) {
            const double* t = target_.read(at, n, scratch_of(worker).exact_target.data());
            return static_cast<double>(n) - static_cast<double>(std::count(t, t + n, ignored_value_));
        });
    }

    /// An ignored element has weight 0.
    const T* read_weight(const Positions::Cursor& at, std::size_t n, ElementScratch<T>& scratch) const {
        const T* weight = weight_.read(at, n, scratch.weight.data());
        T* own = scratch.weight.data();
        const double scale = call_.weights.sample_scale;  // Note [means of tiny and huge weights]
        if (weight != nullptr && scale != 1.0) {
            std::transform(weight, weight + n, own,
                           [&](T w) { return static_cast<T>(static_cast<double>(w) * scale); });
            weight = own;
        }
        if (!call_.options.ignore_value)
            return weight;
        const double* t = target_.read(at, n, scratch.exact_target.data());
        for (std::size_t i = 0; i < n; ++i)
            own[i] = t[i] == ignored_value_ ? T(0) : weight != nullptr ? weight[i] : T(1);
        return own;
    }

    double block(ElementBlock<T>& arrays, const Positions::Cursor& at, std::size_t n, bool writes,
                 ElementScratch<T>& scratch) const {
        arrays.input = input_.read(at, n, scratch.input.data());
        arrays.target = target_.read(at, n, scratch.target.data());
        arrays.weight = read_weight(at, n, scratch);
        arrays.pos_weight = pos_weight_.read(at, n, scratch.pos_weight.data());
        arrays.upstream = upstream_.read(at, n, scratch.upstream.data());
        arrays.loss = writes ? loss_.place(at, scratch.loss.data()) : nullptr;
        arrays.grad = writes ? grad_.place(at, scratch.grad.data()) : nullptr;
        if ((arrays.smoothing != 0.0 || !step_.neutral_padding) && arrays.weight == nullptr) {
            std::fill_n(scratch.weight.data(), n, T(1));
            arrays.weight = scratch.weight.data();
        }
        if (step_.keeps_input && arrays.input == arrays.grad) {
            std::copy_n(arrays.input, n, scratch.input.data());
            arrays.input = scratch.input.data();
        }
        const auto kernel = [&](const auto& elements, std::size_t count) { return compute(elements, count); };
        double sum = 0.0;
        if (detours && detours_) {
            take_out(arrays, at, n, scratch);
            sum = scratch.detour.took_all(n) ? 0.0 : kernel(arrays, n);
            sum += scratch.detour.put_back(kernel, arrays);
        } else {
            sum = kernel(arrays, n);
        }
        const bool plain = std::isfinite(sum) && std::isfinite(static_cast<T>(arrays.grad_factor)) &&
                           !upstream_.given();  // or else some result may be NaN
        finish(loss_, at, n, arrays.loss, plain);
        finish(grad_, at, n, arrays.grad, plain);
        return sum;
    }
    template <class U>
    double compute(const ElementBlock<U>& elements, std::size_t n) const {
        return step_(table_.of<U>(), elements, n);
    }

    /// Note [elements in float64]
    void take_out(ElementBlock<T>& arrays, const Positions::Cursor& at, std::size_t n,
                  ElementScratch<T>& scratch) const {
        const auto exact = [&](const Argument& argument, const ElementOperand& operand, const Buffer<double>& buffer) {
            return is_wide(argument) ? operand.read(at, n, buffer.data()) : nullptr;
        };
        const ExactArguments wide{exact(call_.target, target_, scratch.exact_target),
                                  exact(call_.weight, weight_, scratch.exact_weight),
                                  exact(call_.pos_weight, pos_weight_, scratch.exact_pos_weight),
                                  exact(call_.upstream, upstream_, scratch.exact_upstream)};
        const double* t = call_.options.ignore_value ? target_.read(at, n, scratch.exact_target.data()) : nullptr;
        scratch.detour.take_out(arrays, n, wide, far_factor_, scratch.weight.data(),
                                [&](std::size_t i) { return t == nullptr || t[i] != ignored_value_; });
    }

    void finish(const ElementOperand& output, const Positions::Cursor& at, std::size_t n, T* values, bool plain) const {
        if (values == nullptr)
            return;
        if (!plain)
            kernels().canonical_nan(values, n);
        output.store(at, n, values);
    }

    const ElementCall& call_;
    const Loss& step_;
    const KernelTable& table_;
    ElementOperands operands_;
    const ElementOperand &input_, &target_, &weight_, &pos_weight_, &grad_, &upstream_, &loss_;
    bool detours_ = false;
    bool far_factor_ = false;  // a normalizer or an upstream gradient of the whole call
    double ignored_value_ = 0.0;
    int workers_ = 1;
    std::vector<ElementScratch<T>> scratch_;
};

/// Calls fn(elements) with the ElementLoss of a checked call.
template <class Loss, class Fn>
void with_elements(const ElementCall& call, const Loss& loss, Fn&& fn) {
    with_arithmetic_type(Loss::takes_detour ? call.input.view.dtype : call.common_dtype(), [&](auto number) {
        ElementLoss<decltype(number), Loss> elements(call, loss);
        fn(elements);
    });
}

template <class Loss>
void run_element_loss(const ElementCall& call, const Loss& loss) {
    with_elements(call, loss, [](auto& elements) { elements.run(); });
}

}  // namespace logitloss::detail
