// The row traversal: which rows and blocks run when, on which thread. What they compute is the problem's business.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "layout/buffers.hpp"
#include "layout/positions.hpp"
#include "losses/column_sums.hpp"
#include "losses/row_sums.hpp"
#include "losses/tile.hpp"
#include "runtime/float_environment.hpp"
#include "runtime/threads.hpp"

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
    std::size_t batch_rows;  ///< rows whose ends are computed together
    std::size_t tile_rows;   ///< rows that go side by side (TileRule); 0 if none do

    RowPlan(std::size_t row_count, std::size_t class_count, std::size_t item_bytes, std::size_t side_by_side = 0)
        : rows(row_count),
          classes(class_count),
          blocks((class_count + block_size - 1) / block_size),
          tile_rows(side_by_side) {
        constexpr std::size_t chunk_elements = 65536;
        constexpr std::size_t batch_bytes = 262144;  // a batch is read twice: the second time from L2
        chunk_rows = classes >= worth_splitting ? 1 : chunk_elements / std::max<std::size_t>(1, classes);
        chunk_rows = std::max(chunk_rows, tile_rows);
        if (chunk_rows >= row_batch) {
            const std::size_t unit = std::max(row_batch, tile_rows);
            chunk_rows = (chunk_rows + unit - 1) / unit * unit;
        }
        batch_rows = row_batch * classes * item_bytes <= batch_bytes ? row_batch : 1;
    }
    bool tiled() const { return tile_rows > 0; }
    std::size_t chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
    /// Whether the blocks of each row go to different threads. Decides who computes, not what.
    bool split(int workers) const {
        return !tiled() && workers > 1 && rows < 2 * static_cast<std::size_t>(workers) && classes >= worth_splitting;
    }
};

