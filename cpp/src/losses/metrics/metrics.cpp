// Accuracy, error rate, perplexity.
#include "logitloss/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "arguments/labels.hpp"
#include "logits/few_class_rows.hpp"
#include "runtime/entry.hpp"
#include "traversal/element_map.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_selection.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss {
namespace detail {
namespace {

/// The arguments of one call, checked.
struct AccuracyCall {
    const Argument logits, target, sample_weight;
    const AccuracyOptions& options;
    int axis = 0;
    std::size_t classes = 0;
    bool indices = false;
    Shape rows;
    WeightSum total_weight;  ///< of the rows that count

    AccuracyCall(const ArrayView& logits_view, const ArrayView& target_view, const AccuracyOptions& call_options)
        : logits("logits", logits_view),
          target("target", target_view),
          sample_weight("sample_weight", call_options.sample_weight),
          options(call_options) {
        if (options.top_k < 1)
            throw value_error("top_k: got " + std::to_string(options.top_k) + ", expected an int >= 1");
        require_floating(logits);
        axis = normalized_axis(options.axis, logits.shape.size());
        classes = static_cast<std::size_t>(logits.shape[static_cast<std::size_t>(axis)]);
        rows = without_axis(logits.shape, axis);
        indices = holds_class_indices(target, logits.shape, rows);
        if (sample_weight.given())
            broadcast_strides(sample_weight, rows);
        total_weight = indices ? check_labels(target, classes, options.ignore_index, Argument("class_weight", {}),
                                              sample_weight, options.num_threads)
                               : sum_sample_weights(sample_weight, rows, options.num_threads);
        if (!indices && classes == 0 && Positions(rows).count() != 0)
            throw value_error("target: got 0 classes, expected at least 1");
    }
};

/// The rows of a call; `right` says whether right or wrong rows are counted. Class probabilities take a first sweep, for
/// their largest.
template <class T>
class AccuracyRows : public RowProblem {
public:
    struct Scratch {
        BufferSpace space;
        Buffer<T> logits, target, one;
        ColumnBuffer<T> columns;
        FewClassRows few;

        Scratch(std::size_t tile_rows, std::size_t n)
            : space(2 * BufferSpace::bytes<T>(n) + BufferSpace::bytes<T>(1) + 2 * BufferSpace::bytes<T>(tile_rows * n)),
              logits(space.take<T>(n)),
              target(space.take<T>(n)),
              one(space.take<T>(1)),
              columns(space, tile_rows * n) {}
    };
    struct Block {
        double count = 0.0;  ///< of classes that beat the target; NaN if there is a NaN
        double top = 0.0;    ///< of class probabilities: the largest, and where it is
        std::size_t top_class = no_index;
    };
    struct Row {
        bool read = true;
        std::size_t label = no_index;
        double weight = 1.0;
        double beaten_by = 0.0;
    };
    struct TileRows {
        T label[most_lanes], read[most_lanes], beaten_by[most_lanes];
        double weight[most_lanes];
        const double* weights;  ///< null: all 1
    };

    AccuracyRows(const AccuracyCall& call, bool right)
        : call_(call),
          kernels_(detail::kernels().of<T>()),
          positions_(call.rows),
          class_positions_({static_cast<std::ptrdiff_t>(call.classes)}),
          right_(right),
          counted_(call.classes, call.options.ignore_index, call.total_weight.sample_scale) {
        const auto class_axis = static_cast<std::size_t>(call.axis);
        positions_.add(without_axis(call.logits.strides, call.axis));
        positions_.add(call.indices ? call.target.strides : without_axis(call.target.strides, call.axis));
        if (call.sample_weight.given())
            positions_.add(broadcast_strides(call.sample_weight, call.rows));
        positions_.simplify(true);
        class_positions_.add({call.logits.strides[class_axis]});
        class_positions_.add({call.indices ? 0 : call.target.strides[class_axis]});
        class_positions_.simplify(false);
        logits_ = RowInput<T>(call.logits, positions_, 0, class_positions_, 0);
        if (call.indices)
            counted_.labels = RowNumbers(call.target, 1);
        else
            target_ = RowInput<T>(call.target, positions_, 1, class_positions_, 1);
        if (call.sample_weight.given())
            counted_.sample_weight = RowNumbers(call.sample_weight, 2);
    }

