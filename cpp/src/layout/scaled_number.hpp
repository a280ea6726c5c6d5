// Numbers with an exponent of their own: for products and sums whose parts leave the range of double though the whole
// does not. Slow, and for the few elements and rows that need it.
#pragma once

#include <climits>
#include <cmath>
#include <cstdlib>

#include "runtime/elementary.hpp"

namespace logitloss::detail {

/// mantissa 2^exponent: the mantissa in [1/2, 1) but for its sign, or 0, infinite or NaN. Operations round as those of
/// double do, and never for want of range.
class Scaled {
public:
    Scaled() = default;
    explicit Scaled(double x) : Scaled(x, 0) {}
    /// x 2^exponent
    Scaled(double x, int exponent) : mantissa_(x) {
        if (x == 0.0 || !std::isfinite(x))
            return;
        mantissa_ = std::frexp(x, &exponent_);
        exponent_ += exponent;
    }

    double mantissa() const { return mantissa_; }
    int exponent() const { return exponent_; }
    bool is_zero() const { return mantissa_ == 0.0; }
    bool is_finite() const { return std::isfinite(mantissa_); }
    /// Rounded once, also to a subnormal number.
    double value() const { return times_power(0); }
    /// value() 2^power
    double times_power(int power) const { return std::ldexp(mantissa_, exponent_ + power); }

    /// 0 where either is 0, whatever the other is.
    friend Scaled operator*(const Scaled& a, const Scaled& b) {
        if (a.is_zero() || b.is_zero())
            return Scaled();
        return Scaled(a.mantissa_ * b.mantissa_, a.exponent_ + b.exponent_);
    }
    /// 0 where a is 0, whatever b is.
    friend Scaled operator/(const Scaled& a, const Scaled& b) {
        return a.is_zero() ? Scaled() : Scaled(a.mantissa_ / b.mantissa_, a.exponent_ - b.exponent_);
    }
    friend Scaled operator-(const Scaled& a) { return Scaled(0.0 - a.mantissa_, a.exponent_); }
    friend Scaled operator+(const Scaled& a, const Scaled& b) {
        if (a.is_zero() || b.is_zero())
            return a.is_zero() ? b : a;
        const int exponent = a.exponent_ > b.exponent_ ? a.exponent_ : b.exponent_;
        return Scaled(a.times_power(-exponent) + b.times_power(-exponent), exponent);
    }
    friend Scaled operator-(const Scaled& a, const Scaled& b) { return a + -b; }

private:
    double mantissa_ = 0.0;
    int exponent_ = 0;
};

/// log(x), also of an x that double does not hold.
inline double log_of(const Scaled& x) {
    if (!x.is_finite() || x.is_zero() || std::abs(x.exponent()) < 1000)
        return log_of(x.value());
    return log_of(x.mantissa()) + x.exponent() * log_of(2.0);
}

/// A sum of such numbers, with what its additions round away.
class ScaledSum {
public:
    void add(const Scaled& x) {
        if (x.is_zero())
            return;
        if (x.exponent() > exponent_) {
            const int shift = exponent_ == INT_MIN ? 0 : exponent_ - x.exponent();
            sum_ = std::ldexp(sum_, shift);
            lost_ = std::ldexp(lost_, shift);
            exponent_ = x.exponent();
        }
        const double term = x.times_power(-exponent_);
        const double sum = sum_ + term;
        const double back = sum - sum_;
        lost_ += (sum_ - (sum - back)) + (term - back);
        sum_ = sum;
    }
    Scaled total() const {
        const double sum = std::isfinite(lost_) ? sum_ + lost_ : sum_;  // infinities have nothing to add
        return exponent_ == INT_MIN ? Scaled() : Scaled(sum, exponent_);
    }

private:
    double sum_ = 0.0;
    double lost_ = 0.0;
    int exponent_ = INT_MIN;
};

}  // namespace logitloss::detail
