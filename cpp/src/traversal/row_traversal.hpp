// Generic row traversal: reduces each row in one or more sweeps, ends it, and then perhaps writes it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "layout/positions.hpp"
#include "layout/strided_sum.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"
#include "traversal/row_plan.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// The Block and Row of a problem that takes whole rows only.
struct NoBlocks {};

/// What most problems of rows have in common; a problem hides what it has of its own.
struct RowProblem {
    using Block = NoBlocks;     ///< what is known of a block of a row
    using Row = NoBlocks;       ///< of a row, between its sweeps
    using TileRows = NoBlocks;  ///< of the rows of a tile

    int sweeps() const { return 1; }           ///< how often a row is reduced
    bool writes() const { return false; }      ///< whether rows are written, those that are not read too
    bool has_losses() const { return false; }  ///< whether `end` sets losses, to be added up
    std::size_t kept_blocks(const RowPlan& plan) const { return plan.blocks; }  ///< of a row, before they are folded
    /// Whether it took all of a tile's rows but those that it handed to rest(first, count).
    template <class... Arguments>
    bool take_most(const Arguments&...) const {
        return false;
    }
    template <class... Arguments>
    void begin(const Arguments&...) const {}
    template <class... Arguments>
    void write(const Arguments&...) const {}
    template <class... Arguments>
    void write_columns(const Arguments&...) const {}
    template <class... Arguments>
    void finish(const Arguments&...) const {}
};

/// Runs a problem over its rows and returns the sum of its losses.
///
/// Rows go through all steps in tiles. A tile of a plan with whole_rows is reduced, ended and written at once; else it
/// is one row, which is reduced and written block by block, and whose blocks may go to different threads. A Problem has
///   Scratch                                        buffers of a worker: scratch(plan) makes them
///   Block, Row, TileRows                           what a block gives; what is known of a row, and of a tile's rows
///   const Positions& positions()                   of the rows
///   begin(const RowTile&, rows, Scratch&)             rows: TileRows, or Row* of one row. Sets Row::read
///   end(const RowTile&, rows, double* losses, Scratch&)   after the last sweep
///   void finish(Scratch&)                          after the last tile of a chunk of rows
///   bool take_most(const RowTile&, double* losses, Scratch&, rest)   a way of its own, before all of these
/// for one row, if Row::read,
///   Block reduce(int sweep, const RowPlace&, const Row&, first, n, Scratch&)
///   void fold(int sweep, const Block* blocks, std::size_t count, Row&)   the next of the row's blocks
///   void write(const RowPlace&, const Row&, first, n, Scratch&)
/// and for whole rows, of which those that are not read may hold anything,
///   void reduce_columns(int sweep, const RowTile&, TileRows&, Scratch&)
///   void write_columns(const RowTile&, TileRows&, Scratch&)
template <class Problem>
class RowTraversal {
public:
    RowTraversal(const Problem& problem, const RowPlan& plan, int workers)
        : problem_(problem), plan_(plan), workers_(workers), partial_sums_(plan.chunks()) {
        scratch_.reserve(static_cast<std::size_t>(workers_));
        for (int worker = 0; worker < workers_; ++worker)
            scratch_.emplace_back(problem, plan);
    }

    double run() {
        bool split = false;
        if constexpr (by_blocks)
            split = plan_.split(workers_) && run_split();
        if (!split)
            parallel_for(partial_sums_.size(), 1, workers_, [&](std::size_t first, std::size_t last, int worker) {
                for (std::size_t chunk = first; chunk < last; ++chunk)
                    partial_sums_[chunk] = run_chunk(chunk, scratch_[static_cast<std::size_t>(worker)]);
            });
        StridedSum total;
        for (std::size_t chunk = 0; chunk < partial_sums_.size(); ++chunk)
            total.add(chunk, partial_sums_[chunk]);
        return total.total();
    }

private:
    using Block = typename Problem::Block;
    using Row = typename Problem::Row;
    static constexpr bool by_blocks = !std::is_same_v<Block, NoBlocks>;
    struct Worker {
        typename Problem::Scratch buffers;
        std::vector<Block> blocks;

        Worker(const Problem& problem, const RowPlan& plan)
            : buffers(problem.scratch(plan)), blocks(plan.whole_rows ? 0 : problem.kept_blocks(plan)) {}
    };

