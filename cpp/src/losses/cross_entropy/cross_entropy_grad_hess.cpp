// Gradient and Hessian diagonal of softmax cross-entropy, row by row, on the row traversal. All sums are in float64:
// Note [curvature without cancellation].
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "arguments/dtype_switch.hpp"
#include "layout/strided_sum.hpp"
#include "losses/cross_entropy/grad_hess_targets.hpp"
#include "runtime/entry.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_selection.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss {
namespace detail {
namespace {

/// The rows of a call, in T or staged as that. A row that stands alone takes the steps of rows side by side, too: class j
/// of a block is class j / 64 of lane j mod 64.
template <class T>
class GradHessRows : public RowProblem {
public:
    static constexpr std::size_t piece_size = 2 * block_size;  ///< exponentials that are kept at a time

    struct Scratch {
        BufferSpace space;
        ColumnBuffer<T> logits, grad, hess;
        ColumnBuffer<double> target;
        Buffer<double> exponentials, coefficients;
        Buffer<T> row_logits, row_grad, row_hess;
        CurvatureRows<T> rows{};
        Columns<const T> columns{};  ///< of the tile

        Scratch(std::size_t tile, std::size_t target_tile, double scale)
            : space(6 * BufferSpace::bytes<T>(tile) + 2 * BufferSpace::bytes<double>(target_tile) +
                    2 * BufferSpace::bytes<double>(piece_size) + 3 * BufferSpace::bytes<T>(block_size)),
              logits(space, tile),
              grad(space, tile),
              hess(space, tile),
              target(space, target_tile),
              exponentials(space.take<double>(piece_size)),
              coefficients(space.take<double>(piece_size)),
              row_logits(space.take<T>(block_size)),
              row_grad(space.take<T>(block_size)),
              row_hess(space.take<T>(block_size)) {
            rows.scale = scale;
        }
    };
    struct Block {
        double top = -std::numeric_limits<double>::infinity();  ///< of the first sweep: the largest logit
        std::size_t top_class = no_index;
        double own = 0.0, others = 0.0;  ///< of the second: as CurvatureRows has them
        TargetSums target;
    };
    struct Row {
        bool read = true;
        double label = -1.0;
        double weight = 0.0;
        Block sums;
    };
    struct TileRows {};  // they are in Scratch

    explicit GradHessRows(const GradHessCall& call)
        : call_(call),
          table_(detail::kernels()),
          target_(call),
          positions_(call.rows),
          classes_({static_cast<std::ptrdiff_t>(call.classes)}),
          selection_(call.classes, call.options.ignore_index, 1.0) {
        const auto add = [&](const Argument& argument) {
            classes_.add({argument.strides[static_cast<std::size_t>(call.axis)]});
            return positions_.add(without_axis(argument.strides, call.axis));
        };
        const int logits = add(call.logits), grad = add(call.grad), hess = add(call.hess);
        const int target = call.indices ? positions_.add(call.target.strides) : add(call.target);
        const int weight =
            call.sample_weight.given() ? positions_.add(broadcast_strides(call.sample_weight, call.rows)) : -1;
        positions_.simplify(true);
        classes_.simplify(false);
        logits_ = RowInput<T>(call.logits, positions_, logits, classes_, 0);
        grad_ = RowOutput<T>(call.grad, positions_, grad, classes_, 1);
        hess_ = RowOutput<T>(call.hess, positions_, hess, classes_, 2);
        if (call.indices)
            selection_.labels = RowNumbers(call.target, target);
        else
            probabilities_ = RowInput<double>(call.target, positions_, target, classes_, 3);
        if (call.sample_weight.given())
            selection_.sample_weight = RowNumbers(call.sample_weight, weight);
    }

    void run() { traverse_rows(*this, plan_rows<T>(positions_, classes_), call_.options.num_threads); }

    // What RowTraversal asks.
    const Positions& positions() const { return positions_; }
    Scratch scratch(const RowPlan& plan) const {
        const std::size_t tile = plan.tile_rows * plan.classes;
        return Scratch(tile, call_.indices ? 0 : tile, call_.options.scale);
    }
    bool writes() const { return true; }
    int sweeps() const { return 2; }

