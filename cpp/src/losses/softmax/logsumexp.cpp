// Log-sum-exp, softmax and log-softmax: rows of which no option changes the sum.
#include "logitloss/logsumexp.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "logitloss/logsumexp_state.hpp"
#include "logits/logit_rows.hpp"
#include "logits/store_mode.hpp"
#include "runtime/entry.hpp"
#include "traversal/masked_rows.hpp"

namespace logitloss {
namespace detail {
namespace {

constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

enum class Written { nothing, softmax, log_softmax };

/// What a row's value is the logarithm of.
enum class Value { sum, mean };

/// What a row's end leaves for merging with other rows.
template <class T>
LogSumExpState state_of(const RowLanes<T>& sums, std::size_t r) {
    const LogSumExpEnds<T>& ends = sums.whole;
    if (!std::isfinite(ends.lse[r]))
        return {ends.lse[r], 0.0, 0.0, ends.lse[r]};
    const bool needs_float64 = sums.any_needs_float64 && sums.needs_float64[r];
    const double max = needs_float64 ? ends.exponent[r] : static_cast<double>(sums.max[r]);
    return {max, ends.others[r], ends.others_rest[r], ends.lse[r]};
}

/// One state per row, in C order of the rows.
class RowStates {
public:
    RowStates() = default;
    RowStates(LogSumExpState* states, Positions& positions, const Shape& rows)
        : data_(reinterpret_cast<char*>(states)),
          operand_(static_cast<std::size_t>(positions.add(c_strides(rows, sizeof(LogSumExpState))))) {}
    bool given() const { return data_ != nullptr; }
    void set(const RowPlace& place, const LogSumExpState& state) const {
        *reinterpret_cast<LogSumExpState*>(data_ + place.offset[operand_]) = state;
    }

private:
    char* data_ = nullptr;
    std::size_t operand_ = 0;
};

/// The rows of x: their log-sum-exps, and softmax or log-softmax (times `upstream`) of the rows.
template <class T>
class SoftmaxRows {
public:
    struct Write {
        bool needs_float64;
        double base, scale;  // of the exponentials: LogSumExpEnds, RowEnd
        T max, above_max;
        Patch<T> single;  // of a row of one class, whose probability is 1 without rounding
    };

    SoftmaxRows(const Argument& x, const std::vector<int>& axes, Written written, Value value = Value::sum)
        : kernels_(detail::kernels()),
          written_(written),
          value_(value),
          x_(x),
          axes_(axes),
          positions_(without_axes(x.shape, axes)),
          classes_(at_axes(x.shape, axes)) {}

    void run(const Argument& where, const Argument& upstream, const Output& lse, LogSumExpState* states,
             const Output& out, int num_threads) {
        const Shape rows = without_axes(x_.shape, axes_);
        positions_.add(without_axes(x_.strides, axes_));
        classes_.add(at_axes(x_.strides, axes_));
        const int lse_operand = lse.given() ? positions_.add(lse.strides) : -1;
        if (states != nullptr)
            states_ = RowStates(states, positions_, rows);
        const int upstream_operand = upstream.given() ? positions_.add(broadcast_strides(upstream, rows)) : -1;
        const int out_operand = out.given() ? positions_.add(without_axes(out.strides, axes_)) : -1;
        if (out.given())
            classes_.add(at_axes(out.strides, axes_));
        const RowPlan plan = simplified(where);
        const RowMask mask =
            where.given() ? RowMask(where, positions_.operands() - 1, classes_, classes_.operands() - 1) : RowMask();
        logits_ = {RowInput<T>(x_, positions_, 0, classes_, 0), mask};
        if (lse.given())
            lse_ = RowResults(lse, lse_operand);
        if (upstream.given())
            upstream_ = RowNumbers(upstream, upstream_operand);
        bool staged = !logits_.direct();
        if (out.given()) {
            out_ = RowOutput<T>(out, positions_, out_operand, classes_, 1);
            staged |= !out_.direct();
            mode_ = choose_store_mode(out.view.data == x_.view.data, positions_.count() * classes_.count() * sizeof(T),
                                      out_.direct());
        }
        LogitRows<T, SoftmaxRows>(*this, plan, staged).run(num_threads);
    }