/// Runs a problem over its rows and returns the sum of what Problem::end returned.
///
/// A Problem over element type T has
///   const Positions& positions();  Kernels<T>& kernels();  TakenOut taken_out();
///   bool reads(RowPlace&)                                  false: the row is not looked at, `skip` is called
///   void skip(const RowPlace&, Scratch&)
///   const T* logits(const RowPlace&, first, n, Scratch&)   n classes from `first` on
///   bool linear()                                          whether it wants sums over coefficients, which are
///   const T* coefficients(const RowPlace&, first, n, Scratch&)   (null: all 1)
///   Write end(const RowPlace&, const RowSums<T>&, const RowEnd&, double& loss)    what `write` needs
///   bool sums_losses()                                     whether `loss` is ever other than 0
///   bool writes(), bool writes_exponentials()              whether there is an output, and one made of exponentials
///   void write(const RowPlace&, const Write&, first, n, const T* exponentials, Scratch&)
///                                                          exponentials: as block_state kept them, or null
/// and for tiles, whose rows are whole,
///   void read_rows(const Tile&, TileSums&)                 sets `read` and `target`
///   Columns<const T> columns(const Tile&, const TileSums&, Scratch&)
///   NextTile next(const Tile&)                             of the logits
///   const T* column_coefficients(const Tile&, Scratch&)    tile.lanes apart
///   void end_rows(const Tile&, TileSums&)                  losses, and what the second sweep needs
///   bool writable(const Tile&, const TileSums&)            whether write_columns does for all rows
///   Write write_of(const TileSums&, r)                     what `write` needs for it
///   void write_columns(const Tile&, const TileSums&, Columns<const T>, const T* exponentials, Scratch&)
template <class T, class Problem>
class RowDriver {
public:
    RowDriver(Problem& problem, const RowPlan& plan, int workers, bool staged)
        : problem_(problem),
          plan_(plan),
          workers_(workers),
          operands_(problem.operands()),
          reducer_(problem.kernels(), problem.taken_out()),
          partial_sums_(plan.chunks()) {
        // Rows of one block keep their exponentials, a batch at a time, in L2: computing them again costs more.
        if (problem.writes_exponentials() &&
            (plan.tiled() ? plan.classes <= TileRule<T>::kept_classes : plan.blocks == 1))
            kept_stride_ = plan.tiled() ? plan.classes : padded_length<T>(plan.classes);
        const std::size_t kept_rows = plan.tiled() ? plan.tile_rows : 2 * plan.batch_rows;
        scratch_.reserve(static_cast<std::size_t>(workers));
        for (int worker = 0; worker < workers; ++worker)
            scratch_.emplace_back(plan.classes, plan.tile_rows, staged, kept_rows * kept_stride_);
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

    /// Rows between their sweeps: those of a batch are read, then they end together, then they are written, one by one
    /// while the next batch is read, so that reading and writing memory go side by side.
    struct Batch {
        std::size_t count = 0;    ///< rows read
        std::size_t written = 0;  ///< of an ended batch: rows written
        T* exponentials = nullptr;
        RowPlace places[row_batch];
        RowSums<T> sums[row_batch];
        RowEnd ends[row_batch];
        Write writes[row_batch];
    };

    void set_place(const Positions::Cursor& cursor, std::size_t row, RowPlace& place) const {
        place.row = row;
        place.target = no_index;
        for (int operand = 0; operand < operands_; ++operand)
            place.offset[static_cast<std::size_t>(operand)] = cursor.offset(operand);
    }

    /// Where the exponentials of a batch's i-th row are kept; null if they are not.
    T* kept(std::size_t i, const Batch& batch) const {
        return kept_stride_ == 0 ? nullptr : batch.exponentials + i * kept_stride_;
    }

    double run_chunk(std::size_t chunk, Scratch<T>& scratch) {
        if (plan_.tiled())
            return run_tiles(chunk, scratch);
        const std::size_t first = chunk * plan_.chunk_rows;
        const std::size_t last = std::min(plan_.rows, first + plan_.chunk_rows);
        Positions::Cursor cursor(problem_.positions(), first);
        StridedSum losses;
        Batch batches[2];
        batches[0].exponentials = scratch.exponentials.data();
        batches[1].exponentials = batches[0].exponentials + plan_.batch_rows * kept_stride_;
        Batch* batch = &batches[0];
        Batch* before = &batches[1];
        for (std::size_t row = first; row < last; ++row, cursor.advance()) {
            RowPlace& place = batch->places[batch->count];
            set_place(cursor, row, place);
            if (problem_.reads(place)) {
                sweep(place, scratch, kept(batch->count, *batch), batch->sums[batch->count]);
                ++batch->count;
                write_next(*before, scratch);
            } else {
                problem_.skip(place, scratch);
            }
            if (batch->count == plan_.batch_rows || row + 1 == last) {
                write_rest(*before, scratch);
                end_batch(*batch, first, losses, scratch);
                std::swap(batch, before);
            }
        }
        write_rest(*before, scratch);
        return losses.total();
    }

    double run_tiles(std::size_t chunk, Scratch<T>& scratch) {
        const std::size_t first = chunk * plan_.chunk_rows;
        const std::size_t last = std::min(plan_.rows, first + plan_.chunk_rows);
        Positions::Cursor cursor(problem_.positions(), first);
        StridedSum losses;
        TileSums<T> sums;
        for (std::size_t row = first; row < last;) {
            const Tile tile = tile_at(problem_.positions(), cursor, row, std::min(plan_.tile_rows, last - row));
            run_tile(tile, sums, scratch);
            if (problem_.sums_losses())
                losses.add(row - first, tile.count, sums.loss);
            row += tile.count;
            cursor.advance_inner(tile.count);
        }
        return losses.total();
    }

    void run_tile(const Tile& tile, TileSums<T>& sums, Scratch<T>& scratch) {
        problem_.read_rows(tile, sums);
        const Columns<const T> x = problem_.columns(tile, sums, scratch);
        T* exponentials = kept_stride_ == 0 ? nullptr : scratch.exponentials.data();
        const NextTile next = problem_.next(tile);
        const TakenOut taken_out = problem_.taken_out();
        if (taken_out == TakenOut::none)
            sum_columns(problem_.kernels(), tile, x, plan_.classes, sums, next, exponentials);
        else
            sum_columns_excluding(problem_.kernels(), tile, taken_out == TakenOut::largest, x, plan_.classes, sums,
                                  next, exponentials);
        if (problem_.linear()) {
            sums.coefficients = problem_.column_coefficients(tile, scratch);
            add_linear_columns(problem_.kernels(), tile, x, plan_.classes, sums);
        }
        problem_.end_rows(tile, sums);
        if (sums.any_careful || !problem_.writable(tile, sums))
            run_tile_by_rows(tile, sums, scratch);
        else if (problem_.writes())
            problem_.write_columns(tile, sums, x, exponentials, scratch);
    }

    /// A tile with a row that must be careful, or is written with care: its rows one after another.
    void run_tile_by_rows(const Tile& tile, TileSums<T>& sums, Scratch<T>& scratch) {
        for (std::size_t r = 0; r < tile.count; ++r) {
            RowPlace place = tile.place(r);
            if (!problem_.reads(place)) {
                problem_.skip(place, scratch);
                continue;
            }
            const bool alone = sums.any_careful && sums.careful[r];
            const Write write = alone ? end_alone(place, sums.loss[r], scratch) : problem_.write_of(sums, r);
            if (problem_.writes())
                for (std::size_t b = 0; b < plan_.blocks; ++b)
                    problem_.write(place, write, b * block_size, length(b), nullptr, scratch);
        }
    }

    /// A row by itself, through the row traversal.
    Write end_alone(const RowPlace& place, double& loss, Scratch<T>& scratch) {
        RowSums<T> sums;
        RowEnd end;
        sweep(place, scratch, nullptr, sums);
        end_rows(problem_.kernels(), problem_.float64_kernels(), problem_.taken_out(), &sums, 1, &end);
        if (sums.careful)
            end = careful_row(place, sums, scratch);
        return problem_.end(place, sums, end, loss);
    }

    void end_batch(Batch& batch, std::size_t first_row, StridedSum& losses, Scratch<T>& scratch) {
        end_rows(problem_.kernels(), problem_.float64_kernels(), problem_.taken_out(), batch.sums, batch.count,
                 batch.ends);
        for (std::size_t i = 0; i < batch.count; ++i) {
            if (batch.sums[i].careful)
                batch.ends[i] = careful_row(batch.places[i], batch.sums[i], scratch);
            double loss = 0.0;
            batch.writes[i] = problem_.end(batch.places[i], batch.sums[i], batch.ends[i], loss);
            losses.add(batch.places[i].row - first_row, loss);
        }
        if (!problem_.writes())
            batch.count = 0;
    }

    /// The next row of a batch that has ended, if there is one.
    void write_next(Batch& batch, Scratch<T>& scratch) {
        if (batch.written == batch.count)
            return;
        const std::size_t i = batch.written++;
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            problem_.write(batch.places[i], batch.writes[i], b * block_size, length(b), kept(i, batch), scratch);
    }
    /// What is left of it; the batch is empty then.
    void write_rest(Batch& batch, Scratch<T>& scratch) {
        while (batch.written < batch.count)
            write_next(batch, scratch);
        batch.count = batch.written = 0;
    }

    std::size_t length(std::size_t block) const { return std::min(block_size, plan_.classes - block * block_size); }

    RowBlock<T> sweep_block(const RowPlace& place, std::size_t b, Scratch<T>& scratch, T* exponentials) const {
        const std::size_t first = b * block_size;
        const std::size_t n = length(b);
        const T* x = problem_.logits(place, first, n, scratch);
        const bool here = place.target != no_index && place.target >= first && place.target < first + n;
        RowBlock<T> block = reducer_.reduce(x, n, here ? place.target - first : no_index, exponentials);
        if (problem_.linear())
            reducer_.add_linear(x, problem_.coefficients(place, first, n, scratch), n, block);
        return block;
    }

    void sweep(const RowPlace& place, Scratch<T>& scratch, T* exponentials, RowSums<T>& row) const {
        if (plan_.blocks == 1) {
            const RowBlock<T> block = sweep_block(place, 0, scratch, exponentials);
            return reducer_.merge(&block, 1, row);
        }
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            scratch.blocks[b] = sweep_block(place, b, scratch, nullptr);
        reducer_.merge(scratch.blocks.data(), plan_.blocks, row);
    }

    RowEnd careful_row(const RowPlace& place, RowSums<T>& sums, Scratch<T>& scratch) const {
        const Kernels<T>& kernels = problem_.kernels();
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
        double sum = 0.0;
        if (top - top == 0.0)
            for (std::size_t b = 0; b < plan_.blocks; ++b) {
                const std::size_t first = b * block_size;
                const T* x = problem_.logits(place, first, length(b), scratch);
                sum += kernels.careful_sum(x, length(b), excluded(first, length(b)), top);
            }
        const bool present = sums.out_class != no_index;
        const double logit = present ? static_cast<double>(sums.out_logit) : -std::numeric_limits<double>::infinity();
        return careful_end(problem_.float64_kernels(), problem_.taken_out(), top, sum, logit, present);
    }

    /// Few rows of many classes: the blocks of one row after another are shared out.
    void run_split() {
        Scratch<T>& shared = scratch_.front();
        Positions::Cursor cursor(problem_.positions(), 0);
        for (std::size_t row = 0; row < plan_.rows; ++row, cursor.advance()) {
            RowPlace place;
            set_place(cursor, row, place);
            partial_sums_[row] = 0.0;
            if (!problem_.reads(place)) {
                problem_.skip(place, shared);
                continue;
            }
            const auto grain = std::max<std::size_t>(1, plan_.blocks / (8 * static_cast<std::size_t>(workers_)));
            parallel_for(plan_.blocks, grain, workers_, [&](std::size_t first, std::size_t last, int worker) {
                for (std::size_t b = first; b < last; ++b)
                    shared.blocks[b] = sweep_block(place, b, scratch_[static_cast<std::size_t>(worker)], nullptr);
            });
            RowSums<T> sums;
            reducer_.merge(shared.blocks.data(), plan_.blocks, sums);
            RowEnd end;
            end_rows(problem_.kernels(), problem_.float64_kernels(), problem_.taken_out(), &sums, 1, &end);
            if (sums.careful)
                end = careful_row(place, sums, shared);
            const Write write = problem_.end(place, sums, end, partial_sums_[row]);
            if (problem_.writes())
                parallel_for(plan_.blocks, grain, workers_, [&](std::size_t first, std::size_t last, int worker) {
                    for (std::size_t b = first; b < last; ++b)
                        problem_.write(place, write, b * block_size, length(b), nullptr,
                                       scratch_[static_cast<std::size_t>(worker)]);
                });
        }
    }

    Problem& problem_;
    RowPlan plan_;
    int workers_;
    int operands_;
    std::size_t kept_stride_ = 0;
    RowReducer<T> reducer_;
    std::vector<double> partial_sums_;
    std::vector<Scratch<T>> scratch_;
};

}  // namespace logitloss::detail
