// Rows of logits on the row traversal: side by side, in batches of one block, or block by block.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "layout/buffers.hpp"
#include "layout/positions.hpp"
#include "logits/log_sum_exp_rows.hpp"
#include "logits/log_sum_exp_tile.hpp"
#include "logits/logit_scratch.hpp"
#include "logits/store_mode.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_plan.hpp"
#include "traversal/row_tile.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss::detail {

/// Whether a Loss has `end_alone`.
template <class Loss, class = void>
struct EndsAlone : std::false_type {};
template <class Loss>
struct EndsAlone<Loss, std::void_t<decltype(&Loss::end_alone)>> : std::true_type {};

/// Rows of logits, a problem of RowTraversal. A row ends in one of three ways: as a lane of a tile whose rows lie side by
/// side; with a batch of rows of one block, which are written while the next batch is read, so that reading and writing
/// memory go side by side; or by itself, block by block. A row that needs float64 leaves its tile or batch and takes the
/// last way.
///
/// A Loss over element type T has
///   const Positions& positions();  const KernelTable& table();  SetAside set_aside();
///   EndParts end_parts()                                what it wants of rows with a class set aside
///   void read_rows(const RowTile&, RowLanes&)           sets `read`, `target`, `label`; counts on RowLanes::start
///   Write skip(const RowPlace&)                         ends a row that is not read; how its gradient is written
///   const T* logits(const RowPlace&, first, n, Scratch&)   n classes from `first` on
///   const Half* stored_logits<Half>(const RowPlace&, first)   where they are, if they are contiguous halves; or null
///   bool linear()                                       whether it wants sums over coefficients, which are
///   const T* coefficients(const RowPlace&, first, n, Scratch&)   (null: all 1)
///   bool has_values()                                   whether log-sum-exps of rows that are summed whole are wanted,
///   bool sums_again()                                   and sums in two parts, also of rows that are not near 0:
///   bool sums_again(const RowLanes&, r)                 of this one
///   void finish_rows(const RowTile&, RowLanes&)         losses, and what the second sweep needs
///   bool has_losses()                                   whether finish_rows sets RowLanes::loss
///   bool writes(), bool writes_exponentials()           whether there is an output, and one made of exponentials
///   Write write_of(const RowLanes&, r, bool needs_float64, std::size_t aside_class)   what `write` needs of a row
///   void end_alone(const RowPlace&, RowLanes&, Write&, Scratch&)
///                                                          the last word on a row that stood alone, if there is one
///   void write(const RowPlace&, const Write&, first, n, const T* exponentials, Scratch&)
///                                                          exponentials: as block_state kept them, or null
///   bool can_write_during_sweep(const Write&)           whether a row of one block is no more than
///   PendingRow<T> pending_row(const RowPlace&, const Write&, const T* exponentials)
///                                                          written straight to its place
/// For tiles, whose rows are whole,
///   Columns<const T> columns(const RowTile&, RowLanes&, Scratch&)
///   NextTile next(const RowTile&)                       of the logits
///   bool reads_columns_again()                          whether the class set aside must be back in its place
///   const T* column_coefficients(const RowTile&, const RowLanes&, Scratch&)   tile.lanes apart
///   void write_columns(const RowTile&, const RowLanes&, Columns<const T>, const T* exponentials, Scratch&)
/// and few_classes(), which returns what it does with rows of few float32 classes: a FewClassTraits with
///   void begin(const RowTile&, FewClassRows&, FewClasses&, Scratch&)   where rows are, and what multiplies them
///   bool end(const RowTile&, FewClassRows&, const FewClasses&, Scratch&)   results; whether it marks more rows as odd
///   void keep(const RowPlace&, const FewClassRows&, r)  the result of a row that is odd for its gradient only
template <class T, class Loss>
class LogitRows : public RowProblem {
public:
    using Scratch = detail::Scratch<T>;
    using Block = RowBlock<T>;
    using Write = typename Loss::Write;
    struct TileRows {};  // they are in Scratch
    struct Row {
        bool read = true;
        RowPlace place;  ///< with the row's target
        RowSums<T> sums;
        StateMerger merger;  ///< of a row that is folded, with its largest logit and the blocks that it has
        double top = -std::numeric_limits<double>::infinity();
        std::size_t folded = 0;
        Write write;
    };
    /// Blocks of a row that are kept before they are folded: a row may have 100 million classes.
    static constexpr std::size_t blocks_at_a_time = 4096;

