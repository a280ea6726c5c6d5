// The k classes of a row that no others beat.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {

/// Filled block by block. The k best so far set a threshold, and of a further block only what is above it is looked at.
/// Which classes remain, and in which order, follows from the row alone: no two of them are equal.
template <class T>
class TopClasses {
public:
    struct Candidate {
        T logit;
        std::size_t index;
        bool operator<(const Candidate& other) const {  // better
            return logit > other.logit || (logit == other.logit && index < other.index);
        }
    };

    TopClasses(std::size_t k, std::size_t block)
        : k_(k), best_(k == 0 ? 0 : 2 * k + block), indices_(k == 0 ? 0 : block), group_tops_(block / group) {}

    void start() {
        size_ = 0;
        full_ = false;
    }
    /// The next n classes of a row, numbered from `first` on.
    void take(const Kernels<T>& kernels, const T* x, std::size_t n, std::size_t first) {
        if (full_) {
            take_above(kernels, x, n, first, threshold_);
        } else if (size_ == 0 && k_ <= n / group) {
            // The k-th largest of the groups' maxima has k classes at or above it.
            T* tops = group_tops_.data();
            kernels.group_largest(x, n, tops);
            std::nth_element(tops, tops + (k_ - 1), tops + n / group, [](T a, T b) { return a > b; });
            const T least = tops[k_ - 1];
            if (std::isinf(least))
                take_all(x, n, first);
            else
                take_above(kernels, x, n, first, std::nextafter(least, -std::numeric_limits<T>::infinity()));
        } else {
            take_all(x, n, first);
        }
        if (size_ >= (full_ ? 2 * k_ : k_))
            keep_best();
    }
    /// The best in order, after the last block; fewer than k of a row with NaNs.
    std::size_t finish() {
        if (size_ > k_)
            keep_best();
        std::sort(best_.begin(), best_.begin() + static_cast<std::ptrdiff_t>(size_));
        return size_;
    }
    const Candidate& operator[](std::size_t i) const { return best_[i]; }

private:
    static constexpr std::size_t group = 256 / sizeof(T);

    void take_all(const T* x, std::size_t n, std::size_t first) {
        for (std::size_t j = 0; j < n; ++j)
            if (x[j] == x[j])  // NaN has no order
                best_[size_++] = {x[j], first + j};
    }
    void take_above(const Kernels<T>& kernels, const T* x, std::size_t n, std::size_t first, T value) {
        const std::size_t count = kernels.indices_above(x, n, value, indices_.data());
        for (std::size_t i = 0; i < count; ++i)
            best_[size_++] = {x[indices_[i]], first + indices_[i]};
    }
    void keep_best() {
        const auto begin = best_.begin();
        const auto last = begin + static_cast<std::ptrdiff_t>(k_ - 1);
        std::nth_element(begin, last, begin + static_cast<std::ptrdiff_t>(size_));
        threshold_ = last->logit;
        size_ = k_;
        full_ = true;
    }

    std::size_t k_;
    std::vector<Candidate> best_;
    std::vector<std::uint32_t> indices_;
    std::vector<T> group_tops_;
    std::size_t size_ = 0;
    bool full_ = false;  // k are known, and the threshold
    T threshold_ = T(0);
};

}  // namespace logitloss::detail
