// The row traversal: which rows and blocks run when, on which thread. What they compute is the problem's business.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "layout/buffers.hpp"
#include "logits/log_sum_exp_rows.hpp"
#include "logits/log_sum_exp_tile.hpp"
#include "runtime/float_environment.hpp"
#include "runtime/threads.hpp"
#include "traversal/positions.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// Memory of one worker: a block of each operand that is not read or written where it lies, and tiles of them.
template <class T>
struct Scratch {
    BufferSpace space;
    Buffer<T> exponentials;  ///< of a batch of rows of one block
    Buffer<T> logits, raw_logits, coefficients, weights, out;
    ColumnBuffer<T> logit_columns, coefficient_columns, out_columns;  ///< of a tile
    Buffer<T> transformed_columns;
    std::vector<RowBlock<T>> blocks;  ///< of a row of several

    /// `tile_rows`: 0 if there are no tiles; `staged`: whether any operand of a row needs a buffer.
    Scratch(std::size_t classes, std::size_t tile_rows, bool staged, std::size_t kept_exponentials)
        : Scratch(staged || tile_rows > 0 ? std::min(classes, block_size) : 0, tile_rows * classes, kept_exponentials,
                  (classes + block_size - 1) / block_size) {}

    /// `columns`, if it is a buffer of a tile's logits, transformed or not, and so may be written.
    T* own_columns(const T* columns) const {
        for (T* buffer : {logit_columns.columns.data(), transformed_columns.data()})
            if (columns == buffer)
                return buffer;
        return nullptr;
    }

private:
    Scratch(std::size_t block, std::size_t tile, std::size_t kept, std::size_t row_blocks)
        : space(BufferSpace::bytes<T>(kept) + 5 * BufferSpace::bytes<T>(block) + 7 * BufferSpace::bytes<T>(tile)),
          exponentials(space.take<T>(kept)),
          logits(space.take<T>(block)),
          raw_logits(space.take<T>(block)),
          coefficients(space.take<T>(block)),
          weights(space.take<T>(block)),
          out(space.take<T>(block)),
          logit_columns(space, tile),
          coefficient_columns(space, tile),
          out_columns(space, tile),
          transformed_columns(space.take<T>(tile)),
          blocks(row_blocks > 1 ? row_blocks : 0) {}
};

/// How a problem's rows are cut up. All of it follows from the shape, never from the number of threads.
struct RowPlan {
    static constexpr std::size_t worth_splitting = 32768;  ///< classes

    std::size_t rows;
    std::size_t classes;
    std::size_t blocks;      ///< per row
    std::size_t chunk_rows;  ///< rows whose losses are summed together, and that one thread takes at a time
    std::size_t tile_rows;   ///< rows that go side by side (TileRule); 0 if none do

    RowPlan(std::size_t row_count, std::size_t class_count, std::size_t side_by_side = 0)
        : rows(row_count),
          classes(class_count),
          blocks((class_count + block_size - 1) / block_size),
          tile_rows(side_by_side) {
        constexpr std::size_t chunk_elements = 65536;
        chunk_rows = classes >= worth_splitting ? 1 : chunk_elements / std::max<std::size_t>(1, classes);
        chunk_rows = std::max(chunk_rows, tile_rows);
        if (chunk_rows >= row_batch) {
            const std::size_t unit = std::max(row_batch, tile_rows);
            chunk_rows = (chunk_rows + unit - 1) / unit * unit;
        }
    }
    bool tiled() const { return tile_rows > 0; }
    /// Whether rows of one block end together, a batch at a time.
    bool batched() const { return !tiled() && blocks == 1; }
    /// Rows of a batch: their exponentials, twice, take an eighth of L2 (measured: 64 KiB are better than 128).
    std::size_t batch_rows(std::size_t item_bytes) const {
        constexpr std::size_t bytes = 65536;
        return std::min(most_lanes, std::max<std::size_t>(4, bytes / (classes * item_bytes)));
    }
    std::size_t chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
    /// Whether the blocks of each row go to different threads. Decides who computes, not what.
    bool split(int workers) const {
        return !tiled() && workers > 1 && rows < 2 * static_cast<std::size_t>(workers) && classes >= worth_splitting;
    }
};

