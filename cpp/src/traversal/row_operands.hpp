// The operands that every row problem has: logits along a class axis, and an output of their shape.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include "arguments/arguments.hpp"
#include "layout/buffers.hpp"
#include "layout/positions.hpp"
#include "layout/staging.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// Bytes that every row start of an operand is a multiple of.
inline std::size_t row_alignment(const void* data, const Positions& positions, int operand) {
    const auto address = reinterpret_cast<std::uintptr_t>(data);
    const std::size_t strides = positions.alignment(operand);
    return address == 0 ? strides : std::min<std::size_t>(strides, address & (~address + 1));
}

/// The first of `count` rows, and those `step` bytes apart.
template <class T>
void set_rows(T* first, std::ptrdiff_t step, std::size_t count, T** rows) {
    using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
    auto* start = reinterpret_cast<Byte*>(first);
    for (std::size_t r = 0; r < count; ++r)
        rows[r] = reinterpret_cast<T*>(start + static_cast<std::ptrdiff_t>(r) * step);
}

/// The classes of a row in an array: one line of elements, or several where class axes do not merge into one.
class ClassLines {
public:
    ClassLines() = default;
    ClassLines(const Argument& argument, const Positions& classes, int operand)
        : line_{argument.view.dtype, argument.view.byteswapped, classes.inner_stride(operand)},
          classes_(&classes),
          operand_(operand) {}

    /// Whether a row is one line of elements `stride` bytes apart.
    bool one_line(std::ptrdiff_t stride) const {
        return classes_->axes() == 0 || (classes_->axes() == 1 && line_.stride == stride);
    }
    /// Whether rows that start at multiples of `alignment` are contiguous numbers of type T.
    template <class T>
    bool direct(std::size_t alignment) const {
        return one_line(sizeof(T)) && line_.dtype == dtype_of<T>() && !line_.byteswapped && alignment % alignof(T) == 0;
    }
    /// Whether tiles of rows `step` bytes apart are columns of type T as they lie.
    template <class T>
    bool side_by_side(std::size_t alignment, std::ptrdiff_t step) const {
        return step == sizeof(T) && classes_->axes() == 1 &&
               line_.stride % static_cast<std::ptrdiff_t>(sizeof(T)) == 0 && line_.dtype == dtype_of<T>() &&
               !line_.byteswapped && alignment % alignof(T) == 0;
    }
    /// Whether it is cheaper to go through a tile class by class than row by row.
    bool classes_apart(std::ptrdiff_t step) const {
        return classes_->axes() == 1 && std::abs(step) < std::abs(line_.stride);
    }
    /// Whether rows `step` bytes apart follow one another like the elements of one line.
    bool rows_in_one_line(std::ptrdiff_t step) const {
        return classes_->axes() == 1 && step == static_cast<std::ptrdiff_t>(classes_->count()) * line_.stride;
    }
    std::ptrdiff_t stride() const { return line_.stride; }
    const Line& line() const { return line_; }
    /// The rows' numbers of one class, `step` bytes apart.
    Line across(std::ptrdiff_t step) const { return {line_.dtype, line_.byteswapped, step}; }

    /// Calls fn(line, start, done, run) for the pieces that hold classes [first, first + n) of the row at `row`.
    template <class Fn>
    void for_pieces(char* row, std::size_t first, std::size_t n, Fn&& fn) const {
        if (classes_->axes() <= 1)
            return fn(line_, row + static_cast<std::ptrdiff_t>(first) * line_.stride, 0, n);
        Positions::Cursor cursor(*classes_, first);
        for (std::size_t done = 0; done < n;) {
            const std::size_t run = std::min(n - done, cursor.inner_left());
            fn(line_, row + cursor.offset(operand_), done, run);
            cursor.advance_inner(run);
            done += run;
        }
    }

private:
    Line line_;
    const Positions* classes_ = nullptr;
    int operand_ = 0;
};

/// An array read row by row, where it lies if its rows are contiguous numbers of type T.
template <class T>
class RowInput {
public:
    RowInput() = default;
    RowInput(const Argument& argument, const Positions& rows, int row_operand, const Positions& classes,
             int class_operand)
        : lines_(argument, classes, class_operand),
          data_(const_cast<char*>(argument.bytes())),
          operand_(static_cast<std::size_t>(row_operand)),
          direct_(lines_.template direct<T>(row_alignment(data_, rows, row_operand))),
          halves_(lines_.template direct<Float16>(1) || lines_.template direct<BFloat16>(1)),
          side_by_side_(lines_.template side_by_side<T>(row_alignment(data_, rows, row_operand),
                                                        rows.inner_stride(row_operand))) {}