    // What LogitRows asks.
    const Positions& positions() const { return positions_; }
    const KernelTable& table() const { return kernels_; }
    SetAside set_aside() const { return written_ == Written::log_softmax ? SetAside::largest : SetAside::none; }
    EndParts end_parts() const { return EndParts::gap; }
    void read_rows(const RowTile& tile, RowLanes<T>& sums) const {
        if (value_ == Value::mean)
            count_elements(tile, sums);
        sums.aside.lse[0] = 0.0;  // wanted of rows that need float64 only, which set it
    }
    const T* logits(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        return logits_.read(place, first, n, scratch.logits, scratch.mask);
    }
    template <class Half>
    const Half* stored_logits(const RowPlace& place, std::size_t first) const {
        return logits_.template stored<Half>(place, first);
    }
    bool linear() const { return false; }
    const T* coefficients(const RowPlace&, std::size_t, std::size_t, Scratch<T>&) const { return nullptr; }
    bool writes() const { return written_ != Written::nothing; }
    bool writes_exponentials() const { return written_ == Written::softmax; }

    bool has_losses() const { return false; }
    bool has_values() const { return lse_.given() || states_.given(); }
    bool sums_again() const { return states_.given() || value_ == Value::mean; }
    /// A state merges with whatever comes, and may be near 0 then. Where many classes share the sum their errors cancel.
    bool sums_again(const RowLanes<T>& sums, std::size_t r) const {
        if (states_.given())
            return classes_.count() <= 128 || sums.whole.above_max[r] < 3.0;
        return value_ == Value::mean && distance_from_0(sums, r) < 2.0;
    }

    /// Rows of few classes.
    struct FewRows : FewClassTraits {
        const SoftmaxRows& call;

        explicit FewRows(const SoftmaxRows& rows) : call(rows) {
            takes = call.value_ == Value::sum;
            if (!call.writes())
                task = FewClassTask::log_sum_exp;
            else if (!call.writes_exponentials())
                task = FewClassTask::log_softmax;
            else
                task = call.has_values() ? FewClassTask::log_sum_exp_gradient : FewClassTask::softmax;
            long_tiles = call.logits_.direct() && (!call.writes() || call.out_.direct());
            states = call.states_.given();
        }
        void begin(const RowTile& tile, FewClassRows& rows, FewClasses& in, Scratch<T>& scratch) const {
            set_input(in, call.logits_, call.kernels(), tile, scratch.logit_columns, scratch.mask);
            if (!call.writes())
                return;
            set_output(in, call.out_.layout(tile, scratch.out_columns));
            in.factor = call.upstream_.read_if_given(tile, rows.factor);
            in.same_factor = 1.0f;
        }
        bool end(const RowTile& tile, const FewClassRows&, const FewClasses& in, Scratch<T>& scratch) const {
            if (call.lse_.given())
                call.lse_.set(tile, in.lse);
            if (call.writes())
                call.out_.store_columns(call.kernels(), tile, in.classes, in.out, scratch.out_columns);
            return false;
        }
        void keep(const RowPlace& place, const FewClassRows& rows, std::size_t r) const {
            if (call.lse_.given())
                call.lse_.set(place, static_cast<double>(rows.lse[r]));
        }
    };
    FewRows few_classes() const { return FewRows(*this); }