    double share() {
        RowPlan plan = plan_rows<T>(positions(), class_positions());
        takes_few_ = std::is_same_v<T, float> && plan.tiled() && plan.classes <= most_few_classes && call_.indices &&
                     call_.options.top_k == 1;
        if (takes_few_ && logits_.direct())
            plan.hand_out_most();
        const double counted = traverse_rows(*this, plan, call_.options.num_threads);
        return Normalization(Reduction::mean, std::nullopt, call_.total_weight).reduce(counted);
    }

    // What RowTraversal asks.
    const Positions& positions() const { return positions_; }
    const Positions& class_positions() const { return class_positions_; }
    Scratch scratch(const RowPlan& plan) const {
        return Scratch(plan.tile_rows, plan.tiled() ? plan.classes : std::min(plan.classes, block_size));
    }
    int sweeps() const { return call_.indices ? 1 : 2; }
    bool has_losses() const { return true; }

    /// Rows of few classes by themselves.
    template <class Rest>
    bool take_most(const RowTile& tile, double* losses, Scratch& scratch, const Rest&) const {
        if constexpr (std::is_same_v<T, float>) {
            if (!takes_few_)
                return false;
            FewClassRows& rows = scratch.few;
            FewClasses in = rows.call(tile.count, call_.classes, losses);
            in.kept = right_ ? 1.0f : 0.0f;
            in.spread = 1.0f - in.kept;
            const std::int64_t* label = counted_.labels.integers(tile, rows.label);
            in.read = counted_.look_at(kernels_, tile, label, rows.target, rows.read) ? nullptr : rows.read;
            set_input(in, logits_, kernels_, tile, scratch.columns);
            kernels_.few_classes(in, FewClassTask::largest);
            weigh(tile, counted_.weights(tile, rows.weight), losses);
            return true;
        } else {
            return false;
        }
    }

    void begin(const RowTile& tile, Row* row, const Scratch&) const {
        counted_.read(tile, &row->read, &row->label, &row->weight);
    }
    void begin(const RowTile& tile, TileRows& rows, const Scratch&) const {
        std::int64_t labels[most_lanes];
        std::fill_n(rows.beaten_by, tile.lanes, T(0));
        if (call_.indices)
            counted_.read_labels(kernels_, tile, labels, rows.label, rows.read);
        else
            std::fill_n(rows.read, tile.lanes, T(1));
        rows.weights = counted_.weights(tile, rows.weight);
    }

    Block reduce(int sweep, const RowPlace& place, const Row& row, std::size_t first, std::size_t n,
                 Scratch& scratch) const {
        Block block;
        if (!call_.indices && sweep == 0) {
            const T* t = target_.read(place, first, n, scratch.target);
            const T top = kernels_.largest(t, n);
            block.count = kernels_.count_beating(t, n, top, 0);  // 0, or NaN
            block.top = static_cast<double>(top);
            const std::size_t index = kernels_.find(t, n, top);
            block.top_class = index == no_index ? no_index : first + index;
            return block;
        }
        const T* x = logits_.read(place, first, n, scratch.logits);
        const T own = *logits_.read(place, row.label, 1, scratch.one);
        const std::size_t label = row.label <= first ? 0 : row.label - first;
        if (call_.options.top_k == 1)
            block.count = kernels_.is_beaten(x, n, own, label) ? 1.0 : 0.0;
        else
            block.count = kernels_.count_beating(x, n, own, label);
        return block;
    }

