// Log-probabilities of ids, entropies, ranks and the best classes, from one sweep over rows of logits.
#include "logitloss/token_logprobs.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "arguments/dtype_switch.hpp"
#include "losses/token_logprobs/token_rows.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {

// ---------------------------------------------------------------------------------------------------------- arguments

TokenOutputs::TokenOutputs(const TokenCall& call, const TokenLogProbsResults& results)
    : logprob("logprob", results.logprob),
      lse("lse", results.lse),
      entropy("entropy", results.entropy),
      argmax("argmax", results.argmax),
      rank("rank", results.rank),
      topk_ids("topk_ids", results.topk_ids),
      topk_logprobs("topk_logprobs", results.topk_logprobs) {
    const Output* all[] = {&logprob, &lse, &entropy, &argmax, &rank, &topk_ids, &topk_logprobs};
    if (topk().given()) {
        const auto axis = static_cast<std::size_t>(call.axis);
        const std::ptrdiff_t given = topk().shape.size() == call.logits.shape.size() ? topk().shape[axis] : 1;
        if (given < 1 || given > static_cast<std::ptrdiff_t>(call.classes))
            throw value_error("k: got " + std::to_string(given) + ", expected at least 1 and at most the " +
                              std::to_string(call.classes) + " classes");
        k = static_cast<std::size_t>(given);
    }
    for (const Output* output : all) {
        if (!output->given())
            continue;
        const bool of_ids = output == &logprob || output == &rank;
        const bool of_top = output == &topk_ids || output == &topk_logprobs;
        const bool index = output == &argmax || output == &rank || output == &topk_ids;
        require_dtype(*output, index ? DType::int64 : loss_dtype(call.logits.view.dtype));
        require_shape(*output, of_top ? call.with_axis(k) : of_ids ? call.ids.shape : call.rows);
        require_no_overlap(*output, {&call.logits, &call.ids});
        for (const Output* other : all)
            if (other != output && other->given())
                require_no_overlap(*output, {other});
    }
}

template <class T>
TokenRows<T>::TokenRows(const TokenCall& call, const TokenOutputs& outputs)
    : call_(call),
      outputs_(outputs),
      kernels_(detail::kernels().of<T>()),
      transform_(std::nullopt, 0.0, call.scale()),
      positions_(call.rows),
      top_positions_(call.rows),
      class_positions_({static_cast<std::ptrdiff_t>(call.classes)}),
      single_(call.ids_per_row == 1),
      any_other_(outputs.lse.given() || outputs.entropy.given() || outputs.argmax.given() || outputs.rank.given() ||
                 outputs.k > 0),
      reducer_(kernels_, single_ ? SetAside::target : SetAside::none) {
    const auto axis = static_cast<std::size_t>(call.axis);
    const Shape logit_strides = without_axis(call.logits.strides, call.axis);
    positions_.add(logit_strides);
    const int ids = positions_.add(call.row_strides(call.ids.strides));
    Positions rule = positions_;  // what cross-entropy walks
    const auto add = [&](const Output& output, std::size_t& operand) {
        const bool of_ids = &output == &outputs.logprob || &output == &outputs.rank;
        if (output.given())
            operand =
                static_cast<std::size_t>(positions_.add(of_ids ? call.row_strides(output.strides) : output.strides));
    };
    if (outputs.logprob.given())
        rule.add(call.row_strides(outputs.logprob.strides));
    add(outputs.logprob, logprob_);
    add(outputs.rank, rank_);
    add(outputs.lse, lse_);
    add(outputs.entropy, entropy_);
    add(outputs.argmax, argmax_);
    for (Positions* positions : {&positions_, &rule})
        positions->simplify(true);
    if (outputs.k > 0) {
        top_positions_.add(logit_strides);  // first, so that rows have the same numbers
        for (const Output* output : {&outputs.topk_ids, &outputs.topk_logprobs})
            top_positions_.add(output->given() ? without_axis(output->strides, call.axis) : logit_strides);
        top_positions_.simplify(true);
    }
    class_positions_.add({call.logits.strides[axis]});
    class_positions_.simplify(false);
    input_ = RowInput<T>(call.logits, positions_, 0, class_positions_, 0);
    ids_ = RowIds(call, ids);

    const bool tiled = TileRule<T>::applies(rule, class_positions_);
    plan_ = RowPlan(positions_.count(), call.classes, tiled ? TileRule<T>::rows(positions_.count(), call.classes) : 0);
    if (!tiled)
        plan_.hand_out_whole(1);
    all_wide_ = tiled || !transform_.held();
    fused_ = single_ && !all_wide_ && any_other_;
    needs_sums_ = outputs.lse.given() || outputs.entropy.given() || outputs.topk_logprobs.given() ||
                  (outputs.logprob.given() && !single_);
    counts_above_ = outputs.rank.given() && single_ && transform_.identity();
    wide_ = WideRows(RowInput<double>(call.logits, positions_, 0, class_positions_, 0), call.classes,
                     transform_.held() ? transform_.scale() : call.scale());
}

