// The order in which the library adds up numbers that are not lanes of a vector.
#pragma once

#include <cstddef>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {

/// Eight strided sums and their tree. What each addition rounds away is added up beside it, so that a mean over millions
/// of rows keeps its digits.
class StridedSum {
public:
    void add(std::size_t index, double value) {
        double& part = parts_[index % 8];
        const double sum = part + value;
        const double back = sum - part;
        lost_[index % 8] += (part - (sum - back)) + (value - back);
        part = sum;
    }
    /// `count` values from `index` on.
    void add(const NumberKernels& kernels, std::size_t index, std::size_t count, const double* values) {
        const std::size_t whole = index % 8 == 0 ? count / 8 * 8 : 0;
        kernels.add_strided(values, whole, parts_, lost_);
        for (std::size_t i = whole; i < count; ++i)
            add(index + i, values[i]);
    }
    /// Multiplies what was added by a power of two.
    void scale(double power) {
        for (int i = 0; i < 8; ++i) {
            parts_[i] *= power;
            lost_[i] *= power;
        }
    }
    double total() const {
        const double sum = tree(parts_);
        const double lost = tree(lost_);
        return lost - lost == 0.0 ? sum + lost : sum;  // infinities and NaN have nothing to add
    }

private:
    static double tree(const double (&t)[8]) {
        return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
    }

    double parts_[8] = {};
    double lost_[8] = {};
};

/// A sum of numbers in two parts: the whole rounded, and what that took away.
class PairedSum {
public:
    PairedSum() = default;
    explicit PairedSum(const SumPair& first) : sum_(first) {}

    void add(const SumPair& term) {
        const double sum = sum_.first + term.first;
        const double back = sum - sum_.first;
        const double lost = (sum_.first - (sum - back)) + (term.first - back);
        const double rest = lost + (sum_.second + term.second);
        sum_.first = sum + rest;
        sum_.second = rest - (sum_.first - sum);
    }
    const SumPair& value() const { return sum_; }

private:
    SumPair sum_{0.0, 0.0};
};

}  // namespace logitloss::detail
