// What is known of rows of logits between their sweeps.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// Rows between their sweeps, an array a quantity: those of a tile, a batch of rows of one block, or a single row. Lanes
/// from RowTile::count on, and those of rows that are not read, hold numbers that mean nothing.
template <class T>
struct RowLanes {
    T read[most_lanes];              ///< 1 where the row is looked at, else 0
    bool all_read;                   ///< whether all are
    std::int64_t label[most_lanes];  ///< of class indices, as it was given; -1 if there are none
    T target[most_lanes];            ///< number of the class set aside, -1 for none
    bool needs_float64[most_lanes];  ///< whether the row must take the row traversal, which has float64 for it
    bool any_needs_float64;          ///< whether one must; `needs_float64` holds only then
    bool any_needs_exact;            ///< whether one must for what the problem made of its sums
    bool keeps_loss[most_lanes];     ///< whether it must for its gradient only; holds beside any_needs_exact

    T max[most_lanes];        ///< the largest logit
    LogSumExpEnds<T> whole;   ///< of rows that are summed whole
    AsideEnds<T> aside;       ///< of rows with a class set aside
    double gaps[most_lanes];  ///< these three as in RowSums
    double other_mass[most_lanes];
    double aside_mass[most_lanes];
    const T* coefficients;  ///< of the linear term, RowTile::lanes apart; null: all 1

    // what the problem makes of them
    T reference[most_lanes];  ///< what it subtracts from the row's logits; holds where `referenced`
    bool referenced;
    bool writable;                 ///< whether write_columns does for all rows that are read
    double loss[most_lanes];       ///< 0 where the row is not read
    double out_scale[most_lanes];  ///< factor of the exponentials
    double linear[most_lanes];     ///< factor of the linear term
    double value[most_lanes];      ///< what is written at the class set aside
    ColumnScales<T> columns;       ///< the same for write_columns

    /// All of the tile's rows are read, and no class is taken out yet.
    void start(const RowTile& tile) {
        std::fill(read, read + tile.lanes, T(1));
        all_read = true;
        std::fill(label, label + tile.lanes, std::int64_t(-1));
        std::fill(target, target + tile.lanes, T(-1));
        any_needs_float64 = any_needs_exact = false;
        referenced = false;
        writable = true;
    }
    /// The row's label as a class, no_index if it is none.
    std::size_t class_of(std::size_t r, std::size_t classes) const {
        return static_cast<std::uint64_t>(label[r]) < classes ? static_cast<std::size_t>(label[r]) : no_index;
    }
    bool reads(std::size_t r) const { return all_read || read[r] != T(0); }
};

}  // namespace logitloss::detail