    LogitRows(Loss& loss, const RowPlan& plan, bool staged)
        : loss_(loss), plan_(plan), staged_(staged), few_(loss.few_classes()), reducer_(kernels(), loss.set_aside()) {
        few_.takes &= plan.tiled() && plan.classes <= most_few_classes;
        if constexpr (sizeof(T) == sizeof(float)) {
            if (few_.takes && few_.long_tiles)
                plan_.hand_out_most();
        }
        const bool batched = !plan.tiled() && plan.blocks == 1;
        if (batched)
            plan_.hand_out_whole(batch_rows(plan.classes));
        // Rows of one block keep their exponentials, a batch at a time, in L1: computing them again costs more.
        if (loss.writes_exponentials() && (plan.tiled() ? plan.classes <= TileRule<T>::kept_classes : batched))
            kept_stride_ = plan.tiled() ? plan.classes : padded_length<T>(plan.classes);
    }

    double run(int num_threads) { return traverse_rows(*this, plan_, num_threads); }

    // What RowTraversal asks.
    const Positions& positions() const { return loss_.positions(); }
    Scratch scratch(const RowPlan&) const { return Scratch(plan_, staged_, kept_stride_); }
    bool writes() const { return loss_.writes(); }
    bool has_losses() const { return loss_.has_losses(); }

    /// Rows of few classes by themselves, but those that are odd.
    template <class Rest>
    bool take_most(const RowTile& tile, double* losses, Scratch& scratch, const Rest& rest) const {
        if constexpr (sizeof(T) == sizeof(float)) {
            if (!few_.takes)
                return false;
            FewClassRows& rows = scratch.few;
            FewClasses in = rows.call(tile.count, plan_.classes, losses);
            few_.begin(tile, rows, in, scratch);
            bool odd = kernels().few_classes(in, few_.task);
            odd |= few_.end(tile, rows, in, scratch);
            if (few_.states)
                rows.each_part(tile.count, plan_.tile_rows, [&](std::size_t first, std::size_t count) {
                    scratch.known_lse = rows.lse + first;
                    rest(first, count);
                    scratch.known_lse = nullptr;
                });
            else if (odd)
                rows.each_odd_run(tile.count, plan_.tile_rows, losses, rest,
                                  [&](std::size_t r) { few_.keep(tile.place(r), rows, r); });
            return true;
        }
        return false;
    }

    // Of many rows.
    void begin(const RowTile& tile, TileRows&, Scratch& scratch) const {
        LogitTile<T>& now = scratch.now();
        now.tile = tile;
        now.sums.start(tile);
        loss_.read_rows(tile, now.sums);
    }
    void reduce_columns(int, const RowTile&, TileRows&, Scratch& scratch) const {
        if (plan_.tiled())
            sum_tile(scratch.now(), scratch);
        else
            sum_batch(scratch.now(), scratch.before(), scratch);
    }
    void end(const RowTile& tile, TileRows&, double* losses, Scratch& scratch) const {
        RowLanes<T>& sums = scratch.now().sums;
        if (scratch.known_lse != nullptr)
            for (std::size_t r = 0; r < tile.count; ++r)
                if (scratch.known_lse[r] == scratch.known_lse[r])
                    sums.whole.lse[r] = static_cast<double>(scratch.known_lse[r]);
        loss_.finish_rows(tile, sums);
        if (!plan_.tiled() && (!sums.all_read || sums.any_needs_float64))
            end_others(scratch.now(), scratch);
        else if (plan_.tiled() && (sums.any_needs_float64 || (writes() && !sums.writable)))
            write_tile_by_rows(scratch.now(), scratch);
        if (has_losses())
            std::copy(sums.loss, sums.loss + tile.count, losses);
    }
    void write_columns(const RowTile& tile, TileRows&, Scratch& scratch) const {
        LogitTile<T>& now = scratch.now();
        if (!plan_.tiled()) {
            now.written = 0;
            scratch.turn = 1 - scratch.turn;
        } else if (!now.sums.any_needs_float64 && now.sums.writable) {
            loss_.write_columns(tile, now.sums, now.columns, now.exponentials, scratch);
        }
    }
    void finish(Scratch& scratch) const { write_rest(scratch.before(), scratch); }