    void fold(int, const Block* blocks, std::size_t count, Row& row) const {
        StridedSum beaten_by;
        std::size_t top = 0;
        for (std::size_t b = 0; b < count; ++b) {
            beaten_by.add(b, blocks[b].count);
            top = blocks[b].top > blocks[top].top ? b : top;
        }
        if (row.label == no_index)
            row.label = blocks[top].top_class < call_.classes ? blocks[top].top_class : 0;  // 0: all NaN
        row.beaten_by += beaten_by.total();
    }

    void reduce_columns(int sweep, const RowTile& tile, TileRows& rows, Scratch& scratch) const {
        const TileShape shape{tile.lanes, call_.classes};
        const bool of_target = !call_.indices && sweep == 0;
        const Columns<const T> x =
            (of_target ? target_ : logits_).columns(kernels_, tile, shape.classes, scratch.columns);
        if (of_target) {
            kernels_.column_largest(x.data, x.stride, shape, rows.label);
            for (std::size_t r = 0; r < tile.lanes; ++r)
                rows.label[r] = std::max(rows.label[r], T(0));  // all NaN: 0
        }
        T count[most_lanes];
        kernels_.column_beating(x.data, x.stride, shape, rows.label, count);
        for (std::size_t r = 0; r < tile.lanes; ++r)
            rows.beaten_by[r] += count[r];
    }

    void end(const RowTile&, const Row* row, double* loss, const Scratch&) const {
        *loss = row->read && is_counted(row->beaten_by) ? row->weight : 0.0;
    }
    void end(const RowTile& tile, const TileRows& rows, double* losses, const Scratch&) const {
        for (std::size_t r = 0; r < tile.count; ++r)
            losses[r] = static_cast<double>(rows.read[r]) *
                        static_cast<double>(is_counted(static_cast<double>(rows.beaten_by[r])));
        weigh(tile, rows.weights, losses);
    }

private:
    /// Weights (null: 1) in the place of losses of 1, without branches, which nobody could predict.
    static void weigh(const RowTile& tile, const double* weights, double* losses) {
        for (std::size_t r = 0; weights != nullptr && r < tile.count; ++r) {
            const double either[] = {0.0, weights[r]};
            losses[r] = either[static_cast<std::size_t>(losses[r])];
        }
    }
    /// Whether a row is right, if right ones are counted. That of a NaN is not.
    bool is_counted(double beaten_by) const { return (beaten_by < static_cast<double>(call_.options.top_k)) == right_; }

    const AccuracyCall& call_;
    const Kernels<T>& kernels_;
    Positions positions_, class_positions_;
    bool right_;
    bool takes_few_ = false;  ///< whether KernelTable::few_classes does for all of it
    RowSelection counted_;
    RowInput<T> logits_, target_;
};

double run_accuracy(const ArrayView& logits, const ArrayView& target, const AccuracyOptions& options, bool right) {
    const AccuracyCall call(logits, target, options);
    return with_arithmetic_type(common_arithmetic(logits.dtype, call.indices ? logits.dtype : target.dtype),
                                [&](auto number) { return AccuracyRows<decltype(number)>(call, right).share(); });
}

void run_perplexity(const ArrayView& loss_view, const MutableArrayView& out_view, int num_threads) {
    const Argument loss("loss", loss_view);
    const Output out("out", out_view);
    require_element_result(loss, out);
    with_arithmetic_type(loss.view.dtype, [&](auto number) {
        using T = decltype(number);
        map_elements<T>(loss, out, num_threads,
                        [](const T* x, std::size_t n, T* values) { kernels().of<T>().exp(x, n, values); });
    });
}

}  // namespace
}  // namespace detail

double accuracy(const ArrayView& logits, const ArrayView& target, const AccuracyOptions& options) {
    return detail::enter([&] { return detail::run_accuracy(logits, target, options, true); });
}

double error_rate(const ArrayView& logits, const ArrayView& target, const AccuracyOptions& options) {
    return detail::enter([&] { return detail::run_accuracy(logits, target, options, false); });
}

void perplexity(const ArrayView& loss, const MutableArrayView& out, int num_threads) {
    detail::enter([&] { detail::run_perplexity(loss, out, num_threads); });
}

}  // namespace logitloss
