// What cross-entropy does to logits before the softmax: softcap, then margin, then scale.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {

/// z_j becomes scale * (s tanh(z_j / s) - margin [j = target]), a number of type T: infinite where it overflows. A logit
/// of -inf stays -inf; one of +inf becomes the cap.
///
/// Note [reference of a row]: margin and scale act on differences to one of the row's own softcapped logits, the
/// reference: what the logits have in common would cost the products their digits, and is nothing to a softmax. The
/// log-sum-exp is less by scale * reference. A power of two alone scales without rounding, and takes no reference.
template <class T>
class LogitTransform {
public:
    LogitTransform() = default;
    LogitTransform(std::optional<double> softcap, double margin, double scale)
        : softcap_(softcap && *softcap < caps_nothing ? within_range(*softcap) : T(0)),
          scaled_margin_(static_cast<T>(std::fmax(-largest, std::fmin(largest, scale * margin)))),
          scale_(within_range(scale)),
          shifts_(scaled_margin_ != T(0) || !is_power_of_two(scale_)),
          held_((softcap_ == T(0) || holds(*softcap)) && holds(margin) && holds(scale) && holds(scale * margin)) {}

    bool identity() const { return softcap_ == T(0) && scaled_margin_ == T(0) && scale_ == T(1); }
    bool caps() const { return softcap_ != T(0); }
    /// Whether it takes a reference; otherwise that is 0.
    bool shifts() const { return shifts_; }
    /// Whether T holds what it takes. If not, it takes the nearest numbers that T holds.
    bool held() const { return held_; }
    double scale() const { return static_cast<double>(scale_); }

    /// A reference: the first of n logits, softcapped, that is finite; or 0, if there is none.
    T first_finite(const Kernels<T>& kernels, const T* x, std::size_t n, bool* found) const {
        for (std::size_t i = 0; i < n; ++i) {
            T capped = x[i];
            if (softcap_ != T(0))
                kernels.softcap(x + i, 1, softcap_, &capped);
            *found = std::isfinite(capped);
            if (*found)
                return capped;
        }
        return T(0);
    }

    /// `target`: index within the block, or no_index. `out` may be `x`.
    void apply(const Kernels<T>& kernels, const T* x, std::size_t n, std::size_t target, T reference, T* out) const {
        if (softcap_ != T(0)) {
            kernels.softcap(x, n, softcap_, out);
            x = out;
        }
        for (std::size_t i = 0; i < n; ++i)
            out[i] = scale_ * (x[i] - reference);
        if (target != no_index)
            out[target] -= scaled_margin_;
    }

    /// As apply(), for rows side by side, whose references it finds. `targets`: a class number a row, -1 for none.
    void apply_columns(const Kernels<T>& kernels, const T* x, TileShape shape, const T* targets, T* references,
                       T* out) const {
        const std::size_t n = shape.classes * shape.lanes;
        if (softcap_ != T(0)) {
            kernels.softcap(x, n, softcap_, out);
            x = out;
        }
        const auto place = [&](std::size_t r) { return static_cast<std::size_t>(targets[r]) * shape.lanes + r; };
        for (std::size_t r = 0; r < shape.lanes; ++r) {
            references[r] = T(0);
            if (!shifts_)
                continue;
            std::size_t i = targets[r] < T(0) ? r : place(r);
            if (!std::isfinite(x[i]))
                for (i = r; i < n && !std::isfinite(x[i]);)
                    i += shape.lanes;
            references[r] = i < n ? x[i] : T(0);
        }
        for (std::size_t j = 0; j < n; j += shape.lanes)
            for (std::size_t r = 0; r < shape.lanes; ++r)
                out[j + r] = scale_ * (x[j + r] - references[r]);
        for (std::size_t r = 0; r < shape.lanes; ++r)
            if (targets[r] >= T(0))
                out[place(r)] -= scaled_margin_;
    }

    /// Turns the gradient with respect to the softcapped logits into that with respect to the logits. The factor
    /// `scale` is the caller's: it belongs to the whole row.
    void pull_back(const Kernels<T>& kernels, const T* x, std::size_t n, T* gradient) const {
        if (softcap_ != T(0))
            kernels.softcap_pull_back(x, n, softcap_, gradient);
    }

private:
    static constexpr double largest = std::numeric_limits<T>::max();
    static constexpr double smallest = std::numeric_limits<T>::min();
    /// From here on z^2 / 3 s^2 is below half an ulp of 1.
    static constexpr double caps_nothing =
        std::numeric_limits<T>::max_exponent < 1024 ? largest * 0x1p13 : std::numeric_limits<double>::infinity();

    /// The nearest positive normal number of type T.
    static T within_range(double value) { return static_cast<T>(std::fmax(smallest, std::fmin(largest, value))); }
    static bool is_power_of_two(T value) {
        int exponent = 0;
        return std::frexp(value, &exponent) == T(0.5);
    }
    /// Whether it is 0 or in the range of T's normal numbers.
    static bool holds(double value) {
        const double size = std::fabs(value);
        return value == 0.0 || (size >= smallest && size <= largest);
    }

    T softcap_ = T(0);  // 0: none
    T scaled_margin_ = T(0);
    T scale_ = T(1);
    bool shifts_ = false;
    bool held_ = true;
};

}  // namespace logitloss::detail