/// Whether a Problem has `end_alone`.
template <class Problem, class = void>
struct EndsAlone : std::false_type {};
template <class Problem>
struct EndsAlone<Problem, std::void_t<decltype(&Problem::end_alone)>> : std::true_type {};

/// Runs a problem over its rows and returns the sum of its losses.
///
/// A Problem over element type T has
///   const Positions& positions();  const KernelTable& table();  TakenOut taken_out();
///   EndParts end_parts()                                   what it wants of rows with a class taken out
///   void read_rows(const Tile&, TileSums&)                 sets `read`, `target`, `label`; counts on TileSums::start
///   void skip(const RowPlace&, Scratch&)                   of a row that is not read
///   const T* logits(const RowPlace&, first, n, Scratch&)   n classes from `first` on
///   bool linear()                                          whether it wants sums over coefficients, which are
///   const T* coefficients(const RowPlace&, first, n, Scratch&)   (null: all 1)
///   void end_rows(const Tile&, TileSums&)                  losses, and what the second sweep needs
///   bool has_losses()                                      whether end_rows sets TileSums::loss
///   bool writes(), bool writes_exponentials()              whether there is an output, and one made of exponentials
///   Write write_of(const TileSums&, r)                     what `write` needs of a row
///   void end_alone(const RowPlace&, TileSums&, Write&, Scratch&)
///                                                          the last word on a row that stood alone, if there is one
///   void write(const RowPlace&, const Write&, first, n, const T* exponentials, Scratch&)
///                                                          exponentials: as block_state kept them, or null
///   bool goes_along(const Write&)                          whether a row of one block is no more than
///   KeptRow<T> kept_row(const RowPlace&, const Write&, const T* exponentials)
///                                                          written straight to its place
/// Write has `careful`, and `out_class`, which is right for rows of less than 2^24 classes and set here for others.
/// For tiles, whose rows are whole,
///   Columns<const T> columns(const Tile&, TileSums&, Scratch&)
///   NextTile next(const Tile&)                             of the logits
///   bool reads_columns_again()                             whether the class taken out must be back in its place
///   const T* column_coefficients(const Tile&, const TileSums&, Scratch&)   tile.lanes apart
///   void write_columns(const Tile&, const TileSums&, Columns<const T>, const T* exponentials, Scratch&)
template <class T, class Problem>
class RowDriver {
public:
    RowDriver(Problem& problem, const RowPlan& plan, int workers, bool staged)
        : problem_(problem),
          plan_(plan),
          workers_(workers),
          operands_(problem.positions().operands()),
          batch_rows_(plan.batched() ? plan.batch_rows(sizeof(T)) : 0),
          reducer_(kernels(), problem.taken_out()),
          partial_sums_(plan.chunks()) {
        // Rows of one block keep their exponentials, a batch at a time, in L2: computing them again costs more.
        if (problem.writes_exponentials() &&
            (plan.tiled() ? plan.classes <= TileRule<T>::kept_classes : plan.batched()))
            kept_stride_ = plan.tiled() ? plan.classes : padded_length<T>(plan.classes);
        const std::size_t kept_rows = plan.tiled() ? plan.tile_rows : 2 * batch_rows_;
        scratch_.reserve(static_cast<std::size_t>(workers));
        for (int worker = 0; worker < workers; ++worker)
            scratch_.emplace_back(plan.classes, plan.tile_rows, staged,
                                  kept_rows * kept_stride_ + (kept_stride_ == 0 ? 0 : 64 / sizeof(T)));
    }