    bool given() const { return data_ != nullptr; }
    bool direct() const { return direct_; }
    const T* read(const RowPlace& place, std::size_t first, std::size_t n, const Buffer<T>& buffer) const {
        char* row = data_ + place.offset[operand_];
        if (direct_)
            return reinterpret_cast<const T*>(row) + first;
        read_to(place, first, n, buffer.data());
        return buffer.data();
    }

    /// One number of row r of a tile.
    T number(const RowTile& tile, std::size_t r, std::size_t j, const Buffer<T>& buffer) const {
        if (!direct_)
            return *read(tile.place(r), j, 1, buffer);
        const std::ptrdiff_t row = tile.offset[operand_] + static_cast<std::ptrdiff_t>(r) * tile.step[operand_];
        return reinterpret_cast<const T*>(data_ + row)[j];
    }

    /// Classes of a row from `first` on, if they are contiguous numbers of type Half; or null.
    template <class Half>
    const Half* stored(const RowPlace& place, std::size_t first) const {
        if (!halves_ || lines_.line().dtype != dtype_of<Half>())
            return nullptr;
        return reinterpret_cast<const Half*>(data_ + place.offset[operand_]) + first;
    }

    /// The same, always to `out`.
    void read_to(const RowPlace& place, std::size_t first, std::size_t n, T* out) const {
        lines_.for_pieces(data_ + place.offset[operand_], first, n,
                          [&](const Line& line, char* start, std::size_t done, std::size_t run) {
                              gather(line, start, run, out + done);
                          });
    }

    /// All classes of a tile's rows, where they lie or in `buffer`.
    Columns<const T> columns(const Kernels<T>& kernels, const RowTile& tile, std::size_t classes,
                             ColumnBuffer<T>& buffer) const {
        char* start = data_ + tile.offset[operand_];
        if (tile.count == tile.lanes && side_by_side_)
            return {reinterpret_cast<const T*>(start), lines_.stride() / static_cast<std::ptrdiff_t>(sizeof(T))};
        return {copy(kernels, tile, classes, buffer), static_cast<std::ptrdiff_t>(tile.lanes)};
    }
    /// All classes of a tile's rows, where they lie or in `buffer`; only of direct ones may there be more than most_lanes.
    TileLayout<const T> layout(const Kernels<T>& kernels, const RowTile& tile, std::size_t classes,
                               ColumnBuffer<T>& buffer) const {
        if (direct_)
            return {reinterpret_cast<const T*>(data_ + tile.offset[operand_]),
                    tile.step[operand_] / static_cast<std::ptrdiff_t>(sizeof(T)), 1};
        const Columns<const T> x = columns(kernels, tile, classes, buffer);
        return {x.data, 1, x.stride};
    }
    /// What to fetch while a tile's columns are computed: the rows after it, or nothing that costs.
    NextTile next(const RowTile& tile, std::size_t classes) const {
        const std::ptrdiff_t step = tile.step[operand_];
        const auto start =
            reinterpret_cast<std::uintptr_t>(data_) +
            static_cast<std::uintptr_t>(tile.offset[operand_] + static_cast<std::ptrdiff_t>(tile.count) * step);
        if (side_by_side_)
            return {start, lines_.stride(), step};
        if (direct_ && step == static_cast<std::ptrdiff_t>(classes * sizeof(T)))
            return {start, 64, step};
        return {start, 0, 0};
    }
    /// As columns(), but always copied.
    T* copy(const Kernels<T>& kernels, const RowTile& tile, std::size_t classes, ColumnBuffer<T>& buffer) const {
        char* start = data_ + tile.offset[operand_];
        const std::ptrdiff_t step = tile.step[operand_];
        T* columns = buffer.columns.data();
        if (!direct_ && lines_.classes_apart(step)) {
            const Line line = lines_.across(step);
            for (std::size_t j = 0; j < classes; ++j) {
                T* column = columns + j * tile.lanes;
                gather(line, start + static_cast<std::ptrdiff_t>(j) * lines_.stride(), tile.count, column);
                std::fill(column + tile.count, column + tile.lanes, T(0));
            }
            return columns;
        }
        if (direct_) {
            transpose(kernels, tile, classes, reinterpret_cast<const T*>(start), step, columns);
            return columns;
        }
        T* rows = buffer.rows.data();
        for_row_pieces(tile, classes, [&](const Line& line, char* piece, std::size_t done, std::size_t run) {
            gather(line, piece, run, rows + done);
        });
        transpose(kernels, tile, classes, rows, static_cast<std::ptrdiff_t>(classes * sizeof(T)), columns);
        return columns;
    }

protected:
    /// A tile's rows, contiguous and `step` bytes apart, as columns.
    static void transpose(const Kernels<T>& kernels, const RowTile& tile, std::size_t classes, const T* first,
                          std::ptrdiff_t step, T* columns) {
        const T* rows[most_lanes];
        set_rows(first, step, tile.count, rows);
        std::fill(rows + tile.count, rows + tile.lanes, rows[0]);
        kernels.transpose_rows(rows, {tile.lanes, classes}, columns);
    }
    /// Calls fn(line, start, done, run) for the pieces of a tile's rows, one row after another.
    template <class Fn>
    void for_row_pieces(const RowTile& tile, std::size_t classes, Fn&& fn) const {
        char* start = data_ + tile.offset[operand_];
        const std::ptrdiff_t step = tile.step[operand_];
        if (lines_.rows_in_one_line(step))
            return fn(lines_.line(), start, 0, tile.count * classes);
        for (std::size_t r = 0; r < tile.count; ++r)
            lines_.for_pieces(start + static_cast<std::ptrdiff_t>(r) * step, 0, classes,
                              [&](const Line& line, char* piece, std::size_t done, std::size_t run) {
                                  fn(line, piece, r * classes + done, run);
                              });
    }