// --------------------------------------------------------------------------------------------------------- one sweep

template <class T>
void TokenRows<T>::read_row(const RowPlace& place, Scratch& scratch) const {
    if (!ids_.read(place, scratch.numbers, scratch.ids))
        return write(place, nullptr, scratch);
    for (std::size_t i = 0; i < call_.ids_per_row; ++i) {
        T buffer = T(0);
        const std::size_t id = scratch.ids[i];
        scratch.own[i] = id == no_index ? T(0) : *input_.read(place, id, 1, Buffer<T>(&buffer));
        scratch.beaten[i] = 0.0;
    }
    Sums sums;
    if (!all_wide_)
        sums.reference = reference_of(place, scratch);
    if (outputs_.k > 0)
        scratch.best.start();
    for (std::size_t b = 0; b < plan_.blocks; ++b)
        read_block(place, b, sums, scratch);
    merge(place, sums, scratch);
    write(place, &sums, scratch);
}

template <class T>
void TokenRows<T>::read_block(const RowPlace& place, std::size_t b, Sums& sums, Scratch& scratch) const {
    if (!all_wide_)
        sum_block(place, b, sums.reference, scratch);
    find_top(place, b, sums, scratch);
    if (outputs_.rank.given())
        count_beating(place, b, scratch);
    if (outputs_.k > 0)
        scratch.best.take(kernels_, given(place, b, scratch), length(b), b * block_size);
}

template <class T>
void TokenRows<T>::sum_block(const RowPlace& place, std::size_t b, T reference, Scratch& scratch) const {
    const std::size_t n = length(b);
    RowBlock<T>& block = scratch.blocks[b];
    block = RowBlock<T>{};
    block.aside_index = single_ ? index_in(scratch.ids[0], b) : no_index;
    const T value = counted_above(b, scratch);
    if (transform_.identity()) {
        if (block.aside_index != no_index)
            block.aside_logit = static_cast<double>(scratch.own[0]);
        if (sum_halves<Float16>(place, b, value, scratch) || sum_halves<BFloat16>(place, b, value, scratch))
            return;
    }
    const T* x = given(place, b, scratch);
    if (!transform_.identity()) {
        transform_.apply(kernels_, x, n, no_index, reference, scratch.logits.data());
        x = scratch.logits.data();
        if (block.aside_index != no_index)
            block.aside_logit = static_cast<double>(x[block.aside_index]);
    }
    if (needs_sums_ || counts_above_)
        kernels_.block_gaps(x, n, block.aside_index, value, &block.others, &scratch.gap_blocks[b].gaps);
    else
        kernels_.block_state(x, n, block.aside_index, &block.others, nullptr, nullptr);
}