    double run() {
        const FloatEnvironment environment;
        if (plan_.split(workers_))
            run_split();
        else
            parallel_for(plan_.chunks(), 1, workers_, [&](std::size_t first, std::size_t last, int worker) {
                for (std::size_t chunk = first; chunk < last; ++chunk)
                    partial_sums_[chunk] = run_chunk(chunk, scratch_[static_cast<std::size_t>(worker)]);
            });
        StridedSum total;
        for (std::size_t chunk = 0; chunk < partial_sums_.size(); ++chunk)
            total.add(chunk, partial_sums_[chunk]);
        return total.total();
    }

private:
    using Write = typename Problem::Write;

    const Kernels<T>& kernels() const { return problem_.table().template of<T>(); }

    double run_chunk(std::size_t chunk, Scratch<T>& scratch) {
        const std::size_t first = chunk * plan_.chunk_rows;
        const std::size_t last = std::min(plan_.rows, first + plan_.chunk_rows);
        if (plan_.tiled())
            return run_tiles(first, last, scratch);
        return plan_.batched() ? run_batches(first, last, scratch) : run_rows_alone(first, last, scratch);
    }

    /// Calls fn(tile) for rows [first, last), at most `rows` at a time.
    template <class Fn>
    void for_tiles(std::size_t first, std::size_t last, std::size_t rows, Fn&& fn) const {
        Positions::Cursor cursor(problem_.positions(), first);
        for (std::size_t row = first; row < last;) {
            const Tile tile = tile_at(problem_.positions(), cursor, row, std::min(rows, last - row));
            fn(tile);
            row += tile.count;
            cursor.advance_inner(tile.count);
        }
    }

    void add_losses(StridedSum& losses, std::size_t index, const Tile& tile, const TileSums<T>& sums) const {
        if (problem_.has_losses())
            losses.add(problem_.table().numbers, index, tile.count, sums.loss);
    }

    // ------------------------------------------------------------------------------------------- rows side by side

    double run_tiles(std::size_t first, std::size_t last, Scratch<T>& scratch) {
        StridedSum losses;
        TileSums<T> sums;
        for_tiles(first, last, plan_.tile_rows, [&](const Tile& tile) {
            run_tile(tile, sums, scratch);
            add_losses(losses, tile.first - first, tile, sums);
        });
        return losses.total();
    }

    void run_tile(const Tile& tile, TileSums<T>& sums, Scratch<T>& scratch) {
        sums.start(tile);
        problem_.read_rows(tile, sums);
        const Columns<const T> x = problem_.columns(tile, sums, scratch);
        T* exponentials = kept_stride_ == 0 ? nullptr : scratch.exponentials.data();
        const NextTile next = problem_.next(tile);
        const TakenOut taken_out = problem_.taken_out();
        T* const own = scratch.own_columns(x.data);
        if (taken_out == TakenOut::none)
            sum_columns(kernels(), tile, x, plan_.classes, sums, next, exponentials);
        else
            sum_columns_excluding(kernels(), tile, taken_out == TakenOut::largest, problem_.end_parts(), x, own,
                                  plan_.classes, sums, next, exponentials);
        if (own != nullptr && taken_out != TakenOut::none && problem_.reads_columns_again())
            TakenOutOfColumns<T>(tile, sums.target, own).put_back(sums.excluding.logit);
        if (problem_.linear()) {
            sums.coefficients = problem_.column_coefficients(tile, sums, scratch);
            add_linear_columns(kernels(), tile, x, plan_.classes, sums);
        }
        problem_.end_rows(tile, sums);
        if (sums.any_careful || (problem_.writes() && !sums.writable))
            run_tile_by_rows(tile, sums, scratch);
        else if (problem_.writes())
            problem_.write_columns(tile, sums, x, exponentials, scratch);
    }

