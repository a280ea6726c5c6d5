// Rows of logits that token_logprobs reads, one after another.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "logits/log_sum_exp_rows.hpp"
#include "logits/logit_transform.hpp"
#include "losses/token_logprobs/token_call.hpp"
#include "losses/token_logprobs/top_classes.hpp"
#include "losses/token_logprobs/wide_row.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss::detail {

/// The outputs, checked.
struct TokenOutputs {
    const Output logprob, lse, entropy, argmax, rank, topk_ids, topk_logprobs;
    std::size_t k = 0;  ///< 0: none are asked for

    TokenOutputs(const TokenCall& call, const TokenLogProbsResults& results);
    const Output& topk() const { return topk_ids.given() ? topk_ids : topk_logprobs; }
};

/// A block of a row while the row is merged.
struct GapBlock {
    BlockGaps gaps;
    double top, exponent;
};

/// A row of T goes through block_state block by block, as in cross-entropy, with its only id set aside: the bits of
/// logprob are cross-entropy's. The same sweep gives the sums beside each block's largest logit. A row that float32
/// arithmetic does not do for, and every row of a tile, takes those sums in float64 (WideRows).
template <class T>
class TokenRows : public RowProblem {
public:
    struct Scratch {
        BufferSpace space;
        Buffer<T> raw, logits;
        Buffer<double> wide;
        std::vector<RowBlock<T>> blocks;
        std::vector<GapBlock> gap_blocks;
        std::vector<std::int64_t> numbers;
        std::vector<std::size_t> ids;
        std::vector<T> own;          ///< logits of the ids
        std::vector<double> beaten;  ///< how many classes beat them
        TopClasses<T> best;

        Scratch(std::size_t block, std::size_t blocks_of_row, std::size_t ids_of_row, std::size_t k)
            : space(2 * BufferSpace::bytes<T>(block) + BufferSpace::bytes<double>(block)),
              raw(space.take<T>(block)),
              logits(space.take<T>(block)),
              wide(space.take<double>(block)),
              blocks(blocks_of_row),
              gap_blocks(blocks_of_row + 1),
              numbers(ids_of_row),
              ids(ids_of_row),
              own(ids_of_row),
              beaten(ids_of_row),
              best(k, block) {}
    };

    TokenRows(const TokenCall& call, const TokenOutputs& outputs);

    /// Whether log-probabilities of one id a row are left to cross-entropy.
    bool leaves_logprobs() const { return outputs_.logprob.given() && single_ && !fused_; }
    /// Whether nothing else is asked for.
    bool leaves_all() const { return leaves_logprobs() && !any_other_; }
    const RowPlan& plan() const { return plan_; }

    // What RowTraversal asks.
    const Positions& positions() const { return positions_; }
    Scratch scratch(const RowPlan& plan) const {
        return Scratch(std::min(plan.classes, block_size), plan.blocks, call_.ids_per_row, outputs_.k);
    }
    void reduce_columns(int, const RowTile& tile, TileRows&, Scratch& scratch) const {
        for (std::size_t r = 0; r < tile.count; ++r)
            read_row(tile.place(r), scratch);
    }
    void end(const RowTile&, TileRows&, double*, Scratch&) const {}

private:
    /// What the blocks of a row gave.
    struct Sums {
        T reference = T(0);  ///< Note [reference of a row]
        BesideTop beside;
        double gap = 0.0;  ///< L - x of the only id
    };

    void read_row(const RowPlace& place, Scratch& scratch) const;
    void read_block(const RowPlace& place, std::size_t b, Sums& sums, Scratch& scratch) const;
    void sum_block(const RowPlace& place, std::size_t b, T reference, Scratch& scratch) const;
    template <class Half>
    bool sum_halves(const RowPlace& place, std::size_t b, T value, Scratch& scratch) const;
    T counted_above(std::size_t b, const Scratch& scratch) const;
    void find_top(const RowPlace& place, std::size_t b, Sums& sums, Scratch& scratch) const;
    void count_beating(const RowPlace& place, std::size_t b, Scratch& scratch) const;
    void merge(const RowPlace& place, Sums& sums, Scratch& scratch) const;
    bool merge_gaps(Scratch& scratch, Sums& sums) const;
    double gap_of_aside(const RowSums<T>& row) const;
    double gap_in_float64(const RowPlace& place, T own, std::size_t id, Scratch& scratch) const;
    void write(const RowPlace& place, const Sums* sums, Scratch& scratch) const;
    void write_ids(const RowPlace& place, const Sums* sums, const Scratch& scratch) const;
    void write_top(const RowPlace& place, const BesideTop& row, bool read, Scratch& scratch) const;

    /// L - x of any logit of a row.
    double gap_of(const BesideTop& row, double logit) const {
        constexpr double nan = std::numeric_limits<double>::quiet_NaN();
        if (row.nan || row.top == -INFINITY || logit == INFINITY)
            return nan;
        return row.top == INFINITY ? row.top : wide_.gap(row.top, logit) + row.above;
    }
    T reference_of(const RowPlace& place, const Scratch& scratch) const {
        constexpr std::size_t piece = 64;
        T buffer[piece];
        bool found = false;
        if (!transform_.shifts())
            return T(0);
        T reference = single_ ? transform_.first_finite(kernels_, scratch.own.data(), 1, &found) : T(0);
        for (std::size_t first = 0; first < call_.classes && !found; first += piece) {
            const std::size_t n = std::min(piece, call_.classes - first);
            reference = transform_.first_finite(kernels_, input_.read(place, first, n, Buffer<T>(buffer)), n, &found);
        }
        return reference;
    }
    /// A block as it was given, in T.
    const T* given(const RowPlace& place, std::size_t b, Scratch& scratch) const {
        return input_.read(place, b * block_size, length(b), scratch.raw);
    }
    std::size_t length(std::size_t b) const { return std::min(block_size, call_.classes - b * block_size); }
    /// Index of class j within block b, or no_index.
    std::size_t index_in(std::size_t j, std::size_t b) const {
        const std::size_t first = b * block_size;
        return j != no_index && j >= first && j - first < length(b) ? j - first : no_index;
    }
    static void set_number(const Output& output, std::ptrdiff_t offset, double value) {
        write_number(output.line(), value, output.data + offset);
    }
    static void set_index(const Output& output, std::ptrdiff_t offset, std::int64_t value) {
        std::memcpy(output.data + offset, &value, sizeof value);
    }

    const TokenCall& call_;
    const TokenOutputs& outputs_;
    const Kernels<T>& kernels_;
    LogitTransform<T> transform_;
    Positions positions_, top_positions_, class_positions_;
    RowPlan plan_{0, 0};
    RowInput<T> input_;
    WideRows wide_;
    RowIds ids_;
    bool single_, fused_, any_other_;
    bool all_wide_;      // no row takes block_state
    bool needs_sums_;    // beside the largest logit
    bool counts_above_;  // ranks are counted where a row is summed
    RowReducer<T> reducer_;
    std::size_t logprob_ = 0, rank_ = 0, lse_ = 0, entropy_ = 0, argmax_ = 0;  // operands
};

}  // namespace logitloss::detail
