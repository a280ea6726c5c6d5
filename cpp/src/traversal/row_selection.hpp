// Which rows of a call with class targets count, and their labels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "traversal/row_operands.hpp"

namespace logitloss::detail {

/// Rows of sample weight 0 do not count, nor do those whose label is the one to ignore: nothing else of them is read.
class RowSelection {
public:
    RowNumbers labels;  ///< given if the target holds class indices
    RowNumbers sample_weight;

    /// `weight_scale` multiplies what weights are read: Note [means of tiny and huge weights].
    RowSelection(std::size_t classes, std::optional<std::int64_t> ignore_index, double weight_scale)
        : classes_(classes), ignore_index_(ignore_index), weight_scale_(weight_scale) {}

    bool weighted() const { return sample_weight.given() || weight_scale_ != 1.0; }
    double weight_scale() const { return weight_scale_; }
    /// Weight of one row.
    double weight(const RowPlace& place) const {
        return sample_weight.given() ? weight_scale_ * sample_weight[place] : weight_scale_;
    }
    /// Weights of a tile's rows; null if all are 1.
    const double* weights(const RowTile& tile, double* values) const {
        if (weight_scale_ == 1.0)
            return sample_weight.read_if_given(tile, values);
        if (sample_weight.read_if_given(tile, values) == nullptr)
            std::fill(values, values + tile.lanes, 1.0);
        for (std::size_t r = 0; r < tile.lanes; ++r)
            values[r] *= weight_scale_;
        return values;
    }

    /// Labels of a tile's rows, which class is set aside from each, and in `read` 1 for rows that are read, else 0. Returns
    /// whether all are.
    template <class T>
    bool read_labels(const Kernels<T>& kernels, const RowTile& tile, std::int64_t* label, T* target, T* read) const {
        labels.read_integers(tile, label);
        std::fill(label + tile.count, label + tile.lanes, label[0]);
        return look_at(kernels, tile, label, target, read);
    }
    /// As read_labels, of labels that the caller may be changing meanwhile.
    template <class T>
    bool look_at(const Kernels<T>& kernels, const RowTile& tile, const std::int64_t* label, T* target, T* read) const {
        const bool ignores_a_class = ignore_index_ && static_cast<std::uint64_t>(*ignore_index_) < classes_;
        // Labels were validated, but the caller may be changing them meanwhile: one out of range counts as ignored.
        return kernels.class_numbers(label, tile.lanes, classes_, ignores_a_class ? *ignore_index_ : -1, target, read);
    }
    /// Sets `read` to 0 for rows of weight 0. Returns whether there is one.
    template <class T>
    bool skip_weightless(const RowTile& tile, T* read) const {
        double weight[most_lanes];
        const double* weights = sample_weight.read_if_given(tile, weight);
        bool skips = false;
        for (std::size_t r = 0; r < tile.lanes; ++r)
            if (weights[r] == 0.0) {
                read[r] = T(0);
                skips = true;
            }
        return skips;
    }
    /// Which rows of a tile count, their labels (no_index for class probabilities) and weights.
    void read(const RowTile& tile, bool* counts, std::size_t* label, double* weight) const {
        std::fill(counts, counts + tile.count, true);
        std::fill(label, label + tile.count, no_index);
        std::fill(weight, weight + tile.count, 1.0);
        if (sample_weight.given()) {
            sample_weight.read(tile, weight);
            for (std::size_t r = 0; r < tile.count; ++r)
                counts[r] = weight[r] != 0.0;
        }
        for (std::size_t r = 0; r < tile.count; ++r)
            weight[r] *= weight_scale_;
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
    double weight_scale_;
};

}  // namespace logitloss::detail
