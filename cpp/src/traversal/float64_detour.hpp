// Elements that float32 is too narrow for: float64 targets and weights beside narrower logits.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"
#include "layout/buffers.hpp"

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
/// weights, or what they multiply, may leave the range of float32. Elements with such arguments are set aside from the
/// block (the float32 kernel sees them with weight 0), computed side by side in float64, and put back. What an element
/// takes depends on its own arguments only, so its bits are the same wherever it stands; a float64 array of numbers
/// that float32 holds costs a look at each. A factor of the gradient alone takes only the gradient from here: the loss
/// must be the one of a call without gradient.
template <class T>
class Float64Detour {
public:
    Float64Detour() = default;
    explicit Float64Detour(std::size_t n)
        : space_(7 * BufferSpace::bytes<double>(n) + BufferSpace::bytes<std::uint32_t>(n + 1)),
          index_(space_.take<std::uint32_t>(n + 1)) {
        for (Buffer<double>* buffer : {&input_, &target_, &weight_, &pos_weight_, &upstream_, &loss_, &grad_})
            *buffer = space_.take<double>(n);
    }

    /// Takes them out of `block`, whose weights are then those in `weights`.
    /// `far_factor`: whether a factor of every gradient is far from 1. `counts(i)`: whether element i is not ignored.
    template <class Counts>
    void take_out(ElementBlock<T>& block, std::size_t n, const ExactArguments& exact, bool far_factor, T* weights,
                  const Counts& counts) {
        count_ = 0;
        const bool by_loss = any(is_rounded, exact.target, n) || any(is_far_from_1, exact.weight, n) ||
                             any(is_far_from_1, exact.pos_weight, n);
        if (by_loss)
            list(n, [&](std::size_t i) { return moves_loss(exact, i) && counts(i); });
        losses_ = count_;
        if (block.grad != nullptr && (far_factor || any(is_far_from_1, exact.upstream, n)))
            list(n, [&](std::size_t i) {
                return (far_factor || is_far_from_1(exact.upstream[i])) && !moves_loss(exact, i) && counts(i);
            });
        copy(nullptr, block.input, input_);
        copy(exact.target, block.target, target_);
        weighted_ = copy(exact.weight, block.weight, weight_);
        copy(exact.pos_weight, block.pos_weight, pos_weight_);
        copy(exact.upstream, block.upstream, upstream_);
        if (losses_ == 0)
            return;
        for (std::size_t i = 0; block.weight != weights && i < n; ++i)
            weights[i] = block.weight == nullptr ? T(1) : block.weight[i];
        block.weight = weights;
        for (std::size_t k = 0; k < losses_; ++k)
            weights[index_[k]] = T(0);
    }
    /// Whether nothing is left in a block of n.
    bool took_all(std::size_t n) const { return losses_ == n; }

    /// Computes them, after kernel(block, n) has run on the rest, and returns the sum of their losses.
    template <class Kernel>
    double put_back(const Kernel& kernel, const ElementBlock<T>& block) {
        const double sum = losses_ == 0 ? 0.0 : kernel(part(block, 0), losses_);
        if (count_ > losses_) {
            ElementBlock<double> gradients = part(block, losses_);
            double unused = 0.0;
            gradients.large_sum = &unused;
            kernel(gradients, count_ - losses_);
        }
        if (block.loss != nullptr)
            for (std::size_t k = 0; k < losses_; ++k)
                block.loss[index_[k]] = static_cast<T>(loss_[k]);
        if (block.grad != nullptr)
            for (std::size_t k = 0; k < count_; ++k)
                block.grad[index_[k]] = static_cast<T>(grad_[k]);
        return sum;
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

    template <class Test>
    void list(std::size_t n, const Test& test) {
        std::size_t count = count_;
        for (std::size_t i = 0; i < n; ++i) {  // without a branch; the last may be written and not counted
            index_[count] = static_cast<std::uint32_t>(i);
            count += test(i);
        }
        count_ = count;
    }

    /// The listed elements of an argument, which may be missing: false.
    bool copy(const double* wide, const T* narrow, const Buffer<double>& out) const {
        if (narrow == nullptr)
            return false;
        if (wide != nullptr)
            copy_listed(wide, out.data());
        else
            copy_listed(narrow, out.data());
        return true;
    }
    template <class U>
    void copy_listed(const U* in, double* out) const {
        const std::uint32_t* index = index_.data();
        for (std::size_t k = 0; k < count_; ++k)
            out[k] = static_cast<double>(in[index[k]]);
    }

    /// The elements from `first` on as a block with the options of theirs.
    ElementBlock<double> part(const ElementBlock<T>& block, std::size_t first) const {
        ElementBlock<double> wide{};
        wide.input = input_.data() + first;
        wide.target = target_.data() + first;
        wide.weight = weighted_ ? weight_.data() + first : nullptr;
        wide.pos_weight = block.pos_weight == nullptr ? nullptr : pos_weight_.data() + first;
        wide.upstream = block.upstream == nullptr ? nullptr : upstream_.data() + first;
        wide.loss = block.loss == nullptr ? nullptr : loss_.data() + first;
        wide.grad = block.grad == nullptr ? nullptr : grad_.data() + first;
        wide.grad_factor = block.grad_factor;
        wide.grad_exponent = block.grad_exponent;
        wide.large_sum = block.large_sum;
        wide.smoothing = block.smoothing;
        return wide;
    }

    BufferSpace space_;
    Buffer<std::uint32_t> index_;
    Buffer<double> input_, target_, weight_, pos_weight_, upstream_, loss_, grad_;
    std::size_t count_ = 0;   ///< elements taken out: first those whose loss comes from here, then those whose
    std::size_t losses_ = 0;  ///< gradient alone does
    bool weighted_ = false;
};

}  // namespace logitloss::detail
