// The arrays of a cross-entropy's call, row by row, whether the rows are logits or probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "losses/cross_entropy/cross_entropy_call.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_selection.hpp"

namespace logitloss::detail {

/// Which class probabilities make coefficients that float32 holds, with room for sums of their products with gaps.
///
/// Note [coefficients in float64]: class weights and class probabilities may be float64 beside narrower logits, and
/// beyond the range of float32, in which blocks are computed, though the loss and what comes of the gradient are not. A
/// block with such a coefficient takes its linear sums and its gradient in float64, from the coefficients as they were
/// given. It follows from the coefficients of the block alone, and all others keep the kernels and the bits they have.
class CoefficientRange {
public:
    /// Of a factor that all coefficients share, a class weight or a smoothing's e/C.
    static constexpr double least = 0x1p-60;

    /// Makes room for a class weight.
    void take(double weight) {
        const double size = std::fabs(weight);
        if (!(size > 0.0) || size == INFINITY)
            return;
        least_weight_ = std::min(least_weight_, size);
        most_weight_ = std::max(most_weight_, size);
    }
    bool is_extreme() const { return !is_moderate(least_weight_) || !is_moderate(most_weight_); }
    /// Whether the class weights alone are too far from 1.
    bool nothing_fits() const { return least_weight_ < least || most_weight_ > 1.0 / least; }
    /// Whether it holds n class probabilities.
    bool holds(const double* t, std::size_t n) const {
        const std::uint64_t small = bits_of(0x1p-126 / least_weight_);
        const std::uint64_t large = bits_of(0x1p100 / most_weight_);
        const std::uint64_t infinity = bits_of(INFINITY);
        // Differences say by their uppermost bit which number is less, and compilers vectorize them.
        std::uint64_t outside = 0;
        for (std::size_t j = 0; j < n; ++j) {
            const std::uint64_t size = bits_of(std::fabs(t[j]));
            const std::uint64_t too_small = (size - small) & (0 - size);
            const std::uint64_t too_large = (large - size) & (size - infinity);
            outside |= too_small | too_large;
        }
        return outside >> 63 == 0;
    }

private:
    static std::uint64_t bits_of(double x) {
        std::uint64_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        return bits;
    }

    double least_weight_ = 1.0;
    double most_weight_ = 1.0;
};

/// Operand 0 of `rows` and of `classes` is the input.
template <class T>
class CrossEntropyArrays {
public:
    Positions rows, classes;
    RowInput<T> input, probabilities;  ///< the second is the target, if it holds no indices
    RowSelection selection;            ///< labels and sample weights
    RowNumbers upstream;               ///< one a row, for Reduction::none
    RowResults loss;                   ///< for Reduction::none
    RowOutput<T> grad;
    double upstream_of_sum = 1.0;  ///< of the other reductions

    template <class Options>
    explicit CrossEntropyArrays(const CrossEntropyCall<Options>& call)
        : rows(call.rows),
          classes({static_cast<std::ptrdiff_t>(call.classes)}),
          selection(call.all_classes, call.options.ignore_index, call.normalization.sample_scale),
          class_count_(call.all_classes),
          first_class_(call.first_class),
          smoothing_(call.options.label_smoothing),
          class_scale_(call.normalization.class_scale) {
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
        if (call.shard.states != nullptr)
            state_rows_ = static_cast<std::size_t>(rows.add(c_strides(call.rows, sizeof(CrossEntropyState))));
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
            selection.labels = RowNumbers(call.target, target_rows);
        else
            probabilities = RowInput<T>(call.target, rows, target_rows, classes, target_classes);
        if (call.sample_weight.given())
            selection.sample_weight = RowNumbers(call.sample_weight, sample_weight_rows);
        if (none && call.upstream.given())
            upstream = RowNumbers(call.upstream, upstream_rows);
        if (!none)
            upstream_of_sum = call.upstream.number();
        if (none)
            loss = RowResults(call.loss, loss_rows);
        if (call.grad.given())
            grad = RowOutput<T>(call.grad, rows, grad_rows, classes, grad_classes);
        if (call.class_weight.given()) {
            weight_line_ = {call.class_weight.view.dtype, call.class_weight.view.byteswapped,
                            call.class_weight.strides[0]};
            weights_ = call.class_weight.bytes();
        }
        if (!call.indices)
            exact_probabilities_ = RowInput<double>(call.target, rows, target_rows, classes, target_classes);
        if (!call.indices || smoothing_ > 0.0)
            find_range(!call.indices && call.target.view.dtype == DType::float64);
    }
    CrossEntropyArrays(const CrossEntropyArrays&) = delete;  // the arrays point to its positions
    CrossEntropyArrays& operator=(const CrossEntropyArrays&) = delete;

    /// The row's among the states of the call.
    std::size_t state_index(const RowPlace& place) const {
        return static_cast<std::size_t>(place.offset[state_rows_]) / sizeof(CrossEntropyState);
    }