    // Of rows side by side.
    void begin(const RowTile& tile, TileRows&, Scratch& scratch) const {
        CurvatureRows<T>& now = scratch.rows;
        std::int64_t number[most_lanes];
        if (call_.indices) {
            selection_.read_labels(kernels(), tile, number, now.label, now.read);
        } else {
            std::fill_n(now.label, tile.lanes, T(-1));
            std::fill_n(now.read, tile.lanes, T(1));
        }
        if (selection_.sample_weight.given())
            selection_.skip_weightless(tile, now.read);
        if (selection_.weights(tile, now.weight) == nullptr)
            std::fill_n(now.weight, tile.lanes, 1.0);
    }
    void reduce_columns(int sweep, const RowTile& tile, TileRows&, Scratch& scratch) const {
        if (sweep == 0)
            find_largest(tile, scratch);
        else
            add_up(tile, scratch);
    }
    void end(const RowTile& tile, TileRows&, double*, Scratch& scratch) const {
        CurvatureRows<T>& now = scratch.rows;
        if (call_.indices && target_.plain())
            return static_cast<void>(std::fill_n(now.mass, tile.lanes, 1.0));
        for (std::size_t r = 0; call_.indices && r < tile.lanes; ++r) {
            const auto label = static_cast<double>(now.label[r]);
            const TargetSums sums = target_.sums(label, static_cast<double>(now.top[r]));
            now.mass[r] = sums.mass;
            now.others_mass[r] = sums.others_mass;
            if (is_weightless(label))
                now.read[r] = T(0);
        }
    }
    void write_columns(const RowTile& tile, TileRows&, Scratch& scratch) const {
        const Columns<T> grad = grad_.columns(tile, scratch.grad);
        const Columns<T> hess = hess_.columns(tile, scratch.hess);
        for_pieces(tile, [&](std::size_t first, const TileShape& shape) {
            if (shape.classes < call_.classes) {
                double sums[most_lanes];
                exponentials(first, shape, scratch, sums);
            }
            const double* q = tile_coefficients(first, shape, scratch);
            const auto from = static_cast<std::ptrdiff_t>(first);
            kernels().column_curvatures(
                {first, scratch.exponentials.data(), q}, shape, scratch.rows, call_.rule,
                {grad.data + from * grad.stride, grad.stride, hess.data + from * hess.stride, hess.stride});
        });
        grad_.store_columns(kernels(), tile, call_.classes, grad.data, scratch.grad);
        hess_.store_columns(kernels(), tile, call_.classes, hess.data, scratch.hess);
    }

    // Of one row.
    void begin(const RowTile& tile, Row* row, Scratch&) const {
        std::size_t label;
        selection_.read(tile, &row->read, &label, &row->weight);
        row->label = number_of(label);
        row->read = row->read && !is_weightless(row->label);
    }
    Block reduce(int sweep, const RowPlace& place, const Row& row, std::size_t first, std::size_t n,
                 Scratch& scratch) const {
        Block block;
        if (sweep == 0) {
            const T* x = logits_.read(place, first, n, scratch.row_logits);
            const T top = kernels().largest(x, n);
            const std::size_t at = kernels().find(x, n, top);
            block.top = static_cast<double>(top);
            block.top_class = at == no_index ? no_index : first + at;
            return block;
        }
        double sums[most_lanes];
        exponentials(place, row, first, n, scratch, sums);
        StridedSum others;
        for (std::size_t lane = 0; lane < most_lanes; ++lane)
            others.add(lane, sums[lane]);
        block.others = others.total();
        const std::size_t top = row.sums.top_class;
        if (top >= first && top < first + n)
            block.own = scratch.exponentials[top - first];
        if (!call_.indices)
            add_target(row_coefficients(place, row, first, n, scratch), n, top - first, block.target);
        return block;
    }
    void fold(int sweep, const Block* blocks, std::size_t count, Row& row) const {
        Block& all = row.sums;
        StridedSum others, mass, others_mass;
        for (std::size_t b = 0; b < count; ++b) {
            const Block& block = blocks[b];
            if (sweep == 0 && block.top_class != no_index && (all.top_class == no_index || block.top > all.top)) {
                all = block;
            } else if (sweep == 1) {
                others.add(b, block.others);
                mass.add(b, block.target.mass);
                others_mass.add(b, block.target.others_mass);
                all.target.size += block.target.size;
                all.own += block.own;
            }
        }
        if (sweep == 0)
            return;
        all.others = others.total();
        all.target.mass = mass.total();
        all.target.others_mass = others_mass.total();
    }
    void end(const RowTile&, Row* row, double*, Scratch&) const {
        if (call_.indices)
            row->sums.target = target_.sums(row->label, number_of(row->sums.top_class));
        else
            row->read = row->read && row->sums.target.size != 0.0;
    }
    void write(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        T* const grad = grad_.place(place, first, scratch.row_grad);
        T* const hess = hess_.place(place, first, scratch.row_hess);
        if (!row.read) {
            std::fill_n(grad, n, T(0));
            std::fill_n(hess, n, T(0));
        } else {
            double sums[most_lanes];
            if (call_.classes > block_size)
                exponentials(place, row, first, n, scratch, sums);
            set_row(row, first, scratch.rows);
            const double* q =
                call_.indices && !target_.smooth() ? nullptr : row_coefficients(place, row, first, n, scratch);
            const bool whole = n % most_lanes == 0;
            const auto stride = static_cast<std::ptrdiff_t>(most_lanes);
            T* const to_grad = whole ? grad : scratch.row_grad.data();
            T* const to_hess = whole ? hess : scratch.row_hess.data();
            kernels().column_curvatures({0, scratch.exponentials.data(), q}, row_shape(n), scratch.rows, call_.rule,
                                        {to_grad, stride, to_hess, stride});
            copy_n(to_grad, n, grad);
            copy_n(to_hess, n, hess);
        }
        grad_.store(place, first, n, grad);
        hess_.store(place, first, n, hess);
    }

private:
    const Kernels<T>& kernels() const { return table_.of<T>(); }