    ClassLines lines_;
    char* data_ = nullptr;  // read only
    std::size_t operand_ = 0;
    bool direct_ = true;
    bool halves_ = false;  // contiguous
    bool side_by_side_ = false;
};

/// An array written row by row.
template <class T>
class RowOutput {
public:
    RowOutput() = default;
    RowOutput(const Output& argument, const Positions& rows, int row_operand, const Positions& classes,
              int class_operand)
        : lines_(argument, classes, class_operand),
          data_(argument.data),
          operand_(static_cast<std::size_t>(row_operand)),
          direct_(lines_.template direct<T>(row_alignment(data_, rows, row_operand))),
          side_by_side_(lines_.template side_by_side<T>(row_alignment(data_, rows, row_operand),
                                                        rows.inner_stride(row_operand))) {}

    bool given() const { return data_ != nullptr; }
    bool direct() const { return direct_; }

    /// Where to write n classes from `first` on; `store` must follow.
    T* place(const RowPlace& place, std::size_t first, const Buffer<T>& buffer) const {
        return direct_ ? reinterpret_cast<T*>(data_ + place.offset[operand_]) + first : buffer.data();
    }
    /// Where a row begins; of direct rows only.
    T* row(const RowPlace& place) const { return reinterpret_cast<T*>(data_ + place.offset[operand_]); }
    void store(const RowPlace& place, std::size_t first, std::size_t n, const T* values) const {
        if (direct_)
            return;
        lines_.for_pieces(data_ + place.offset[operand_], first, n,
                          [&](const Line& line, char* start, std::size_t done, std::size_t run) {
                              scatter(line, values + done, run, start);
                          });
    }

    /// Where to write all classes of a tile's rows; `store_columns` must follow.
    Columns<T> columns(const RowTile& tile, ColumnBuffer<T>& buffer) const {
        if (tile.count == tile.lanes && side_by_side_)
            return {reinterpret_cast<T*>(data_ + tile.offset[operand_]),
                    lines_.stride() / static_cast<std::ptrdiff_t>(sizeof(T))};
        return {buffer.columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
    }
    /// As columns(), but rows where they lie.
    TileLayout<T> layout(const RowTile& tile, ColumnBuffer<T>& buffer) const {
        if (direct_)
            return {reinterpret_cast<T*>(data_ + tile.offset[operand_]),
                    tile.step[operand_] / static_cast<std::ptrdiff_t>(sizeof(T)), 1};
        const Columns<T> out = columns(tile, buffer);
        return {out.data, 1, out.stride};
    }
    void store_columns(const Kernels<T>& kernels, const RowTile& tile, std::size_t classes, const T* columns,
                       ColumnBuffer<T>& buffer) const {
        if (columns != buffer.columns.data())
            return;
        char* start = data_ + tile.offset[operand_];
        const std::ptrdiff_t step = tile.step[operand_];
        if (!direct_ && lines_.classes_apart(step)) {
            const Line line = lines_.across(step);
            for (std::size_t j = 0; j < classes; ++j)
                scatter(line, columns + j * tile.lanes, tile.count,
                        start + static_cast<std::ptrdiff_t>(j) * lines_.stride());
            return;
        }
        T* rows[most_lanes];
        set_rows(buffer.rows.data(), static_cast<std::ptrdiff_t>(classes * sizeof(T)), tile.lanes, rows);
        if (direct_)
            set_rows(reinterpret_cast<T*>(start), step, tile.count, rows);
        kernels.transpose_columns(columns, {tile.lanes, classes}, rows);
        if (!direct_)
            scatter_rows(buffer.rows.data(), tile, classes);
    }

private:
    /// A tile's rows, one after another.
    void scatter_rows(const T* in, const RowTile& tile, std::size_t classes) const {
        char* start = data_ + tile.offset[operand_];
        const std::ptrdiff_t step = tile.step[operand_];
        if (lines_.rows_in_one_line(step))
            return scatter(lines_.line(), in, tile.count * classes, start);
        for (std::size_t r = 0; r < tile.count; ++r)
            lines_.for_pieces(start + static_cast<std::ptrdiff_t>(r) * step, 0, classes,
                              [&](const Line& line, char* piece, std::size_t done, std::size_t run) {
                                  scatter(line, in + r * classes + done, run, piece);
                              });
    }

    ClassLines lines_;
    char* data_ = nullptr;
    std::size_t operand_ = 0;
    bool direct_ = true;
    bool side_by_side_ = false;
};

/// One number per row: a loss, a log-sum-exp, a weight.
class RowNumbers {
public:
    RowNumbers() = default;
    RowNumbers(const Argument& argument, int operand)
        : line_(argument.line()), data_(argument.bytes()), operand_(operand) {}

