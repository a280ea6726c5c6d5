// Vector-Jacobian products of softmax and log-softmax, from their results.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "logitloss/logsumexp.hpp"
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
        wide_y_ = RowInput<double>(y, positions_, 0, class_positions_, 0);
        wide_dy_ = RowInput<double>(dy, positions_, 1, class_positions_, 1);
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
            scratch.emplace_back(classes_, plan.tile_rows, true, 0, 0);
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
        bool careful[most_lanes] = {};
        bool any_careful = false;
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            reduced[r] = taken_by_kernel(sums[r]);
            careful[r] = r < tile.count && is_careful(tile.place(r), sums[r]);
            any_careful |= careful[r];
        }
        // Careful rows are put into the columns afterwards, and must find y and dy as they were.
        const Columns<T> own{scratch.out_columns.columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
        const Columns<T> out = any_careful ? own : out_.columns(tile, scratch.out_columns);
        (of_log_ ? kernels_.column_log_softmax_vjp : kernels_.column_softmax_vjp)(y.data, y.stride, dy.data, dy.stride,
                                                                                  shape, reduced, out.stride, out.data);
        for (std::size_t r = 0; any_careful && r < tile.count; ++r)
            if (careful[r])
                write_carefully(tile.place(r), [&](std::size_t first, std::size_t n, const double* values) {
                    for (std::size_t j = 0; j < n; ++j)
                        out.data[(first + j) * tile.lanes + r] = static_cast<T>(values[j]);
                });
        out_.store_columns(kernels_, tile, classes_, out.data, scratch.out_columns);
    }

    /// What the kernels take: sum_k dy_k, or half of sum_k y_k dy_k.
    T taken_by_kernel(double reduced) const { return static_cast<T>(of_log_ ? reduced : 0.5 * reduced); }

    /// Whether the kernels do not do for a row: its sum is near the largest number, and may have left T on the way or
    /// leave it in the next step; or it is NaN, as it also is where y is NaN and dy, being 0 throughout, removes that.
    bool is_careful(const RowPlace& place, double reduced) const {
        constexpr double largest = static_cast<double>(std::numeric_limits<T>::max()) / 4;
        return !(std::fabs(reduced) <= largest) || (of_log_ && reduced == 0.0 && removed(place));
    }

    static constexpr std::size_t piece = 256;

    /// Calls fn(first, n, y, dy) for the pieces of a row, in float64.
    template <class Fn>
    void for_pieces(const RowPlace& place, Fn&& fn) const {
        double y[piece], dy[piece];
        for (std::size_t first = 0; first < classes_; first += piece) {
            const std::size_t n = std::min(piece, classes_ - first);
            wide_y_.read_to(place, first, n, y);
            wide_dy_.read_to(place, first, n, dy);
            fn(first, n, y, dy);
        }
    }

    bool removed(const RowPlace& place) const {
        double dy[piece];
        for (std::size_t first = 0; first < classes_; first += piece) {
            const std::size_t n = std::min(piece, classes_ - first);
            wide_dy_.read_to(place, first, n, dy);
            if (std::any_of(dy, dy + n, [](double d) { return d != 0.0; }))
                return false;
        }
        return true;
    }

    /// A careful row, in float64 and with dy scaled down lest its sum overflow. Calls write(first, n, values).
    template <class Fn>
    void write_carefully(const RowPlace& place, const Fn& write) const {
        const bool zero = removed(place);
        const double scale = sizeof(T) == sizeof(double) ? 0x1p-64 : 1.0;
        const Kernels<double>& float64 = detail::kernels().float64;
        StridedSum sum;
        for_pieces(place, [&](std::size_t first, std::size_t n, const double* y, const double* dy) {
            for (std::size_t j = 0; j < n; ++j)
                if (of_log_ || y[j] != 0.0)
                    sum.add(first + j, (of_log_ ? 1.0 : y[j]) * (dy[j] * scale));
        });
        const double total = sum.total();
        for_pieces(place, [&](std::size_t first, std::size_t n, double* y, const double* dy) {
            double values[piece];
            for (std::size_t j = 0; j < n; ++j) {
                const double scaled = dy[j] * scale;
                double p = y[j];
                if (of_log_)
                    float64.exp(&p, 1, &p);
                const bool masked = of_log_ ? y[j] == -INFINITY : y[j] == 0.0;
                values[j] = zero || masked ? 0.0 : (of_log_ ? scaled - p * total : p * (scaled - total)) / scale;
            }
            float64.canonical_nan(values, n);
            write(first, n, values);
        });
    }
    void write_carefully(const RowPlace& place, Scratch<T>& scratch) const {
        write_carefully(place, [&](std::size_t first, std::size_t n, const double* values) {
            T* out = out_.place(place, first, scratch.out);
            std::transform(values, values + n, out, [](double value) { return static_cast<T>(value); });
            out_.store(place, first, n, out);
        });
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
        (of_log_ ? kernels_.log_softmax_vjp : kernels_.softmax_vjp)(y, dy, n, taken_by_kernel(reduced), out);
        out_.store(place, first, n, out);
    }

    void run_row(const RowPlace& place, const RowPlan& plan, Scratch<T>& scratch) const {
        StridedSum reduced;
        for (std::size_t b = 0; b < plan.blocks; ++b)
            reduced.add(b, reduce(place, b * block_size, scratch));
        if (is_careful(place, reduced.total()))
            return write_carefully(place, scratch);
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
            if (is_careful(place, reduced.total())) {
                write_carefully(place, scratch.front());
                continue;
            }
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
    RowInput<double> wide_y_, wide_dy_;  // for careful rows
    RowOutput<T> out_;
};

void run_vjp(const ArrayView& y_view, const ArrayView& dy_view, const MutableArrayView& out_view, bool of_log,
             const SoftmaxOptions& options) {
    const FloatEnvironment environment;
    const Argument y("y", y_view);
    const Argument dy("dy", dy_view);
    const Output out("out", out_view);
    require_floating(y);
    const std::vector<int> axes = normalized_axes(options.axes, y.shape.size());
    require_shape(dy, y.shape);
    require_dtype(out, y.view.dtype);
    require_shape(out, y.shape);
    require_no_overlap(out, {&y, &dy}, {&y, &dy});
    // A float64 dy beside a narrower y may be beyond float32's range, and the result within.
    const DType arithmetic = dy.view.dtype == DType::float64 ? dy.view.dtype : y.view.dtype;
    with_arithmetic_type(
        arithmetic, [&](auto number) { VjpRows<decltype(number)>(y, dy, out, axes, of_log).run(options.num_threads); });
}

}  // namespace
}  // namespace detail

void softmax_vjp(const ArrayView& y, const ArrayView& dy, const MutableArrayView& out, const SoftmaxOptions& options) {
    detail::run_vjp(y, dy, out, false, options);
}

void log_softmax_vjp(const ArrayView& y, const ArrayView& dy, const MutableArrayView& out,
                     const SoftmaxOptions& options) {
    detail::run_vjp(y, dy, out, true, options);
}

}  // namespace logitloss