    // Of one row.
    void begin(const RowTile& tile, Row* row, Scratch& scratch) const {
        row->place = tile.place(0);
        row->read = reads(row->place, scratch.now().sums);
    }
    Block reduce(int, const RowPlace&, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        return sweep_block(row.place, first, n, scratch, nullptr, nullptr);
    }
    std::size_t kept_blocks(const RowPlan&) const {
        return folds() ? std::min(plan_.blocks, blocks_at_a_time) : plan_.blocks;
    }
    void fold(int, const Block* blocks, std::size_t count, Row& row) const {
        if (plan_.blocks <= 1 || !folds())
            return reducer_.merge(blocks, count, row.sums);
        for (std::size_t b = 0; b < count; ++b)
            reducer_.fold(row.folded + b, blocks[b], row.merger, row.top);
        row.folded += count;
        if (row.folded == plan_.blocks)
            reducer_.end_fold(row.merger, row.top, row.sums);
    }
    void end(const RowTile&, Row* row, double* loss, Scratch& scratch) const {
        *loss = 0.0;
        if (row->read)
            row->write = end_of(row->place, row->sums, scratch.now().sums, *loss, scratch);
        else
            row->write = loss_.skip(row->place);
    }
    void write(const RowPlace&, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        loss_.write(row.place, row.write, first, n, nullptr, scratch);
    }

private:
    const Kernels<T>& kernels() const { return loss_.table().template of<T>(); }
    std::size_t length(std::size_t block) const { return std::min(block_size, plan_.classes - block * block_size); }

    /// Rows of a batch: their exponentials, twice, take an eighth of L2 (measured: 64 KiB are better than 128).
    static std::size_t batch_rows(std::size_t classes) {
        constexpr std::size_t bytes = 65536;
        return std::min(most_lanes, std::max<std::size_t>(4, bytes / (classes * sizeof(T))));
    }

    // ------------------------------------------------------------------------------------------- rows side by side

    void sum_tile(LogitTile<T>& now, Scratch& scratch) const {
        const RowTile& tile = now.tile;
        RowLanes<T>& sums = now.sums;
        const Columns<const T> x = now.columns = loss_.columns(tile, sums, scratch);
        const NextTile next = loss_.next(tile);
        const SetAside set_aside = loss_.set_aside();
        T* const own = scratch.own_columns(x.data);
        if (set_aside == SetAside::none) {
            const bool near = sum_columns(kernels(), tile, x, plan_.classes, sums, next, now.exponentials);
            if (Again again; pick_again(tile, near, sums, again))
                sum_columns_again(kernels(), tile, x, plan_.classes, again.wanted, sums);
        } else {
            sum_columns_beside(kernels(), tile, set_aside == SetAside::largest, loss_.end_parts(), x, own,
                               plan_.classes, sums, next, now.exponentials);
        }
        if (own != nullptr && set_aside != SetAside::none && loss_.reads_columns_again())
            AsideInColumns<T>(tile, sums.target, own).put_back(sums.aside.logit);
        if (loss_.linear()) {
            sums.coefficients = loss_.column_coefficients(tile, sums, scratch);
            add_linear_columns(kernels(), tile, x, plan_.classes, sums);
        }
    }

    /// A tile with a row that needs float64, or is written with care: its rows one after another.
    void write_tile_by_rows(LogitTile<T>& now, Scratch& scratch) const {
        RowLanes<T>& sums = now.sums;
        for (std::size_t r = 0; r < now.tile.count; ++r) {
            const RowPlace place = place_in(now.tile, r, sums);
            if (!sums.reads(r))
                write_row(place, loss_.skip(place), nullptr, scratch);
            else if (sums.any_needs_float64 && sums.needs_float64[r])
                write_row(place, end_alone(place, r, sums, scratch), nullptr, scratch);
            else if (writes())
                write_row(place, loss_.write_of(sums, r, false, aside_class_of(sums, r)), nullptr, scratch);
        }
    }

    static std::size_t aside_class_of(const RowLanes<T>& sums, std::size_t r) {
        return sums.target[r] < T(0) ? no_index : static_cast<std::size_t>(sums.target[r]);
    }

    RowPlace place_in(const RowTile& tile, std::size_t r, const RowLanes<T>& sums) const {
        RowPlace place = tile.place(r);
        place.target = sums.class_of(r, plan_.classes);
        return place;
    }

    void write_row(const RowPlace& place, const Write& write, const T* exponentials, Scratch& scratch) const {
        if (writes())
            for (std::size_t b = 0; b < plan_.blocks; ++b)
                loss_.write(place, write, b * block_size, length(b), exponentials, scratch);
    }

    // ------------------------------------------------------------------------------------------- rows of one block