    /// A tile with a row that must be careful, or is written with care: its rows one after another.
    void run_tile_by_rows(const Tile& tile, TileSums<T>& sums, Scratch<T>& scratch) {
        for (std::size_t r = 0; r < tile.count; ++r) {
            const RowPlace place = place_in(tile, r, sums);
            if (!sums.reads(r)) {
                problem_.skip(place, scratch);
                continue;
            }
            const bool alone = sums.any_careful && sums.careful[r];
            const Write write = alone               ? end_alone(place, sums.loss[r], scratch)
                                : problem_.writes() ? problem_.write_of(sums, r)
                                                    : Write{};
            write_row(place, write, nullptr, scratch);
        }
    }

    RowPlace place_in(const Tile& tile, std::size_t r, const TileSums<T>& sums) const {
        RowPlace place = tile.place(r);
        place.target = sums.class_of(r, plan_.classes);
        return place;
    }

    void write_row(const RowPlace& place, const Write& write, const T* exponentials, Scratch<T>& scratch) {
        if (problem_.writes())
            for (std::size_t b = 0; b < plan_.blocks; ++b)
                problem_.write(place, write, b * block_size, length(b), exponentials, scratch);
    }

    // ------------------------------------------------------------------------------------------- rows of one block

    /// Rows of a batch between their sweeps: they are read one by one, then they end together, then they are written, one
    /// by one while the next batch is read, so that reading and writing memory go side by side.
    struct Batch {
        Tile tile;
        std::size_t written = 0;  ///< rows; all of them in the beginning
        T* exponentials = nullptr;
        TileSums<T> sums;
    };

    double run_batches(std::size_t first, std::size_t last, Scratch<T>& scratch) {
        StridedSum losses;
        Batch batches[2];
        batches[0].exponentials = scratch.exponentials.data();
        batches[1].exponentials = batches[0].exponentials + batch_rows_ * kept_stride_;
        Batch* batch = &batches[0];
        Batch* before = &batches[1];
        for_tiles(first, last, batch_rows_, [&](const Tile& tile) {
            batch->tile = tile;
            batch->written = problem_.writes() ? 0 : tile.count;
            read_batch(*batch, *before, scratch);
            add_losses(losses, tile.first - first, tile, batch->sums);
            std::swap(batch, before);
        });
        write_rest(*before, scratch);
        return losses.total();
    }

    void read_batch(Batch& batch, Batch& before, Scratch<T>& scratch) {
        const Tile& tile = batch.tile;
        TileSums<T>& sums = batch.sums;
        sums.start(tile);
        problem_.read_rows(tile, sums);
        for (std::size_t r = 0; r < tile.count; ++r) {
            const RowPlace place = place_in(tile, r, sums);
            KeptRow<T> along;
            const bool goes_along = write_next(before, sums.reads(r) ? &along : nullptr, scratch);
            if (sums.reads(r))
                read_row(place, r, kept(batch, r), goes_along ? &along : nullptr, sums, scratch);
            else
                set_neutral(sums, r);
        }
        write_rest(before, scratch);
        for (std::size_t r = tile.count; r < tile.lanes; ++r)
            set_neutral(sums, r);
        end_lanes(tile, sums);
        problem_.end_rows(tile, sums);
        if (!sums.all_read || sums.any_careful)
            end_others(batch, scratch);
    }

    /// Sums of a row of one block to lane r of a batch.
    void read_row(const RowPlace& place, std::size_t r, T* exponentials, const KeptRow<T>* along, TileSums<T>& sums,
                  Scratch<T>& scratch) const {
        const RowBlock<T> block = sweep_block(place, 0, scratch, exponentials, along);
        const bool others_fit =
            block.others.kind == BlockKind::normal ||
            (block.out_index != no_index && block.others.max == -INFINITY && block.others.kind == BlockKind::deep);
        const bool fits = others_fit && (block.out_index == no_index ? problem_.taken_out() == TakenOut::none
                                                                     : std::fabs(block.out_logit) <= fast_limit);
        sums.careful[r] = !fits;
        sums.any_careful |= !fits;
        if (!fits)
            return set_neutral(sums, r);
        const double top = larger(block.others.max, block.out_logit);
        set_sums(sums, r, block.others.sum, block.others.exponent, static_cast<T>(top),
                 static_cast<T>(block.out_logit));
        if (problem_.taken_out() == TakenOut::largest)
            sums.target[r] = static_cast<T>(block.out_index);
        sums.gaps[r] = block.gaps;
        sums.other_mass[r] = block.mass;
        sums.out_mass[r] = block.out_mass;
    }

