// A row of logits, from its blocks to its end: what log-sum-exp, softmax and cross-entropy share.
//
// A row is cut into blocks of block_size classes. Each block gives a RowBlock, wherever and on whichever thread; the
// blocks of a row merge into RowSums, which a kernel turns into the row's end. Rows that hold +inf, NaN or huge values
// come out `needs_float64`, and their ends are made here in float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "layout/half.hpp"
#include "layout/staging.hpp"
#include "layout/strided_sum.hpp"
#include "logits/row_lanes.hpp"

namespace logitloss::detail {

/// Which class is set aside from a row's sum. The relative accuracy of that class's own loss and gradient hangs on it
/// (Note [confident rows]).
enum class SetAside { none, target, largest };

/// The larger number; NaN only if both are.
inline double larger(double a, double b) { return a > b || b != b ? a : b; }

/// 2^k for integral k <= 0; 0 below the normal numbers.
inline double power_of_two(double k) {
    if (k < -1022.0)
        return 0.0;
    const std::uint64_t bits = static_cast<std::uint64_t>(1023 + static_cast<int>(k)) << 52;
    double power;
    std::memcpy(&power, &bits, sizeof power);
    return power;
}

/// One block of a row.
template <class T>
struct RowBlock {
    BlockState others;                   ///< without the class that is taken out
    std::size_t aside_index = no_index;  ///< that class, within the block; no_index if it is not in this one
    double aside_logit = -INFINITY;      ///< its logit
    double gaps = 0.0;                   ///< sum_j q_j (reference - x_j)
    double reference = 0.0;              ///< the block's largest logit, or 0 if that is not finite
    double mass = 0.0;                   ///< sum_j q_j without the class set aside
    double aside_mass = 0.0;             ///< q of that class
};

/// Coefficients of a block's linear term: numbers of type T or, where T is too narrow for them, read piece by piece in
/// float64 (Note [coefficients in float64]).
template <class T, class Reader>
struct BlockCoefficients {
    static constexpr std::size_t piece = 256;

    const T* values = nullptr;    ///< null: all 1, unless `far` has them
    const Reader* far = nullptr;  ///< null unless T is too narrow
    const RowPlace* place = nullptr;
    std::size_t first = 0;  ///< number of the block's first class

    BlockCoefficients() = default;
    BlockCoefficients(const T* near_values, const Reader* far_values, const RowPlace& row, std::size_t first_class)
        : values(near_values), far(far_values), place(&row), first(first_class) {}

