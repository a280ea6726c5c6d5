// Rows of logits of which a mask keeps some: the others are never read, and `fill` stands in their place.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>

#include "arguments/arguments.hpp"
#include "layout/positions.hpp"
#include "layout/staging.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// Room for the bools of a block or a tile, and which ones it holds.
struct MaskBuffer {
    unsigned char* bytes = nullptr;
    const char* source = nullptr;  ///< the row that `rows` rows of it repeat
    std::size_t rows = 0;
};

/// An array of bools beside the logits: a byte each, true where it is not 0.
class RowMask {
public:
    RowMask() = default;
    RowMask(const Argument& where, int row_operand, const Positions& classes, int class_operand)
        : lines_(where, classes, class_operand),
          data_(const_cast<char*>(where.bytes())),
          operand_(static_cast<std::size_t>(row_operand)),
          direct_(lines_.one_line(1)) {}

    bool given() const { return data_ != nullptr; }

    /// Those of n classes of a row from `first` on.
    const unsigned char* read(const RowPlace& place, std::size_t first, std::size_t n, MaskBuffer& buffer) const {
        char* row = data_ + place.offset[operand_];
        if (direct_)
            return reinterpret_cast<const unsigned char*>(row) + first;
        buffer.rows = 0;
        copy(row, first, n, buffer.bytes);
        return buffer.bytes;
    }
    /// Those of a tile, row by row.
    const unsigned char* rows(const RowTile& tile, std::size_t classes, MaskBuffer& buffer) const {
        char* start = data_ + tile.offset[operand_];
        const std::ptrdiff_t step = tile.step[operand_];
        if (direct_ && (tile.count == 1 || step == static_cast<std::ptrdiff_t>(classes)))
            return reinterpret_cast<const unsigned char*>(start);
        if (step == 0 && buffer.source == start && buffer.rows >= tile.count)
            return buffer.bytes;
        for (std::size_t r = 0; r < tile.count; ++r)
            copy(start + static_cast<std::ptrdiff_t>(r) * step, 0, classes, buffer.bytes + r * classes);
        buffer.source = start;
        buffer.rows = step == 0 ? tile.count : 0;
        return buffer.bytes;
    }
    /// Those of one class of a tile; only where the class axes are one.
    const unsigned char* across(const RowTile& tile, std::size_t j, unsigned char (&bytes)[most_lanes]) const {
        const char* start = data_ + tile.offset[operand_] + static_cast<std::ptrdiff_t>(j) * lines_.stride();
        const std::ptrdiff_t step = tile.step[operand_];
        if (step == 1)
            return reinterpret_cast<const unsigned char*>(start);
        for (std::size_t r = 0; r < tile.count; ++r)
            bytes[r] = static_cast<unsigned char>(start[static_cast<std::ptrdiff_t>(r) * step]);
        return bytes;
    }
    /// How many classes of a row it keeps.
    std::size_t count(const RowPlace& place, std::size_t classes) const {
        std::size_t kept = 0;
        lines_.for_pieces(data_ + place.offset[operand_], 0, classes,
                          [&](const Line& line, const char* start, std::size_t, std::size_t run) {
                              if (line.stride == 1)
                                  kept += run - static_cast<std::size_t>(std::count(start, start + run, '\0'));
                              else
                                  for (std::size_t i = 0; i < run; ++i, start += line.stride)
                                      kept += *start != 0;
                          });
        return kept;
    }

private:
    void copy(char* row, std::size_t first, std::size_t n, unsigned char* bytes) const {
        lines_.for_pieces(row, first, n, [&](const Line& line, const char* start, std::size_t done, std::size_t run) {
            if (line.stride == 1) {
                std::copy(start, start + run, bytes + done);
                return;
            }
            for (std::size_t i = 0; i < run; ++i, start += line.stride)
                bytes[done + i] = static_cast<unsigned char>(*start);
        });
    }

    ClassLines lines_;
    char* data_ = nullptr;  // read only
    std::size_t operand_ = 0;
    bool direct_ = true;
};