    void set_sums(TileSums<T>& sums, std::size_t r, double sum, double exponent, T top, T out_logit) const {
        sums.max[r] = top;
        if (problem_.taken_out() == TakenOut::none) {
            sums.whole.sum[r] = sum;
            sums.whole.exponent[r] = exponent;
            sums.whole.max[r] = top;
        } else {
            sums.excluding.sum[r] = sum;
            sums.excluding.exponent[r] = exponent;
            sums.excluding.logit[r] = out_logit;
        }
    }
    /// Numbers that a lane can be computed with, though nobody wants the result.
    void set_neutral(TileSums<T>& sums, std::size_t r) const {
        set_sums(sums, r, 1.0, 0.0, T(0), T(0));
        sums.gaps[r] = sums.other_mass[r] = sums.out_mass[r] = 0.0;
    }
    void end_lanes(const Tile& tile, TileSums<T>& sums) const {
        sums.excluding.max = sums.max;
        if (problem_.taken_out() == TakenOut::none)
            kernels().log_sum_exp_ends(&sums.whole, tile.lanes);
        else
            kernels().excluded_ends(&sums.excluding, tile.lanes, problem_.end_parts());
    }

    /// The rows of a batch that did not end with it: they are written at once.
    void end_others(Batch& batch, Scratch<T>& scratch) {
        for (std::size_t r = 0; r < batch.tile.count; ++r) {
            const RowPlace place = place_in(batch.tile, r, batch.sums);
            if (!batch.sums.reads(r))
                problem_.skip(place, scratch);
            else if (batch.sums.any_careful && batch.sums.careful[r])
                write_row(place, end_alone(place, batch.sums.loss[r], scratch), nullptr, scratch);
        }
    }

    /// Where the exponentials of a batch's row are kept; null if they are not.
    T* kept(const Batch& batch, std::size_t r) const {
        return kept_stride_ == 0 ? nullptr : batch.exponentials + r * kept_stride_;
    }

    /// Writes the next row of a batch that has ended, if there is one; or sets `along`, if that is not null, and returns
    /// true: then block_state is to write it.
    bool write_next(Batch& batch, KeptRow<T>* along, Scratch<T>& scratch) {
        const TileSums<T>& sums = batch.sums;
        while (batch.written < batch.tile.count) {
            const std::size_t r = batch.written++;
            if (!sums.reads(r) || (sums.any_careful && sums.careful[r]))
                continue;
            const RowPlace place = place_in(batch.tile, r, sums);
            const Write write = problem_.write_of(sums, r);
            if (along != nullptr && kept_stride_ != 0 && problem_.goes_along(write)) {
                *along = problem_.kept_row(place, write, kept(batch, r));
                return true;
            }
            write_row(place, write, kept(batch, r), scratch);
            return false;
        }
        return false;
    }
    void write_rest(Batch& batch, Scratch<T>& scratch) {
        while (batch.written < batch.tile.count)
            write_next(batch, nullptr, scratch);
    }

    // ------------------------------------------------------------------------------------- rows of several blocks

    double run_rows_alone(std::size_t first, std::size_t last, Scratch<T>& scratch) {
        Positions::Cursor cursor(problem_.positions(), first);
        StridedSum losses;
        TileSums<T> one;
        for (std::size_t row = first; row < last; ++row, cursor.advance()) {
            RowPlace place = place_at(cursor, row);
            if (!reads(place, one)) {
                problem_.skip(place, scratch);
                continue;
            }
            RowSums<T> sums;
            sweep(place, scratch, sums);
            write_row(place, end_of(place, sums, one, scratch), nullptr, scratch);
            losses.add(row - first, one.loss[0]);
        }
        return losses.total();
    }