/// Where the logits lie as contiguous halves.
template <class T>
template <class Half>
bool TokenRows<T>::sum_halves(const RowPlace& place, std::size_t b, T value, Scratch& scratch) const {
    if constexpr (sizeof(T) == sizeof(float)) {
        RowBlock<T>& block = scratch.blocks[b];
        const Half* halves = input_.template stored<Half>(place, b * block_size);
        if (halves == nullptr)
            return false;
        const HalfKernels<Half>& kernels = detail::kernels().halves<Half>();
        if (needs_sums_ || counts_above_)
            kernels.block_gaps(halves, length(b), block.aside_index, value, &block.others, &scratch.gap_blocks[b].gaps);
        else
            kernels.block_state(halves, length(b), block.aside_index, &block.others, nullptr, nullptr);
        return true;
    }
    return false;
}

/// Those above it beat the only id of the row: what is equal counts before the id. Of a block that holds the id, and of
/// an id that nothing is below, nothing is counted so.
template <class T>
T TokenRows<T>::counted_above(std::size_t b, const Scratch& scratch) const {
    constexpr T infinity = std::numeric_limits<T>::infinity();
    if (!counts_above_ || index_in(scratch.ids[0], b) != no_index || !(scratch.own[0] > -infinity))
        return infinity;
    return b * block_size < scratch.ids[0] ? std::nextafter(scratch.own[0], -infinity) : scratch.own[0];
}

/// Only a block whose largest logit is above all before is looked at again.
template <class T>
void TokenRows<T>::find_top(const RowPlace& place, std::size_t b, Sums& sums, Scratch& scratch) const {
    const bool known = !all_wide_ && transform_.identity() && sums.beside.top_class != no_index;
    const double top = larger(scratch.blocks[b].others.max, scratch.blocks[b].aside_logit);
    if (known && !(top > sums.beside.top))
        return;
    const T* z = given(place, b, scratch);
    const std::size_t n = length(b);
    const std::size_t at = kernels_.find(z, n, known ? static_cast<T>(top) : kernels_.largest(z, n));
    if (at != no_index)
        sums.beside.take(static_cast<double>(z[at]), b * block_size + at);
}

template <class T>
void TokenRows<T>::count_beating(const RowPlace& place, std::size_t b, Scratch& scratch) const {
    const std::size_t first = b * block_size;
    const bool counted = !all_wide_ && scratch.blocks[b].others.kind == BlockKind::normal &&
                         counted_above(b, scratch) < std::numeric_limits<T>::infinity();
    for (std::size_t i = 0; i < call_.ids_per_row; ++i) {
        const std::size_t id = scratch.ids[i];
        if (counted)
            scratch.beaten[i] += scratch.gap_blocks[b].gaps.above;
        else if (id != no_index)
            scratch.beaten[i] += kernels_.count_beating(given(place, b, scratch), length(b), scratch.own[i],
                                                        id <= first ? 0 : id - first);
    }
}

// -------------------------------------------------------------------------------------------------- the end of a row

template <class T>
void TokenRows<T>::merge(const RowPlace& place, Sums& sums, Scratch& scratch) const {
    if (all_wide_)
        return wide_.sum(place, scratch.wide, sums.beside);
    RowSums<T> row;
    reducer_.merge(scratch.blocks.data(), plan_.blocks, row);
    sums.beside.nan = row.sum != row.sum;
    bool wide = row.needs_float64;
    if (!wide && needs_sums_)
        wide = !merge_gaps(scratch, sums);
    if (wide)
        wide_.sum(place, scratch.wide, sums.beside);
    if (!single_)
        return;
    if (!row.needs_float64)
        sums.gap = gap_of_aside(row);
    else if (transform_.identity())
        sums.gap = gap_in_float64(place, scratch.own[0], scratch.ids[0], scratch);
    else
        sums.gap = gap_of(sums.beside, static_cast<double>(scratch.own[0]));
}

/// L - x of the class set aside.
template <class T>
double TokenRows<T>::gap_of_aside(const RowSums<T>& row) const {
    AsideEnds<T> end;
    std::fill(end.sum, end.sum + row_batch, row.sum);
    std::fill(end.exponent, end.exponent + row_batch, row.exponent);
    std::fill(end.logit, end.logit + row_batch, row.aside_logit);
    kernels_.aside_ends(&end, 1, EndParts::gap);
    return end.gap[0];
}