    /// Calls fn(i, count, q) for pieces of a block of n: coefficients i to i + count in float64.
    template <class Fn>
    void for_pieces(std::size_t n, Fn&& fn) const {
        double q[piece];
        for (std::size_t i = 0; i < n; i += piece) {
            const std::size_t count = std::min(piece, n - i);
            if (far != nullptr)
                far->exact_coefficients(*place, first + i, count, q);
            else if (values != nullptr)
                std::copy(values + i, values + i + count, q);
            else
                std::fill(q, q + count, 1.0);
            fn(i, count, q);
        }
    }
};

/// All blocks of a row together.
template <class T>
struct RowSums {
    bool needs_float64 = false;
    double sum = 0.0;  ///< of the exponentials, without the class set aside
    double exponent = no_exponent;
    T max = T(0);                        ///< the largest logit of all
    T aside_logit = T(0);                ///< logit of the class set aside
    std::size_t aside_class = no_index;  ///< its index
    double gaps = 0.0;                   ///< sum_j q_j (max - x_j)
    double other_mass = 0.0;             ///< sum_j q_j without the class set aside
    double aside_mass = 0.0;             ///< q of that class
};

/// The end of a needs_float64 row: what LogSumExpEnds and AsideEnds hold of others.
struct RowEnd {
    double lse = 0.0;          ///< L
    double gap = 0.0;          ///< L - logit of the class set aside, or L - max where none is
    double base = 0.0;         ///< exponentials are exp(x - base)
    double scale = 0.0;        ///< 1 / their sum: probabilities are scale * exponentials
    double probability = 0.0;  ///< of the class set aside
    double complement = 0.0;   ///< 1 - probability, to relative accuracy
    double above_max = 0.0;    ///< L - the largest logit, to relative accuracy
};

template <class T>
void set_end(const RowEnd& end, std::size_t r, AsideEnds<T>& rows) {
    rows.gap[r] = end.gap;
    rows.lse[r] = end.lse;
    rows.base[r] = end.base;
    rows.scale[r] = end.scale;
    rows.probability[r] = end.probability;
    rows.complement[r] = end.complement;
    rows.above_max[r] = end.above_max;
}

/// What float64_write takes the exponentials against, of a row that is written with it: a needs_float64 one, or one whose
/// factors T does not hold though it may hold their products with exponentials.
template <class Write>
double reference_of(const Write& row) {
    constexpr double ln2 = 0x1.62e42fefa39efp-1;
    return row.needs_float64 ? row.base : row.base * ln2;
}

/// Merges states exactly: powers of two scale without rounding, so only the order of the additions could matter, and
/// that is the order of the blocks.
class StateMerger {
public:
    void add(std::size_t index, const BlockState& state) {
        slow_ |= state.kind == BlockKind::needs_float64;
        if (state.kind != BlockKind::normal) {
            deep_ |= state.max > -INFINITY;
            return;
        }
        if (state.exponent > exponent_) {
            sum_.scale(power_of_two(exponent_ - state.exponent));
            exponent_ = state.exponent;
        }
        sum_.add(index, state.sum * power_of_two(state.exponent - exponent_));
    }
    /// Whether the fast kernels' sums hold. Deep classes, below -2^17, add nothing to a row whose exponent is far
    /// above theirs; otherwise they decide it.
    bool needs_float64(double anchor) const {
        constexpr double far_above_deep = -180000.0;  // an exponent; that of -fast_limit is -189,094
        return slow_ || (deep_ && larger(exponent_, anchor) < far_above_deep);
    }
    double exponent() const { return exponent_; }
    double sum() const { return sum_.total(); }

private:
    StridedSum sum_;
    double exponent_ = no_exponent;
    bool deep_ = false;
    bool slow_ = false;
};

/// Reads and reduces the blocks of one kind of row with one set of kernels.
template <class T>
class RowReducer {
public:
    RowReducer(const Kernels<T>& kernels, SetAside set_aside) : kernels_(kernels), set_aside_(set_aside) {}

    /// `x`: the block's n logits. `target`: index of the target within the block, or no_index. `exponentials`: where
    /// to keep those of a normal block, or null. `pending`: as block_state takes it.
    RowBlock<T> reduce(const T* x, std::size_t n, std::size_t target, T* exponentials,
                       const PendingRow<T>* pending) const {
        RowBlock<T> block;
        block.aside_index = target;
        if (set_aside_ == SetAside::largest)
            block.aside_index = kernels_.find(x, n, kernels_.largest(x, n));
        kernels_.block_state(x, n, block.aside_index, &block.others, exponentials, pending);
        if (block.aside_index != no_index)
            block.aside_logit = static_cast<double>(x[block.aside_index]);
        return block;
    }

    /// Of a row that is summed whole or beside its target, from the halves that it is stored as.
    template <class Half>
    static RowBlock<T> reduce(const HalfKernels<Half>& kernels, const Half* x, std::size_t n, std::size_t target,
                              T* exponentials, const PendingRow<T>* pending) {
        RowBlock<T> block;
        block.aside_index = target;
        kernels.block_state(x, n, target, &block.others, exponentials, pending);
        if (target != no_index)
            block.aside_logit = static_cast<double>(to_float(x[target]));
        return block;
    }

    /// Adds the linear sums over coefficients q (null: all 1) to a block.
    void add_linear(const T* x, const T* q, std::size_t n, RowBlock<T>& block) const {
        set_reference(block);
        block.gaps = kernels_.sum_gaps(x, q, n, static_cast<T>(block.reference));
        if (q == nullptr) {
            block.aside_mass = block.aside_index == no_index ? 0.0 : 1.0;
            block.mass = static_cast<double>(n) - block.aside_mass;
        } else {
            block.aside_mass = block.aside_index == no_index ? 0.0 : static_cast<double>(q[block.aside_index]);
            block.mass = kernels_.sum(q, n, block.aside_index);
        }
    }