    void sum_batch(LogitTile<T>& now, LogitTile<T>& before, Scratch& scratch) const {
        const RowTile& tile = now.tile;
        RowLanes<T>& sums = now.sums;
        for (std::size_t r = 0; r < tile.count; ++r) {
            const RowPlace place = place_in(tile, r, sums);
            PendingRow<T> pending;
            const bool can_write_during_sweep = write_next(before, sums.reads(r) ? &pending : nullptr, scratch);
            if (sums.reads(r))
                read_row(place, r, kept(now, r), can_write_during_sweep ? &pending : nullptr, sums, scratch);
            else
                set_neutral(sums, r);
        }
        write_rest(before, scratch);
        for (std::size_t r = tile.count; r < tile.lanes; ++r)
            set_neutral(sums, r);
        end_lanes(tile, sums, scratch);
    }

    /// Sums of a row of one block to lane r of a batch.
    void read_row(const RowPlace& place, std::size_t r, T* exponentials, const PendingRow<T>* pending,
                  RowLanes<T>& sums, Scratch& scratch) const {
        const RowBlock<T> block = sweep_block(place, 0, plan_.classes, scratch, exponentials, pending);
        const bool others_fit =
            block.others.kind == BlockKind::normal ||
            (block.aside_index != no_index && block.others.max == -INFINITY && block.others.kind == BlockKind::deep);
        const bool fits = others_fit && (block.aside_index == no_index ? loss_.set_aside() == SetAside::none
                                                                       : std::fabs(block.aside_logit) <= fast_limit);
        sums.needs_float64[r] = !fits;
        sums.any_needs_float64 |= !fits;
        if (!fits)
            return set_neutral(sums, r);
        const double top = larger(block.others.max, block.aside_logit);
        set_sums(sums, r, block.others.sum, block.others.exponent, static_cast<T>(top),
                 static_cast<T>(block.aside_logit));
        if (loss_.set_aside() == SetAside::largest)
            sums.target[r] = static_cast<T>(block.aside_index);
        sums.gaps[r] = block.gaps;
        sums.other_mass[r] = block.mass;
        sums.aside_mass[r] = block.aside_mass;
    }

    void set_sums(RowLanes<T>& sums, std::size_t r, double sum, double exponent, T top, T aside_logit) const {
        sums.max[r] = top;
        if (loss_.set_aside() == SetAside::none) {
            sums.whole.sum[r] = sum;
            sums.whole.exponent[r] = exponent;
            sums.whole.max[r] = top;
        } else {
            sums.aside.sum[r] = sum;
            sums.aside.exponent[r] = exponent;
            sums.aside.logit[r] = aside_logit;
        }
    }
    /// Numbers that a lane can be computed with, though nobody wants the result.
    void set_neutral(RowLanes<T>& sums, std::size_t r) const {
        set_sums(sums, r, 8.0, 0.0, T(0), T(0));  // whose logarithm is not near 0
        sums.gaps[r] = sums.other_mass[r] = sums.aside_mass[r] = 0.0;
    }
    /// Ends rows that were read one by one.
    void end_lanes(const RowTile& tile, RowLanes<T>& sums, Scratch& scratch) const {
        if (loss_.set_aside() != SetAside::none) {
            sums.aside.max = sums.max;
            kernels().aside_ends(&sums.aside, tile.lanes, loss_.end_parts());
            return;
        }
        sums.whole.rounding = plan_.classes == 1 ? 0.0 : LogSumExpEnds<T>().rounding;
        const bool near = kernels().log_sum_exp_ends(&sums.whole, tile.lanes);
        Again again;
        if (!pick_again(tile, near, sums, again))
            return;
        for (std::size_t r = 0; r < tile.count; ++r)
            if (again.wanted[r] != 0.0)
                sum_again(place_in(tile, r, sums), r, sums, scratch);
        kernels().paired_ends(&sums.whole, nullptr, tile.lanes);
    }

    // ---------------------------------------------------------- rows summed once more: Note [log-sum-exp near 0]

    struct Again {
        double wanted[most_lanes];  ///< not 0 of those rows
    };

