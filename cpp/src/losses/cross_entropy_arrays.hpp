// The arrays of a cross-entropy's call, row by row, whether the rows are logits or probabilities.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "losses/counted_rows.hpp"
#include "losses/cross_entropy_call.hpp"
#include "losses/logit_rows.hpp"

namespace logitloss::detail {

/// Operand 0 of `rows` and of `classes` is the input.
template <class T>
class CrossEntropyArrays {
public:
    Positions rows, classes;
    RowInput<T> input, probabilities;  ///< the second is the target, if it holds no indices
    CountedRows counted;               ///< labels and sample weights
    RowNumbers upstream;               ///< one a row, for Reduction::none
    RowResults loss;                   ///< for Reduction::none
    RowOutput<T> grad;
    double upstream_of_sum = 1.0;  ///< of the other reductions

    template <class Options>
    explicit CrossEntropyArrays(const CrossEntropyCall<Options>& call)
        : rows(call.rows),
          classes({static_cast<std::ptrdiff_t>(call.classes)}),
          counted(call.classes, call.options.ignore_index),
          class_count_(call.classes),
          smoothing_(call.options.label_smoothing) {
        const bool none = call.options.reduction == Reduction::none;
        const auto add = [&](const Argument& argument, const Shape& strides) {
            return argument.given() ? rows.add(strides) : -1;
        };
        const auto of_rows = [&](const Argument& argument) {
            return argument.given() ? without_axis(argument.strides, call.axis) : Shape{};
        };
        const auto broadcast = [&](const Argument& argument) {
            return argument.given() ? broadcast_strides(argument, call.rows) : Shape{};
        };
        const int input_rows = add(call.input, of_rows(call.input));
        const int target_rows = add(call.target, call.indices ? call.target.strides : of_rows(call.target));
        const int grad_rows = add(call.grad, of_rows(call.grad));
        const int sample_weight_rows = add(call.sample_weight, broadcast(call.sample_weight));
        const int upstream_rows = none ? add(call.upstream, broadcast(call.upstream)) : -1;
        const int loss_rows = none ? add(call.loss, call.loss.strides) : -1;
        rows.simplify(true);
        const auto add_classes = [&](const Argument& argument) {
            return classes.add({argument.strides[static_cast<std::size_t>(call.axis)]});
        };
        const int input_classes = add_classes(call.input);
        const int target_classes = call.indices ? -1 : add_classes(call.target);
        const int grad_classes = call.grad.given() ? add_classes(call.grad) : -1;
        classes.simplify(false);

        input = RowInput<T>(call.input, rows, input_rows, classes, input_classes);
        if (call.indices)
            counted.labels = RowNumbers(call.target, target_rows);
        else
            probabilities = RowInput<T>(call.target, rows, target_rows, classes, target_classes);
        if (call.sample_weight.given())
            counted.sample_weight = RowNumbers(call.sample_weight, sample_weight_rows);
        if (none && call.upstream.given())
            upstream = RowNumbers(call.upstream, upstream_rows);
        if (!none && call.upstream.given())
            upstream_of_sum = RowNumbers(call.upstream, 0)[RowPlace{}];
        if (none)
            loss = RowResults(call.loss, loss_rows);
        if (call.grad.given())
            grad = RowOutput<T>(call.grad, rows, grad_rows, classes, grad_classes);
        if (call.class_weight.given()) {
            weight_line_ = {call.class_weight.view.dtype, call.class_weight.view.byteswapped,
                            call.class_weight.strides[0]};
            weights_ = call.class_weight.bytes();
        }
    }
    CrossEntropyArrays(const CrossEntropyArrays&) = delete;  // the arrays point to its positions
    CrossEntropyArrays& operator=(const CrossEntropyArrays&) = delete;

    bool class_weighted() const { return weights_ != nullptr; }
    double class_weight(std::size_t j) const {
        if (!class_weighted() || j == no_index)
            return 1.0;
        return read_number(weight_line_, weights_ + static_cast<std::ptrdiff_t>(j) * weight_line_.stride);
    }
    /// n class weights from `first` on; null if there are none.
    template <class U>
    U* class_weights(std::size_t first, std::size_t n, U* buffer) const {
        if (!class_weighted())
            return nullptr;
        gather(weight_line_, weights_ + static_cast<std::ptrdiff_t>(first) * weight_line_.stride, n, buffer);
        return buffer;
    }

    /// q_j = w_j ((1-e) t_j + e/C) of n class probabilities t from `first` on.
    const T* coefficients(const RowPlace& place, std::size_t first, std::size_t n, const Buffer<T>& buffer,
                          const Buffer<T>& weight_buffer) const {
        const T* weights = class_weights(first, n, weight_buffer.data());
        const T* t = probabilities.read(place, first, n, buffer);
        if (smoothing_ == 0.0 && weights == nullptr)
            return t;
        T* q = buffer.data();
        if (t != q)
            std::copy(t, t + n, q);
        blend(q, n, weights);
        return q;
    }
    /// The same in place of t; `weights` may be missing, or one for all.
    void blend(T* t, std::size_t n, const T* weights) const {
        smooth(t, n);
        if (weights != nullptr)
            for (std::size_t j = 0; j < n; ++j)
                t[j] *= weights[j];
    }
    void blend(T* t, std::size_t n, T weight) const {
        smooth(t, n);
        for (std::size_t j = 0; j < n; ++j)
            t[j] *= weight;
    }

private:
    void smooth(T* t, std::size_t n) const {
        const T keep = static_cast<T>(1.0 - smoothing_);
        const T spread = static_cast<T>(smoothing_ / static_cast<double>(class_count_));
        if (smoothing_ != 0.0)
            for (std::size_t j = 0; j < n; ++j)
                t[j] = keep * t[j] + spread;
    }

    std::size_t class_count_;
    double smoothing_;
    Line weight_line_;
    const char* weights_ = nullptr;
};

}  // namespace logitloss::detail
