// Rows of which a shard holds some classes: their states, and what comes of states that cover all classes.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "losses/cross_entropy/cross_entropy_rows.hpp"
#include "losses/cross_entropy/merged_state.hpp"
#include "runtime/threads.hpp"

namespace logitloss::detail {

template <class T>
constexpr double digits_of = std::numeric_limits<T>::digits;

/// Rows that are taken in batches, on several threads, by one loop for all types.
class RowBatches {
public:
    virtual ~RowBatches() = default;
    /// Takes up to row_batch rows, and sets their losses.
    virtual void take(const RowTile& tile, double* losses, std::size_t worker) const = 0;
};

/// Returns the sum of the losses.
double run_batches(const Positions& positions, const RowPlan& plan, int workers, const RowBatches& batches);

/// The rows of a call with states, in batches. With CrossEntropyRows, which has the loss, it takes each row through the
/// steps of LogitRows, but between the sums of a shard and the end of the row lies somebody's merging.
template <class T>
class ShardRows final : public RowBatches {
public:
    /// `states`: where to put them, or null for losses and gradients from those of the call.
    ShardRows(const LogitCall& call, CrossEntropyState* states)
        : call_(call),
          states_(states),
          rows_(call),
          reducer_(detail::kernels().of<T>(), rows_.set_aside()),
          plan_(rows_.positions().count(), call.classes),
          workers_(plan_threads(plan_.rows * plan_.classes, call.options.num_threads)) {
        // The losses are added up in one order, whichever shard they are computed beside: that of one call of long rows.
        plan_.chunk_rows = RowPlan(plan_.rows, call.all_classes).chunk_rows;
        for (int worker = 0; worker < workers_; ++worker)
            scratch_.push_back(std::make_unique<Worker>(plan_));
    }

    double run() const { return run_batches(rows_.positions(), plan_, workers_, *this); }

    void take(const RowTile& tile, double* losses, std::size_t worker) const override {
        Worker& scratch = *scratch_[worker];
        RowLanes<T>& sums = scratch.lanes;
        sums.start(tile);
        rows_.read_rows(tile, sums);
        if (states_ != nullptr)
            return sum(tile, scratch);
        end_rows(tile, sums);
        std::copy(sums.loss, sums.loss + tile.count, losses);
        for (std::size_t r = 0; rows_.writes() && r < tile.count; ++r)
            write(tile, r, scratch);
    }

private:
    struct Worker {
        Scratch<T> row;
        std::vector<RowBlock<T>> blocks;
        RowLanes<T> lanes;

        explicit Worker(const RowPlan& plan) : row(plan, true, 0), blocks(plan.blocks) {}
    };

    std::size_t length(std::size_t block) const { return std::min(block_size, plan_.classes - block * block_size); }
    /// The row's place, with its target where that is among the shard's classes.
    RowPlace place_in(const RowTile& tile, const RowLanes<T>& sums, std::size_t r) const {
        RowPlace place = tile.place(r);
        const std::size_t label = sums.class_of(r, call_.all_classes);
        if (label != no_index && label >= call_.first_class && label - call_.first_class < call_.classes)
            place.target = label - call_.first_class;
        return place;
    }

    /// Note [reference of a row]. Of a shard it is the largest logit, before the margin: what the shard adds to the sum
    /// of the row keeps its digits, whatever other shards hold.
    T reference_of(const RowPlace& place, Scratch<T>& scratch) const {
        if (!rows_.transform().shifts())
            return T(0);
        const Kernels<T>& kernels = detail::kernels().of<T>();
        T top = -std::numeric_limits<T>::infinity();
        for (std::size_t b = 0; b < plan_.blocks; ++b) {
            const T* x = rows_.arrays().input.read(place, b * block_size, length(b), scratch.raw_logits);
            top = std::max(top, kernels.largest(x, length(b)));
        }
        bool found = false;
        return rows_.transform().first_finite(kernels, &top, 1, &found);
    }

    // ------------------------------------------------------------------------------------------------ from logits

