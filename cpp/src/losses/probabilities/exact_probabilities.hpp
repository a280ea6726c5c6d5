// Rows of probabilities in numbers that neither overflow nor lose digits: what the row traversal leaves to them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>

#include "layout/scaled_number.hpp"
#include "layout/strided_sum.hpp"
#include "losses/cross_entropy/cross_entropy_arrays.hpp"
#include "losses/cross_entropy/cross_entropy_call.hpp"
#include "runtime/elementary.hpp"

namespace logitloss::detail {

/// Whether products and quotients of a few such numbers stay among the normal numbers of float64.
inline bool quotients_stay_normal(double x) {
    const double size = std::fabs(x);
    return size == 0.0 || (size > 0x1p-150 && size < 0x1p150);
}

/// What a gradient takes whose numbers may leave the range of float64: out_j = factor (linear - a_j / p_j) again, but of
/// a class index the products.
struct ScaledSlopes {
    Scaled total, linear, own;
};
/// A row between its sweeps.
struct ProbabilityRow {
    bool read = true;
    std::size_t label = no_index;
    double sample_weight = 1.0;
    double first = 0.0;  ///< of the last sweep, its sums
    double second = 0.0;
    double total = 1.0;  ///< Clipping::total
    double upstream = 1.0;
    double probability = 0.0;            ///< of a class index
    std::optional<ScaledSlopes> scaled;  ///< of a row whose gradient they are
    // What the gradient sweep takes: out_j = factor (linear - a_j / p_j); of a class index `own` at the label.
    double factor = 0.0;
    double linear = 0.0;
    double own = 0.0;
};

/// Note [probabilities out of range]: subnormal probabilities have reciprocals beyond float64, rows may sum to less than a
/// normal number or to more than the largest one, and class weights, sample weights and upstream gradients may take
/// products out of range and back. What can tell is looked at once a row: its total, its loss and its factors; and the
/// gradient kernel says whether all that it wrote is finite. Rows that are not moderate are `scaled`: their sums,
/// coefficients and gradients Scaled numbers; so are the elements of a block that came out infinite or NaN. Beside
/// float32 probabilities a block of coefficients that float32 does not hold takes its sums and its gradient in float64:
/// Note [coefficients in float64].
template <class T>
class ExactProbabilities {
public:
    static constexpr std::size_t pieces = CrossEntropyArrays<T>::piece;

    ExactProbabilities(const ProbabilityCall& call, const CrossEntropyArrays<T>& arrays, const Clipping& clipping,
                       const Kernels<double>& float64)
        : call_(call), arrays_(arrays), clipping_(clipping), float64_(float64) {}

    Clipping clipping_of_row(const ProbabilityRow& row) const {
        Clipping clipping = clipping_;
        clipping.total = row.total;
        return clipping;
    }
    /// What the gradient kernels take.
    static ProbabilitySlope slope_of(const ProbabilityRow& row) {
        const double size = std::fabs(row.factor);
        const double raise = size > 1.0 ? std::ldexp(1.0, std::ilogb(size)) : 1.0;
        return {row.linear * raise, raise, row.factor / raise};
    }
    static T as_stored(double x) { return x == x ? static_cast<T>(x) : std::numeric_limits<T>::quiet_NaN(); }
    bool is_far(const RowPlace& place, std::size_t first, std::size_t n) const {
        return arrays_.may_be_far() && arrays_.is_far(place, first, n);
    }

    /// Sets the slopes of a row that is a sum over coefficients; returns its loss.
    Scaled sums(const RowPlace& place, const ProbabilityRow& row, ScaledSlopes& slopes, const Buffer<T>& buffer) const {
        slopes.total = Scaled(1.0);
        if (clipping_.clips)
            slopes.total = quotients_stay_normal(row.total) ? Scaled(row.total) : sum_without(place, no_index, buffer);
        ScaledSum loss, kept;
        for_scaled(place, row, 0, call_.classes, buffer, [&](double p, const Scaled& a) {
            if (a.is_zero())
                return;
            const Scaled share = Scaled(p) / slopes.total;
            const int side = clipped(share);
            loss.add(a * Scaled(0.0 - (side == 0  ? log_of(share)
                                       : side < 0 ? log_of(clipping_.lower)
                                                  : log_of(clipping_.upper))));
            if (side == 0)
                kept.add(a);
        });
        slopes.linear = clipping_.clips ? kept.total() / slopes.total : Scaled();
        return loss.total();
    }

    /// The same of a class index: as label_losses.
    Scaled label(const RowPlace& place, const ProbabilityRow& row, ScaledSlopes& slopes,
                 const Buffer<T>& buffer) const {
        const Scaled p(row.probability), w(arrays_.class_weight(row.label)), factor = scaled_factor(row);
        if (!clipping_.clips) {
            slopes.own = -(w / p) * factor;
            return w * Scaled(0.0 - log_of(p));
        }
        const Scaled others =
            quotients_stay_normal(row.total) ? Scaled(row.first) : sum_without(place, row.label, buffer);
        const Scaled total = others + p;
        const Scaled share = p / total;
        const int side = clipped(share);
        if (side != 0)
            return w * Scaled(0.0 - log_of(side < 0 ? clipping_.lower : clipping_.upper));
        slopes.linear = (w / total) * factor;
        slopes.own = -slopes.linear * (others / p);
        return w * Scaled(share.value() > 0.5 ? log1p_of((others / p).value()) : 0.0 - log_of(share));
    }

