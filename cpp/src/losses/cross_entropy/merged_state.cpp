// From the states of a row's shards to one: Note [states of shards].
#include "losses/cross_entropy/merged_state.hpp"

#include <limits>

#include "layout/strided_sum.hpp"
#include "logits/log_sum_exp_rows.hpp"
#include "runtime/elementary.hpp"

namespace logitloss::detail {
namespace {

/// Offsets beyond it are rounded to float64: their own rounding is larger than a power of two.
constexpr double most_exact = 0x1p50;

/// a + b, and what the sum rounds away; finite numbers.
double two_sum(double a, double b, double* lost) {
    const double sum = a + b;
    const double back = sum - a;
    *lost = (a - (sum - back)) + (b - back);
    return sum;
}

/// The states of a row. The leader has the class that the row sets aside. All logits are taken against its reference, or
/// against that of the largest one, if the leader is so far below that they would all be the same.
class Merge {
public:
    Merge(const CrossEntropyState* states, std::size_t shards, bool largest, double scale)
        : states_(states), shards_(shards), scale_(scale) {
        const auto aside = [](const CrossEntropyState& state) { return state.aside_logit; };
        const auto top = [](const CrossEntropyState& state) { return larger(state.max, state.aside_logit); };
        leader_ = largest ? find_largest(aside) : find_aside();
        reference_ = states_[leader_].reference;
        const double largest_reference = states_[find_largest(top)].reference;
        if (!(std::fabs(Offset(largest_reference, reference_, scale_).high) < most_exact))
            reference_ = largest_reference;
    }

    CrossEntropyState result() const {
        CrossEntropyState all = states_[leader_];
        all.first_class = states_[0].first_class;
        all.end_class = states_[shards_ - 1].end_class;
        all.reference = reference_;
        all.aside_logit += offset(leader_).high;
        all.max = largest_of_others();
        if (!sum_by_exponents(all))
            sum_below_largest(all);
        add_linear(all);
        return all;
    }

private:
    std::size_t find_aside() const {
        std::size_t any = 0;
        for (std::size_t s = 0; s < shards_; ++s) {
            if (states_[s].aside_class >= 0.0)
                return s;
            if (states_[any].max == -INFINITY)
                any = s;
        }
        return any;
    }
    template <class Logit>
    std::size_t find_largest(Logit&& logit) const {
        std::size_t found = 0;
        for (std::size_t s = 1; s < shards_; ++s) {
            const double lead = (logit(states_[s]) - logit(states_[found])) +
                                Offset(states_[s].reference, states_[found].reference, scale_).high;
            if (lead > 0.0)
                found = s;
        }
        return found;
    }

    /// Of a shard without a finite logit: none.
    Offset offset(std::size_t s) const {
        const CrossEntropyState& state = states_[s];
        const bool any = std::isfinite(state.max) || std::isfinite(state.aside_logit);
        return {any ? state.reference : reference_, reference_, scale_};
    }
    /// Calls fn(s, logit) for the classes set aside of shards whose row has another one set aside.
    template <class Fn>
    void for_asides(Fn&& fn) const {
        for (std::size_t s = 0; s < shards_; ++s)
            if (s != leader_ && states_[s].aside_class >= 0.0)
                fn(s, states_[s].aside_logit);
    }

    /// NaN if there is one that shows.
    double largest_of_others() const {
        double top = -INFINITY;
        const auto take = [&](std::size_t s, double logit) {
            const double here = logit + offset(s).high;
            top = here > top || here != here ? here : top;
        };
        for (std::size_t s = 0; s < shards_; ++s)
            take(s, states_[s].max);
        for_asides(take);
        return top;
    }

