// Tiles: rows side by side, one in each vector lane, for rows of few classes and for strided class axes.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/kernel_table.hpp"
#include "layout/buffers.hpp"
#include "layout/positions.hpp"

namespace logitloss::detail {

/// Rows that a problem is handed together, at most.
constexpr std::size_t most_rows = 256;

/// Where the operands of one row start.
struct RowPlace {
    std::size_t row = 0;
    std::size_t target = no_index;  ///< the row's label, or no_index
    std::array<std::ptrdiff_t, 8> offset{};
};

/// Consecutive rows of one innermost run: each operand goes on by a step of its own, in bytes.
struct RowTile {
    std::size_t first = 0;  ///< number of its first row
    std::size_t count = 0;
    std::size_t lanes = 0;  ///< `count` rounded up to row_batch: lanes beyond the rows are computed and not used
    std::array<std::ptrdiff_t, 8> offset{};
    std::array<std::ptrdiff_t, 8> step{};

    RowPlace place(std::size_t r) const {
        RowPlace place;
        place.row = first + r;
        for (std::size_t operand = 0; operand < offset.size(); ++operand)
            place.offset[operand] = offset[operand] + static_cast<std::ptrdiff_t>(r) * step[operand];
        return place;
    }
    /// `rows` of its rows from `r` on.
    RowTile part(std::size_t r, std::size_t rows) const {
        RowTile part = *this;
        part.first += r;
        part.count = rows;
        part.lanes = (rows + row_batch - 1) / row_batch * row_batch;
        part.offset = place(r).offset;
        return part;
    }
};

/// The tile at a cursor on row `row`: at most `rows` rows, and none beyond the innermost run.
inline RowTile tile_at(const Positions& positions, const Positions::Cursor& cursor, std::size_t row, std::size_t rows) {
    RowTile tile;
    tile.first = row;
    tile.count = std::min(rows, cursor.inner_left());
    tile.lanes = (tile.count + row_batch - 1) / row_batch * row_batch;
    for (int operand = 0; operand < positions.operands(); ++operand) {
        tile.offset[static_cast<std::size_t>(operand)] = cursor.offset(operand);
        tile.step[static_cast<std::size_t>(operand)] = positions.inner_stride(operand);
    }
    return tile;
}

/// Class j of row r of a tile is data[j * stride + r].
template <class T>
struct Columns {
    T* data;
    std::ptrdiff_t stride;
};

/// Class j of row r of a tile is data[r * row_step + j * class_step].
template <class T>
struct TileLayout {
    T* data;
    std::ptrdiff_t row_step, class_step;
};

/// Room for a tile of an operand that does not lie as columns.
template <class T>
struct ColumnBuffer {
    Buffer<T> columns, rows;

    ColumnBuffer(BufferSpace& space, std::size_t size) : columns(space.take<T>(size)), rows(space.take<T>(size)) {}
};

/// When rows go through tiles. It follows from the number of classes, the dtype and the logits' layout only: the order
/// of the additions, and so the bits, depend on it.
template <class T>
struct TileRule {
    static constexpr std::size_t few_classes = sizeof(T) == sizeof(float) ? most_few_classes : 64;
    static constexpr std::size_t most_classes = std::size_t{1} << 20;
    static constexpr std::size_t shortest_run = 4;
    /// Up to here a tile keeps its exponentials for the second sweep.
    static constexpr std::size_t kept_classes = 1024;

    /// Rows of a tile: as many as leave it and its exponentials in L1, since the steps of one row wait for each other.
    static std::size_t rows(std::size_t row_count, std::size_t classes) {
        constexpr std::size_t bytes = 16384;
        const std::size_t fitting = bytes / (classes * sizeof(T)) / row_batch * row_batch;
        const std::size_t present = (row_count + row_batch - 1) / row_batch * row_batch;
        return std::min({most_lanes, present, std::max(row_batch, fitting)});
    }

    /// `rows`, `classes`: positions of the rows and of the classes within a row; operand 0 of both is the logits.
    static bool applies(const Positions& rows, const Positions& classes) {
        const std::size_t n = classes.count();
        if (n < 2 || rows.count() == 0)
            return false;
        const bool runs = rows.count() < row_batch || rows.inner_length() >= shortest_run;
        if (n <= few_classes)
            return runs;
        if (classes.axes() != 1 || n > most_classes || rows.inner_length() < row_batch)
            return false;
        return std::abs(rows.inner_stride(0)) < std::abs(classes.inner_stride(0));
    }
};

}  // namespace logitloss::detail