    void sum(const RowTile& tile, Worker& scratch) const {
        for (std::size_t r = 0; r < tile.count; ++r) {
            const RowPlace place = place_in(tile, scratch.lanes, r);
            CrossEntropyState state;
            if (scratch.lanes.reads(r))
                sum_row(place, state, scratch);
            state.first_class = static_cast<double>(call_.first_class);
            state.end_class = static_cast<double>(call_.first_class + call_.classes);
            state.digits = digits_of<T>;
            states_[rows_.arrays().state_index(place)] = state;
        }
    }

    void sum_row(const RowPlace& place, CrossEntropyState& state, Worker& scratch) const {
        state.mass = no_mass;
        if (plan_.blocks == 0)
            return;
        const T reference = reference_of(place, scratch.row);
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            scratch.blocks[b] = sum_block(place, b, reference, scratch.row);
        RowSums<T> row;
        reducer_.merge(scratch.blocks.data(), plan_.blocks, row);
        state.sum = row.sum;
        state.exponent = row.exponent;
        set_largest(scratch.blocks, row.aside_class, state);
        if (row.needs_float64)
            sum_in_float64(place, row.aside_class, reference, state, scratch.row);
        if (row.aside_class != no_index) {
            state.aside_class = static_cast<double>(call_.first_class + row.aside_class);
            state.aside_logit = static_cast<double>(row.aside_logit);
        }
        state.gaps = row.gaps;
        if (!std::isfinite(row.max)) {  // no block had a reference but 0
            state.gaps = 0.0;
            for (const RowBlock<T>& block : scratch.blocks)
                state.gaps += block.gaps;
        }
        const bool sums_to_0 = row.other_mass == 0.0 && row.aside_mass == 0.0;
        if (!sums_to_0 || any_coefficient(place, scratch.row))
            state.mass = row.other_mass + 0.0;
        state.aside_mass = row.aside_mass;
        state.reference = static_cast<double>(reference);
    }

    /// Whether one is not 0; of sums that are, signs may have cancelled.
    bool any_coefficient(const RowPlace& place, Scratch<T>& scratch) const {
        if (rows_.set_aside() == SetAside::target)
            return true;
        bool any = false;
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            rows_.coefficients(place, b * block_size, length(b), scratch)
                .for_pieces(length(b), [&](std::size_t, std::size_t count, const double* q) {
                    any = any || std::any_of(q, q + count, [](double one) { return one != 0.0; });
                });
        return any;
    }

    RowBlock<T> sum_block(const RowPlace& place, std::size_t b, T reference, Scratch<T>& scratch) const {
        const std::size_t first = b * block_size, n = length(b);
        const bool here = place.target != no_index && place.target >= first && place.target - first < n;
        const T* x = rows_.logits(place, first, n, reference, scratch);
        RowBlock<T> block = reducer_.reduce(x, n, here ? place.target - first : no_index, nullptr, nullptr);
        if (rows_.linear())
            reducer_.add_linear(x, rows_.coefficients(place, first, n, scratch), n, block);
        return block;
    }

    static void set_largest(const std::vector<RowBlock<T>>& blocks, std::size_t aside, CrossEntropyState& state) {
        for (std::size_t b = 0; b < blocks.size(); ++b) {
            state.max = larger(state.max, blocks[b].others.max);
            if (aside == no_index || b != aside / block_size)
                state.max = larger(state.max, blocks[b].aside_logit);
        }
    }

    void sum_in_float64(const RowPlace& place, std::size_t aside, T reference, CrossEntropyState& state,
                        Scratch<T>& scratch) const {
        const auto block = [&](std::size_t first, std::size_t n) {
            return rows_.logits(place, first, n, reference, scratch);
        };
        const Float64Sums others = float64_sums(plan_.classes, aside, BlockReader<T>::of(block));
        state.max = others.largest;
        state.sum = others.sum;
        state.exponent = std::numeric_limits<double>::quiet_NaN();
    }

    // ------------------------------------------------------------------------------------------------ from states

    const CrossEntropyState& state_of(const RowPlace& place) const {
        return call_.shard.states[rows_.arrays().state_index(place)];
    }
    static bool needs_float64(const CrossEntropyState& state) { return state.exponent != state.exponent; }

    /// Whether logits decide about the row. Without any coefficient its loss is 0, as in ExactRows::sum.
    bool counts(const RowTile& tile, const RowLanes<T>& sums, std::size_t r) const {
        return sums.reads(r) && (call_.options.z_loss != 0.0 || has_mass(state_of(tile.place(r))));
    }