    void finish_rows(const RowTile& tile, RowLanes<T>& sums) const {
        if (lse_.given() && value_ == Value::mean)
            set_means(tile, sums);
        else if (lse_.given())
            lse_.set(tile, sums.whole.lse);
        if (states_.given())
            for (std::size_t r = 0; r < tile.count; ++r)
                states_.set(tile.place(r), state_of(sums, r));
        if (written_ == Written::softmax) {
            double upstream[most_lanes];
            const double* factor = upstream_.read_if_given(tile, upstream);
            std::copy(sums.whole.scale, sums.whole.scale + tile.lanes, sums.out_scale);
            if (classes_.count() == 1)  // probability 1
                for (std::size_t r = 0; r < tile.count; ++r)
                    sums.value[r] = factor == nullptr ? 1.0 : factor[r];
            sums.writable =
                kernels().scale_rows(sums.whole.exponent, sums.out_scale, factor, tile.lanes, &sums.columns);
            if (factor != nullptr)
                sums.writable &= look_at_factors(tile, factor, sums);
        } else if (written_ == Written::log_softmax) {
            std::copy(sums.aside.gap, sums.aside.gap + tile.lanes, sums.out_scale);
            // With a +inf in the row: -inf elsewhere, NaN there, which is what x - max gives.
            if (sums.any_needs_float64 && sums.needs_float64[0] &&
                sums.aside.lse[0] == std::numeric_limits<double>::infinity())
                sums.out_scale[0] = 0.0;
            sums.writable = kernels().scale_rows(sums.out_scale, sums.out_scale, nullptr, tile.lanes, &sums.columns);
        }
    }
    /// A factor of 0 removes its row, whatever that holds. Returns whether write_columns does for all rows: none is removed
    /// that is not finite, and no factor brings exponentials back that T has taken for 0.
    bool look_at_factors(const RowTile& tile, const double* factor, RowLanes<T>& sums) const {
        bool ordinary = true;
        for (std::size_t r = 0; r < tile.count; ++r) {
            if (factor[r] == 0.0) {
                ordinary &= std::isfinite(sums.whole.lse[r]);
                sums.out_scale[r] = 0.0;
            }
            ordinary &= !is_beyond(sums.out_scale[r]);
        }
        return ordinary;
    }
    Write skip(const RowPlace&) const { return Write{}; }
    Write write_of(const RowLanes<T>& sums, std::size_t r, bool needs_float64, std::size_t) const {
        const double scale = sums.out_scale[r] == sums.out_scale[r] ? sums.out_scale[r] : quiet_nan;
        Patch<T> single;
        if (classes_.count() == 1)
            single = {0, static_cast<T>(sums.value[r])};
        return {needs_float64, sums.whole.exponent[r], scale, sums.max[r], static_cast<T>(scale), single};
    }

    bool can_write_during_sweep(const Write& row) const {
        return written_ == Written::softmax && out_.direct() && mode_ != StoreMode::streaming && !row.needs_float64 &&
               row.scale != 0.0 && !is_beyond(row.scale);
    }
    PendingRow<T> pending_row(const RowPlace& place, const Write& row, const T* exponentials) const {
        return {exponentials, static_cast<T>(row.scale), T(-0.0),
                row.single,   out_.row(place),           mode_ == StoreMode::cached};
    }

    void write(const RowPlace& place, const Write& row, std::size_t first, std::size_t n, const T* exponentials,
               Scratch<T>& scratch) const {
        const bool beyond = written_ == Written::softmax && is_beyond(row.scale);
        const bool again = exponentials == nullptr || row.needs_float64 || beyond;
        const T* x = again ? logits(place, first, n, scratch) : nullptr;
        T* out = out_.place(place, first, scratch.out);
        const Kernels<T>& k = kernels();
        const bool nan = written_ == Written::log_softmax ? row.above_max != row.above_max : row.scale != row.scale;
        if (written_ == Written::softmax && row.scale == 0.0)
            std::fill(out, out + n, T(0));
        else if (nan)
            std::fill(out, out + n, static_cast<T>(quiet_nan));
        else if (written_ == Written::log_softmax)
            write_log_softmax(x, n, row, out);
        else if (row.needs_float64 || beyond)
            k.float64_write(x, n, reference_of(row), row.scale, 0.0, nullptr, row.single, out);
        else
            k.scaled_exponentials(x, exponentials, n, {static_cast<T>(row.base), static_cast<T>(row.scale), T(0)},
                                  nullptr, row.single, mode_, out);
        if (beyond)
            k.canonical_nan(out, n);
        out_.store(place, first, n, out);
    }