    bool given() const { return data_ != nullptr; }
    double operator[](const RowPlace& place) const { return read_number(line_, at(place)); }

    void read(const RowTile& tile, double* values) const {
        const auto operand = static_cast<std::size_t>(operand_);
        gather({line_.dtype, line_.byteswapped, tile.step[operand]}, data_ + tile.offset[operand], tile.count, values);
    }
    /// As read(), with the number of the first row in the lanes beyond the rows; null if there are no numbers.
    const double* read_if_given(const RowTile& tile, double* values) const {
        if (!given())
            return nullptr;
        read(tile, values);
        std::fill(values + tile.count, values + tile.lanes, values[0]);
        return values;
    }
    void read_integers(const RowTile& tile, std::int64_t* values) const {
        const auto operand = static_cast<std::size_t>(operand_);
        const char* start = data_ + tile.offset[operand];
        if (are_int64(tile))
            std::memcpy(values, start, tile.count * sizeof(std::int64_t));
        else
            gather_integers({line_.dtype, line_.byteswapped, tile.step[operand]}, start, tile.count, values);
    }
    /// Those of all lanes, where they lie or in `values`, with the number of the first row beyond the rows.
    const std::int64_t* integers(const RowTile& tile, std::int64_t* values) const {
        const char* start = data_ + tile.offset[static_cast<std::size_t>(operand_)];
        const bool aligned = reinterpret_cast<std::uintptr_t>(start) % alignof(std::int64_t) == 0;
        if (aligned && tile.count == tile.lanes && are_int64(tile))
            return reinterpret_cast<const std::int64_t*>(start);
        read_integers(tile, values);
        std::fill(values + tile.count, values + tile.lanes, values[0]);
        return values;
    }

private:
    bool are_int64(const RowTile& tile) const {
        const std::ptrdiff_t step = tile.step[static_cast<std::size_t>(operand_)];
        return line_.dtype == DType::int64 && !line_.byteswapped && step == sizeof(std::int64_t);
    }
    const char* at(const RowPlace& place) const { return data_ + place.offset[static_cast<std::size_t>(operand_)]; }

    Line line_;
    const char* data_ = nullptr;
    int operand_ = 0;
};

class RowResults {
public:
    RowResults() = default;
    RowResults(const Output& argument, int operand)
        : line_{argument.view.dtype, false, 0}, data_(argument.data), operand_(operand) {}

    bool given() const { return data_ != nullptr; }
    void set(const RowPlace& place, double value) const {
        write_number(line_, value, data_ + place.offset[static_cast<std::size_t>(operand_)]);
    }

    /// The values of a tile's rows; NaNs among them become the one NaN.
    void set(const RowTile& tile, double* values) const {
        const auto operand = static_cast<std::size_t>(operand_);
        for (std::size_t r = 0; r < tile.count; ++r)
            values[r] = values[r] == values[r] ? values[r] : std::numeric_limits<double>::quiet_NaN();
        scatter({line_.dtype, false, tile.step[operand]}, values, tile.count, data_ + tile.offset[operand]);
    }

    /// Finite values of a tile's rows; where one is NaN, anything.
    void set(const RowTile& tile, const float* values) const {
        const auto operand = static_cast<std::size_t>(operand_);
        char* to = data_ + tile.offset[operand];
        if (line_.dtype == DType::float32 && tile.step[operand] == sizeof(float)) {
            std::memcpy(to, values, tile.count * sizeof(float));
            return;
        }
        double wide[most_rows];
        std::copy(values, values + tile.count, wide);
        scatter({line_.dtype, false, tile.step[operand]}, wide, tile.count, to);
    }

private:
    Line line_;
    char* data_ = nullptr;
    int operand_ = 0;
};

}  // namespace logitloss::detail
