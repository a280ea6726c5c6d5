// Vector-Jacobian products of softmax and log-softmax, from their results.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "logitloss/logsumexp.hpp"
#include "runtime/entry.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss {
namespace detail {
namespace {

/// The rows of y and dy: one sweep for sum_j y_j dy_j (softmax) or sum_j dy_j (log-softmax), then the products.
template <class T>
class VjpRows : public RowProblem {
public:
    struct Scratch {
        BufferSpace space;
        Buffer<T> y, dy, out;
        ColumnBuffer<T> y_columns, dy_columns, out_columns;

        Scratch(std::size_t block, std::size_t tile)
            : space(3 * BufferSpace::bytes<T>(block) + 6 * BufferSpace::bytes<T>(tile)),
              y(space.take<T>(block)),
              dy(space.take<T>(block)),
              out(space.take<T>(block)),
              y_columns(space, tile),
              dy_columns(space, tile),
              out_columns(space, tile) {}
    };
    using Block = double;
    /// Of a row that the kernels do not do for.
    struct Float64Sum {
        bool removed = false;  ///< by a dy of 0 throughout
        double total = 0.0;    ///< times `scale`
    };
    struct Row {
        bool read = true;
        bool needs_float64 = false;
        double sum = 0.0;
        Float64Sum in_float64;
    };
    /// A tile between its steps.
    struct TileRows {
        Columns<const T> y, dy;
        T sums[most_lanes];
        bool needs_float64[most_lanes];
        bool any_needs_float64 = false;
    };

    VjpRows(const Argument& y, const Argument& dy, const Output& out, const std::vector<int>& axes, bool of_log)
        : kernels_(detail::kernels().of<T>()),
          positions_(without_axes(y.shape, axes)),
          classes_(at_axes(y.shape, axes)),
          of_log_(of_log) {
        for (const Argument* argument : {&y, &dy, static_cast<const Argument*>(&out)}) {
            positions_.add(without_axes(argument->strides, axes));
            classes_.add(at_axes(argument->strides, axes));
        }
        positions_.simplify(true);
        classes_.simplify(true);
        wide_y_ = RowInput<double>(y, positions_, 0, classes_, 0);
        wide_dy_ = RowInput<double>(dy, positions_, 1, classes_, 1);
        y_ = RowInput<T>(y, positions_, 0, classes_, 0);
        dy_ = RowInput<T>(dy, positions_, 1, classes_, 1);
        out_ = RowOutput<T>(out, positions_, 2, classes_, 2);
    }

    void run(int num_threads) { traverse_rows(*this, plan_rows<T>(positions_, classes_), num_threads); }

    // What RowTraversal asks.
    const Positions& positions() const { return positions_; }
    bool writes() const { return true; }
    Scratch scratch(const RowPlan& plan) const {
        return Scratch(std::min(plan.classes, block_size), plan.tile_rows * plan.classes);
    }
    void end(const RowTile&, const TileRows&, const double*, const Scratch&) const {}

    double reduce(int, const RowPlace& place, const Row&, std::size_t first, std::size_t n, Scratch& scratch) const {
        const T* dy = dy_.read(place, first, n, scratch.dy);
        return of_log_ ? kernels_.sum(dy, n, no_index) : kernels_.dot(y_.read(place, first, n, scratch.y), dy, n);
    }
    void fold(int, const double* blocks, std::size_t count, Row& row) const {
        StridedSum sum;
        for (std::size_t b = 0; b < count; ++b)
            sum.add(b, blocks[b]);
        row.sum = sum.total();
    }
    void end(const RowTile& tile, Row* row, const double*, const Scratch&) const {
        row->needs_float64 = needs_float64(tile.place(0), row->sum);
        if (row->needs_float64)
            row->in_float64 = float64_sum(tile.place(0));
    }
    void write(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        T* out = out_.place(place, first, scratch.out);
        if (row.needs_float64) {
            write_in_float64(place, row.in_float64, first, n,
                             [&](std::size_t j, double value) { out[j - first] = static_cast<T>(value); });
        } else {
            const T* y = y_.read(place, first, n, scratch.y);
            const T* dy = dy_.read(place, first, n, scratch.dy);
            (of_log_ ? kernels_.log_softmax_vjp : kernels_.softmax_vjp)(y, dy, n, taken_by_kernel(row.sum), out);
        }
        out_.store(place, first, n, out);
    }