    Columns<const T> columns(const RowTile& tile, const RowLanes<T>&, Scratch<T>& scratch) const {
        return logits_.columns(kernels(), tile, classes_.count(), scratch.logit_columns, scratch.mask);
    }
    bool reads_columns_again() const { return written_ == Written::log_softmax; }
    NextTile next(const RowTile& tile) const { return logits_.next(tile, classes_.count()); }
    const T* column_coefficients(const RowTile&, const RowLanes<T>&, Scratch<T>&) const { return nullptr; }

    void write_columns(const RowTile& tile, const RowLanes<T>& sums, Columns<const T> x, const T* exponentials,
                       Scratch<T>& scratch) const {
        const Columns<T> out = out_.columns(tile, scratch.out_columns);
        if (written_ == Written::log_softmax) {
            kernels().column_log_softmax(x.data, x.stride, {tile.lanes, classes_.count()}, sums.max, sums.columns.scale,
                                         out.stride, out.data);
        } else {
            ColumnScales<T> rows = sums.columns;
            std::fill(rows.patched, rows.patched + tile.lanes, T(-1));
            kernels().write_columns({x.data, x.stride, exponentials, nullptr}, {tile.lanes, classes_.count()}, false,
                                    rows, out.stride, out.data);
        }
        out_.store_columns(kernels(), tile, classes_.count(), out.data, scratch.out_columns);
    }

private:
    const Kernels<T>& kernels() const { return kernels_.of<T>(); }

    /// Adds the mask to the operands, and simplifies. How rows are cut up follows from what it masks alone: results are
    /// those of -inf in its place.
    RowPlan simplified(const Argument& where) {
        Positions rows = positions_;
        Positions classes = classes_;
        if (where.given()) {
            const Shape strides = broadcast_strides(where, x_.shape);
            positions_.add(without_axes(strides, axes_));
            classes_.add(at_axes(strides, axes_));
        }
        positions_.simplify(true);
        classes_.simplify(true);
        if (!where.given())
            return plan_rows<T>(positions_, classes_);
        rows.simplify(true);
        classes.simplify(true);
        return plan_rows<T>(rows, classes);
    }

    // Means: `value` of RowLanes has a row's number of elements, `linear` its logarithm.

