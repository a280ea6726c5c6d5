// Merging states of log-sum-exps, and their values.
#include "logitloss/logsumexp_state.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "layout/positions.hpp"
#include "layout/staging.hpp"
#include "logits/log_sum_exp_rows.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

static_assert(LogSumExpState::nothing == no_exponent, "a state of nothing merges like a block of nothing");

bool empty(const LogSumExpState& state) { return state.exponent == LogSumExpState::nothing; }
bool beside_max(const LogSumExpState& state) { return state.exponent == LogSumExpState::beside_max; }

/// Note [log-sum-exp at the maximum]
template <class T>
void ends_of(const LogSumExpState* states, std::size_t count, LogSumExpEnds<T>& ends) {
    for (std::size_t i = 0; i < row_batch; ++i) {
        const bool use = i < count && !empty(states[i]) && !beside_max(states[i]);
        ends.sum[i] = use ? states[i].sum : 1.0;
        ends.exponent[i] = use ? states[i].exponent : 0.0;
        ends.max[i] = use ? static_cast<T>(states[i].max) : T(0);
    }
    kernels().of<T>().log_sum_exp_ends(&ends, row_batch);
}

/// log-sum-exp minus the maximum.
double above_max(const LogSumExpState& state) {
    if (beside_max(state))
        return state.sum;
    LogSumExpEnds<double> ends;
    ends_of(&state, 1, ends);
    return ends.above_max[0];
}

/// Both sums under the larger exponent, added with the rounding kept (TwoSum).
LogSumExpState merge_scaled(const LogSumExpState& left, const LogSumExpState& right) {
    LogSumExpState both;
    both.exponent = std::fmax(left.exponent, right.exponent);
    both.max = std::fmax(left.max, right.max);
    const double left_scale = power_of_two(left.exponent - both.exponent);
    const double right_scale = power_of_two(right.exponent - both.exponent);
    const double a = left.sum * left_scale;
    const double b = right.sum * right_scale;
    const double sum = a + b;
    const double back = sum - a;
    const double rest = ((a - (sum - back)) + (b - back)) + (left.rest * left_scale + right.rest * right_scale);
    both.sum = sum + rest;
    both.rest = rest - (both.sum - sum);
    return both;
}

/// Where values are beyond 2^17: their own spacing is far wider than the errors of these logarithms.
LogSumExpState merge_beside_max(const LogSumExpState& left, const LogSumExpState& right) {
    constexpr double out_of_sight = 800.0;  // exp(-800) is 0 beside 1
    const double top = std::fmax(left.max, right.max);
    const double left_above = above_max(left);
    const double right_above = above_max(right);
    LogSumExpState both{0.0, 0.0, LogSumExpState::beside_max, top};
    if (std::isnan(left.max) || std::isnan(right.max) || std::isnan(left_above) || std::isnan(right_above))
        both.max = quiet_nan;
    if (!(std::fabs(both.max) < infinity))
        return both;
    const double left_log = (left.max - top) + left_above;
    const double right_log = (right.max - top) + right_above;
    if (std::fabs(left_log - right_log) > out_of_sight)
        return left_log > right_log ? left : right;
    const Kernels<double>& float64 = kernels().float64;
    double exponentials[2] = {left_log, right_log};
    float64.exp(exponentials, 2, exponentials);
    const double others = (exponentials[0] - 1.0) + exponentials[1];
    float64.log1p(&others, 1, &both.sum);
    return both;
}

template <class T>
void write_values(const LogSumExpState* states, const Output& out) {
    Positions positions(out.shape);
    positions.add(out.strides);
    const Line line{out.view.dtype, false, 0};
    Positions::Cursor cursor(positions, 0);
    for (std::size_t first = 0; first < positions.count(); first += row_batch) {
        const std::size_t n = std::min(row_batch, positions.count() - first);
        LogSumExpEnds<T> ends;
        ends_of(states + first, n, ends);
        for (std::size_t i = 0; i < n; ++i, cursor.advance()) {
            const LogSumExpState& state = states[first + i];
            double value = beside_max(state) ? state.max + state.sum : empty(state) ? -infinity : ends.lse[i];
            if (value != value)
                value = quiet_nan;
            scatter(line, &value, 1, out.data + cursor.offset(0));
        }
    }
}

LogSumExpState merged(const LogSumExpState& left, const LogSumExpState& right) {
    if (empty(left) || empty(right))
        return empty(left) ? right : left;
    return beside_max(left) || beside_max(right) ? merge_beside_max(left, right) : merge_scaled(left, right);
}

void run_values(const LogSumExpState* states, const MutableArrayView& out_view) {
    const Output out("out", out_view);
    if (out_view.dtype != DType::float32 && out_view.dtype != DType::float64)
        throw value_error(std::string("out: got dtype ") + name(out_view.dtype) + ", expected float32 or float64");
    with_arithmetic_type(out_view.dtype, [&](auto number) { write_values<decltype(number)>(states, out); });
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
