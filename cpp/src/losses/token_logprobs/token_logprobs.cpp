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
    fused_ = single_ && !all_wide_;
    needs_sums_ = outputs.lse.given() || outputs.entropy.given() || outputs.topk_logprobs.given() ||
                  (outputs.logprob.given() && !single_);
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
    sums.wide = all_wide_;
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
    const std::size_t first = b * block_size;
    const std::size_t n = length(b);
    const T* z = input_.read(place, first, n, scratch.raw);
    RowBlock<T>& block = scratch.blocks[b];
    KeptBlock& kept = scratch.kept_blocks[b];
    std::size_t top = no_index;
    kept.sums.above = -1.0;  // not counted
    if (!all_wide_) {
        const T* x = z;
        if (!transform_.identity()) {
            x = scratch.logits.data();
            transform_.apply(kernels_, z, n, no_index, sums.reference, scratch.logits.data());
        }
        block = RowBlock<T>{};
        block.aside_index = single_ ? index_in(scratch.ids[0], b) : no_index;
        kernels_.block_state(x, n, block.aside_index, &block.others, needs_sums_ ? scratch.kept.data() : nullptr,
                             nullptr);
        if (block.aside_index != no_index)
            block.aside_logit = static_cast<double>(x[block.aside_index]);
        top = find_beside(x, n, static_cast<T>(block.others.max), block.aside_index);
        if (needs_sums_ && block.others.kind == BlockKind::normal) {
            kept.top_exponential = static_cast<double>(scratch.kept[top]);
            scratch.kept[top] = T(0);
            sum_block(x, n, b, scratch);
        }
        const bool aside_leads =
            block.aside_index != no_index && (top == no_index || x[block.aside_index] > x[top] ||
                                              (x[block.aside_index] == x[top] && block.aside_index < top));
        if (aside_leads)
            top = block.aside_index;
    }
    if (all_wide_ || !transform_.identity())
        top = kernels_.find(z, n, kernels_.largest(z, n));
    if (top != no_index && z[top] == z[top])
        sums.beside.take(static_cast<double>(z[top]), first + top);
    if (outputs_.rank.given())
        count_beating(z, n, b, scratch);
    if (outputs_.k > 0)
        scratch.best.take(kernels_, z, n, first);
}

/// Sums beside the largest of a normal block; and, of one id a row in another block, how many classes beat it, as the
/// logits are at hand.
template <class T>
void TokenRows<T>::sum_block(const T* x, std::size_t n, std::size_t b, Scratch& scratch) const {
    KeptBlock& kept = scratch.kept_blocks[b];
    const BlockState& state = scratch.blocks[b].others;
    const bool counts = outputs_.rank.given() && single_ && transform_.identity() &&
                        scratch.blocks[b].aside_index == no_index && scratch.own[0] > -INFINITY;
    T value = T(INFINITY);
    if (counts) {  // what is equal counts before the id
        const bool before = b * block_size < scratch.ids[0];
        value = before ? std::nextafter(scratch.own[0], -std::numeric_limits<T>::infinity()) : scratch.own[0];
    }
    kept.sums = kernels_.kept_sums(x, scratch.kept.data(), n, static_cast<T>(state.max), value);
    kept.top = state.max;
    kept.exponent = state.exponent;
    if (!counts)
        kept.sums.above = -1.0;
}

template <class T>
void TokenRows<T>::count_beating(const T* z, std::size_t n, std::size_t b, Scratch& scratch) const {
    const std::size_t first = b * block_size;
    const double counted = scratch.kept_blocks[b].sums.above;
    for (std::size_t i = 0; i < call_.ids_per_row; ++i) {
        const std::size_t id = scratch.ids[i];
        if (id == no_index)
            continue;
        scratch.beaten[i] +=
            counted >= 0.0 ? counted : kernels_.count_beating(z, n, scratch.own[i], id <= first ? 0 : id - first);
    }
}

// -------------------------------------------------------------------------------------------------- the end of a row

template <class T>
void TokenRows<T>::merge(const RowPlace& place, Sums& sums, Scratch& scratch) const {
    if (!all_wide_) {
        RowSums<T> row;
        reducer_.merge(scratch.blocks.data(), plan_.blocks, row);
        sums.beside.nan = row.sum != row.sum;
        sums.wide = row.needs_float64;
        if (!sums.wide && needs_sums_)
            merge_kept(scratch, sums);
        if (single_ && !sums.wide) {
            AsideEnds<T> end{};
            std::fill(end.sum, end.sum + row_batch, row.sum);
            std::fill(end.exponent, end.exponent + row_batch, row.exponent);
            std::fill(end.logit, end.logit + row_batch, row.aside_logit);
            kernels_.aside_ends(&end, 1, EndParts::gap);
            sums.gap = end.gap[0];
        }
        const bool odd = row.needs_float64;
        if (sums.wide)
            wide_.sum(place, scratch.wide, sums.beside);
        if (single_ && odd)
            sums.gap = transform_.identity() ? gap_in_float64(place, scratch.own[0], scratch.ids[0], scratch)
                                             : gap_of(sums.beside, static_cast<double>(scratch.own[0]));
        return;
    }
    wide_.sum(place, scratch.wide, sums.beside);
}

/// Exactly, like StateMerger: exponents differ by powers of two. Where the others are too small for what exponentials of
/// T keep of them, the row is summed again.
template <class T>
void TokenRows<T>::merge_kept(Scratch& scratch, Sums& sums) const {
    KeptBlock* kept = scratch.kept_blocks.data();
    std::size_t count = 0;
    KeptBlock aside{};
    bool has_aside = false;
    for (std::size_t b = 0; b < plan_.blocks; ++b) {
        const RowBlock<T>& block = scratch.blocks[b];
        if (block.aside_index != no_index) {
            const T logit = static_cast<T>(block.aside_logit);
            BlockState state;
            kernels_.block_state(&logit, 1, no_index, &state, nullptr, nullptr);
            has_aside = state.kind == BlockKind::normal;
            aside = {{0.0, 0.0, 0.0}, state.max, state.sum, state.exponent};
        }
        if (block.others.kind == BlockKind::normal)
            kept[count++] = kept[b];
    }
    std::size_t out = no_index;
    for (std::size_t b = 0; b < count; ++b)
        out = out == no_index || kept[b].top > kept[out].top ? b : out;
    const bool aside_leads = has_aside && (out == no_index || aside.top > kept[out].top);
    const KeptBlock leader = aside_leads ? aside : kept[out];
    StridedSum others, gaps;
    const auto add = [&](std::size_t index, const KeptBlock& block, bool leads) {
        const double down = power_of_two(block.exponent - leader.exponent);
        const double mass = block.sums.others + (leads ? 0.0 : block.top_exponential);
        others.add(index, down * mass);
        gaps.add(index,
                 down * (block.sums.gaps + (leader.top - block.top) * (block.sums.others + block.top_exponential)));
    };
    for (std::size_t b = 0; b < count; ++b)
        add(b, kept[b], !aside_leads && b == out);
    if (has_aside)
        add(count, aside, aside_leads);
    const double beside = others.total() / leader.top_exponential;
    constexpr double least = 0x1p-64;
    sums.wide = beside < least;
    sums.beside.set(raised * beside, raised * (gaps.total() / leader.top_exponential));
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