    /// Whether there are any; `near`: whether a value is near 0.
    bool pick_again(const RowTile& tile, bool near, const RowLanes<T>& sums, Again& again) const {
        if (!loss_.has_values() || !(near || loss_.sums_again()))
            return false;
        bool any = false;
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            const bool counts = r < tile.count && sums.reads(r) && !(sums.any_needs_float64 && sums.needs_float64[r]);
            const bool wanted = counts && (sums.whole.near[r] != 0.0 || loss_.sums_again(sums, r));
            again.wanted[r] = wanted ? 1.0 : 0.0;
            any |= wanted;
        }
        return any;
    }

    void sum_again(const RowPlace& place, std::size_t r, RowLanes<T>& sums, Scratch& scratch) const {
        PairedSum below;
        double met = 0.0;
        const auto top = static_cast<double>(sums.whole.max[r]);
        for (std::size_t b = 0; b < plan_.blocks; ++b) {
            const T* x = loss_.logits(place, b * block_size, length(b), scratch);
            const SumBelow block = kernels().paired_exponentials(x, length(b), top);
            met += block.met;
            below.add(block.below);
        }
        PairedSum others(SumPair{(met - 1.0) * 0x1p512, 0.0});
        others.add(below.value());
        sums.whole.others[r] = others.value().first;
        sums.whole.others_rest[r] = others.value().second;
    }

    /// The rows of a batch that did not end with it: they are written at once.
    void end_others(LogitTile<T>& now, Scratch& scratch) const {
        RowLanes<T>& sums = now.sums;
        for (std::size_t r = 0; r < now.tile.count; ++r) {
            const RowPlace place = place_in(now.tile, r, sums);
            if (!sums.reads(r))
                write_row(place, loss_.skip(place), nullptr, scratch);
            else if (sums.any_needs_float64 && sums.needs_float64[r])
                write_row(place, end_alone(place, r, sums, scratch), nullptr, scratch);
        }
    }

    /// Where the exponentials of a batch's row are kept; null if they are not.
    T* kept(const LogitTile<T>& batch, std::size_t r) const {
        return kept_stride_ == 0 ? nullptr : batch.exponentials + r * kept_stride_;
    }

    /// Writes the next row of a batch that has ended, if there is one; or sets `pending`, if that is not null, and returns
    /// true: then block_state is to write it.
    bool write_next(LogitTile<T>& batch, PendingRow<T>* pending, Scratch& scratch) const {
        const RowLanes<T>& sums = batch.sums;
        while (batch.written < batch.tile.count) {
            const std::size_t r = batch.written++;
            if (!sums.reads(r) || (sums.any_needs_float64 && sums.needs_float64[r]))
                continue;
            const RowPlace place = place_in(batch.tile, r, sums);
            const Write write = loss_.write_of(sums, r, false, aside_class_of(sums, r));
            if (pending != nullptr && kept_stride_ != 0 && loss_.can_write_during_sweep(write)) {
                *pending = loss_.pending_row(place, write, kept(batch, r));
                return true;
            }
            write_row(place, write, kept(batch, r), scratch);
            return false;
        }
        return false;
    }
    void write_rest(LogitTile<T>& batch, Scratch& scratch) const {
        while (batch.written < batch.tile.count)
            write_next(batch, nullptr, scratch);
    }

    // --------------------------------------------------------------------------------------------- rows by themselves

    /// A row as a tile of its own.
    static RowTile alone(const RowPlace& place) {
        RowTile tile;
        tile.first = place.row;
        tile.count = 1;
        tile.lanes = row_batch;
        tile.offset = place.offset;
        return tile;
    }

    /// Whether a row is read; sets its target.
    bool reads(RowPlace& place, RowLanes<T>& one) const {
        const RowTile tile = alone(place);
        one.start(tile);
        loss_.read_rows(tile, one);
        place.target = one.class_of(0, plan_.classes);
        return one.reads(0);
    }

    /// Row r that leaves its tile or batch, with its loss unless it leaves for its gradient only.
    Write end_alone(const RowPlace& place, std::size_t r, RowLanes<T>& sums, Scratch& scratch) const {
        double loss;
        const Write write = end_alone(place, loss, scratch);
        if (!sums.any_needs_exact || !sums.keeps_loss[r])
            sums.loss[r] = loss;
        else if constexpr (EndsAlone<Loss>::value)
            loss_.set_loss(place, sums.loss[r]);
        return write;
    }
    Write end_alone(RowPlace place, double& loss, Scratch& scratch) const {
        RowLanes<T>& one = scratch.alone;
        reads(place, one);
        RowSums<T> row;
        if (plan_.blocks == 1) {
            const RowBlock<T> block = sweep_block(place, 0, plan_.classes, scratch, nullptr, nullptr);
            reducer_.merge(&block, 1, row);
        } else {
            for (std::size_t b = 0; b < plan_.blocks; ++b)
                scratch.blocks[b] = sweep_block(place, b * block_size, length(b), scratch, nullptr, nullptr);
            reducer_.merge(scratch.blocks.data(), plan_.blocks, row);
        }
        return end_of(place, row, one, loss, scratch);
    }

    /// The end of a row from its sums; `one`: the row as `reads` left it.
    Write end_of(const RowPlace& place, const RowSums<T>& row, RowLanes<T>& one, double& loss, Scratch& scratch) const {
        const RowTile tile = alone(place);
        one.loss[0] = 0.0;
        for (std::size_t r = 0; r < tile.lanes; ++r)
            set_neutral(one, r);
        if (!row.needs_float64)
            set_sums(one, 0, row.sum, row.exponent, row.max, row.aside_logit);
        one.gaps[0] = row.gaps;
        one.other_mass[0] = row.other_mass;
        one.aside_mass[0] = row.aside_mass;
        end_lanes(tile, one, scratch);
        if (row.needs_float64)
            set_float64_end(float64_row(place, row, scratch), row.max, one);
        loss_.finish_rows(tile, one);
        Write write = writes() ? loss_.write_of(one, 0, row.needs_float64, row.aside_class) : Write{};
        write.needs_float64 = row.needs_float64;
        if constexpr (EndsAlone<Loss>::value)
            loss_.end_alone(place, one, write, scratch);
        loss = one.loss[0];
        return write;
    }

    void set_float64_end(const RowEnd& end, T top, RowLanes<T>& one) const {
        one.any_needs_float64 = one.needs_float64[0] = true;
        one.max[0] = top;
        if (loss_.set_aside() != SetAside::none)
            return set_end(end, 0, one.aside);
        one.whole.above_max[0] = end.gap;
        one.whole.lse[0] = end.lse;
        one.whole.exponent[0] = end.base;
        one.whole.scale[0] = end.scale;
        one.whole.others[0] = (1.0 / end.scale - 1.0) * 0x1p512;
        one.whole.others_rest[0] = 0.0;
    }

    RowBlock<T> sweep_block(const RowPlace& place, std::size_t first, std::size_t n, Scratch& scratch, T* exponentials,
                            const PendingRow<T>* pending) const {
        const bool here = place.target != no_index && place.target >= first && place.target < first + n;
        const std::size_t target = here ? place.target - first : no_index;
        if constexpr (sizeof(T) == sizeof(float)) {
            if (const auto* halves = half_logits<Float16>(place, first))
                return reducer_.reduce(loss_.table().float16, halves, n, target, exponentials, pending);
            if (const auto* halves = half_logits<BFloat16>(place, first))
                return reducer_.reduce(loss_.table().bfloat16, halves, n, target, exponentials, pending);
        }
        const T* x = loss_.logits(place, first, n, scratch);
        RowBlock<T> block = reducer_.reduce(x, n, target, exponentials, pending);
        if (loss_.linear())
            reducer_.add_linear(x, loss_.coefficients(place, first, n, scratch), n, block);
        return block;
    }

    /// A row's logits as they are stored, from class `first` on, if the kernels' sums are all that is wanted of them.
    template <class Half>
    const Half* half_logits(const RowPlace& place, std::size_t first) const {
        if (loss_.linear() || loss_.set_aside() == SetAside::largest)
            return nullptr;
        return loss_.template stored_logits<Half>(place, first);
    }

    /// Whether the blocks of a row are folded as they come, and none is kept: a row may have 100 million classes.
    bool folds() const { return loss_.set_aside() == SetAside::none && !loss_.linear(); }

    RowEnd float64_row(const RowPlace& place, const RowSums<T>& sums, Scratch& scratch) const {
        const auto block = [&](std::size_t first, std::size_t n) { return loss_.logits(place, first, n, scratch); };
        const Float64Sums others = float64_sums(plan_.classes, sums.aside_class, BlockReader<T>::of(block));
        const bool present = sums.aside_class != no_index;
        const double logit = present ? static_cast<double>(sums.aside_logit) : -std::numeric_limits<double>::infinity();
        return float64_end(loss_.table().float64, loss_.set_aside(), others.largest, others.sum, logit, present);
    }

    Loss& loss_;
    RowPlan plan_;
    bool staged_;
    std::size_t kept_stride_ = 0;
    decltype(std::declval<const Loss&>().few_classes()) few_;
    RowReducer<T> reducer_;
};

}  // namespace logitloss::detail
