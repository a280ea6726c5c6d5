// Numbers with float64's digits and no end to their exponent: for products and sums whose result float64 holds though
// it does not hold what leads there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace logitloss::detail {

/// mantissa 2^exponent with a mantissa of [1/2, 1) in size, or 0, an infinity or NaN, which behave as float64's. Every
/// operation rounds once.
class ScaledNumber {
public:
    ScaledNumber() = default;
    // NOLINTNEXTLINE(google-explicit-constructor): a double is such a number
    ScaledNumber(double value) : ScaledNumber(value, 0) {}
    ScaledNumber(double value, std::int64_t exponent) {
        int shift = 0;
        mantissa_ = std::frexp(value, &shift);
        exponent_ = is_zero() || !is_finite() ? 0 : exponent + shift;
    }

    bool is_zero() const { return mantissa_ == 0.0; }
    bool is_finite() const { return mantissa_ - mantissa_ == 0.0; }
    /// The nearest float64.
    double value() const {
        return std::ldexp(mantissa_, static_cast<int>(std::clamp<std::int64_t>(exponent_, -4096, 4096)));
    }

    ScaledNumber operator-() const { return of_parts(-mantissa_, exponent_); }
    friend ScaledNumber operator+(const ScaledNumber& a, const ScaledNumber& b) {
        constexpr std::int64_t out_of_sight = 120;  // bits below which the smaller one does not show
        if (!a.is_finite() || !b.is_finite())
            return a.mantissa_ + b.mantissa_;
        if (a.is_zero() || b.is_zero())
            return a.is_zero() ? b : a;
        const std::int64_t apart = a.exponent_ - b.exponent_;
        if (apart < 0)
            return b + a;
        if (apart > out_of_sight)
            return a;
        return {a.mantissa_ + std::ldexp(b.mantissa_, -static_cast<int>(apart)), a.exponent_};
    }
    friend ScaledNumber operator-(const ScaledNumber& a, const ScaledNumber& b) { return a + -b; }
    friend ScaledNumber operator*(const ScaledNumber& a, const ScaledNumber& b) {
        return {a.mantissa_ * b.mantissa_, a.exponent_ + b.exponent_};
    }
    friend ScaledNumber operator/(const ScaledNumber& a, const ScaledNumber& b) {
        return {a.mantissa_ / b.mantissa_, a.exponent_ - b.exponent_};
    }
    friend bool operator<(const ScaledNumber& a, const ScaledNumber& b) { return (a - b).mantissa_ < 0.0; }

    /// What a * b rounds away.
    static ScaledNumber lost_by_product(const ScaledNumber& a, const ScaledNumber& b) {
        const double product = a.mantissa_ * b.mantissa_;
        return {std::fma(a.mantissa_, b.mantissa_, -product), a.exponent_ + b.exponent_};
    }

private:
    static ScaledNumber of_parts(double mantissa, std::int64_t exponent) {
        ScaledNumber number;
        number.mantissa_ = mantissa;
        number.exponent_ = exponent;
        return number;
    }

    double mantissa_;
    std::int64_t exponent_;
};

/// high + low: a number to twice the digits.
struct ScaledPair {
    ScaledNumber high;
    ScaledNumber low;

    ScaledNumber rounded() const { return high + low; }
    ScaledPair operator+(const ScaledNumber& b) const {
        const ScaledNumber sum = high + b;
        const ScaledNumber back = sum - high;
        return {sum, low + ((high - (sum - back)) + (b - back))};
    }
    ScaledPair operator*(const ScaledNumber& b) const {
        return {high * b, ScaledNumber::lost_by_product(high, b) + low * b};
    }
};

/// A sum, with what its additions round away; infinities and NaN have nothing to add.
class ScaledPairSum {
public:
    void add(const ScaledNumber& term) { sum_ = sum_ + term; }
    ScaledNumber total() const { return sum_.high.is_finite() ? sum_.rounded() : sum_.high; }

private:
    ScaledPair sum_{0.0, 0.0};
};

}  // namespace logitloss::detail
