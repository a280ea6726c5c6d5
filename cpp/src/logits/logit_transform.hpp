// What cross-entropy does to logits before the softmax: softcap, then margin, then scale.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {

/// z_j becomes scale * (s tanh(z_j / s) - margin [j = target]), a number of type T: infinite where it overflows. A logit
/// of -inf stays -inf; one of +inf becomes the cap. A cap beyond the largest T caps nothing; margin and scale beyond it
/// count as the largest.
template <class T>
class LogitTransform {
public:
    LogitTransform() = default;
    LogitTransform(std::optional<double> softcap, double margin, double scale)
        : softcap_(softcap && *softcap <= largest ? within_range(*softcap) : T(0)),
          margin_(static_cast<T>(std::fmax(-largest, std::fmin(largest, margin)))),
          scale_(within_range(scale)) {}

    bool identity() const { return softcap_ == T(0) && margin_ == T(0) && scale_ == T(1); }
    double scale() const { return static_cast<double>(scale_); }

    /// `target`: index within the block, or no_index. `out` may be `x`.
    void apply(const Kernels<T>& kernels, const T* x, std::size_t n, std::size_t target, T* out) const {
        if (softcap_ != T(0)) {
            kernels.softcap(x, n, softcap_, out);
            x = out;
        }
        const T at_target = target == no_index ? T(0) : x[target] - margin_;
        for (std::size_t i = 0; i < n; ++i)
            out[i] = scale_ * x[i];
        if (target != no_index)
            out[target] = scale_ * at_target;
    }

    /// As apply(), for rows side by side; `targets`: a class number a row, -1 for none.
    void apply_columns(const Kernels<T>& kernels, const T* x, TileShape shape, const T* targets, T* out) const {
        const std::size_t n = shape.classes * shape.lanes;
        if (softcap_ != T(0)) {
            kernels.softcap(x, n, softcap_, out);
            x = out;
        }
        T at_target[most_lanes];
        const auto place = [&](std::size_t r) { return static_cast<std::size_t>(targets[r]) * shape.lanes + r; };
        for (std::size_t r = 0; r < shape.lanes; ++r)
            at_target[r] = targets[r] < T(0) ? T(0) : x[place(r)] - margin_;
        for (std::size_t i = 0; i < n; ++i)
            out[i] = scale_ * x[i];
        for (std::size_t r = 0; r < shape.lanes; ++r)
            if (targets[r] >= T(0))
                out[place(r)] = scale_ * at_target[r];
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
    /// The nearest positive normal number of type T.
    static T within_range(double value) { return static_cast<T>(std::fmax(smallest, std::fmin(largest, value))); }

    T softcap_ = T(0);  // 0: none
    T margin_ = T(0);
    T scale_ = T(1);
};

}  // namespace logitloss::detail