    // ----------------------------------------------------------------------------------------------------- targets

    static double number_of(std::size_t index) { return index == no_index ? -1.0 : static_cast<double>(index); }

    /// A class weight of 0 removes the rows of its class.
    bool is_weightless(double label) const { return call_.indices && !target_.smooth() && target_.kept(label) == 0.0; }
    /// Adds coefficients to the sums of a row; `top`: which of them is the largest class's, if one is.
    static void add_target(const double* q, std::size_t n, std::size_t top, TargetSums& sums) {
        for (std::size_t j = 0; j < n; ++j) {
            sums.mass += q[j];
            sums.others_mass += j == top ? 0.0 : q[j];
            sums.size += std::fabs(q[j]);
        }
    }

    // ------------------------------------------------------------------------------------------- rows side by side

    /// Calls fn(first, shape) for as many classes at a time as their exponentials have room.
    template <class Fn>
    void for_pieces(const RowTile& tile, Fn&& fn) const {
        const std::size_t piece = piece_size / tile.lanes;
        for (std::size_t first = 0; first < call_.classes; first += piece)
            fn(first, TileShape{tile.lanes, std::min(piece, call_.classes - first)});
    }
    void exponentials(std::size_t first, const TileShape& shape, Scratch& scratch, double* sums) const {
        const Columns<const T>& x = scratch.columns;
        kernels().column_exponentials(x.data + static_cast<std::ptrdiff_t>(first) * x.stride, x.stride, shape, first,
                                      &scratch.rows, scratch.exponentials.data(), sums);
    }
    void find_largest(const RowTile& tile, Scratch& scratch) const {
        const Columns<const T> x = scratch.columns = logits_.columns(kernels(), tile, call_.classes, scratch.logits);
        kernels().column_references(x.data, x.stride, {tile.lanes, call_.classes}, &scratch.rows);
    }
    void add_up(const RowTile& tile, Scratch& scratch) const {
        CurvatureRows<T>& now = scratch.rows;
        if (call_.indices && call_.classes * tile.lanes <= piece_size)
            return exponentials(0, {tile.lanes, call_.classes}, scratch, now.others);
        for (double* sums : {now.mass, now.others_mass})
            std::fill_n(sums, tile.lanes, 0.0);
        double size[most_lanes] = {};
        StridedSum others[most_lanes];
        std::size_t piece = 0;
        if (!call_.indices)
            target_.of_probabilities(0, call_.classes, tile.lanes,
                                     probabilities_.copy(table_.of<double>(), tile, call_.classes, scratch.target));
        for_pieces(tile, [&](std::size_t first, const TileShape& shape) {
            double sums[most_lanes];
            exponentials(first, shape, scratch, sums);
            for (std::size_t r = 0; r < tile.lanes; ++r)
                others[r].add(piece, sums[r]);
            ++piece;
            if (!call_.indices)
                add_targets(tile_coefficients(first, shape, scratch), first, shape, now, size);
        });
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            now.others[r] = others[r].total();
            if (!call_.indices && size[r] == 0.0)
                now.read[r] = T(0);
        }
    }
    /// add_target of rows side by side.
    static void add_targets(const double* q, std::size_t first, const TileShape& shape, CurvatureRows<T>& rows,
                            double* size) {
        for (std::size_t j = 0; j < shape.classes; ++j, q += shape.lanes)
            for (std::size_t r = 0; r < shape.lanes; ++r) {
                rows.mass[r] += q[r];
                rows.others_mass[r] += rows.top[r] == static_cast<T>(first + j) ? 0.0 : q[r];
                size[r] += std::fabs(q[r]);
            }
    }
    /// Null: a hard target's.
    const double* tile_coefficients(std::size_t first, const TileShape& shape, Scratch& scratch) const {
        if (!call_.indices)
            return scratch.target.columns.data() + first * shape.lanes;
        if (!target_.smooth())
            return nullptr;
        target_.of_indices(scratch.rows.label, first, shape.classes, shape.lanes, scratch.coefficients.data());
        return scratch.coefficients.data();
    }