    void count_elements(const RowTile& tile, RowLanes<T>& sums) const {
        std::fill(sums.value, sums.value + tile.lanes, 1.0);
        for (std::size_t r = 0; r < tile.count; ++r)
            sums.value[r] = static_cast<double>(logits_.count(tile.place(r), classes_.count()));
        kernels_.float64.log(sums.value, tile.lanes, sums.linear);
    }
    /// Of the logarithm of a row's mean and of its distance from the maximum, the size of the larger.
    static double distance_from_0(const RowLanes<T>& sums, std::size_t r) {
        return std::max(std::fabs(sums.whole.lse[r] - sums.linear[r]),
                        std::fabs(sums.whole.above_max[r] - sums.linear[r]));
    }
    /// Note [log-mean-exp]: the sum over exp(max) is divided while it is a number in two parts; then its logarithm and max
    /// are added with one rounding. Unlike a sum's, a mean's logarithm may be small beside the errors of all its
    /// exponentials, wherever it is not large: such rows are summed again, as those of Note [log-sum-exp near 0] are. Where
    /// even float64's two parts would lose digits, in rows of nearly equal elements near 0, what the exponentials lack of
    /// 1 is summed in place of them.
    void set_means(const RowTile& tile, const RowLanes<T>& sums) const {
        constexpr double tiny = sizeof(T) == sizeof(float) ? 0x1p-24 : 0x1p-45;
        LogSumExpEnds<double> ends;
        double divisor[most_lanes];
        std::fill(ends.near, ends.near + tile.lanes, 1.0);
        std::fill(ends.max, ends.max + tile.lanes, 0.0);
        std::fill(ends.others, ends.others + tile.lanes, 0.0);
        std::fill(ends.others_rest, ends.others_rest + tile.lanes, 0.0);
        std::fill(divisor, divisor + tile.lanes, 1.0);
        ends.divisor = divisor;
        for (std::size_t r = 0; r < tile.count; ++r) {
            const LogSumExpState state = state_of(sums, r);
            if (!std::isfinite(state.max))
                continue;
            const bool is_tiny = distance_from_0(sums, r) < tiny;
            ends.max[r] = state.max;
            ends.others[r] = is_tiny ? mean_below_1(tile.place(r), state.max, sums.value[r]) * 0x1p512 : state.others;
            ends.others_rest[r] = is_tiny ? 0.0 : state.rest;
            divisor[r] = is_tiny ? 1.0 : sums.value[r];
        }
        kernels_.float64.paired_ends(&ends, nullptr, tile.lanes);
        for (std::size_t r = 0; r < tile.count; ++r)
            if (sums.value[r] == 0.0)
                ends.lse[r] = quiet_nan;
            else if (!std::isfinite(sums.whole.lse[r]))
                ends.lse[r] = sums.whole.lse[r];
        lse_.set(tile, ends.lse);
    }
    /// The mean of exp(x_j - max) - 1.
    double mean_below_1(const RowPlace& place, double max, double count) const {
        constexpr std::size_t piece = 256;
        T x[piece];
        unsigned char bytes[piece];
        MaskBuffer mask{bytes};
        StridedSum sum;
        for (std::size_t first = 0; first < classes_.count(); first += piece) {
            const std::size_t n = std::min(piece, classes_.count() - first);
            const T masked = std::numeric_limits<T>::quiet_NaN();
            const T* values = logits_.read(place, first, n, Buffer<T>(x), mask, masked);
            for (std::size_t i = 0; i < n; ++i)
                if (values[i] == values[i])
                    sum.add(first + i, below_1(static_cast<double>(values[i]), max));
        }
        return sum.total() / count;
    }
    /// exp(x - max) - 1, to relative accuracy where x - max is tiny, as nearly all are in a row whose mean is.
    double below_1(double x, double max) const {
        const double gap = x - max;
        if (gap < -0x1p-10) {
            double e;
            kernels_.float64.exp(&gap, 1, &e);
            return e - 1.0;
        }
        const double back = gap - x;
        const double lost = (x - (gap - back)) - (max + back);  // by the subtraction
        const double series = 1.0 + gap / 2.0 * (1.0 + gap / 3.0 * (1.0 + gap / 4.0 * (1.0 + gap / 5.0)));
        return gap * series + lost;
    }

    /// Whether the kernels' exponentials do not do under such a factor, which is NaN, infinite or makes numbers of those
    /// that T has taken for 0.
    static bool is_beyond(double scale) { return !(std::fabs(scale) <= 0x1p50); }

    void write_log_softmax(const T* x, std::size_t n, const Write& row, T* out) const {
        kernels().log_softmax(x, n, row.max, row.above_max, out);
        if (row.needs_float64)
            kernels().canonical_nan(out, n);
    }

