// Single rows of a cross-entropy in numbers that neither overflow nor lose digits: what the row traversal leaves to it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "layout/scaled_pair.hpp"
#include "losses/cross_entropy/cross_entropy_arrays.hpp"

namespace logitloss::detail {

/// What the gradient sweep of an exact row takes. Not initialised: few rows have one.
struct ExactRow {
    std::size_t leader;      ///< the class of the largest logit, transformed
    double leader_logit;     ///< its logit, softcapped
    bool target_leads;       ///< whether it is the target
    ScaledNumber total;      ///< sum_j exp(z_j - z_leader)
    ScaledNumber mass;       ///< factor of the probabilities
    ScaledNumber of_leader;  ///< gradient there, before `factor`
    ScaledNumber factor;     ///< multiplies every gradient
};

/// Note [exact rows]: a row's loss may be an ordinary number though sums, products or differences on the way to it leave
/// the range of float64 or of the logits' own type: logits near its ends, weights and options that are huge or tiny.
/// Nobody can say so in advance, but the result tells: it is infinite or NaN, or a factor is far from 1. Such a row is
/// computed again here, class by class. With m the largest transformed logit and g_j = m - z_j >= 0, which are rounded
/// once from exact differences of the logits given,
///     L - m = log1p(sum_{j != leader} exp(-g_j)),   loss = sum_j q_j ((L - m) + g_j) + c w L^2,
/// whose terms have no overflow in ScaledNumber and no offset that logits have in common.
template <class T>
class ExactRows {
public:
    ExactRows(const LogitCall& call, const CrossEntropyArrays<T>& arrays, const KernelTable& table)
        : call_(call), arrays_(arrays), float64_(table.float64) {}

    /// Loss of a row, and what its gradient takes but ExactRow::factor. Returns false, and leaves the loss, where a NaN
    /// or +inf among the logits decides: there the row traversal is right. A row without any coefficient has loss 0.
    bool sum(const RowPlace& place, const Buffer<T>& buffer, ScaledNumber& loss, ExactRow& row) const {
        Seen seen;
        for_pieces(place, 0, call_.classes, buffer, [&](const Piece& piece) { look_at(piece, seen); });
        if (!seen.any_coefficient && call_.options.z_loss == 0.0) {
            loss = 0.0;
            row = {no_index, 0.0, false, 1.0, 0.0, 0.0, 0.0};
            return true;
        }
        if (seen.any_nan || !find_leader(place, seen, row))
            return false;
        Sums sums;
        for_pieces(place, 0, call_.classes, buffer, [&](const Piece& piece) { add(piece, row, sums); });
        end(place, sums, loss, row);
        return true;
    }

    /// Gradient of n classes from `first` on. `out` may be where the logits lie.
    void write(const RowPlace& place, const ExactRow& row, std::size_t first, std::size_t n, const Buffer<T>& buffer,
               T* out) const {
        for_pieces(place, first, n, buffer, [&](const Piece& piece) {
            for (std::size_t i = 0; i < piece.count; ++i) {
                const std::size_t j = piece.first + i;
                ScaledNumber gradient = row.of_leader;
                if (j != row.leader)
                    gradient = row.mass * (exponential(gap(piece, i, row)) / row.total) - coefficient(piece, i);
                gradient = gradient * row.factor * slope(piece.raw[i]);
                out[j - first] = static_cast<T>(gradient.value());
            }
        });
    }

private:
    static constexpr std::size_t piece_size = CrossEntropyArrays<T>::piece;

    /// Some classes of a row.
    struct Piece {
        std::size_t first;
        std::size_t count;
        std::size_t target;         ///< the row's
        double raw[piece_size];     ///< logits as given
        double logit[piece_size];   ///< softcapped
        double weight[piece_size];  ///< of the classes
        double given[piece_size];   ///< class probabilities
    };
    struct Seen {
        bool any_nan = false;
        bool any_coefficient = false;
        std::size_t leader = no_index;  ///< of the classes but the target
        double leader_logit = -INFINITY;
        double target_logit = -INFINITY;
    };
    struct Sums {
        ScaledPairSum exponentials;  ///< but the leader's
        ScaledPairSum mass;          ///< but the leader's
        ScaledNumber of_leader = 0.0;
        ScaledPairSum gaps;
    };

    template <class Fn>
    void for_pieces(const RowPlace& place, std::size_t first, std::size_t n, const Buffer<T>& buffer, Fn&& fn) const {
        Piece piece;
        piece.target = call_.indices ? place.target : no_index;
        for (std::size_t done = 0; done < n; done += piece_size) {
            piece.first = first + done;
            piece.count = std::min(piece_size, n - done);
            const T* x = arrays_.input.read(place, piece.first, piece.count, buffer);
            std::copy(x, x + piece.count, piece.raw);
            std::copy(x, x + piece.count, piece.logit);
            if (call_.options.softcap)
                float64_.softcap(piece.logit, piece.count, *call_.options.softcap, piece.logit);
            arrays_.exact_factors(place, piece.first, piece.count, piece.weight, piece.given);
            fn(piece);
        }
    }

    void look_at(const Piece& piece, Seen& seen) const {
        for (std::size_t i = 0; i < piece.count; ++i) {
            const double logit = piece.logit[i];
            seen.any_nan |= logit != logit;
            seen.any_coefficient = seen.any_coefficient || !coefficient(piece, i).is_zero();
            if (piece.first + i == piece.target) {
                seen.target_logit = logit;
            } else if (logit > seen.leader_logit) {
                seen.leader = piece.first + i;
                seen.leader_logit = logit;
            }
        }
    }

