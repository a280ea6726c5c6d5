// From a kind of Hessian to what the kernels make of second derivatives.
#pragma once

#include <initializer_list>
#include <string>

#include "kernels/kernel_table.hpp"
#include "logitloss/error.hpp"
#include "logitloss/hessian.hpp"

namespace logitloss::detail {

/// As Python spells it.
inline const char* name(Hessian kind) {
    switch (kind) {
    case Hessian::exact:
        return "exact";
    case Hessian::upper:
        return "upper";
    case Hessian::friedman:
        return "friedman";
    case Hessian::absolute:
        return "abs";
    case Hessian::clipped:
        return "clipped";
    }
    return "unknown";
}

/// The rule of a kind for `classes` classes; value_error for one that the loss, which says what it has, does not have.
/// `scale` multiplies what is written, but not the floor.
inline HessianRule hessian_rule(Hessian kind, double classes, double scale, std::initializer_list<Hessian> has,
                                const char* expected) {
    bool known = false;
    for (const Hessian other : has)
        known |= other == kind;
    if (!known)
        throw value_error(std::string("hessian: got '") + name(kind) + "', expected " + expected);
    HessianRule rule;
    rule.factor = scale;
    rule.absolute = kind == Hessian::absolute;
    if (kind == Hessian::upper)
        rule = {2.0 * scale, 1e-16, false};
    if (kind == Hessian::friedman && classes > 1.0)
        rule.factor = classes / (classes - 1.0) * scale;
    if (kind == Hessian::clipped)
        rule.floor = 0.0;
    return rule;
}

/// The rule of a cross-entropy.
inline HessianRule convex_hessian_rule(Hessian kind, double classes, double scale = 1.0) {
    return hessian_rule(kind, classes, scale, {Hessian::exact, Hessian::upper, Hessian::friedman, Hessian::absolute},
                        "'exact', 'upper', 'friedman' or 'abs'");
}

}  // namespace logitloss::detail