    double run_chunk(std::size_t chunk, Worker& worker) const {
        const std::size_t first = chunk * plan_.chunk_rows;
        const std::size_t last = std::min(plan_.rows, first + plan_.chunk_rows);
        Positions::Cursor cursor(problem_.positions(), first);
        StridedSum sum;
        double losses[most_rows];
        for (std::size_t row = first; row < last;) {
            const RowTile tile = tile_at(problem_.positions(), cursor, row, std::min(plan_.rows_at_once, last - row));
            run_rows(tile, losses, worker);
            if (problem_.has_losses())
                sum.add(kernels().numbers, row - first, tile.count, losses);
            row += tile.count;
            cursor.advance_inner(tile.count);
        }
        problem_.finish(worker.buffers);
        return sum.total();
    }

    void run_rows(const RowTile& tile, double* losses, Worker& worker) const {
        if constexpr (by_blocks)
            if (!plan_.whole_rows)
                return run_row(tile, losses, worker, [&](std::size_t first, std::size_t last, auto&& fn) {
                    for (std::size_t b = first; b < last; ++b)
                        fn(b, worker);
                });
        run_tile(tile, losses, worker.buffers);
    }

    void run_tile(const RowTile& tile, double* losses, typename Problem::Scratch& scratch) const {
        const auto rest = [&](std::size_t first, std::size_t count) {
            take_steps(tile.part(first, count), losses + first, scratch);
        };
        if (!problem_.take_most(tile, losses, scratch, rest))
            take_steps(tile, losses, scratch);
    }
    void take_steps(const RowTile& tile, double* losses, typename Problem::Scratch& scratch) const {
        typename Problem::TileRows rows;
        problem_.begin(tile, rows, scratch);
        for (int sweep = 0; sweep < problem_.sweeps(); ++sweep)
            problem_.reduce_columns(sweep, tile, rows, scratch);
        problem_.end(tile, rows, losses, scratch);
        if (problem_.writes())
            problem_.write_columns(tile, rows, scratch);
    }

    /// each_block(first, last, fn) calls fn(block, worker) for blocks [first, last) of the row.
    template <class EachBlock>
    void run_row(const RowTile& tile, double* loss, Worker& worker, EachBlock&& each_block) const {
        const RowPlace place = tile.place(0);
        Row row{};
        problem_.begin(tile, &row, worker.buffers);
        for (int sweep = 0; row.read && sweep < problem_.sweeps(); ++sweep) {
            std::size_t first = 0;
            do {
                const std::size_t last = std::min(plan_.blocks, first + worker.blocks.size());
                each_block(first, last, [&](std::size_t b, Worker& own) {
                    worker.blocks[b - first] =
                        problem_.reduce(sweep, place, row, b * block_size, length(b), own.buffers);
                });
                problem_.fold(sweep, worker.blocks.data(), last - first, row);
                first = last;
            } while (first < plan_.blocks);
        }
        problem_.end(tile, &row, loss, worker.buffers);
        if (problem_.writes())
            each_block(0, plan_.blocks, [&](std::size_t b, Worker& own) {
                problem_.write(place, row, b * block_size, length(b), own.buffers);
            });
    }

    std::size_t length(std::size_t block) const { return std::min(block_size, plan_.classes - block * block_size); }

    /// Few rows of many classes: the blocks of one row after another are shared out among the threads.
    bool run_split() {
        const auto share = [&](std::size_t begin, std::size_t end, auto&& fn) {
            const auto grain = std::max<std::size_t>(1, (end - begin) / (8 * static_cast<std::size_t>(workers_)));
            parallel_for(end - begin, grain, workers_, [&](std::size_t first, std::size_t last, int worker) {
                for (std::size_t b = begin + first; b < begin + last; ++b)
                    fn(b, scratch_[static_cast<std::size_t>(worker)]);
            });
        };
        Positions::Cursor cursor(problem_.positions(), 0);
        double loss = 0.0;
        for (std::size_t r = 0; r < plan_.rows; ++r, cursor.advance()) {
            run_row(tile_at(problem_.positions(), cursor, r, 1), &loss, scratch_.front(), share);
            partial_sums_[r] = problem_.has_losses() ? loss : 0.0;
        }
        return true;
    }

    const Problem& problem_;
    RowPlan plan_;
    int workers_;
    std::vector<double> partial_sums_;
    std::vector<Worker> scratch_;
};

template <class Problem>
double traverse_rows(const Problem& problem, const RowPlan& plan, int num_threads) {
    if (plan.rows == 0)
        return 0.0;
    return RowTraversal<Problem>(problem, plan, plan_threads(plan.rows * plan.classes, num_threads)).run();
}

}  // namespace logitloss::detail