    void reduce_columns(int, const RowTile& tile, TileRows& rows, Scratch& scratch) const {
        const TileShape shape{tile.lanes, classes_.count()};
        rows.y = y_.columns(kernels_, tile, shape.classes, scratch.y_columns);
        rows.dy = dy_.columns(kernels_, tile, shape.classes, scratch.dy_columns);
        double sums[most_lanes];
        if (of_log_)
            kernels_.column_sum(rows.dy.data, rows.dy.stride, shape, nullptr, sums);
        else
            kernels_.column_dot(rows.y.data, rows.y.stride, rows.dy.data, rows.dy.stride, shape, sums);
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            rows.sums[r] = taken_by_kernel(sums[r]);
            rows.needs_float64[r] = r < tile.count && needs_float64(tile.place(r), sums[r]);
            rows.any_needs_float64 |= rows.needs_float64[r];
        }
    }
    void write_columns(const RowTile& tile, const TileRows& rows, Scratch& scratch) const {
        const TileShape shape{tile.lanes, classes_.count()};
        // Rows that need float64 are put into the columns afterwards, and must find y and dy as they were.
        const Columns<T> own{scratch.out_columns.columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
        const Columns<T> out = rows.any_needs_float64 ? own : out_.columns(tile, scratch.out_columns);
        (of_log_ ? kernels_.column_log_softmax_vjp : kernels_.column_softmax_vjp)(
            rows.y.data, rows.y.stride, rows.dy.data, rows.dy.stride, shape, rows.sums, out.stride, out.data);
        for (std::size_t r = 0; rows.any_needs_float64 && r < tile.count; ++r)
            if (rows.needs_float64[r])
                write_in_float64(
                    tile.place(r), float64_sum(tile.place(r)), 0, shape.classes,
                    [&](std::size_t j, double value) { out.data[j * tile.lanes + r] = static_cast<T>(value); });
        store_columns(tile, out, scratch);
    }

private:
    /// What the kernels take: sum_k dy_k, or half of sum_k y_k dy_k.
    T taken_by_kernel(double reduced) const { return static_cast<T>(of_log_ ? reduced : 0.5 * reduced); }

    /// Whether the kernels do not do for a row: its sum is near the largest number, and may have left T on the way or
    /// leave it in the next step; or it is NaN, as it also is where y is NaN and dy, being 0 throughout, removes that.
    bool needs_float64(const RowPlace& place, double reduced) const {
        constexpr double largest = static_cast<double>(std::numeric_limits<T>::max()) / 4;
        return !(std::fabs(reduced) <= largest) || (of_log_ && reduced == 0.0 && removed(place));
    }

    static constexpr std::size_t piece = 256;

    /// Calls fn(first, n, y, dy) for the pieces of classes [begin, end), in float64.
    template <class Fn>
    void for_pieces(const RowPlace& place, std::size_t begin, std::size_t end, Fn&& fn) const {
        double y[piece], dy[piece];
        for (std::size_t first = begin; first < end; first += piece) {
            const std::size_t n = std::min(piece, end - first);
            wide_y_.read_to(place, first, n, y);
            wide_dy_.read_to(place, first, n, dy);
            fn(first, n, y, dy);
        }
    }

    bool removed(const RowPlace& place) const {
        double dy[piece];
        for (std::size_t first = 0; first < classes_.count(); first += piece) {
            const std::size_t n = std::min(piece, classes_.count() - first);
            wide_dy_.read_to(place, first, n, dy);
            if (std::any_of(dy, dy + n, [](double d) { return d != 0.0; }))
                return false;
        }
        return true;
    }

    /// Of a needs_float64 row: what the sum over its classes is, with dy scaled down lest it overflow.
    Float64Sum float64_sum(const RowPlace& place) const {
        StridedSum sum;
        for_pieces(place, 0, classes_.count(),
                   [&](std::size_t first, std::size_t n, const double* y, const double* dy) {
                       for (std::size_t j = 0; j < n; ++j)
                           if (of_log_ || y[j] != 0.0)
                               sum.add(first + j, (of_log_ ? 1.0 : y[j]) * (dy[j] * scale));
                   });
        return {removed(place), sum.total()};
    }

    /// Calls put(j, value) for classes [first, first + n) of a needs_float64 row.
    template <class Put>
    void write_in_float64(const RowPlace& place, const Float64Sum& sum, std::size_t first, std::size_t n,
                          const Put& put) const {
        const Kernels<double>& float64 = detail::kernels().float64;
        for_pieces(place, first, first + n,
                   [&](std::size_t begin, std::size_t count, const double* y, const double* dy) {
                       double values[piece];
                       for (std::size_t j = 0; j < count; ++j) {
                           const double scaled = dy[j] * scale;
                           double p = y[j];
                           if (of_log_)
                               float64.exp(&p, 1, &p);
                           const bool masked = of_log_ ? y[j] == -INFINITY : y[j] == 0.0;
                           const double value = of_log_ ? scaled - p * sum.total : p * (scaled - sum.total);
                           values[j] = sum.removed || masked ? 0.0 : value / scale;
                       }
                       float64.canonical_nan(values, count);
                       for (std::size_t j = 0; j < count; ++j)
                           put(begin + j, values[j]);
                   });
    }

    void store_columns(const RowTile& tile, const Columns<T>& out, Scratch& scratch) const {
        out_.store_columns(kernels_, tile, classes_.count(), out.data, scratch.out_columns);
    }

    static constexpr double scale = sizeof(T) == sizeof(double) ? 0x1p-64 : 1.0;

    const Kernels<T>& kernels_;
    Positions positions_, classes_;
    bool of_log_;
    RowInput<T> y_, dy_;
    RowInput<double> wide_y_, wide_dy_;  // for needs_float64 rows
    RowOutput<T> out_;
};

void run_vjp(const ArrayView& y_view, const ArrayView& dy_view, const MutableArrayView& out_view, bool of_log,
             const SoftmaxOptions& options) {
    const Argument y("y", y_view);
    const Argument dy("dy", dy_view);
    const Output out("out", out_view);
    require_floating(y);
    const std::vector<int> axes = normalized_axes(options.axes, y.shape.size());
    require_shape(dy, y.shape);
    require_dtype(out, y.view.dtype);
    require_shape(out, y.shape);
    require_no_overlap(out, {&y, &dy}, {&y, &dy});
    if (options.where.given())
        throw value_error(
            "where: got an array, expected none: y is 0, or its logarithm -inf, where something was masked");
    // A float64 dy beside a narrower y may be beyond float32's range, and the result within.
    const DType arithmetic = dy.view.dtype == DType::float64 ? dy.view.dtype : y.view.dtype;
    with_arithmetic_type(
        arithmetic, [&](auto number) { VjpRows<decltype(number)>(y, dy, out, axes, of_log).run(options.num_threads); });
}

}  // namespace
}  // namespace detail

void softmax_vjp(const ArrayView& y, const ArrayView& dy, const MutableArrayView& out, const SoftmaxOptions& options) {
    detail::enter([&] { detail::run_vjp(y, dy, out, false, options); });
}

void log_softmax_vjp(const ArrayView& y, const ArrayView& dy, const MutableArrayView& out,
                     const SoftmaxOptions& options) {
    detail::enter([&] { detail::run_vjp(y, dy, out, true, options); });
}

}  // namespace logitloss