    template <class Reader>
    void add_linear(const T* x, const BlockCoefficients<T, Reader>& q, std::size_t n, RowBlock<T>& block) const {
        if (q.far == nullptr)
            return add_linear(x, q.values, n, block);
        set_reference(block);
        StridedSum gaps, mass;
        q.for_pieces(n, [&](std::size_t first, std::size_t count, const double* piece) {
            for (std::size_t i = 0; i < count; ++i) {
                if (piece[i] == 0.0)
                    continue;
                gaps.add(first + i, piece[i] * (block.reference - static_cast<double>(x[first + i])));
                if (first + i == block.aside_index)
                    block.aside_mass = piece[i];
                else
                    mass.add(first + i, piece[i]);
            }
        });
        block.gaps = gaps.total();
        block.mass = mass.total();
    }

    /// Fills `row`.
    void merge(const RowBlock<T>* blocks, std::size_t count, RowSums<T>& row) const {
        row = RowSums<T>{};
        if (count == 1)
            return only(blocks[0], row);
        const std::size_t out_block = find_out_block(blocks, count);
        StateMerger merger;
        double top = -INFINITY;
        for (std::size_t b = 0; b < count; ++b) {
            merger.add(b, blocks[b].others);
            if (b != out_block && blocks[b].aside_index != no_index)
                merger.add(b, state_of_out(blocks[b]));
            top = larger(top, larger(blocks[b].others.max, blocks[b].aside_logit));
        }
        row.max = static_cast<T>(top);
        take_out(blocks, out_block, row);
        end(merger, anchor(blocks, out_block), out_block, row);
        merge_linear(blocks, count, out_block, row);
    }

    /// Of rows that are summed whole, without linear sums: what merging gives, from blocks that come in order.
    void fold(std::size_t b, const RowBlock<T>& block, StateMerger& merger, double& top) const {
        merger.add(b, block.others);
        top = larger(top, block.others.max);
    }
    void end_fold(const StateMerger& merger, double top, RowSums<T>& row) const {
        row = RowSums<T>{};
        row.max = static_cast<T>(top);
        end(merger, no_exponent, no_index, row);
    }

private:
    static void set_reference(RowBlock<T>& block) {
        const double top = larger(block.others.max, block.aside_logit);
        block.reference = std::isfinite(top) ? top : 0.0;
    }

    /// A row of one block: what merging would give, without its steps.
    void only(const RowBlock<T>& block, RowSums<T>& row) const {
        const std::size_t out_block = block.aside_index == no_index ? no_index : 0;
        StateMerger merger;
        merger.add(0, block.others);
        row.max = static_cast<T>(larger(block.others.max, block.aside_logit));
        take_out(&block, out_block, row);
        end(merger, anchor(&block, out_block), out_block, row);
        row.gaps = block.gaps;
        row.other_mass = block.mass;
    }

    void end(const StateMerger& merger, double anchor, std::size_t out_block, RowSums<T>& row) const {
        row.needs_float64 = merger.needs_float64(anchor) || unusable(row.aside_logit, out_block) ||
                            nothing_at_all(merger.exponent(), out_block);
        row.sum = merger.sum();
        row.exponent = merger.exponent();
    }

    /// The class set aside of a block whose row takes out another one.
    BlockState state_of_out(const RowBlock<T>& block) const {
        const T logit = static_cast<T>(block.aside_logit);
        BlockState state;
        kernels_.block_state(&logit, 1, no_index, &state, nullptr, nullptr);
        return state;
    }
    /// Exponent, to within rounding, of the class set aside of the row.
    static double anchor(const RowBlock<T>* blocks, std::size_t out_block) {
        constexpr double log2e = 0x1.71547652b82fep+0;
        return out_block == no_index ? no_exponent : blocks[out_block].aside_logit * log2e;
    }
    /// Nothing was summed and no class stands beside the sum: all -inf, or all deep.
    bool nothing_at_all(double exponent, std::size_t out_block) const {
        return exponent == no_exponent && out_block == no_index;
    }
    bool unusable(T aside_logit, std::size_t out_block) const {
        return out_block != no_index && !(std::fabs(static_cast<double>(aside_logit)) <= fast_limit);
    }

    /// The block whose class is set aside from the row: the target's, or the first that holds the row's largest.
    std::size_t find_out_block(const RowBlock<T>* blocks, std::size_t count) const {
        std::size_t found = no_index;
        for (std::size_t b = 0; b < count; ++b) {
            if (blocks[b].aside_index == no_index)
                continue;
            if (found == no_index || blocks[b].aside_logit > blocks[found].aside_logit)
                found = b;
        }
        return found;
    }