    void end_rows(const RowTile& tile, RowLanes<T>& sums) const {
        for (std::size_t r = 0; r < tile.lanes; ++r)
            set_lane(r < tile.count && counts(tile, sums, r) ? state_of(tile.place(r)) : CrossEntropyState{}, r, sums);
        sums.aside.max = sums.max;
        detail::kernels().of<T>().aside_ends(&sums.aside, tile.lanes, rows_.end_parts());
        for (std::size_t r = 0; r < tile.count; ++r)
            if (counts(tile, sums, r) && needs_float64(state_of(tile.place(r))))
                end_in_float64(state_of(tile.place(r)), r, sums);
        sums.referenced = true;
        rows_.finish_rows(tile, sums);
    }

    void set_lane(const CrossEntropyState& state, std::size_t r, RowLanes<T>& sums) const {
        const bool neutral = needs_float64(state);  // a lane that can be computed, though nobody wants it
        const double scale = call_.indices ? call_.normalization.class_scale : 1.0;
        sums.aside.sum[r] = neutral ? 8.0 : state.sum;
        sums.aside.exponent[r] = neutral ? 0.0 : state.exponent;
        sums.aside.logit[r] = neutral ? T(0) : static_cast<T>(state.aside_logit);
        sums.max[r] = neutral ? T(0) : static_cast<T>(larger(state.max, state.aside_logit));
        sums.gaps[r] = scale * state.gaps;
        sums.other_mass[r] = scale * state.mass;
        sums.aside_mass[r] = scale * state.aside_mass;
        sums.reference[r] = static_cast<T>(state.reference);
    }

    void end_in_float64(const CrossEntropyState& state, std::size_t r, RowLanes<T>& sums) const {
        if (!sums.any_needs_float64)
            std::fill(sums.needs_float64, sums.needs_float64 + most_lanes, false);
        sums.any_needs_float64 = sums.needs_float64[r] = true;
        sums.max[r] = static_cast<T>(larger(state.max, state.aside_logit));
        const RowEnd end = float64_end(detail::kernels().float64, rows_.set_aside(), state.max, state.sum,
                                       state.aside_logit, state.aside_class >= 0.0);
        set_end(end, r, sums.aside);
    }

    void write(const RowTile& tile, std::size_t r, Worker& scratch) const {
        const RowLanes<T>& sums = scratch.lanes;
        const RowPlace place = place_in(tile, sums, r);
        typename CrossEntropyRows<T>::Write write;
        if (!sums.reads(r))
            write = rows_.skip(place);
        else
            refer(place, state_of(place), r, scratch, write);
        write.zero |= !counts(tile, sums, r) && write.scale == 0.0;
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            rows_.write(place, write, b * block_size, length(b), nullptr, scratch.row);
    }

    /// The row's end, against the reference of the shard.
    void refer(const RowPlace& place, const CrossEntropyState& state, std::size_t r, Worker& scratch,
               typename CrossEntropyRows<T>::Write& write) const {
        const double aside = state.aside_class - static_cast<double>(call_.first_class);
        const bool here = aside >= 0.0 && aside < static_cast<double>(call_.classes);
        write =
            rows_.write_of(scratch.lanes, r, needs_float64(state), here ? static_cast<std::size_t>(aside) : no_index);
        write.reference = reference_of(place, scratch.row);
        const Offset offset(static_cast<double>(write.reference), state.reference, rows_.transform().scale());
        if (offset.is_zero() || !std::isfinite(write.scale))
            return;
        if (write.needs_float64) {
            write.base = (write.base - offset.high) - offset.low;
        } else if (offset.is_near()) {  // else all that the shard holds is masked
            const Power power = exp_of(offset);
            write.scale *= power.mantissa;
            write.base -= power.exponent;
        }
    }

    const LogitCall& call_;
    CrossEntropyState* states_;
    CrossEntropyRows<T> rows_;
    RowReducer<T> reducer_;
    RowPlan plan_;
    int workers_;
    std::vector<std::unique_ptr<Worker>> scratch_;
};

}  // namespace logitloss::detail