/// A RowInput with a mask, or without. What is masked comes as `fill`, and with it what lies beside it from a buffer.
template <class T>
class MaskedInput : public RowInput<T> {
public:
    static constexpr T fill = -std::numeric_limits<T>::infinity();

    MaskedInput() = default;
    MaskedInput(const RowInput<T>& input, const RowMask& mask) : RowInput<T>(input), mask_(mask) {}

    bool direct() const { return !mask_.given() && RowInput<T>::direct(); }
    /// How many classes of a row count.
    std::size_t count(const RowPlace& place, std::size_t classes) const {
        return mask_.given() ? mask_.count(place, classes) : classes;
    }

    const T* read(const RowPlace& place, std::size_t first, std::size_t n, const Buffer<T>& buffer,
                  MaskBuffer& mask_buffer, T masked = fill) const {
        if (!mask_.given())
            return RowInput<T>::read(place, first, n, buffer);
        const unsigned char* where = mask_.read(place, first, n, mask_buffer);
        if (this->direct_ && std::memchr(where, 0, n) == nullptr)
            return RowInput<T>::read(place, first, n, buffer);
        this->lines_.for_pieces(this->data_ + place.offset[this->operand_], first, n,
                                [&](const Line& line, char* start, std::size_t done, std::size_t run) {
                                    gather_where(line, start, where + done, run, masked, buffer.data() + done);
                                });
        return buffer.data();
    }
    template <class Half>
    const Half* stored(const RowPlace& place, std::size_t first) const {
        return mask_.given() ? nullptr : RowInput<T>::template stored<Half>(place, first);
    }

    Columns<const T> columns(const Kernels<T>& kernels, const RowTile& tile, std::size_t classes,
                             ColumnBuffer<T>& buffer, MaskBuffer& mask_buffer) const {
        if (!mask_.given())
            return RowInput<T>::columns(kernels, tile, classes, buffer);
        T* columns = buffer.columns.data();
        if (!this->direct_ && this->lines_.classes_apart(tile.step[this->operand_]))
            read_columns(tile, classes, columns);
        else
            this->transpose(kernels, tile, classes, read_rows(tile, classes, buffer, mask_buffer),
                            static_cast<std::ptrdiff_t>(classes * sizeof(T)), columns);
        return {columns, static_cast<std::ptrdiff_t>(tile.lanes)};
    }
    TileLayout<const T> layout(const Kernels<T>& kernels, const RowTile& tile, std::size_t classes,
                               ColumnBuffer<T>& buffer, MaskBuffer& mask_buffer) const {
        if (!mask_.given())
            return RowInput<T>::layout(kernels, tile, classes, buffer);
        if (this->direct_)
            return {read_rows(tile, classes, buffer, mask_buffer), static_cast<std::ptrdiff_t>(classes), 1};
        const Columns<const T> x = columns(kernels, tile, classes, buffer, mask_buffer);
        return {x.data, 1, x.stride};
    }

private:
    /// A tile's rows, one after another.
    const T* read_rows(const RowTile& tile, std::size_t classes, ColumnBuffer<T>& buffer,
                       MaskBuffer& mask_buffer) const {
        const unsigned char* where = mask_.rows(tile, classes, mask_buffer);
        T* out = buffer.rows.data();
        this->for_row_pieces(tile, classes, [&](const Line& line, char* start, std::size_t done, std::size_t run) {
            gather_where(line, start, where + done, run, fill, out + done);
        });
        return out;
    }
    void read_columns(const RowTile& tile, std::size_t classes, T* columns) const {
        const Line line = this->lines_.across(tile.step[this->operand_]);
        const char* start = this->data_ + tile.offset[this->operand_];
        for (std::size_t j = 0; j < classes; ++j, start += this->lines_.stride(), columns += tile.lanes) {
            unsigned char bytes[most_lanes];
            gather_where(line, start, mask_.across(tile, j, bytes), tile.count, fill, columns);
            std::fill(columns + tile.count, columns + tile.lanes, T(0));
        }
    }

    RowMask mask_;
};

}  // namespace logitloss::detail