/// Exactly, like StateMerger: exponents differ by powers of two. Returns false where the other classes are too small for
/// what exponentials of T keep of them.
template <class T>
bool TokenRows<T>::merge_gaps(Scratch& scratch, Sums& sums) const {
    GapBlock* blocks = scratch.gap_blocks.data();
    std::size_t count = 0;
    for (std::size_t b = 0; b < plan_.blocks; ++b) {
        const BlockState& state = scratch.blocks[b].others;
        if (state.kind == BlockKind::normal)
            blocks[count++] = {blocks[b].gaps, state.max, state.exponent};
    }
    if (single_) {  // set aside: as a block of its own
        const std::size_t b = scratch.ids[0] / block_size;
        const T logit = static_cast<T>(scratch.blocks[b].aside_logit);
        BlockState state;
        kernels_.block_state(&logit, 1, no_index, &state, nullptr, nullptr);
        blocks[count++] = {{state.sum, 0.0, 0.0, 0.0}, state.max, state.exponent};
    }
    std::size_t out = 0;
    for (std::size_t b = 1; b < count; ++b)
        out = blocks[b].top > blocks[out].top ? b : out;
    const GapBlock leader = blocks[out];
    StridedSum others, gaps;
    for (std::size_t b = 0; b < count; ++b) {
        const BlockGaps& block = blocks[b].gaps;
        const double down = power_of_two(blocks[b].exponent - leader.exponent);
        const double mass = block.others + block.top_exponential;
        others.add(b, down * (b == out ? block.others : mass));
        gaps.add(b, down * (block.gaps + (leader.top - blocks[b].top) * mass));
    }
    const double least = 0x1p-64 * leader.gaps.top_exponential;
    if (others.total() < least)
        return false;
    const double raise = raised / leader.gaps.top_exponential;
    sums.beside.set(raise * others.total(), raise * gaps.total());
    return true;
}

/// L - x of an id in a row that needs float64, with the bits of cross-entropy.
template <class T>
double TokenRows<T>::gap_in_float64(const RowPlace& place, T own, std::size_t id, Scratch& scratch) const {
    double top = -std::numeric_limits<double>::infinity();
    const auto over_blocks = [&](const auto& fn) {
        for (std::size_t b = 0; b < plan_.blocks; ++b)
            fn(b, input_.read(place, b * block_size, length(b), scratch.raw), length(b), index_in(id, b));
    };
    over_blocks([&](std::size_t, const T* z, std::size_t n, std::size_t aside) {
        const double block_top = kernels_.float64_max(z, n, aside);
        top = block_top > top || block_top != block_top ? block_top : top;
    });
    StridedSum sum;
    if (std::isfinite(top))
        over_blocks([&](std::size_t b, const T* z, std::size_t n, std::size_t aside) {
            sum.add(b, kernels_.float64_sum(z, n, aside, top));
        });
    const Kernels<double>& float64 = detail::kernels().float64;
    return float64_end(float64, SetAside::target, top, sum.total(), static_cast<double>(own), true).gap;
}

/// `sums`: null for a row that is not read.
template <class T>
void TokenRows<T>::write(const RowPlace& place, const Sums* sums, Scratch& scratch) const {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const BesideTop none;
    const BesideTop& row = sums == nullptr ? none : sums->beside;
    write_ids(place, sums, scratch);
    if (outputs_.lse.given())
        set_number(outputs_.lse, place.offset[lse_],
                   sums == nullptr ? 0.0
                   : row.nan       ? nan
                                   : (row.finite() ? wide_.scale() * row.top + row.above : row.top));
    if (outputs_.entropy.given())
        set_number(outputs_.entropy, place.offset[entropy_],
                   sums == nullptr ? 0.0 : (row.finite() ? row.entropy : nan));
    if (outputs_.argmax.given())
        set_index(outputs_.argmax, place.offset[argmax_],
                  row.nan || row.top_class == no_index ? -1 : static_cast<std::int64_t>(row.top_class));
    if (outputs_.k > 0)
        write_top(place, row, sums != nullptr, scratch);
}

