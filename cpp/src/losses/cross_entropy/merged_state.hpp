// Merging the states of a row.
#pragma once

#include <cmath>
#include <cstddef>

#include "logitloss/cross_entropy_state.hpp"

namespace logitloss::detail {

/// How far logits against one reference lie above those against another: scale (reference - other), high + low.
struct Offset {
    double high;
    double low;

    Offset(double reference, double other, double scale);
    bool is_zero() const { return high == 0.0; }
    /// Whether exponents of both are of a size that numbers of any type hold.
    bool is_near() const { return std::fabs(high) < 0x1p20; }
};

/// mantissa 2^exponent
struct Power {
    double mantissa;
    double exponent;
};

Power exp_of(const Offset& x);

/// CrossEntropyState::mass where no class has a coefficient; sums that cancel are +0.
constexpr double no_mass = -0.0;
inline bool has_mass(const CrossEntropyState& state) { return state.mass != 0.0 || !std::signbit(state.mass); }

/// The state of all `shards` together. `largest`: which class is set aside, the row's largest or the target; `scale`:
/// what logits are multiplied by.
CrossEntropyState merged(const CrossEntropyState* states, std::size_t shards, bool largest, double scale);

}  // namespace logitloss::detail
