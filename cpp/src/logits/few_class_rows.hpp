// Rows of few float32 classes, which one kernel takes from logits to losses and gradients: KernelTable::few_classes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/kernel_table.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// What LogitRows must know of what a loss does with rows of few classes.
struct FewClassTraits {
    bool takes = false;  ///< whether the kernel does for the call
    FewClassTask task = FewClassTask::log_sum_exp;
    bool long_tiles = false;  ///< whether rows are read and written where they lie
    bool states = false;      ///< whether all rows go on, from their log-sum-exps
};

/// Numbers of such rows, an array a quantity.
struct FewClassRows {
    float target[most_rows], read[most_rows], odd[most_rows], lse[most_rows];
    std::int64_t label[most_rows];  ///< where labels are converted to
    double weight[most_rows], factor[most_rows], loss[most_rows];
    bool any_extreme = false;  ///< whether a weight is not moderate

    /// What a call of the kernel takes from here and leaves here; losses go where they are wanted.
    FewClasses call(std::size_t rows, std::size_t classes, double* losses) {
        FewClasses in{};
        in.rows = rows;
        in.classes = classes;
        in.target = target;
        in.odd = odd;
        in.lse = lse;
        in.loss = losses;
        return in;
    }

    /// Calls rest(first, count) for the runs of odd rows, `most` rows at a time. A row that is odd for its gradient only
    /// has afterwards the loss that it had before, which is what a call without a gradient gives, and keep(r) is called.
    template <class Rest, class Keep>
    void each_odd_run(std::size_t rows, std::size_t most, double* losses, const Rest& rest, const Keep& keep) {
        std::copy(losses, losses + rows, loss);
        for (std::size_t first = 0; first < rows;) {
            std::size_t end = first;
            while (end < rows && end - first < most && odd[end] != 0.0f)
                ++end;
            if (end > first)
                rest(first, end - first);
            first = std::max(end, first + 1);
        }
        for (std::size_t r = 0; r < rows; ++r)
            if (odd[r] == odd_for_gradient) {
                losses[r] = loss[r];
                keep(r);
            }
    }
    /// Calls rest(first, count) for all rows, `most` at a time; lse is NaN where the row is odd.
    template <class Rest>
    void each_part(std::size_t rows, std::size_t most, const Rest& rest) {
        for (std::size_t r = 0; r < rows; ++r)
            lse[r] = odd[r] != 0.0f ? std::numeric_limits<float>::quiet_NaN() : lse[r];
        for (std::size_t first = 0; first < rows; first += most)
            rest(first, std::min(most, rows - first));
    }
};

/// Where the rows of a tile are, and where they are written. `buffers`: what the input takes for its layout.
template <class Input, class... Buffers>
void set_input(FewClasses& in, const Input& x, const Kernels<float>& kernels, const RowTile& tile,
               Buffers&... buffers) {
    const TileLayout<const float> at = x.layout(kernels, tile, in.classes, buffers...);
    in.x = at.data;
    in.row_step = at.row_step;
    in.class_step = at.class_step;
    in.next = x.next(tile, in.classes);
}
inline void set_output(FewClasses& in, const TileLayout<float>& at) {
    in.out = at.data;
    in.out_row_step = at.row_step;
    in.out_class_step = at.class_step;
}

}  // namespace logitloss::detail