template <class T>
void TokenRows<T>::write_ids(const RowPlace& place, const Sums* sums, const Scratch& scratch) const {
    const std::ptrdiff_t rank_step = outputs_.rank.given() ? call_.id_stride(outputs_.rank.strides) : 0;
    const std::ptrdiff_t logprob_step = outputs_.logprob.given() ? call_.id_stride(outputs_.logprob.strides) : 0;
    for (std::size_t i = 0; i < call_.ids_per_row; ++i) {
        const bool ignored = sums == nullptr || scratch.ids[i] == no_index;
        const auto at = static_cast<std::ptrdiff_t>(i);
        if (outputs_.logprob.given() && !leaves_logprobs()) {
            const double gap = ignored   ? 0.0
                               : single_ ? sums->gap
                                         : gap_of(sums->beside, static_cast<double>(scratch.own[i]));
            set_number(outputs_.logprob, place.offset[logprob_] + at * logprob_step, ignored ? 0.0 : -gap);
        }
        if (outputs_.rank.given()) {
            const double beaten = ignored            ? -1.0
                                  : sums->beside.nan ? static_cast<double>(call_.classes)
                                                     : scratch.beaten[i];
            set_index(outputs_.rank, place.offset[rank_] + at * rank_step, static_cast<std::int64_t>(beaten));
        }
    }
}

template <class T>
void TokenRows<T>::write_top(const RowPlace& place, const BesideTop& row, bool read, Scratch& scratch) const {
    const auto axis = static_cast<std::size_t>(call_.axis);
    const Positions::Cursor cursor(top_positions_, place.row);
    const std::size_t known = read && !row.nan ? scratch.best.finish() : 0;
    for (std::size_t i = 0; i < outputs_.k; ++i) {
        const bool has = i < known;
        const auto at = static_cast<std::ptrdiff_t>(i);
        if (outputs_.topk_ids.given())
            set_index(outputs_.topk_ids, cursor.offset(1) + at * outputs_.topk_ids.strides[axis],
                      has ? static_cast<std::int64_t>(scratch.best[i].index) : -1);
        if (outputs_.topk_logprobs.given())
            set_number(outputs_.topk_logprobs, cursor.offset(2) + at * outputs_.topk_logprobs.strides[axis],
                       has    ? -gap_of(row, static_cast<double>(scratch.best[i].logit))
                       : read ? std::numeric_limits<double>::quiet_NaN()
                              : 0.0);
    }
}

namespace {

template <class T>
void run_rows(const TokenCall& call, const TokenOutputs& outputs) {
    const auto logprobs_alone = [&] {
        const OfRows<ArrayView> ids(call, call.ids.strides, call.ids.view);
        const Output& given = outputs.logprob;
        const OfRows<MutableArrayView> loss(call, given.strides, {given.data, given.view.dtype});
        run_cross_entropy(call.logits.view, ids.view, {}, loss.view, {}, call.turned_round());
    };
    const TokenRows<T> rows(call, outputs);
    if (rows.leaves_all() || rows.plan().rows == 0)
        return rows.leaves_all() ? logprobs_alone() : void();
    const int threads = plan_threads(rows.plan().rows * rows.plan().classes, call.options.num_threads);
    RowTraversal<TokenRows<T>> traversal(rows, rows.plan(), threads);  // takes its memory before anything is written
    if (rows.leaves_logprobs())
        logprobs_alone();
    traversal.run();
}

void run_token_logprobs(const ArrayView& logits, const ArrayView& ids, const TokenLogProbsResults& results,
                        const TokenLogProbsOptions& options) {
    const TokenCall call(logits, ids, options);
    const TokenOutputs outputs(call, results);
    call.check_ids();
    with_arithmetic_type(logits.dtype, [&](auto number) { run_rows<decltype(number)>(call, outputs); });
}

}  // namespace
}  // namespace detail

void token_logprobs(const ArrayView& logits, const ArrayView& ids, const TokenLogProbsResults& results,
                    const TokenLogProbsOptions& options) {
    detail::enter([&] { detail::run_token_logprobs(logits, ids, results, options); });
}

}  // namespace logitloss
