// A tile of rows from its sweeps to its ends: what row_sums.hpp does for rows one by one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "logits/log_sum_exp_rows.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// The rows that the fast kernels cannot do, as in BlockKind and RowReducer::merge.
template <class T>
void find_float64_rows(const RowTile& tile, bool sets_aside, const T* top_of_others, RowLanes<T>& sums) {
    constexpr double far_above_deep = -124000.0;  // a logit beside which classes below -2^17 add nothing
    sums.any_needs_float64 = false;
    for (std::size_t r = 0; r < tile.lanes; ++r) {
        const double top = static_cast<double>(top_of_others[r]);
        const double logit = sets_aside ? static_cast<double>(sums.aside.logit[r]) : 0.0;
        if (!sets_aside)
            sums.needs_float64[r] = !(std::fabs(top) <= fast_limit);
        else if (sums.target[r] < T(0) || !(std::fabs(logit) <= fast_limit))
            sums.needs_float64[r] = true;
        else
            sums.needs_float64[r] =
                top > fast_limit || (top < -fast_limit && top > -INFINITY && !(logit > far_above_deep));
        sums.any_needs_float64 |= sums.reads(r) && sums.needs_float64[r];
    }
}

/// Maximum, exponentials and end of every row; `exponentials`: where to keep them, or null. Returns whether a value is
/// near 0.
template <class T>
bool sum_columns(const Kernels<T>& kernels, const RowTile& tile, Columns<const T> x, std::size_t classes,
                 RowLanes<T>& sums, const NextTile& next, T* exponentials) {
    LogSumExpEnds<T>& ends = sums.whole;
    const bool plain = kernels.column_states(x.data, x.stride, {tile.lanes, classes},
                                             {nullptr, nullptr, ends.max, ends.sum, ends.exponent, next}, exponentials);
    std::copy(ends.max, ends.max + tile.lanes, sums.max);
    sums.any_needs_float64 = false;
    if (!plain)
        find_float64_rows(tile, false, ends.max, sums);
    ends.rounding = 0x1p-52;  // every exponential is added in float64
    return kernels.log_sum_exp_ends(&ends, tile.lanes);
}

/// Note [log-sum-exp near 0]: the rows whose `wanted` is not 0 once more.
template <class T>
void sum_columns_again(const Kernels<T>& kernels, const RowTile& tile, Columns<const T> x, std::size_t classes,
                       const double* wanted, RowLanes<T>& sums) {
    kernels.column_paired_exponentials(x.data, x.stride, {tile.lanes, classes}, &sums.whole, wanted);
    kernels.paired_ends(&sums.whole, nullptr, tile.lanes);
}

/// Classes set aside of columns in a buffer: -inf stands in their place, which is cheaper than comparing every class's
/// number with theirs.
template <class T>
class AsideInColumns {
public:
    AsideInColumns(const RowTile& tile, const T* targets, T* columns)
        : tile_(tile), targets_(targets), columns_(columns) {}

    /// Returns whether every |logit| is at most fast_limit.
    bool take_out(T* logits) const {
        bool plain = true;
        for (std::size_t r = 0; r < tile_.lanes; ++r) {
            logits[r] = T(0);
            if (targets_[r] < T(0))
                continue;
            T& place = at(r);
            logits[r] = place;
            place = -std::numeric_limits<T>::infinity();
            plain &= std::fabs(logits[r]) <= T(fast_limit);
        }
        return plain;
    }
    void put_back(const T* logits) const {
        for (std::size_t r = 0; r < tile_.lanes; ++r)
            if (targets_[r] >= T(0))
                at(r) = logits[r];
    }

private:
    T& at(std::size_t r) const { return columns_[static_cast<std::size_t>(targets_[r]) * tile_.lanes + r]; }

    const RowTile& tile_;
    const T* targets_;
    T* columns_;
};

/// As sum_columns, with a class set aside of each row's sum: the target, or the largest, which is found here. `own`:
/// the columns, if they are a buffer that may be written; the classes set aside are then missing in it.
template <class T>
void sum_columns_beside(const Kernels<T>& kernels, const RowTile& tile, bool largest, EndParts parts,
                        Columns<const T> x, T* own, std::size_t classes, RowLanes<T>& sums, const NextTile& next,
                        T* exponentials) {
    const TileShape shape{tile.lanes, classes};
    if (largest)
        kernels.column_largest(x.data, x.stride, shape, sums.target);
    AsideEnds<T>& ends = sums.aside;
    T top[most_lanes];
    ColumnStates<T> states{sums.target, ends.logit, top, ends.sum, ends.exponent, next};
    bool plain = true;
    if (own != nullptr) {
        states.aside = nullptr;
        plain = AsideInColumns<T>(tile, sums.target, own).take_out(ends.logit);
    }
    plain &= kernels.column_states(x.data, x.stride, shape, states, exponentials);
    for (std::size_t r = 0; r < tile.lanes; ++r)
        sums.max[r] = ends.logit[r] > top[r] ? ends.logit[r] : top[r];
    sums.any_needs_float64 = false;
    if (!plain)
        find_float64_rows(tile, true, top, sums);
    ends.max = sums.max;
    kernels.aside_ends(&ends, tile.lanes, parts);
}

/// Linear sums over the coefficients.
template <class T>
void add_linear_columns(const Kernels<T>& kernels, const RowTile& tile, Columns<const T> x, std::size_t classes,
                        RowLanes<T>& sums) {
    const T* q = sums.coefficients;
    kernels.column_gaps(x.data, x.stride, q, {tile.lanes, classes}, sums.max, sums.gaps);
    if (q == nullptr) {
        std::fill(sums.aside_mass, sums.aside_mass + tile.lanes, 1.0);
        std::fill(sums.other_mass, sums.other_mass + tile.lanes, static_cast<double>(classes - 1));
        return;
    }
    kernels.column_sum(q, static_cast<std::ptrdiff_t>(tile.lanes), {tile.lanes, classes}, sums.target, sums.other_mass);
    for (std::size_t r = 0; r < tile.lanes; ++r) {
        const bool present = sums.target[r] >= T(0);
        sums.aside_mass[r] =
            present ? static_cast<double>(q[static_cast<std::size_t>(sums.target[r]) * tile.lanes + r]) : 0.0;
    }
}

}  // namespace logitloss::detail
