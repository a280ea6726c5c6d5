// Merging states of log-sum-exps, and their values.
#include "logitloss/logsumexp_state.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "arguments/arguments.hpp"
#include "layout/positions.hpp"
#include "layout/staging.hpp"
#include "logits/log_sum_exp_rows.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

bool empty(const LogSumExpState& state) { return state.max == -infinity; }

/// Adds all classes of `lower`, against a maximum that is no less than its own, to a sum.
void add_moved(PairedSum& sum, double max, const LogSumExpState& lower) {
    SumPair e{0x1p512, 0.0};  // exp(lower.max - max), scaled
    if (lower.max < max)
        e = kernels().float64.paired_exponentials(&lower.max, 1, max).below;
    sum.add(e);
    const double others = lower.others * 0x1p-512;
    const double product = e.first * others;
    const double lost = std::fma(e.first, others, -product);
    sum.add({product, lost + (e.first * (lower.rest * 0x1p-512) + e.second * others)});
}

/// The log-sum-exps of up to row_batch states.
void end_states(const LogSumExpState* states, std::size_t count, double* values) {
    LogSumExpEnds<double> ends;
    for (std::size_t i = 0; i < row_batch; ++i) {
        const bool use = i < count && std::isfinite(states[i].max);
        ends.max[i] = use ? states[i].max : 0.0;
        ends.others[i] = use ? states[i].others : 0.0;
        ends.others_rest[i] = use ? states[i].rest : 0.0;
        ends.near[i] = 1.0;
    }
    kernels().float64.paired_ends(&ends, nullptr, row_batch);
    for (std::size_t i = 0; i < count; ++i) {
        const bool known = states[i].value == states[i].value || !std::isfinite(states[i].max);
        values[i] = known ? states[i].value : ends.lse[i];
        if (values[i] != values[i])
            values[i] = quiet_nan;
    }
}

LogSumExpState merged(const LogSumExpState& left, const LogSumExpState& right) {
    if (empty(left) || empty(right))
        return empty(left) ? right : left;
    if (std::isnan(left.max) || std::isnan(right.max))
        return {quiet_nan, 0.0, 0.0, quiet_nan};
    const LogSumExpState& upper = left.max < right.max ? right : left;
    const LogSumExpState& lower = left.max < right.max ? left : right;
    if (upper.max == infinity)
        return {infinity, 0.0, 0.0, infinity};
    PairedSum sum(SumPair{upper.others, upper.rest});
    add_moved(sum, upper.max, lower);
    return {upper.max, sum.value().first, sum.value().second, quiet_nan};
}

void run_values(const LogSumExpState* states, const MutableArrayView& out_view) {
    const Output out("out", out_view);
    if (out_view.dtype != DType::float32 && out_view.dtype != DType::float64)
        throw value_error(std::string("out: got dtype ") + name(out_view.dtype) + ", expected float32 or float64");
    Positions positions(out.shape);
    positions.add(out.strides);
    const Line line{out.view.dtype, false, 0};
    Positions::Cursor cursor(positions, 0);
    for (std::size_t first = 0; first < positions.count(); first += row_batch) {
        const std::size_t n = std::min(row_batch, positions.count() - first);
        double values[row_batch];
        end_states(states + first, n, values);
        for (std::size_t i = 0; i < n; ++i, cursor.advance())
            scatter(line, values + i, 1, out.data + cursor.offset(0));
    }
}

}  // namespace
}  // namespace detail

LogSumExpState merge(const LogSumExpState& left, const LogSumExpState& right) {
    return detail::enter([&] { return detail::merged(left, right); });
}

void logsumexp_of_states(const LogSumExpState* states, const MutableArrayView& out_view) {
    detail::enter([&] { detail::run_values(states, out_view); });
}

}  // namespace logitloss