    void take_out(const RowBlock<T>* blocks, std::size_t out_block, RowSums<T>& row) const {
        if (out_block == no_index)
            return;
        row.aside_class = out_block * block_size + blocks[out_block].aside_index;
        row.aside_logit = static_cast<T>(blocks[out_block].aside_logit);
        row.aside_mass = blocks[out_block].aside_mass;
    }

    /// sum_j q_j (max - x_j) from the blocks' own references: nothing cancels, all differences have one sign.
    void merge_linear(const RowBlock<T>* blocks, std::size_t count, std::size_t out_block, RowSums<T>& row) const {
        StridedSum gaps, others;
        for (std::size_t b = 0; b < count; ++b) {
            const double block_mass = blocks[b].mass + blocks[b].aside_mass;
            const double drop = static_cast<double>(row.max) - blocks[b].reference;
            gaps.add(b, blocks[b].gaps + (block_mass == 0.0 ? 0.0 : block_mass * drop));
            others.add(b, b == out_block ? blocks[b].mass : block_mass);
        }
        row.gaps = gaps.total();
        row.other_mass = others.total();
    }

    const Kernels<T>& kernels_;
    SetAside set_aside_;
};

/// Reads classes [first, first + n) of a row, by blocks.
template <class T>
struct BlockReader {
    const T* (*read)(const void* context, std::size_t first, std::size_t n);
    const void* context;

    /// `fn` must outlive it.
    template <class Fn>
    static BlockReader of(const Fn& fn) {
        return {[](const void* reader, std::size_t first, std::size_t n) {
                    return (*static_cast<const Fn*>(reader))(first, n);
                },
                &fn};
    }
};

/// Of a needs_float64 row without the class set aside: its largest logit, NaN if there is one, and
/// sum_j exp(x_j - largest), 0 where that is not finite.
struct Float64Sums {
    double largest;
    double sum;
};
template <class T>
Float64Sums float64_sums(std::size_t classes, std::size_t aside, const BlockReader<T>& row);

/// The end of a needs_float64 row from what float64_max and float64_sum gave.
///   others_max, others_sum: the largest of the other classes and sum_j exp(x_j - others_max) of them;
///   logit: of the class set aside, -inf and `present` false where none is.
inline RowEnd float64_end(const Kernels<double>& float64, SetAside set_aside, double others_max, double others_sum,
                          double logit, bool present) {
    const auto log1p = [&](double x) {
        float64.log1p(&x, 1, &x);
        return x;
    };
    const auto exp = [&](double x) {
        float64.exp(&x, 1, &x);
        return x;
    };
    RowEnd end;
    const double top = larger(others_max, logit);
    if (std::isnan(others_max) || std::isnan(logit) || std::isinf(top)) {
        const double nan = std::nan("");
        end.gap = end.base = end.scale = end.probability = end.complement = end.above_max = nan;
        const bool any_nan = std::isnan(others_max) || std::isnan(logit);
        end.lse = any_nan ? nan : top;
        // L - z_j is infinite but where z_j is the +inf itself, and a target there has no loss.
        const bool target_is_infinite = set_aside == SetAside::target && logit == INFINITY;
        if (!any_nan && top == INFINITY && present && !target_is_infinite)
            end.gap = INFINITY;
        return end;
    }
    if (others_max == -INFINITY) {
        end = {logit, 0.0, logit, 1.0, 1.0, 0.0, 0.0};
        return end;
    }
    if (!present || logit == -INFINITY) {
        const double above = log1p(others_sum - 1.0);
        end = {others_max + above, present ? INFINITY : above, others_max, 1.0 / others_sum, 0.0, 1.0, above};
        return end;
    }
    const double trail = others_max - logit;
    const double down = exp(-std::fabs(trail));
    const double others = trail > 0.0 ? others_sum : others_sum * down;
    const double own = trail > 0.0 ? down : 1.0;
    end.above_max = log1p(trail > 0.0 ? (others_sum - 1.0) + down : others);
    end.gap = trail > 0.0 ? trail + end.above_max : end.above_max;
    end.lse = top + end.above_max;
    end.base = top;
    end.scale = 1.0 / (others + own);
    end.probability = own * end.scale;
    end.complement = others * end.scale;
    return end;
}

}  // namespace logitloss::detail
