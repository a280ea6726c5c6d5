// What a worker keeps of rows of logits while it computes them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "layout/buffers.hpp"
#include "logits/few_class_rows.hpp"
#include "logits/log_sum_exp_rows.hpp"
#include "logits/row_lanes.hpp"
#include "traversal/masked_rows.hpp"
#include "traversal/row_plan.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// Rows of a tile, or of a batch of rows of one block, between their sweeps.
template <class T>
struct LogitTile {
    RowTile tile;
    std::size_t written = 0;    ///< of a batch: rows that are written, or need not be; all of them in the beginning
    T* exponentials = nullptr;  ///< where they are kept; null if they are not
    Columns<const T> columns{nullptr, 0};  ///< of rows side by side
    RowLanes<T> sums;
};

/// Memory of one worker: a block of each operand that is not read or written where it lies, and tiles of them.
template <class T>
struct Scratch {
    BufferSpace space;
    Buffer<T> exponentials;  ///< of a batch of rows of one block
    Buffer<T> logits, raw_logits, coefficients, weights, out;
    ColumnBuffer<T> logit_columns, coefficient_columns, out_columns;  ///< of a tile
    Buffer<T> transformed_columns;
    MaskBuffer mask;                  ///< in a buffer of the coefficients, which masked logits do without
    std::vector<RowBlock<T>> blocks;  ///< of a row of several that leaves its tile
    LogitTile<T> tiles[2];  ///< of batches, the second is the one before, which is written while the first is read
    RowLanes<T> alone;      ///< of a row that leaves its tile or batch
    FewClassRows few;
    const float* known_lse = nullptr;  ///< of a tile's rows whose log-sum-exp is known, NaN of the others
    std::size_t turn = 0;

    LogitTile<T>& now() { return tiles[turn]; }
    LogitTile<T>& before() { return tiles[1 - turn]; }

    /// `staged`: whether any operand of a row needs a buffer; `kept_stride`: exponentials of a row that are kept.
    Scratch(const RowPlan& plan, bool staged, std::size_t kept_stride)
        : Scratch(staged || plan.tiled() ? std::min(plan.classes, block_size) : 0, plan.tile_rows * plan.classes,
                  kept_stride == 0 ? 0 : (plan.tiled() ? 1 : 2) * plan.rows_at_once * kept_stride + 64 / sizeof(T),
                  plan.tiled() && plan.blocks > 1 ? plan.blocks : 0) {
        T* unused = plan.tiled() ? coefficient_columns.rows.data() : coefficients.data();
        mask.bytes = reinterpret_cast<unsigned char*>(unused);
        if (kept_stride == 0)
            return;
        tiles[0].exponentials = exponentials.data();
        tiles[1].exponentials = exponentials.data() + (plan.tiled() ? 0 : plan.rows_at_once * kept_stride);
    }

    /// `columns`, if it is a buffer of a tile's logits, transformed or not, and so may be written.
    T* own_columns(const T* columns) const {
        for (T* buffer : {logit_columns.columns.data(), transformed_columns.data()})
            if (columns == buffer)
                return buffer;
        return nullptr;
    }

private:
    Scratch(std::size_t block, std::size_t tile, std::size_t kept, std::size_t kept_blocks)
        : space(BufferSpace::bytes<T>(kept) + 5 * BufferSpace::bytes<T>(block) + 7 * BufferSpace::bytes<T>(tile)),
          exponentials(space.take<T>(kept)),
          logits(space.take<T>(block)),
          raw_logits(space.take<T>(block)),
          coefficients(space.take<T>(block)),
          weights(space.take<T>(block)),
          out(space.take<T>(block)),
          logit_columns(space, tile),
          coefficient_columns(space, tile),
          out_columns(space, tile),
          transformed_columns(space.take<T>(tile)),
          blocks(kept_blocks) {}
};

}  // namespace logitloss::detail
