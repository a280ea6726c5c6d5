// How the rows of a problem are cut up: chunks for threads, tiles, blocks.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/kernel_table.hpp"
#include "layout/positions.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// How a problem's rows are cut up. All of it follows from the shape, never from the number of threads.
struct RowPlan {
    static constexpr std::size_t worth_splitting = 32768;  ///< classes

    std::size_t rows;
    std::size_t classes;
    std::size_t blocks;        ///< per row
    std::size_t chunk_rows;    ///< rows whose losses are summed together, and that one thread takes at a time
    std::size_t tile_rows;     ///< rows that go side by side (TileRule); 0 if none do
    std::size_t rows_at_once;  ///< rows that a problem is handed together
    bool whole_rows;           ///< whether a problem reduces, ends and writes its rows whole; if not, block by block

    RowPlan(std::size_t row_count, std::size_t class_count, std::size_t side_by_side = 0)
        : rows(row_count),
          classes(class_count),
          blocks((class_count + block_size - 1) / block_size),
          tile_rows(side_by_side),
          rows_at_once(std::max<std::size_t>(1, side_by_side)),
          whole_rows(side_by_side > 0) {
        constexpr std::size_t chunk_elements = 65536;
        chunk_rows = classes >= worth_splitting ? 1 : chunk_elements / std::max<std::size_t>(1, classes);
        chunk_rows = std::max(chunk_rows, tile_rows);
        if (chunk_rows >= row_batch) {
            const std::size_t unit = std::max(row_batch, tile_rows);
            chunk_rows = (chunk_rows + unit - 1) / unit * unit;
        }
    }
    bool tiled() const { return tile_rows > 0; }
    /// Hands out up to most_rows rows of a problem that takes most of them.
    void hand_out_most() { rows_at_once = most_rows; }
    /// Has rows that do not go side by side handed out whole, `rows` at a time.
    void hand_out_whole(std::size_t rows_together) {
        rows_at_once = rows_together;
        whole_rows = true;
    }
    std::size_t chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
    /// Whether the blocks of each row go to different threads. Decides who computes, not what.
    bool split(int workers) const {
        return !whole_rows && workers > 1 && rows < 2 * static_cast<std::size_t>(workers) && classes >= worth_splitting;
    }
};

/// The plan of rows that go side by side where TileRule says so.
template <class T>
RowPlan plan_rows(const Positions& rows, const Positions& classes) {
    const std::size_t side_by_side =
        TileRule<T>::applies(rows, classes) ? TileRule<T>::rows(rows.count(), classes.count()) : 0;
    return RowPlan(rows.count(), classes.count(), side_by_side);
}

}  // namespace logitloss::detail
