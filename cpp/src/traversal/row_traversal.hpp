// A traversal of rows for problems of their own: every row is reduced, block by block or side by side with others, in
// one sweep or several, and then perhaps written. What the measures and losses of probabilities stand on; losses of
// logits have RowDriver.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "logits/log_sum_exp_rows.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"
#include "traversal/positions.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// Runs a problem over its rows and returns the sum of the losses that Problem::end gave.
///
/// Rows go through all steps in tiles. Where TileRule says so a tile has many rows, and is reduced and written whole;
/// else it is one row, which is reduced and written block by block. A Problem over elements T has
///   Scratch                                        buffers of a worker: scratch(rows of a tile, length of a block)
///   Block, Row                                     what a block gives; what is known of a row, default-constructed
///   const Positions& positions();  const Positions& class_positions();
///   void begin(const Tile&, Row*, Scratch&)        sets Row::read: false, and the row is not looked at
///   int sweeps()                                   how often a row is reduced
///   void end(const Tile&, Row*, double* losses, Scratch&)    after the last sweep
///   bool writes()                                  whether rows are written, those that are not read too
/// for one row
///   Block reduce(int sweep, const RowPlace&, const Row&, first, n, Scratch&)
///   void fold(int sweep, const Block* blocks, std::size_t count, Row&)
///   void write(const RowPlace&, const Row&, first, n, Scratch&)
/// and for many, of which those that are not read may hold anything,
///   void reduce_columns(int sweep, const Tile&, Row*, Scratch&)
///   void write_columns(const Tile&, const Row*, Scratch&)
template <class T, class Problem>
class RowSweeps {
public:
    RowSweeps(const Problem& problem, int num_threads)
        : problem_(problem),
          plan_(problem.positions().count(), problem.class_positions().count(), tile_rows(problem)),
          workers_(plan_threads(plan_.rows * plan_.classes, num_threads)),
          partial_sums_(plan_.rows == 0 ? 0 : plan_.chunks()) {
        const std::size_t n = plan_.tiled() ? plan_.classes : std::min(plan_.classes, block_size);
        workers_scratch_.reserve(static_cast<std::size_t>(workers_));
        for (int worker = 0; worker < workers_; ++worker)
            workers_scratch_.emplace_back(problem.scratch(plan_.tile_rows, n), plan_.tiled() ? 0 : plan_.blocks);
    }

    double run() {
        if (plan_.split(workers_))
            run_split();
        else
            parallel_for(partial_sums_.size(), 1, workers_, [&](std::size_t first, std::size_t last, int worker) {
                for (std::size_t chunk = first; chunk < last; ++chunk)
                    partial_sums_[chunk] = run_chunk(chunk, workers_scratch_[static_cast<std::size_t>(worker)]);
            });
        StridedSum total;
        for (std::size_t chunk = 0; chunk < partial_sums_.size(); ++chunk)
            total.add(chunk, partial_sums_[chunk]);
        return total.total();
    }

private:
    using Block = typename Problem::Block;
    using Row = typename Problem::Row;
    struct Worker {
        typename Problem::Scratch buffers;
        std::vector<Block> blocks;

        Worker(typename Problem::Scratch&& scratch, std::size_t row_blocks)
            : buffers(std::move(scratch)), blocks(row_blocks) {}
    };

    static std::size_t tile_rows(const Problem& problem) {
        const Positions& rows = problem.positions();
        const Positions& classes = problem.class_positions();
        return TileRule<T>::applies(rows, classes) ? TileRule<T>::rows(rows.count(), classes.count()) : 0;
    }
    std::size_t length(std::size_t block) const { return std::min(block_size, plan_.classes - block * block_size); }

    /// Calls fn(block, worker) for every block of a row.
    template <class Fn>
    void for_blocks(Worker& worker, Fn&& fn) const {
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            fn(b, worker);
    }
    /// The same, shared out among the threads.
    template <class Fn>
    void share_blocks(Fn&& fn) {
        const auto grain = std::max<std::size_t>(1, plan_.blocks / (8 * static_cast<std::size_t>(workers_)));
        parallel_for(plan_.blocks, grain, workers_, [&](std::size_t first, std::size_t last, int worker) {
            for (std::size_t b = first; b < last; ++b)
                fn(b, workers_scratch_[static_cast<std::size_t>(worker)]);
        });
    }

    double run_chunk(std::size_t chunk, Worker& worker) const {
        const std::size_t first = chunk * plan_.chunk_rows;
        const std::size_t last = std::min(plan_.rows, first + plan_.chunk_rows);
        const std::size_t at_once = plan_.tiled() ? plan_.tile_rows : 1;
        Positions::Cursor cursor(problem_.positions(), first);
        StridedSum sum;
        double losses[most_lanes];
        for (std::size_t row = first; row < last;) {
            const Tile tile = tile_at(problem_.positions(), cursor, row, std::min(at_once, last - row));
            if (plan_.tiled())
                run_tile(tile, losses, worker.buffers);
            else
                run_row(tile, losses, worker, [&](auto&& fn) { for_blocks(worker, fn); });
            sum.add(kernels().numbers, row - first, tile.count, losses);
            row += tile.count;
            cursor.advance_inner(tile.count);
        }
        return sum.total();
    }

    void run_tile(const Tile& tile, double* losses, typename Problem::Scratch& scratch) const {
        Row rows[most_lanes];
        problem_.begin(tile, rows, scratch);
        for (int sweep = 0; sweep < problem_.sweeps(); ++sweep)
            problem_.reduce_columns(sweep, tile, rows, scratch);
        problem_.end(tile, rows, losses, scratch);
        if (problem_.writes())
            problem_.write_columns(tile, rows, scratch);
    }

    /// each_block(fn) calls fn(block, worker) for all blocks of the row.
    template <class EachBlock>
    void run_row(const Tile& tile, double* loss, Worker& worker, EachBlock&& each_block) const {
        const RowPlace place = tile.place(0);
        Row row{};
        problem_.begin(tile, &row, worker.buffers);
        for (int sweep = 0; row.read && sweep < problem_.sweeps(); ++sweep) {
            each_block([&](std::size_t b, Worker& own) {
                worker.blocks[b] = problem_.reduce(sweep, place, row, b * block_size, length(b), own.buffers);
            });
            problem_.fold(sweep, worker.blocks.data(), plan_.blocks, row);
        }
        problem_.end(tile, &row, loss, worker.buffers);
        if (problem_.writes())
            each_block([&](std::size_t b, Worker& own) {
                problem_.write(place, row, b * block_size, length(b), own.buffers);
            });
    }

    /// Few rows of many classes: the blocks of one row after another are shared out.
    void run_split() {
        Positions::Cursor cursor(problem_.positions(), 0);
        for (std::size_t r = 0; r < plan_.rows; ++r, cursor.advance())
            run_row(tile_at(problem_.positions(), cursor, r, 1), &partial_sums_[r], workers_scratch_.front(),
                    [&](auto&& fn) { share_blocks(fn); });
    }

    const Problem& problem_;
    RowPlan plan_;
    int workers_;
    std::vector<double> partial_sums_;
    std::vector<Worker> workers_scratch_;
};

}  // namespace logitloss::detail
