// Softmax cross-entropy of logits whose classes lie in several places.
//
// Note [states of shards]: what a shard gives of a row is what a block gives in one call (RowBlock), and states merge as
// the blocks of a row do, in the order of the classes. Nothing but the cuts decides what is added to what.
#include "logitloss/cross_entropy_state.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "arguments/dtype_switch.hpp"
#include "losses/cross_entropy/cross_entropy_state_rows.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {

double run_batches(const Positions& positions, const RowPlan& plan, int workers, const RowBatches& batches) {
    // Several chunks that are summed by themselves fill a batch.
    const std::size_t rows_at_once = std::max<std::size_t>(1, row_batch / plan.chunk_rows) * plan.chunk_rows;
    std::vector<double> sums(plan.chunks());
    parallel_for((plan.rows + rows_at_once - 1) / rows_at_once, 1, workers,
                 [&](std::size_t first, std::size_t last, int worker) {
                     std::size_t row = first * rows_at_once;
                     const std::size_t end = std::min(plan.rows, last * rows_at_once);
                     Positions::Cursor cursor(positions, row);
                     StridedSum sum;
                     while (row < end) {
                         const RowTile tile = tile_at(positions, cursor, row, std::min(row_batch, end - row));
                         double losses[row_batch] = {};
                         batches.take(tile, losses, static_cast<std::size_t>(worker));
                         for (std::size_t r = 0; r < tile.count; ++r, ++row) {
                             const std::size_t of_chunk = row % plan.chunk_rows;
                             if (of_chunk == 0)
                                 sum = StridedSum();
                             sum.add(of_chunk, losses[r]);
                             if (of_chunk + 1 == plan.chunk_rows || row + 1 == plan.rows)
                                 sums[row / plan.chunk_rows] = sum.total();
                         }
                         cursor.advance_inner(tile.count);
                     }
                 });
    StridedSum total;
    for (std::size_t chunk = 0; chunk < sums.size(); ++chunk)
        total.add(chunk, sums[chunk]);
    return total.total();
}

namespace {

std::string class_text(double first, double end) {
    return "classes [" + std::to_string(static_cast<std::int64_t>(first)) + ", " +
           std::to_string(static_cast<std::int64_t>(end)) + ")";
}

void run_shard(const ArrayView& logits, const ArrayView& target, const ClassRange& range, CrossEntropyState* states,
               CrossEntropyOptions options) {
    options.reduction = Reduction::none;
    options.normalizer.reset();
    const LogitCall call("logits_shard", logits, target, {}, {}, {}, options,
                         {range.first_class, range.num_classes, states});
    with_arithmetic_type(call.input.view.dtype, [&](auto number) { ShardRows<decltype(number)>(call, states).run(); });
}

void check_neighbours(const CrossEntropyState& left, const CrossEntropyState& right) {
    if (left.end_class != right.first_class)
        throw value_error("states: got " + class_text(left.first_class, left.end_class) + " and " +
                          class_text(right.first_class, right.end_class) +
                          ", expected shards that neither overlap nor leave classes out");
    if (left.digits != right.digits)
        throw value_error("states: got some of float64 logits and some of others, expected one arithmetic");
}

template <class T>
double scale_in(const CrossEntropyOptions& options) {
    return LogitTransform<T>(options.softcap, options.margin, options.scale).scale();
}

void run_merge(const CrossEntropyState* states, std::size_t rows, std::size_t shards, bool class_probabilities,
               CrossEntropyState* merged_states, const CrossEntropyOptions& options) {
    if (shards == 0)
        throw value_error("states: got no shards, expected at least one");
    for (std::size_t i = 0; i < rows * shards; ++i)
        if (i % shards != 0)
            check_neighbours(states[i - 1], states[i]);
    const bool largest = class_probabilities || (options.label_smoothing > 0.0 && options.class_weight.given());
    const double scale = scale_in<float>(options), wide_scale = scale_in<double>(options);
    for (std::size_t r = 0; r < rows; ++r) {
        const CrossEntropyState* row = states + r * shards;
        merged_states[r] = merged(row, shards, largest, row->digits == digits_of<double> ? wide_scale : scale);
    }
}

void check_states(const LogitCall& call) {
    std::size_t rows = 1;
    for (const std::ptrdiff_t length : call.rows)
        rows *= static_cast<std::size_t>(length);
    const double digits = call.input.view.dtype == DType::float64 ? digits_of<double> : digits_of<float>;
    const auto all = static_cast<double>(call.all_classes);
    for (std::size_t r = 0; r < rows; ++r) {
        const CrossEntropyState& state = call.shard.states[r];
        if (state.first_class != 0.0 || state.end_class != all)
            throw value_error("states: got " + class_text(state.first_class, state.end_class) + ", expected " +
                              class_text(0.0, all));
        if (state.digits != digits)
            throw value_error(std::string("logits_shard: got dtype ") + name(call.input.view.dtype) +
                              " beside states of " + (digits == digits_of<double> ? "narrower" : "float64") +
                              " logits, expected one arithmetic");
    }
}

void run_of_states(const ArrayView& logits, const ArrayView& target, const ClassRange& range,
                   const CrossEntropyState* states, const ArrayView& upstream, const MutableArrayView& loss,
                   const MutableArrayView& grad, const CrossEntropyOptions& options) {
    const LogitCall call("logits_shard", logits, target, upstream, loss, grad, options,
                         {range.first_class, range.num_classes, states});
    if (states == nullptr)
        return;
    check_states(call);
    with_arithmetic_type(call.input.view.dtype, [&](auto number) {
        const double sum = ShardRows<decltype(number)>(call, nullptr).run();
        if (call.loss.given() && options.reduction != Reduction::none)
            call.loss.set_number(call.normalization.reduce(sum));
    });
}

}  // namespace
}  // namespace detail

void cross_entropy_states(const ArrayView& logits_shard, const ArrayView& target, const ClassRange& range,
                          CrossEntropyState* states, const CrossEntropyOptions& options) {
    detail::enter([&] { detail::run_shard(logits_shard, target, range, states, options); });
}

void merge_cross_entropy_states(const CrossEntropyState* states, std::size_t rows, std::size_t shards,
                                bool class_probabilities, CrossEntropyState* merged,
                                const CrossEntropyOptions& options) {
    detail::enter([&] { detail::run_merge(states, rows, shards, class_probabilities, merged, options); });
}

void cross_entropy_of_states(const ArrayView& logits_shard, const ArrayView& target, const ClassRange& range,
                             const CrossEntropyState* states, const ArrayView& upstream, const MutableArrayView& loss,
                             const MutableArrayView& grad, const CrossEntropyOptions& options) {
    detail::enter([&] { detail::run_of_states(logits_shard, target, range, states, upstream, loss, grad, options); });
}

}  // namespace logitloss