    /// The sum as LogitRows makes it of blocks, by powers of two. Returns false, and leaves it, if it is none for that.
    bool sum_by_exponents(CrossEntropyState& all) const {
        StateMerger merger;
        bool fits = all.aside_class < 0.0 || std::fabs(all.aside_logit) <= fast_limit;
        const auto add = [&](std::size_t s, double sum, double exponent, double max) {
            const Offset from = offset(s);
            const bool nothing = max == -INFINITY;
            const bool deep = exponent != exponent && max + from.high < -fast_limit;
            fits = fits && from.is_near() && (nothing || deep || exponent == exponent);
            BlockState block{0.0, 0.0, max, nothing || deep ? BlockKind::deep : BlockKind::normal};
            if (block.kind == BlockKind::normal && fits) {
                const Power power = exp_of(from);
                block.sum = sum * power.mantissa;
                block.exponent = exponent + power.exponent;
            }
            merger.add(s, block);
        };
        for (std::size_t s = 0; s < shards_; ++s)
            add(s, states_[s].sum, states_[s].exponent, states_[s].max);
        for_asides([&](std::size_t s, double logit) {
            const bool normal = std::fabs(logit) <= fast_limit;
            const Power power = normal ? exp_of(Offset(logit, 0.0, 1.0)) : Power{0.0, quiet_nan};
            add(s, power.mantissa, power.exponent, logit);
        });
        constexpr double log2e = 0x1.71547652b82fep+0;
        if (!fits || merger.needs_float64(all.aside_class < 0.0 ? no_exponent : all.aside_logit * log2e) ||
            (merger.exponent() == no_exponent && all.aside_class < 0.0))
            return false;
        all.sum = merger.sum();
        all.exponent = merger.exponent();
        return true;
    }

    /// The sum against the largest logit.
    void sum_below_largest(CrossEntropyState& all) const {
        StridedSum total;
        const auto add = [&](std::size_t s, double sum, double exponent, double logit) {
            const Offset from = offset(s);
            double lost;
            Offset below(two_sum(logit, -all.max, &lost), 0.0, 1.0);
            below.low = lost + from.low;
            below.high = two_sum(below.high, from.high, &lost);
            below.low += lost;
            const Power power = exp_of(below);
            total.add(s, sum * power.mantissa * exp2_of(power.exponent + exponent));
        };
        for (std::size_t s = 0; std::isfinite(all.max) && s < shards_; ++s) {
            const CrossEntropyState& state = states_[s];
            const bool relative = state.exponent != state.exponent;
            if (state.sum > 0.0)
                add(s, state.sum, relative ? 0.0 : state.exponent, relative ? state.max : 0.0);
        }
        if (std::isfinite(all.max))
            for_asides([&](std::size_t s, double logit) {
                if (logit > -INFINITY)
                    add(s, 1.0, 0.0, logit);
            });
        all.sum = total.total();
        all.exponent = quiet_nan;
    }

    /// Linear sums from the shards' own largest logits: nothing cancels, all differences have one sign.
    void add_linear(CrossEntropyState& all) const {
        const double top = larger(all.max, all.aside_logit);
        StridedSum gaps, others;
        bool any = false;
        for (std::size_t s = 0; s < shards_; ++s) {
            const CrossEntropyState& state = states_[s];
            const double own = larger(state.max, state.aside_logit);
            const double drop = top - ((std::isfinite(own) ? own : 0.0) + offset(s).high);
            const double mass = state.mass + state.aside_mass;
            any = any || has_mass(state);
            gaps.add(s, state.gaps + (mass == 0.0 || !std::isfinite(top) ? 0.0 : mass * drop));
            others.add(s, s == leader_ ? state.mass : mass);
        }
        all.gaps = gaps.total();
        all.mass = any ? others.total() + 0.0 : no_mass;
    }

    /// 2^n
    static double exp2_of(double n) {
        return std::ldexp(1.0, static_cast<int>(std::fmax(-4096.0, std::fmin(4096.0, n))));
    }

    static constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

    const CrossEntropyState* states_;
    std::size_t shards_;
    double scale_;
    std::size_t leader_;
    double reference_;
};

}  // namespace

Offset::Offset(double reference, double other, double scale) {
    double lost;
    const double apart = two_sum(reference, -other, &lost);
    high = scale * apart;
    low = std::fabs(high) < most_exact ? std::fma(scale, apart, -high) + scale * lost : 0.0;
}

Power exp_of(const Offset& x) {
    constexpr double log2e = 0x1.71547652b82fep+0, ln2_high = 0x1.62e42fefa39efp-1, ln2_low = 0x1.abc9e3b39803fp-56;
    if (!(std::fabs(x.high) < most_exact))
        return {x.high == x.high ? 1.0 : x.high, x.high > 0.0 ? most_exact : -most_exact};
    const double n = std::floor(std::fma(x.high, log2e, 0.5));
    const double t = std::fma(-n, ln2_low, std::fma(-n, ln2_high, x.high)) + x.low;
    return {exp_of(t), n};
}

CrossEntropyState merged(const CrossEntropyState* states, std::size_t shards, bool largest, double scale) {
    return shards == 1 ? states[0] : Merge(states, shards, largest, scale).result();
}

}  // namespace logitloss::detail
