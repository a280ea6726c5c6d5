// One row of logits in float64, whatever it is stored in and whatever it holds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "layout/strided_sum.hpp"
#include "logits/row_entropy.hpp"
#include "runtime/elementary.hpp"
#include "traversal/row_operands.hpp"

namespace logitloss::detail {

/// What is known of a row beside its largest logit, m = scale * top.
struct BesideTop {
    double top = -std::numeric_limits<double>::infinity();  ///< the largest logit as it was given; NaNs do not count
    std::size_t top_class = no_index;                       ///< the first that has it
    bool nan = false;
    double others = 0.0;   ///< sum_j exp(x_j - m) of the other classes
    double above = 0.0;    ///< L - m = log(1 + others)
    double entropy = 0.0;  ///< in nats
    double slope = 0.0;    ///< sum_j p_j (m - x_j)

    bool finite() const { return !nan && std::isfinite(top); }
    /// A number that is larger, at a later class.
    void take(double value, std::size_t at) {
        if (top_class == no_index || value > top) {
            top = value;
            top_class = at;
        }
    }
    /// Sums of exponentials and of their gaps to m, times `raised`.
    void set(double raised_others, double raised_gaps) {
        nan |= raised_others != raised_others;
        others = raised_others / raised;
        above = log1p_of(others);
        slope = raised_gaps / raised / (1.0 + others);
        const ScaledNats nats = entropy_beside_top(raised_others, above, raised_gaps);
        entropy = nats.value * nats.scale;
    }
};

/// Rows of logits as float64.
class WideRows {
public:
    WideRows() = default;
    WideRows(const RowInput<double>& logits, std::size_t classes, double scale)
        : logits_(logits), classes_(classes), scale_(scale), kernels_(&kernels().float64) {
        int exponent = 0;
        scales_exactly_ = std::frexp(scale, &exponent) == 0.5;
    }

    double scale() const { return scale_; }
    double logit(const RowPlace& place, std::size_t j) const {
        double buffer;
        return *logits_.read(place, j, 1, Buffer<double>(&buffer));
    }
    /// m - x of a logit z.
    double gap(double top, double z) const { return scaled_difference(top, z); }
    /// Calls fn(first, n, x) for blocks of a row, scaled and taken off its largest.
    template <class Fn>
    void for_blocks(const RowPlace& place, double top, const Buffer<double>& buffer, Fn&& fn) const {
        each_block(place, buffer, [&](std::size_t first, std::size_t n, const double* z) {
            for (std::size_t j = 0; j < n; ++j)
                buffer[j] = scaled_difference(z[j], top);
            fn(first, n, buffer.data());
        });
    }
    /// The largest logit of a row.
    void find_top(const RowPlace& place, const Buffer<double>& buffer, BesideTop& row) const {
        each_block(place, buffer, [&](std::size_t first, std::size_t n, const double* z) {
            const std::size_t at = kernels_->find(z, n, kernels_->largest(z, n));
            if (at != no_index)
                row.take(z[at], first + at);
        });
    }
    /// The rest, of a row whose `top` and `top_class` are known.
    void sum(const RowPlace& place, const Buffer<double>& buffer, BesideTop& row) const {
        StridedSum others, gaps;
        const auto add = [&](std::size_t first, std::size_t n, const double* x, double reference) {
            const std::size_t at =
                row.top_class >= first && row.top_class - first < n ? row.top_class - first : no_index;
            const SumPair sums = kernels_->exponential_gaps(x, n, at, reference);
            others.add(first / block_size, sums.first);
            gaps.add(first / block_size, sums.second);
        };
        if (!std::isfinite(row.top)) {
            each_block(place, buffer, [&](std::size_t, std::size_t n, const double* z) {
                row.nan |= std::isnan(kernels_->float64_max(z, n, no_index));
            });
        } else if (scales_exactly_ &&
                   std::isfinite(row.top * scale_)) {  // then the kernel takes differences without rounding them
            each_block(place, buffer, [&](std::size_t first, std::size_t n, const double* z) {
                for (std::size_t j = 0; scale_ != 1.0 && j < n; ++j)
                    buffer[j] = z[j] * scale_;
                add(first, n, scale_ == 1.0 ? z : buffer.data(), row.top * scale_);
            });
        } else {
            for_blocks(place, row.top, buffer,
                       [&](std::size_t first, std::size_t n, const double* x) { add(first, n, x, 0.0); });
        }
        row.set(others.total(), gaps.total());
    }

private:
    /// Also where the difference alone leaves float64.
    double scaled_difference(double a, double b) const {
        const double difference = a - b;
        return std::isinf(difference) && std::isfinite(a) && std::isfinite(b) ? ((0.5 * a - 0.5 * b) * scale_) * 2.0
                                                                              : difference * scale_;
    }
    /// As for_blocks, as they were given.
    template <class Fn>
    void each_block(const RowPlace& place, const Buffer<double>& buffer, Fn&& fn) const {
        for (std::size_t first = 0; first < classes_; first += block_size) {
            const std::size_t n = std::min(block_size, classes_ - first);
            fn(first, n, logits_.read(place, first, n, buffer));
        }
    }

    RowInput<double> logits_;
    std::size_t classes_ = 0;
    double scale_ = 1.0;
    bool scales_exactly_ = true;  // by a power of two
    const Kernels<double>* kernels_ = nullptr;
};

}  // namespace logitloss::detail
