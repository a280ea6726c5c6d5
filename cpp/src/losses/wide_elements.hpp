// Elements that float32 is too narrow for: float64 targets and weights beside narrower logits.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"
#include "layout/buffers.hpp"
#include "losses/row_sums.hpp"

namespace logitloss::detail {

/// Whether products with a factor may leave float32, also where the result does not.
inline bool is_far_from_1(double factor) {
    constexpr double far = 1125899906842624.0;  // 2^50
    const double size = std::fabs(factor);
    return (size > far && size < INFINITY) || (size < 1.0 / far && size > 0.0);
}

/// Arguments of a block as they are given, where that is float64; others are null.
struct ExactArguments {
    const double* target;
    const double* weight;
    const double* pos_weight;
    const double* upstream;
};

/// The elements of a block that go through the float64 kernel, their results rounded once.
///
/// Note [elements in float64]: a float64 target that float32 would round takes the digits of 1 - t with it, and
/// weights, or what they multiply, may leave the range of float32. Elements with such arguments are taken out of the
/// block (the float32 kernel sees them with weight 0), computed side by side in float64, and put back. What an element
/// takes depends on its own arguments only, so its bits are the same wherever it stands; a float64 array of numbers
/// that float32 holds costs a look at each. A factor of the gradient alone takes only the gradient from here: the loss
/// must be the one of a call without gradient.
template <class T>
class WideElements {
public:
    WideElements() = default;
    explicit WideElements(std::size_t n)
        : space_(7 * BufferSpace::bytes<double>(n) + BufferSpace::bytes<std::uint32_t>(n)),
          index_(space_.take<std::uint32_t>(n)) {
        for (Buffer<double>* buffer : {&logits_, &target_, &weight_, &pos_weight_, &upstream_, &loss_, &grad_})
            *buffer = space_.take<double>(n);
    }

    /// Takes them out of `block`, whose weights are then those in `weights`.
    /// `far_factor`: whether a factor of every gradient is far from 1. `counts(i)`: whether element i is not ignored.
    template <class Counts>
    void take_out(BceBlock<T>& block, std::size_t n, const ExactArguments& exact, bool far_factor, T* weights,
                  const Counts& counts) {
        count_ = 0;
        if (any(is_rounded, exact.target, n) || any(is_far_from_1, exact.weight, n) ||
            any(is_far_from_1, exact.pos_weight, n))
            for (std::size_t i = 0; i < n; ++i)
                if (moves_loss(exact, i) && counts(i))
                    add(block, exact, i);
        losses_ = count_;
        if (block.grad != nullptr && (far_factor || any(is_far_from_1, exact.upstream, n)))
            for (std::size_t i = 0; i < n; ++i)
                if ((far_factor || is_far_from_1(exact.upstream[i])) && !moves_loss(exact, i) && counts(i))
                    add(block, exact, i);
        if (losses_ == 0)
            return;
        for (std::size_t i = 0; block.weight != weights && i < n; ++i)
            weights[i] = block.weight == nullptr ? T(1) : block.weight[i];
        block.weight = weights;
        for (std::size_t k = 0; k < losses_; ++k)
            weights[index_[k]] = T(0);
    }

    /// Computes them, after the kernel has run on the rest, and returns the sum of their losses. `kernel` as in
    /// BinaryElements.
    template <class Kernel>
    double put_back(const Kernel& kernel, const BceBlock<T>& block, double factor) {
        if (count_ == 0)
            return 0.0;
        BceBlock<double> wide{};
        wide.logits = logits_.data();
        wide.target = target_.data();
        wide.weight = weight_.data();
        wide.pos_weight = block.pos_weight == nullptr ? nullptr : pos_weight_.data();
        wide.upstream = block.upstream == nullptr ? nullptr : upstream_.data();
        wide.loss = loss_.data();
        wide.grad = block.grad == nullptr ? nullptr : grad_.data();
        wide.grad_factor = factor;
        wide.smoothing = block.smoothing;
        kernel(wide, count_);
        StridedSum sum;
        for (std::size_t k = 0; k < losses_; ++k) {
            sum.add(k, loss_[k]);
            if (block.loss != nullptr)
                block.loss[index_[k]] = static_cast<T>(loss_[k]);
        }
        for (std::size_t k = 0; block.grad != nullptr && k < count_; ++k)
            block.grad[index_[k]] = static_cast<T>(grad_[k]);
        return sum.total();
    }

private:
    static bool is_rounded(double x) { return static_cast<double>(static_cast<float>(x)) != x; }

    template <class Test>
    static bool any(const Test& test, const double* values, std::size_t n) {
        std::size_t hits = 0;
        for (std::size_t i = 0; values != nullptr && i < n; ++i)
            hits += test(values[i]);
        return hits > 0;
    }

    static bool moves_loss(const ExactArguments& exact, std::size_t i) {
        const auto is_far = [i](const double* values) { return values != nullptr && is_far_from_1(values[i]); };
        return (exact.target != nullptr && is_rounded(exact.target[i])) || is_far(exact.weight) ||
               is_far(exact.pos_weight);
    }

    void add(const BceBlock<T>& block, const ExactArguments& exact, std::size_t i) {
        const auto value = [i](const double* wide, const T* narrow, double missing) {
            return wide != nullptr ? wide[i] : narrow != nullptr ? static_cast<double>(narrow[i]) : missing;
        };
        index_[count_] = static_cast<std::uint32_t>(i);
        logits_[count_] = static_cast<double>(block.logits[i]);
        target_[count_] = value(exact.target, block.target, 0.0);
        weight_[count_] = value(exact.weight, block.weight, 1.0);
        pos_weight_[count_] = value(exact.pos_weight, block.pos_weight, 1.0);
        upstream_[count_] = value(exact.upstream, block.upstream, 1.0);
        ++count_;
    }

    BufferSpace space_;
    Buffer<std::uint32_t> index_;
    Buffer<double> logits_, target_, weight_, pos_weight_, upstream_, loss_, grad_;
    std::size_t count_ = 0;   ///< elements taken out: first those whose loss comes from here, then those whose
    std::size_t losses_ = 0;  ///< gradient alone does
};

}  // namespace logitloss::detail
