// Vector-Jacobian products of softmax and log-softmax, from their results.
#include <algorithm>
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
    struct Row {
        bool read = true;
        T sum = T(0);
    };
    /// A tile between its steps.
    struct TileRows {
        Columns<const T> y, dy;
        T sums[most_lanes];
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
    void end(const Tile&, const Row*, const double*, const Scratch&) const {}
    void end(const Tile&, const TileRows&, const double*, const Scratch&) const {}

    double reduce(int, const RowPlace& place, const Row&, std::size_t first, std::size_t n, Scratch& scratch) const {
        const T* dy = dy_.read(place, first, n, scratch.dy);
        return of_log_ ? kernels_.sum(dy, n, no_index) : kernels_.dot(y_.read(place, first, n, scratch.y), dy, n);
    }
    void fold(int, const double* blocks, std::size_t count, Row& row) const {
        StridedSum sum;
        for (std::size_t b = 0; b < count; ++b)
            sum.add(b, blocks[b]);
        row.sum = static_cast<T>(sum.total());
    }
    void write(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        const T* y = y_.read(place, first, n, scratch.y);
        const T* dy = dy_.read(place, first, n, scratch.dy);
        T* out = out_.place(place, first, scratch.out);
        (of_log_ ? kernels_.log_softmax_vjp : kernels_.softmax_vjp)(y, dy, n, row.sum, out);
        out_.store(place, first, n, out);
    }

    void reduce_columns(int, const Tile& tile, TileRows& rows, Scratch& scratch) const {
        const TileShape shape{tile.lanes, classes_.count()};
        rows.y = y_.columns(kernels_, tile, shape.classes, scratch.y_columns);
        rows.dy = dy_.columns(kernels_, tile, shape.classes, scratch.dy_columns);
        double sums[most_lanes];
        if (of_log_)
            kernels_.column_sum(rows.dy.data, rows.dy.stride, shape, nullptr, sums);
        else
            kernels_.column_dot(rows.y.data, rows.y.stride, rows.dy.data, rows.dy.stride, shape, sums);
        for (std::size_t r = 0; r < tile.lanes; ++r)
            rows.sums[r] = static_cast<T>(sums[r]);
    }
    void write_columns(const Tile& tile, const TileRows& rows, Scratch& scratch) const {
        const TileShape shape{tile.lanes, classes_.count()};
        const Columns<T> out = out_.columns(tile, scratch.out_columns);
        (of_log_ ? kernels_.column_log_softmax_vjp : kernels_.column_softmax_vjp)(
            rows.y.data, rows.y.stride, rows.dy.data, rows.dy.stride, shape, rows.sums, out.stride, out.data);
        out_.store_columns(kernels_, tile, shape.classes, out.data, scratch.out_columns);
    }

private:
    const Kernels<T>& kernels_;
    Positions positions_, classes_;
    bool of_log_;
    RowInput<T> y_, dy_;
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
    with_arithmetic_type(y.view.dtype, [&](auto number) {
        VjpRows<decltype(number)>(y, dy, out, axes, of_log).run(options.num_threads);
    });
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