    /// Returns whether there is one that is finite.
    bool find_leader(const RowPlace& place, const Seen& seen, ExactRow& row) const {
        const ScaledNumber lead = margin_over(seen.target_logit, seen.leader_logit).rounded();
        row.target_leads = call_.indices && !(lead < 0.0) && seen.target_logit > -INFINITY;
        row.leader = row.target_leads ? place.target : seen.leader;
        row.leader_logit = row.target_leads ? seen.target_logit : seen.leader_logit;
        return std::isfinite(row.leader_logit) && seen.target_logit < INFINITY;
    }
    /// a - b - margin, exactly but for the last digits of `low`; infinite where b is.
    ScaledPair margin_over(double a, double b) const {
        if (std::isinf(a) || std::isinf(b))
            return {a - b, 0.0};
        return ScaledPair{a, 0.0} + -ScaledNumber(b) + -ScaledNumber(call_.options.margin);
    }

    /// z_leader - z_j
    ScaledPair gap(const Piece& piece, std::size_t i, const ExactRow& row) const {
        const double logit = piece.logit[i];
        if (logit == -INFINITY)
            return {INFINITY, 0.0};
        ScaledPair difference = ScaledPair{row.leader_logit, 0.0} + -ScaledNumber(logit);
        if (row.target_leads)
            difference = difference + -ScaledNumber(call_.options.margin);
        else if (piece.first + i == piece.target)
            difference = difference + ScaledNumber(call_.options.margin);
        return difference * ScaledNumber(call_.options.scale);
    }

    /// exp(-gap), and 0 where no product of factors would bring it back.
    ScaledNumber exponential(const ScaledPair& gap) const {
        constexpr double log2e = 0x1.71547652b82fep+0, ln2_high = 0x1.62e42fefa39efp-1, ln2_low = 0x1.abc9e3b39803fp-56;
        constexpr double none = 16384.0;
        if (!gap.high.is_finite() || !(gap.high < none))
            return 0.0;
        const double x = -gap.high.value();
        const double n = std::floor(std::fma(x, log2e, 0.5));
        double t = std::fma(-n, ln2_low, std::fma(-n, ln2_high, x)) - gap.low.value();
        float64_.exp(&t, 1, &t);
        return {t, static_cast<std::int64_t>(n)};
    }

    /// q_j = w_j ((1-e) t_j + e/C)
    ScaledNumber coefficient(const Piece& piece, std::size_t i) const {
        const double smoothing = call_.options.label_smoothing;
        const double given = piece.given[i];
        if (piece.weight[i] == 0.0 || (smoothing == 0.0 && given == 0.0))
            return 0.0;
        const ScaledNumber kept = ScaledNumber(1.0 - smoothing) * given;
        const ScaledNumber spread = ScaledNumber(smoothing) / static_cast<double>(call_.classes);
        return ScaledNumber(piece.weight[i]) * (kept + spread);
    }

    void add(const Piece& piece, const ExactRow& row, Sums& sums) const {
        for (std::size_t i = 0; i < piece.count; ++i) {
            const ScaledNumber q = coefficient(piece, i);
            if (piece.first + i == row.leader) {
                sums.of_leader = q;
                continue;
            }
            const ScaledPair below = gap(piece, i, row);
            sums.exponentials.add(exponential(below));
            if (q.is_zero())
                continue;
            sums.mass.add(q);
            sums.gaps.add(q * below.rounded());
        }
    }

    void end(const RowPlace& place, const Sums& sums, ScaledNumber& loss, ExactRow& row) const {
        const ScaledNumber others = sums.exponentials.total();
        const ScaledNumber other_mass = sums.mass.total();
        const ScaledNumber mass = other_mass + sums.of_leader;
        const ScaledNumber above = log1p(others);
        row.total = others + 1.0;
        row.mass = mass;
        loss = mass * above + sums.gaps.total();
        const ScaledNumber complement = others / row.total;
        row.of_leader = complement < 0.5 ? other_mass - mass * complement : mass / row.total - sums.of_leader;
        if (call_.options.z_loss == 0.0)
            return;
        const double margin = row.target_leads ? call_.options.margin : 0.0;
        const ScaledPair top = (ScaledPair{row.leader_logit, 0.0} + -ScaledNumber(margin)) * call_.options.scale;
        const ScaledNumber lse = (top + above).rounded();
        const ScaledNumber weight = call_.indices ? arrays_.class_weight(place.target) : 1.0;
        const ScaledNumber c = weight * call_.options.z_loss;
        const ScaledNumber slope = c * lse * 2.0;
        loss = loss + c * lse * lse;
        row.mass = mass + slope;
        row.of_leader = row.of_leader + slope / row.total;
    }

    /// log(1 + x) of x >= 0.
    ScaledNumber log1p(const ScaledNumber& x) const {
        if (x < 0x1p-60)
            return x;
        double y = x.value();
        float64_.log1p(&y, 1, &y);
        return y;
    }

    /// Derivative of the softcapped logit: 4 e / (1 + e)^2 with e = exp(-2 |x / s|).
    ScaledNumber slope(double x) const {
        if (!call_.options.softcap || x == -INFINITY)
            return 1.0;
        if (std::isinf(x))
            return 0.0;
        const ScaledNumber doubled = ScaledNumber(std::fabs(x)) * 2.0;
        const ScaledNumber e = exponential({doubled / *call_.options.softcap, 0.0});
        const ScaledNumber sum = e + 1.0;
        return e * 4.0 / (sum * sum);
    }

    const LogitCall& call_;
    const CrossEntropyArrays<T>& arrays_;
    const Kernels<double>& float64_;
};

}  // namespace logitloss::detail