    const KernelTable& kernels_;
    Written written_;
    Value value_;
    const Argument& x_;
    const std::vector<int>& axes_;
    Positions positions_, classes_;
    MaskedInput<T> logits_;
    RowNumbers upstream_;
    RowResults lse_;
    RowStates states_;
    RowOutput<T> out_;
    StoreMode mode_ = StoreMode::cached;
};

/// Checks everything, then computes: `lse` and `out` may be missing, `upstream` belongs to `out`.
void run_softmax_family(const ArrayView& x_view, const char* x_name, const ArrayView& upstream_view,
                        const MutableArrayView& lse_view, const MutableArrayView& out_view, const char* out_name,
                        Written written, const SoftmaxOptions& options, Value value = Value::sum) {
    const Argument x(x_name, x_view);
    const Argument where("where", options.where);
    const Argument upstream("upstream", upstream_view);
    const Output lse("out", lse_view);
    const Output out(out_name, out_view);
    require_floating(x);
    const std::vector<int> axes = normalized_axes(options.axes, x.shape.size());
    const Shape lse_shape = without_axes(x.shape, axes);
    require_mask(where, x.shape);
    require_value_and_grad(x, lse_shape, {&x, &upstream, &where}, lse, out);
    if (upstream.given())
        broadcast_strides(upstream, lse_shape);
    with_arithmetic_type(x.view.dtype, [&](auto number) {
        SoftmaxRows<decltype(number)> rows(x, axes, written, value);
        rows.run(where, upstream, lse, nullptr, out, options.num_threads);
    });
}

void run_states(const ArrayView& a, LogSumExpState* states, const SoftmaxOptions& options) {
    const Argument x("a", a);
    const Argument where("where", options.where);
    require_floating(x);
    const std::vector<int> axes = normalized_axes(options.axes, x.shape.size());
    require_mask(where, x.shape);
    with_arithmetic_type(x.view.dtype, [&](auto number) {
        SoftmaxRows<decltype(number)> rows(x, axes, Written::nothing);
        rows.run(where, Argument("upstream", {}), Output("out", {}), states, Output("grad_out", {}),
                 options.num_threads);
    });
}

std::vector<std::ptrdiff_t> row_shape(const ArrayView& a, const SoftmaxOptions& options) {
    const Argument argument("a", a);
    const Shape rows = without_axes(argument.shape, normalized_axes(options.axes, argument.shape.size()));
    return {rows.begin(), rows.end()};
}

}  // namespace
}  // namespace detail

void logsumexp(const ArrayView& a, const MutableArrayView& out, const SoftmaxOptions& options) {
    detail::enter(
        [&] { detail::run_softmax_family(a, "a", {}, out, {}, "grad_out", detail::Written::nothing, options); });
}

void logmeanexp(const ArrayView& a, const MutableArrayView& out, const SoftmaxOptions& options) {
    detail::enter([&] {
        detail::run_softmax_family(a, "a", {}, out, {}, "grad_out", detail::Written::nothing, options,
                                   detail::Value::mean);
    });
}

std::vector<std::ptrdiff_t> shape_of_rows(const ArrayView& a, const SoftmaxOptions& options) {
    return detail::enter([&] { return detail::row_shape(a, options); });
}

void logsumexp_states(const ArrayView& a, LogSumExpState* states, const SoftmaxOptions& options) {
    detail::enter([&] { detail::run_states(a, states, options); });
}

void logsumexp_value_and_grad(const ArrayView& a, const ArrayView& upstream, const MutableArrayView& out,
                              const MutableArrayView& grad, const SoftmaxOptions& options) {
    detail::enter([&] {
        detail::run_softmax_family(a, "a", upstream, out, grad, "grad_out", detail::Written::softmax, options);
    });
}

void softmax(const ArrayView& x, const MutableArrayView& out, const SoftmaxOptions& options) {
    detail::enter([&] { detail::run_softmax_family(x, "x", {}, {}, out, "out", detail::Written::softmax, options); });
}

void log_softmax(const ArrayView& x, const MutableArrayView& out, const SoftmaxOptions& options) {
    detail::enter(
        [&] { detail::run_softmax_family(x, "x", {}, {}, out, "out", detail::Written::log_softmax, options); });
}

}  // namespace logitloss