    // --------------------------------------------------------------------------------------------- rows that stand alone

    static TileShape row_shape(std::size_t n) { return {most_lanes, (n + most_lanes - 1) / most_lanes}; }

    void set_row(const Row& row, std::size_t first, CurvatureRows<T>& rows) const {
        const auto set_lane = [&](double index, T* lanes) {
            std::fill_n(lanes, most_lanes, T(-1));
            const auto at = static_cast<std::ptrdiff_t>(index) - static_cast<std::ptrdiff_t>(first);
            if (index < 0.0 || at < 0 || at >= static_cast<std::ptrdiff_t>(block_size))
                return;
            const std::size_t number = static_cast<std::size_t>(at) / most_lanes;
            lanes[static_cast<std::size_t>(at) % most_lanes] = static_cast<T>(number);
        };
        T top[most_lanes];
        std::fill_n(top, most_lanes, static_cast<T>(row.sums.top));
        kernels().column_references(top, 0, {most_lanes, 1}, &rows);
        set_lane(number_of(row.sums.top_class), rows.top);
        set_lane(row.label, rows.label);
        std::fill_n(rows.read, most_lanes, T(1));
        std::fill_n(rows.own, most_lanes, row.sums.own);
        std::fill_n(rows.others, most_lanes, row.sums.others);
        std::fill_n(rows.mass, most_lanes, row.sums.target.mass);
        std::fill_n(rows.others_mass, most_lanes, row.sums.target.others_mass);
        std::fill_n(rows.weight, most_lanes, row.weight);
    }
    void exponentials(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch,
                      double* sums) const {
        T* const own = scratch.row_logits.data();
        const T* x = logits_.read(place, first, n, scratch.row_logits);
        const TileShape shape = row_shape(n);
        if (n % most_lanes != 0) {
            copy_n(x, n, own);
            std::fill(own + n, own + shape.classes * most_lanes, -std::numeric_limits<T>::infinity());
            x = own;
        }
        set_row(row, first, scratch.rows);
        kernels().column_exponentials(x, static_cast<std::ptrdiff_t>(most_lanes), shape, 0, &scratch.rows,
                                      scratch.exponentials.data(), sums);
    }
    /// With 0 up to a whole number of lanes.
    const double* row_coefficients(const RowPlace& place, const Row& row, std::size_t first, std::size_t n,
                                   Scratch& scratch) const {
        double* const q = scratch.coefficients.data();
        if (call_.indices) {
            target_.of_indices(&row.label, first, n, 1, q);
        } else {
            probabilities_.read_to(place, first, n, q);
            target_.of_probabilities(first, n, 1, q);
        }
        std::fill(q + n, q + row_shape(n).classes * most_lanes, 0.0);
        return q;
    }
    static void copy_n(const T* from, std::size_t n, T* to) {
        if (from != to)
            std::copy_n(from, n, to);
    }

    const GradHessCall& call_;
    const KernelTable& table_;
    TargetCoefficients target_;
    Positions positions_, classes_;
    RowSelection selection_;
    RowInput<T> logits_;
    RowInput<double> probabilities_;
    RowOutput<T> grad_, hess_;
};

}  // namespace
}  // namespace detail

void cross_entropy_grad_hess(const ArrayView& logits, const ArrayView& target, const MutableArrayView& grad,
                             const MutableArrayView& hess, const CrossEntropyHessianOptions& options) {
    detail::enter([&] {
        const detail::GradHessCall call(logits, target, grad, hess, options);
        detail::with_arithmetic_type(call.logits.view.dtype, [&](auto number) {
            detail::GradHessRows<decltype(number)> rows(call);
            rows.run();
        });
    });
}

}  // namespace logitloss
