// exp, log and log1p of one number, with the bits that the kernels give them on every machine.
#pragma once

#include "runtime/dispatch.hpp"

namespace logitloss::detail {

inline double exp_of(double x) {
    kernels().float64.exp(&x, 1, &x);
    return x;
}

inline double log_of(double x) {
    kernels().float64.log(&x, 1, &x);
    return x;
}

inline double log1p_of(double x) {
    kernels().float64.log1p(&x, 1, &x);
    return x;
}

}  // namespace logitloss::detail
