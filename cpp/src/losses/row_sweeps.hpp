// A traversal of rows for problems of their own: every row is reduced block by block, in one sweep or several, and then
// perhaps written. What the measures and losses of probabilities stand on; losses of logits have RowDriver.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "layout/positions.hpp"
#include "losses/logit_rows.hpp"
#include "losses/row_sums.hpp"
#include "runtime/float_environment.hpp"
#include "runtime/threads.hpp"

namespace logitloss::detail {

/// Runs a problem over its rows and returns the sum of what Problem::end returned.
///
/// A Problem has
///   Scratch                                        buffers of a worker; made by scratch(n) for blocks of up to n
///   Block, Row                                     what a block gives; what is known of a row, default-constructed
///   const Positions& positions();  std::size_t classes();
///   bool reads(RowPlace&, Row&)                    false: the row is not looked at, `skip` is called
///   void skip(const RowPlace&, Scratch&)
///   int sweeps()                                   how often the row is reduced
///   Block reduce(int sweep, const RowPlace&, const Row&, first, n, Scratch&)
///   void fold(int sweep, const Block* blocks, std::size_t count, Row&)
///   double end(const RowPlace&, Row&, Scratch&)    after the last sweep
///   bool writes();  void write(const RowPlace&, const Row&, first, n, Scratch&)
template <class Problem>
class RowSweeps {
public:
    RowSweeps(const Problem& problem, int num_threads)
        : problem_(problem),
          plan_(problem.positions().count(), problem.classes()),
          workers_(plan_threads(plan_.rows * plan_.classes, num_threads)),
          partial_sums_(plan_.rows == 0 ? 0 : plan_.chunks()) {
        const std::size_t n = std::min(plan_.classes, block_size);
        workers_scratch_.reserve(static_cast<std::size_t>(workers_));
        for (int worker = 0; worker < workers_; ++worker)
            workers_scratch_.emplace_back(problem.scratch(n), plan_.blocks);
    }

    double run() {
        const FloatEnvironment environment;
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

    RowPlace place_at(const Positions::Cursor& cursor, std::size_t row) const {
        RowPlace place;
        place.row = row;
        for (int operand = 0; operand < problem_.positions().operands(); ++operand)
            place.offset[static_cast<std::size_t>(operand)] = cursor.offset(operand);
        return place;
    }
    std::size_t length(std::size_t block) const { return std::min(block_size, plan_.classes - block * block_size); }

    /// Calls fn(block) for every block of a row.
    template <class Fn>
    void for_blocks(Fn&& fn) const {
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            fn(b);
    }
    Block reduce(int sweep, const RowPlace& place, const Row& row, std::size_t b, Worker& worker) const {
        return problem_.reduce(sweep, place, row, b * block_size, length(b), worker.buffers);
    }

    double run_chunk(std::size_t chunk, Worker& worker) const {
        const std::size_t first = chunk * plan_.chunk_rows;
        const std::size_t last = std::min(plan_.rows, first + plan_.chunk_rows);
        Positions::Cursor cursor(problem_.positions(), first);
        StridedSum sum;
        for (std::size_t row = first; row < last; ++row, cursor.advance())
            sum.add(row - first, run_row(place_at(cursor, row), worker));
        return sum.total();
    }

    double run_row(RowPlace place, Worker& worker) const {
        Row row{};
        if (!problem_.reads(place, row)) {
            problem_.skip(place, worker.buffers);
            return 0.0;
        }
        for (int sweep = 0; sweep < problem_.sweeps(); ++sweep) {
            for_blocks([&](std::size_t b) { worker.blocks[b] = reduce(sweep, place, row, b, worker); });
            problem_.fold(sweep, worker.blocks.data(), plan_.blocks, row);
        }
        const double result = problem_.end(place, row, worker.buffers);
        if (problem_.writes())
            for_blocks([&](std::size_t b) { problem_.write(place, row, b * block_size, length(b), worker.buffers); });
        return result;
    }

    /// Few rows of many classes: the blocks of one row after another are shared out.
    void run_split() {
        Worker& shared = workers_scratch_.front();
        Positions::Cursor cursor(problem_.positions(), 0);
        for (std::size_t r = 0; r < plan_.rows; ++r, cursor.advance()) {
            RowPlace place = place_at(cursor, r);
            Row row{};
            if (!problem_.reads(place, row)) {
                problem_.skip(place, shared.buffers);
                continue;
            }
            for (int sweep = 0; sweep < problem_.sweeps(); ++sweep) {
                share_blocks(
                    [&](std::size_t b, Worker& worker) { shared.blocks[b] = reduce(sweep, place, row, b, worker); });
                problem_.fold(sweep, shared.blocks.data(), plan_.blocks, row);
            }
            partial_sums_[r] = problem_.end(place, row, shared.buffers);
            if (problem_.writes())
                share_blocks([&](std::size_t b, Worker& worker) {
                    problem_.write(place, row, b * block_size, length(b), worker.buffers);
                });
        }
    }
    template <class Fn>
    void share_blocks(Fn&& fn) {
        const auto grain = std::max<std::size_t>(1, plan_.blocks / (8 * static_cast<std::size_t>(workers_)));
        parallel_for(plan_.blocks, grain, workers_, [&](std::size_t first, std::size_t last, int worker) {
            for (std::size_t b = first; b < last; ++b)
                fn(b, workers_scratch_[static_cast<std::size_t>(worker)]);
        });
    }

    const Problem& problem_;
    RowPlan plan_;
    int workers_;
    std::vector<double> partial_sums_;
    std::vector<Worker> workers_scratch_;
};

}  // namespace logitloss::detail
