// Kernels on single elements. kernel_table.hpp says what all kernels promise.
#pragma once

#include <cstddef>

#include "kernels/row_kernels.hpp"

namespace logitloss::detail {

/// Elements of a loss of an input (logits, probabilities, predictions) against a target. All but these two may be null;
/// `loss` and `grad` are written.
template <class T>
struct ElementBlock {
    const T* input;
    const T* target;
    const T* weight;
    const T* pos_weight;  ///< of binary losses
    const T* upstream;
    T* loss;
    T* grad;             ///< may be `input`
    double grad_factor;  ///< multiplies every gradient, with 2^grad_exponent
    double grad_exponent;
    double* large_sum;  ///< what this adds to it, times large_loss_unit, adds to the sum of the losses
    /// Of binary losses, e: a target t counts as (1-e) t + e/2. Not 0 only beside a `weight`: Note [neutral padding]
    double smoothing;
    double scale;  ///< of differences, a power of two that keeps squares in range
};

/// Losses of float64 beyond 2^960 are summed apart, in units of this: their mean may be finite though their sum is not.
constexpr double large_loss_unit = 0x1p+1000;

/// Options of the focal loss.
struct FocalParameters {
    double alpha;            ///< weight of positives
    double one_minus_alpha;  ///< weight of negatives
    double gamma;
};

/// Below it, and above 0, the slope of -log p may leave the range of T before a factor brings it back.
template <class T>
constexpr T tiny_probability = sizeof(T) == sizeof(float) ? T(0x1p-64) : T(0x1p-500);
/// What such a probability, or 0, adds to Kernels::count_outside_unit.
constexpr double tiny_probability_mark = 0x1p-60;

/// Kernels on n elements one by one. "A block" is at most block_size of them.
template <class T>
struct ElementKernels {
    /// out_j = cap tanh(x_j / cap); -inf stays. `out` may be `x`.
    void (*softcap)(const T* x, std::size_t n, T cap, T* out);
    /// gradient_j *= d (cap tanh(x_j / cap)) / d x_j; unchanged at an x of -inf.
    void (*softcap_pull_back)(const T* x, std::size_t n, T cap, T* gradient);

    /// Losses and gradients of n elements; returns the sum of the losses.
    double (*bce)(const ElementBlock<T>& block, std::size_t n);
    /// Focal losses and gradients of n elements; returns the sum of the losses. `pos_weight` is not used. A target
    /// outside [0, 1] gives NaN.
    double (*focal)(const ElementBlock<T>& block, const FocalParameters& parameters, std::size_t n);

    /// Gradients of n elements to `grad`, what the rule makes of second derivatives to `loss`. In float64 only.
    void (*bce_derivatives)(const ElementBlock<T>& block, const HessianRule& rule, std::size_t n);
    void (*focal_derivatives)(const ElementBlock<T>& block, const FocalParameters& parameters, const HessianRule& rule,
                              std::size_t n);

    /// Losses weight d^2 or weight |d| of n elements, d = scale (input - target), and their gradients; returns the sum of
    /// the losses. A factor of 0 makes its product 0.
    double (*squared_error)(const ElementBlock<T>& block, std::size_t n);
    double (*absolute_error)(const ElementBlock<T>& block, std::size_t n);
    /// weight (exp(x) - t x) of inputs x and targets t >= 0, with Stirling's formula if `full`, and the gradients:
    /// Note [Poisson loss without cancellation]. Factors of 0 as for squared_error.
    double (*poisson)(const ElementBlock<T>& block, bool full, std::size_t n);

    /// out_j = -log(p_j) / unit, or -log2(p_j) where `unit` is 0. `out` may be `p`.
    void (*self_information)(const T* p, std::size_t n, double unit, T* out);

    /// How many p_j are no number in [0, 1], plus tiny_probability_mark for each below tiny_probability; not counting
    /// those of weight 0, if `weight` is not null.
    double (*count_outside_unit)(const T* p, const T* weight, std::size_t n);
    /// How many t_j are no finite numbers >= 0, without those of weight 0, if `weight` is not null.
    double (*count_no_counts)(const T* t, const T* weight, std::size_t n);
    /// bce of probabilities in place of logits, taken as min(upper, max(lower, p)). Unless [lower, upper] is [0, 1],
    /// only beside a `weight`: Note [neutral padding].
    double (*bce_of_probabilities)(const ElementBlock<T>& block, const Clipping& clipping, std::size_t n);

    /// Gives every NaN the same bits.
    void (*canonical_nan)(T* x, std::size_t n);

    // The elementary functions over their whole domains, element by element. out may be x.
    void (*exp)(const T* x, std::size_t n, T* out);
    void (*log)(const T* x, std::size_t n, T* out);
    void (*log1p)(const T* x, std::size_t n, T* out);
};

}  // namespace logitloss::detail
