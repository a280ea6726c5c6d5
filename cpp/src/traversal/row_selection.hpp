// Which rows of a call with class targets count, and their labels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "traversal/row_operands.hpp"

namespace logitloss::detail {

/// Rows of sample weight 0 do not count, nor do those whose label is the one to ignore: nothing else of them is read.
class CountedRows {
public:
    RowNumbers labels;  ///< given if the target holds class indices
    RowNumbers sample_weight;

    CountedRows(std::size_t classes, std::optional<std::int64_t> ignore_index)
        : classes_(classes), ignore_index_(ignore_index) {}

    /// Labels of a tile's rows, which class is taken out of each, and which rows are read.
    template <class T>
    void read_labels(const Kernels<T>& kernels, const Tile& tile, TileSums<T>& sums) const {
        labels.read_integers(tile, sums.label);
        std::fill(sums.label + tile.count, sums.label + tile.lanes, sums.label[0]);
        const bool ignores_a_class = ignore_index_ && static_cast<std::uint64_t>(*ignore_index_) < classes_;
        // Labels were validated, but the caller may be changing them meanwhile: one out of range counts as ignored.
        sums.all_read = kernels.class_numbers(sums.label, tile.lanes, classes_, ignores_a_class ? *ignore_index_ : -1,
                                              sums.target, sums.read);
    }
    template <class T>
    void skip_weightless(const Tile& tile, TileSums<T>& sums) const {
        double weight[most_lanes];
        const double* weights = sample_weight.read_if_given(tile, weight);
        for (std::size_t r = 0; r < tile.lanes; ++r)
            if (weights[r] == 0.0) {
                sums.read[r] = T(0);
                sums.all_read = false;
            }
    }
    /// Which rows of a tile count, their labels (no_index for class probabilities) and weights.
    void read(const Tile& tile, bool* counts, std::size_t* label, double* weight) const {
        std::fill(counts, counts + tile.count, true);
        std::fill(label, label + tile.count, no_index);
        std::fill(weight, weight + tile.count, 1.0);
        if (sample_weight.given()) {
            sample_weight.read(tile, weight);
            for (std::size_t r = 0; r < tile.count; ++r)
                counts[r] = weight[r] != 0.0;
        }
        if (!labels.given())
            return;
        std::int64_t numbers[most_lanes];
        labels.read_integers(tile, numbers);
        for (std::size_t r = 0; r < tile.count; ++r) {
            label[r] = checked(numbers[r]);
            counts[r] &= !is_ignored(numbers[r]) && label[r] != no_index;
        }
    }
    bool is_ignored(std::int64_t label) const { return ignore_index_ && label == *ignore_index_; }

private:
    /// The labels were checked, but another thread of the caller's may be writing them: no_index outside the classes.
    std::size_t checked(std::int64_t label) const {
        return static_cast<std::uint64_t>(label) < classes_ ? static_cast<std::size_t>(label) : no_index;
    }

    std::size_t classes_;
    std::optional<std::int64_t> ignore_index_;
};

}  // namespace logitloss::detail
