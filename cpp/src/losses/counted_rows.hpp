// Which rows of a call with class targets count, and their labels.
#pragma once

#include <cstdint>
#include <optional>

#include "losses/logit_rows.hpp"

namespace logitloss::detail {

/// Rows of sample weight 0 do not count, nor do those whose label is the one to ignore: nothing else of them is read.
class CountedRows {
public:
    RowNumbers labels;  ///< given if the target holds class indices
    RowNumbers sample_weight;

    CountedRows(std::size_t classes, std::optional<std::int64_t> ignore_index)
        : classes_(classes), ignore_index_(ignore_index) {}

    /// `label` becomes the row's label, no_index for class probabilities.
    bool reads(const RowPlace& place, std::size_t& label) const {
        label = no_index;
        if (sample_weight.given() && sample_weight[place] == 0.0)
            return false;
        if (!labels.given())
            return true;
        const std::int64_t number = labels.integer(place);
        label = checked(number);
        return !is_ignored(number);
    }
    double weight(const RowPlace& place) const { return sample_weight.given() ? sample_weight[place] : 1.0; }
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
