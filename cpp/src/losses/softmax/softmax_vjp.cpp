// Vector-Jacobian products of softmax and log-softmax, from their results.
#include <algorithm>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "logitloss/logsumexp.hpp"
#include "runtime/entry.hpp"
#include "traversal/row_operands.hpp"

namespace logitloss {
namespace detail {
namespace {

/// The rows of y and dy, and their vector-Jacobian products.
template <class T>
class VjpRows {
public:
    VjpRows(const Argument& y, const Argument& dy, const Output& out, const std::vector<int>& axes, bool of_log)
        : kernels_(detail::kernels().of<T>()),
          positions_(without_axes(y.shape, axes)),
          class_positions_(at_axes(y.shape, axes)),
          of_log_(of_log) {
        for (const Argument* argument : {&y, &dy, static_cast<const Argument*>(&out)}) {
            positions_.add(without_axes(argument->strides, axes));
            class_positions_.add(at_axes(argument->strides, axes));
        }
        positions_.simplify(true);
        class_positions_.simplify(true);
        classes_ = class_positions_.count();
        y_ = RowInput<T>(y, positions_, 0, class_positions_, 0);
        dy_ = RowInput<T>(dy, positions_, 1, class_positions_, 1);
        out_ = RowOutput<T>(out, positions_, 2, class_positions_, 2);
    }

    void run(int num_threads) {
        const bool tiled = TileRule<T>::applies(positions_, class_positions_);
        const RowPlan plan(positions_.count(), classes_, tiled ? TileRule<T>::rows(positions_.count(), classes_) : 0);
        const int workers = plan_threads(plan.rows * classes_, num_threads);
        std::vector<Scratch<T>> scratch;
        for (int worker = 0; worker < workers; ++worker)
            scratch.emplace_back(classes_, plan.tile_rows, true, 0);
        if (plan.split(workers))
            return run_split(plan, workers, scratch);
        parallel_for(plan.chunks(), 1, workers, [&](std::size_t first, std::size_t last, int worker) {
            const std::size_t begin = first * plan.chunk_rows;
            const std::size_t end = std::min(plan.rows, last * plan.chunk_rows);
            if (tiled)
                run_tiles(begin, end, plan, scratch[static_cast<std::size_t>(worker)]);
            else
                run_rows_of(begin, end, plan, scratch[static_cast<std::size_t>(worker)]);
        });
    }

private:
    void run_rows_of(std::size_t begin, std::size_t end, const RowPlan& plan, Scratch<T>& scratch) const {
        Positions::Cursor cursor(positions_, begin);
        for (std::size_t row = begin; row < end; ++row, cursor.advance())
            run_row(place_at(cursor, row), plan, scratch);
    }

    void run_tiles(std::size_t begin, std::size_t end, const RowPlan& plan, Scratch<T>& scratch) const {
        Positions::Cursor cursor(positions_, begin);
        for (std::size_t row = begin; row < end;) {
            const Tile tile = tile_at(positions_, cursor, row, std::min(plan.tile_rows, end - row));
            run_tile(tile, scratch);
            row += tile.count;
            cursor.advance_inner(tile.count);
        }
    }

    void run_tile(const Tile& tile, Scratch<T>& scratch) const {
        const TileShape shape{tile.lanes, classes_};
        const Columns<const T> y = y_.columns(kernels_, tile, classes_, scratch.logit_columns);
        const Columns<const T> dy = dy_.columns(kernels_, tile, classes_, scratch.coefficient_columns);
        double sums[most_lanes];
        T reduced[most_lanes];
        if (of_log_)
            kernels_.column_sum(dy.data, dy.stride, shape, nullptr, sums);
        else
            kernels_.column_dot(y.data, y.stride, dy.data, dy.stride, shape, sums);
        for (std::size_t r = 0; r < tile.lanes; ++r)
            reduced[r] = static_cast<T>(sums[r]);
        const Columns<T> out = out_.columns(tile, scratch.out_columns);
        (of_log_ ? kernels_.column_log_softmax_vjp : kernels_.column_softmax_vjp)(y.data, y.stride, dy.data, dy.stride,
                                                                                  shape, reduced, out.stride, out.data);
        out_.store_columns(kernels_, tile, classes_, out.data, scratch.out_columns);
    }

    static RowPlace place_at(const Positions::Cursor& cursor, std::size_t row) {
        return {row, no_index, {cursor.offset(0), cursor.offset(1), cursor.offset(2)}};
    }
    std::size_t length(std::size_t first) const { return std::min(block_size, classes_ - first); }

    double reduce(const RowPlace& place, std::size_t first, Scratch<T>& scratch) const {
        const std::size_t n = length(first);
        const T* dy = dy_.read(place, first, n, scratch.coefficients);
        return of_log_ ? kernels_.sum(dy, n, no_index) : kernels_.dot(y_.read(place, first, n, scratch.logits), dy, n);
    }

    void write(const RowPlace& place, std::size_t first, double reduced, Scratch<T>& scratch) const {
        const std::size_t n = length(first);
        const T* y = y_.read(place, first, n, scratch.logits);
        const T* dy = dy_.read(place, first, n, scratch.coefficients);
        T* out = out_.place(place, first, scratch.out);
        (of_log_ ? kernels_.log_softmax_vjp : kernels_.softmax_vjp)(y, dy, n, static_cast<T>(reduced), out);
        out_.store(place, first, n, out);
    }

    void run_row(const RowPlace& place, const RowPlan& plan, Scratch<T>& scratch) const {
        StridedSum reduced;
        for (std::size_t b = 0; b < plan.blocks; ++b)
            reduced.add(b, reduce(place, b * block_size, scratch));
        for (std::size_t b = 0; b < plan.blocks; ++b)
            write(place, b * block_size, reduced.total(), scratch);
    }

    void run_split(const RowPlan& plan, int workers, std::vector<Scratch<T>>& scratch) const {
        std::vector<double> partial(plan.blocks);
        Positions::Cursor cursor(positions_, 0);
        for (std::size_t row = 0; row < plan.rows; ++row, cursor.advance()) {
            const RowPlace place = place_at(cursor, row);
            parallel_for(plan.blocks, 1, workers, [&](std::size_t first, std::size_t last, int worker) {
                for (std::size_t b = first; b < last; ++b)
                    partial[b] = reduce(place, b * block_size, scratch[static_cast<std::size_t>(worker)]);
            });
            StridedSum reduced;
            for (std::size_t b = 0; b < plan.blocks; ++b)
                reduced.add(b, partial[b]);
            parallel_for(plan.blocks, 1, workers, [&](std::size_t first, std::size_t last, int worker) {
                for (std::size_t b = first; b < last; ++b)
                    write(place, b * block_size, reduced.total(), scratch[static_cast<std::size_t>(worker)]);
            });
        }
    }

    const Kernels<T>& kernels_;
    Positions positions_, class_positions_;
    bool of_log_;
    std::size_t classes_;
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