    RowPlace place_at(const Positions::Cursor& cursor, std::size_t row) const {
        RowPlace place;
        place.row = row;
        for (int operand = 0; operand < operands_; ++operand)
            place.offset[static_cast<std::size_t>(operand)] = cursor.offset(operand);
        return place;
    }

    /// A row as a tile of its own.
    static Tile alone(const RowPlace& place) {
        Tile tile;
        tile.first = place.row;
        tile.count = 1;
        tile.lanes = row_batch;
        tile.offset = place.offset;
        return tile;
    }

    /// Whether a row is read; sets its target.
    bool reads(RowPlace& place, TileSums<T>& one) const {
        const Tile tile = alone(place);
        one.start(tile);
        problem_.read_rows(tile, one);
        place.target = one.class_of(0, plan_.classes);
        return one.reads(0);
    }

    /// A row of a tile or a batch by itself, through the row traversal.
    Write end_alone(RowPlace place, double& loss, Scratch<T>& scratch) {
        TileSums<T> one;
        reads(place, one);
        RowSums<T> row;
        sweep(place, scratch, row);
        const Write write = end_of(place, row, one, scratch);
        loss = one.loss[0];
        return write;
    }

    /// The end of a row from its sums; `one`: the row as `reads` left it.
    Write end_of(const RowPlace& place, const RowSums<T>& row, TileSums<T>& one, Scratch<T>& scratch) {
        const Tile tile = alone(place);
        one.loss[0] = 0.0;
        for (std::size_t r = 0; r < tile.lanes; ++r)
            set_neutral(one, r);
        if (!row.careful)
            set_sums(one, 0, row.sum, row.exponent, row.max, row.out_logit);
        one.gaps[0] = row.gaps;
        one.other_mass[0] = row.other_mass;
        one.out_mass[0] = row.out_mass;
        end_lanes(tile, one);
        if (row.careful)
            set_careful_end(careful_row(place, row, scratch), row.max, one);
        problem_.end_rows(tile, one);
        Write write = problem_.writes() ? problem_.write_of(one, 0) : Write{};
        write.careful = row.careful;
        write.out_class = row.out_class;
        if constexpr (EndsAlone<Problem>::value)
            problem_.end_alone(place, one, write, scratch);
        return write;
    }

    void set_careful_end(const RowEnd& end, T top, TileSums<T>& one) const {
        one.any_careful = one.careful[0] = true;
        one.max[0] = top;
        if (problem_.taken_out() == TakenOut::none) {
            one.whole.above_max[0] = end.gap;
            one.whole.lse[0] = end.lse;
            one.whole.exponent[0] = end.base;
            one.whole.scale[0] = end.scale;
            return;
        }
        one.excluding.gap[0] = end.gap;
        one.excluding.lse[0] = end.lse;
        one.excluding.base[0] = end.base;
        one.excluding.scale[0] = end.scale;
        one.excluding.probability[0] = end.probability;
        one.excluding.complement[0] = end.complement;
        one.excluding.above_max[0] = end.above_max;
    }

    std::size_t length(std::size_t block) const { return std::min(block_size, plan_.classes - block * block_size); }

    RowBlock<T> sweep_block(const RowPlace& place, std::size_t b, Scratch<T>& scratch, T* exponentials,
                            const KeptRow<T>* along) const {
        const std::size_t first = b * block_size;
        const std::size_t n = length(b);
        const T* x = problem_.logits(place, first, n, scratch);
        const bool here = place.target != no_index && place.target >= first && place.target < first + n;
        RowBlock<T> block = reducer_.reduce(x, n, here ? place.target - first : no_index, exponentials, along);
        if (problem_.linear())
            reducer_.add_linear(x, problem_.coefficients(place, first, n, scratch), n, block);
        return block;
    }

