// The arithmetic of a cross-entropy's row: from its sums and its log-sum-exp to its loss and what its gradient takes.
// Note [row factors]
#pragma once

#include <cmath>
#include <cstddef>

namespace logitloss::detail {

/// a b, but 0 for 0 times infinity: a weight of 0 removes an infinite term. NaN stays.
inline double times(double a, double b) {
    return (a == 0.0 && std::isinf(b)) || (b == 0.0 && std::isinf(a)) ? 0.0 : a * b;
}

/// What a row's loss and gradient are made of; RowSums and RowEnd say what each is.
struct RowFigures {
    double gap, lse, probability, complement, max, gaps, other_mass, out_mass, mass;
};

/// A row's loss and gradient before the factors that multiply all of it:
/// grad_j = mass p_j + linear q_j, and out_gradient at the class taken out.
struct RowTerms {
    double loss;
    double mass;
    double linear;
    double out_gradient;
};

/// The options that a row's end takes: e, C and c of the formulas below.
struct TermOptions {
    double smoothing;
    std::size_t classes;
    double z_loss;
};

/// (1-e) w_y (L - z_y) + (e/C) sum_j w_j (L - z_j) + c w_y L^2,  w = w_y, of logits of type T.
///
/// Note [smoothing without cancellation]: sum_j w_j (L - z_j) = W (L - max) + sum_j w_j (max - z_j), whose terms
/// all have one sign; and the gradient at the target is built from 1 - p_y, which the row's end has to relative
/// accuracy.
template <class T>
RowTerms index_terms(double w, const RowFigures& row, const TermOptions& options) {
    const double keep = 1.0 - options.smoothing;
    const double c = options.z_loss;
    RowTerms terms{times(keep * w, row.gap), keep * w, 0.0, -(keep * w) * row.complement};
    if (options.smoothing > 0.0) {
        const double spread = options.smoothing / static_cast<double>(options.classes);
        const double above_max = std::fmax(0.0, row.lse - row.max);
        terms.loss += spread * (times(row.mass, above_max) + row.gaps);
        terms.mass += spread * row.mass;
        terms.linear = -spread;
        // row.mass is a sum of weights of type T: one class must give exactly 0.
        const double target_mass = static_cast<double>(static_cast<T>(w));
        terms.out_gradient += spread * (row.mass * row.probability - target_mass);
    }
    if (c != 0.0) {
        terms.loss += times(c * w, row.lse * row.lse);
        terms.mass += 2.0 * c * row.lse * w;
        terms.out_gradient += 2.0 * c * row.lse * w * row.probability;
    }
    return terms;
}

/// sum_j q_j (L - z_j) + c L^2, the largest logit's class a taken out: q (L - z_a) + sum_j q_j (z_a - z_j) cancels
/// nowhere, and at a the gradient sum(q) p_a - q_a of a confident row is sum_{j != a} q_j - sum(q) (1 - p_a).
inline RowTerms probability_terms(const RowFigures& row, const TermOptions& options) {
    const double c = options.z_loss;
    RowTerms terms{
        times(row.mass, row.gap) + row.gaps, row.mass, -1.0,
        row.complement < 0.5 ? row.other_mass - row.mass * row.complement : row.mass * row.probability - row.out_mass};
    if (c != 0.0) {
        terms.loss += c * row.lse * row.lse;
        terms.mass += 2.0 * c * row.lse;
        terms.out_gradient += 2.0 * c * row.lse * row.probability;
    }
    return terms;
}

}  // namespace logitloss::detail