    bool class_weighted() const { return weights_ != nullptr; }
    /// Of any class, while blocks count from the first one of the input.
    double class_weight(std::size_t j) const {
        if (!class_weighted() || j == no_index)
            return 1.0;
        return class_scale_ *
               read_number(weight_line_, weights_ + static_cast<std::ptrdiff_t>(j) * weight_line_.stride);
    }
    /// n class weights of the input's classes from `first` on; null if there are none.
    template <class U>
    U* class_weights(std::size_t first, std::size_t n, U* buffer) const {
        return weights_from(first_class_ + first, n, buffer);
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
    /// Replaces class probabilities t by w_j ((1-e) t_j + e/C); `weights`: null if all are 1, or one number for all.
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

    /// Whether there may be coefficients that T is too narrow for.
    bool may_be_far() const { return all_far_ || look_; }
    /// Whether T is too narrow for any coefficient in [first, first + n).
    bool is_far(const RowPlace& place, std::size_t first, std::size_t n) const {
        if (all_far_ || !look_)
            return all_far_;
        double buffer[piece];
        for (std::size_t i = 0; i < n; i += piece) {
            const std::size_t count = std::min(piece, n - i);
            if (!range_.holds(exact_probabilities_.read(place, first + i, count, Buffer<double>(buffer)), count))
                return true;
        }
        return false;
    }
    static constexpr std::size_t piece = 256;

    /// `coefficients` in float64, of class indices too; n is at most `piece`.
    void exact_coefficients(const RowPlace& place, std::size_t first, std::size_t n, double* q) const {
        double t[piece];
        exact_factors(place, first, n, q, t);
        const double spread = smoothing_ / static_cast<double>(class_count_);
        for (std::size_t j = 0; j < n; ++j)
            q[j] *= (1.0 - smoothing_) * t[j] + spread;
    }
    /// As exact_coefficients(), without the class weights.
    void exact_targets(const RowPlace& place, std::size_t first, std::size_t n, double* q) const {
        double weights[piece];
        exact_factors(place, first, n, weights, q);
        const double spread = smoothing_ / static_cast<double>(class_count_);
        for (std::size_t j = 0; j < n; ++j)
            q[j] = (1.0 - smoothing_) * q[j] + spread;
    }
    /// What they are made of: w_j, and t_j as it was given.
    void exact_factors(const RowPlace& place, std::size_t first, std::size_t n, double* w, double* t) const {
        if (class_weights(first, n, w) == nullptr)
            std::fill(w, w + n, 1.0);
        if (exact_probabilities_.given()) {
            const double* given = exact_probabilities_.read(place, first, n, Buffer<double>(t));
            if (given != t)
                std::copy(given, given + n, t);
            return;
        }
        for (std::size_t j = 0; j < n; ++j)
            t[j] = first + j == place.target ? 1.0 : 0.0;
    }
    /// Whether the linear term has class weights that are not moderate.
    bool weights_are_extreme() const { return range_.is_extreme(); }

private:
    template <class U>
    U* weights_from(std::size_t first, std::size_t n, U* buffer) const {
        if (!class_weighted())
            return nullptr;
        gather(weight_line_, weights_ + static_cast<std::ptrdiff_t>(first) * weight_line_.stride, n, buffer);
        for (std::size_t j = 0; class_scale_ != 1.0 && j < n; ++j)
            buffer[j] = static_cast<U>(class_weight(first + j));
        return buffer;
    }

    void find_range(bool target_may_be_far) {
        double buffer[piece];
        for (std::size_t j = 0; class_weighted() && j < class_count_; j += piece) {
            const std::size_t n = std::min(piece, class_count_ - j);
            weights_from(j, n, buffer);
            for (std::size_t i = 0; i < n; ++i)
                range_.take(buffer[i]);
        }
        const double spread = smoothing_ / static_cast<double>(class_count_);
        if (std::is_same_v<T, double>)
            return;
        all_far_ = range_.nothing_fits() || (spread > 0.0 && spread < CoefficientRange::least);
        look_ = target_may_be_far;
    }

    void smooth(T* t, std::size_t n) const {
        const T keep = static_cast<T>(1.0 - smoothing_);
        const T spread = static_cast<T>(smoothing_ / static_cast<double>(class_count_));
        if (smoothing_ != 0.0)
            for (std::size_t j = 0; j < n; ++j)
                t[j] = keep * t[j] + spread;
    }

    std::size_t class_count_;  // all
    std::size_t first_class_;
    std::size_t state_rows_ = 0;
    double smoothing_;
    double class_scale_;  // Note [means of tiny and huge weights]
    Line weight_line_;
    const char* weights_ = nullptr;
    RowInput<double> exact_probabilities_;
    CoefficientRange range_;
    bool all_far_ = false;  // whatever the target is
    bool look_ = false;     // whether a class probability may be too far from 1
};

}  // namespace logitloss::detail