    SumPair terms(const RowPlace& place, const ProbabilityRow& row, std::size_t first, std::size_t n,
                  const Buffer<T>& buffer) const {
        StridedSum losses, kept;
        for (std::size_t done = 0; done < n; done += pieces) {
            const std::size_t count = std::min(pieces, n - done);
            const ExactBlock in(*this, place, row, first + done, count, buffer);
            const SumPair sums = float64_.probability_terms(in.p, in.a, count, clipping_of_row(row));
            losses.add(done / pieces, sums.first);
            kept.add(done / pieces, sums.second);
        }
        return {losses.total(), kept.total()};
    }

    /// Gradients of n classes from float64 coefficients; and from Scaled numbers in a row that has them, and where they came
    /// out infinite or NaN.
    void write(const RowPlace& place, const ProbabilityRow& row, std::size_t first, std::size_t n,
               const Buffer<T>& buffer, T* out) const {
        const Scaled total = row.scaled ? row.scaled->total : Scaled(row.total);
        const Scaled linear = row.scaled ? row.scaled->linear : Scaled(row.linear);
        const Scaled factor = scaled_factor(row);
        for (std::size_t done = 0; done < n; done += pieces) {
            const std::size_t count = std::min(pieces, n - done);
            double values[pieces];
            const ExactBlock in(*this, place, row, first + done, count, buffer);
            const bool finite = !row.scaled && float64_.probability_gradient(in.p, in.a, count, clipping_of_row(row),
                                                                             slope_of(row), values);
            std::size_t j = 0;
            if (!finite)
                for_scaled(place, row, first + done, count, buffer, [&](double p, const Scaled& a) {
                    if (row.scaled || !std::isfinite(values[j])) {
                        const bool kept = !a.is_zero() && clipped(Scaled(p) / total) == 0;
                        values[j] = ((linear - (kept ? a / Scaled(p) : Scaled())) * factor).value();
                    }
                    ++j;
                });
            for (j = 0; j < count; ++j)
                out[done + j] = as_stored(values[j]);
        }
    }
    void write_column(const RowTile& tile, std::size_t r, const ProbabilityRow& row, const Buffer<T>& buffer,
                      T* out) const {
        T values[pieces];
        for (std::size_t first = 0; first < call_.classes; first += pieces) {
            const std::size_t n = std::min(pieces, call_.classes - first);
            write(tile.place(r), row, first, n, buffer, values);
            for (std::size_t j = 0; j < n; ++j)
                out[(first + j) * tile.lanes] = values[j];
        }
    }

private:
    Scaled scaled_factor(const ProbabilityRow& row) const {
        return Scaled(call_.normalization.gradient_factor) * Scaled(arrays_.upstream_of_sum) *
               Scaled(row.sample_weight) * Scaled(row.upstream);
    }

    /// Calls fn(probability, coefficient) for n classes from `first` on.
    template <class Fn>
    void for_scaled(RowPlace place, const ProbabilityRow& row, std::size_t first, std::size_t n,
                    const Buffer<T>& buffer, const Fn& fn) const {
        double t[pieces];
        place.target = row.label;
        for (std::size_t done = 0; done < n; done += pieces) {
            const std::size_t count = std::min(pieces, n - done);
            const T* p = arrays_.input.read(place, first + done, count, buffer);
            arrays_.exact_targets(place, first + done, count, t);
            for (std::size_t j = 0; j < count; ++j)
                fn(static_cast<double>(p[j]) + 0.0, Scaled(t[j]) * Scaled(arrays_.class_weight(first + done + j)));
        }
    }

    /// The sum of a row's probabilities but that of `label`.
    Scaled sum_without(const RowPlace& place, std::size_t label, const Buffer<T>& buffer) const {
        ScaledSum sum;
        for (std::size_t first = 0; first < call_.classes; first += pieces) {
            const std::size_t n = std::min(pieces, call_.classes - first);
            const T* p = arrays_.input.read(place, first, n, buffer);
            for (std::size_t j = 0; j < n; ++j)
                if (first + j != label)
                    sum.add(Scaled(static_cast<double>(p[j])));
        }
        return sum.total();
    }

    /// -1 where a share of the total is clipped from below, 1 from above.
    int clipped(const Scaled& share) const {
        const double q = share.value();
        return !clipping_.clips ? 0 : q < clipping_.lower ? -1 : q > clipping_.upper ? 1 : 0;
    }

    /// Probabilities and coefficients of at most `pieces` classes as the float64 kernels take them.
    struct ExactBlock {
        double p[pieces], a[pieces];

        ExactBlock(const ExactProbabilities& problem, RowPlace place, const ProbabilityRow& row, std::size_t first,
                   std::size_t n, const Buffer<T>& buffer) {
            const T* given = problem.arrays_.input.read(place, first, n, buffer);
            std::copy(given, given + n, p);
            place.target = row.label;
            problem.arrays_.exact_coefficients(place, first, n, a);
        }
    };

    const ProbabilityCall& call_;
    const CrossEntropyArrays<T>& arrays_;
    const Clipping& clipping_;
    const Kernels<double>& float64_;
};

}  // namespace logitloss::detail