    void sweep(const RowPlace& place, Scratch<T>& scratch, RowSums<T>& row) const {
        if (plan_.blocks == 1) {
            const RowBlock<T> block = sweep_block(place, 0, scratch, nullptr, nullptr);
            return reducer_.merge(&block, 1, row);
        }
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            scratch.blocks[b] = sweep_block(place, b, scratch, nullptr, nullptr);
        reducer_.merge(scratch.blocks.data(), plan_.blocks, row);
    }

    RowEnd careful_row(const RowPlace& place, const RowSums<T>& sums, Scratch<T>& scratch) const {
        const Kernels<T>& kernels = this->kernels();
        const auto excluded = [&](std::size_t first, std::size_t n) {
            const bool here = sums.out_class != no_index && sums.out_class >= first && sums.out_class < first + n;
            return here ? sums.out_class - first : no_index;
        };
        double top = -std::numeric_limits<double>::infinity();
        for (std::size_t b = 0; b < plan_.blocks; ++b) {
            const std::size_t first = b * block_size;
            const T* x = problem_.logits(place, first, length(b), scratch);
            const double block_top = kernels.careful_max(x, length(b), excluded(first, length(b)));
            top = block_top > top || block_top != block_top ? block_top : top;
        }
        StridedSum sum;
        if (top - top == 0.0)
            for (std::size_t b = 0; b < plan_.blocks; ++b) {
                const std::size_t first = b * block_size;
                const T* x = problem_.logits(place, first, length(b), scratch);
                sum.add(b, kernels.careful_sum(x, length(b), excluded(first, length(b)), top));
            }
        const bool present = sums.out_class != no_index;
        const double logit = present ? static_cast<double>(sums.out_logit) : -std::numeric_limits<double>::infinity();
        return careful_end(problem_.table().float64, problem_.taken_out(), top, sum.total(), logit, present);
    }

    /// Few rows of many classes: the blocks of one row after another are shared out.
    void run_split() {
        Scratch<T>& shared = scratch_.front();
        Positions::Cursor cursor(problem_.positions(), 0);
        TileSums<T> one;
        for (std::size_t r = 0; r < plan_.rows; ++r, cursor.advance()) {
            RowPlace place = place_at(cursor, r);
            partial_sums_[r] = 0.0;
            if (!reads(place, one)) {
                problem_.skip(place, shared);
                continue;
            }
            share_blocks([&](std::size_t b, Scratch<T>& scratch) {
                shared.blocks[b] = sweep_block(place, b, scratch, nullptr, nullptr);
            });
            RowSums<T> row;
            reducer_.merge(shared.blocks.data(), plan_.blocks, row);
            const Write write = end_of(place, row, one, shared);
            partial_sums_[r] = one.loss[0];
            if (problem_.writes())
                share_blocks([&](std::size_t b, Scratch<T>& scratch) {
                    problem_.write(place, write, b * block_size, length(b), nullptr, scratch);
                });
        }
    }
    /// Calls fn(block, scratch) for every block of a row.
    template <class Fn>
    void share_blocks(Fn&& fn) {
        const auto grain = std::max<std::size_t>(1, plan_.blocks / (8 * static_cast<std::size_t>(workers_)));
        parallel_for(plan_.blocks, grain, workers_, [&](std::size_t first, std::size_t last, int worker) {
            for (std::size_t b = first; b < last; ++b)
                fn(b, scratch_[static_cast<std::size_t>(worker)]);
        });
    }

    Problem& problem_;
    RowPlan plan_;
    int workers_;
    int operands_;
    std::size_t batch_rows_;
    std::size_t kept_stride_ = 0;
    RowReducer<T> reducer_;
    std::vector<double> partial_sums_;
    std::vector<Scratch<T>> scratch_;
};

}  // namespace logitloss::detail
