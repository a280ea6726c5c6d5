// Cross-entropy of rows of probabilities, against class indices or class probabilities.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "arguments/clipping.hpp"
#include "arguments/dtype_switch.hpp"
#include "layout/scaled_number.hpp"
#include "logitloss/probabilities.hpp"
#include "losses/cross_entropy/cross_entropy_arrays.hpp"
#include "losses/cross_entropy/cross_entropy_call.hpp"
#include "losses/probabilities/exact_probabilities.hpp"
#include "runtime/elementary.hpp"
#include "runtime/entry.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss {
namespace detail {
namespace {

/// a b, but 0 where either is 0, whatever the other is.
double product(double a, double b) { return a == 0.0 || b == 0.0 ? 0.0 : a * b; }

enum class Stage { checking, computing };

/// The rows of a call. A row against a class index, without smoothing, needs the target's probability and, with eps, the
/// sum of the others; every other row is a sum over coefficients a_j.
template <class T>
class ProbabilityRows : public RowProblem {
public:
    struct Scratch {
        BufferSpace space;
        Buffer<T> probs, coefficients, weights, out;
        ColumnBuffer<T> prob_columns, coefficient_columns, out_columns;

        Scratch(std::size_t tile_rows, std::size_t n)
            : space(4 * BufferSpace::bytes<T>(n) + 6 * BufferSpace::bytes<T>(tile_rows * n)),
              probs(space.take<T>(n)),
              coefficients(space.take<T>(n)),
              weights(space.take<T>(n)),
              out(space.take<T>(n)),
              prob_columns(space, tile_rows * n),
              coefficient_columns(space, tile_rows * n),
              out_columns(space, tile_rows * n) {}
    };
    using Block = SumPair;
    using Row = ProbabilityRow;
    using TileRows = Row[most_lanes];

    explicit ProbabilityRows(const ProbabilityCall& call)
        : call_(call),
          kernels_(detail::kernels()),
          arrays_(call),
          clipping_(clipping_of(call.options.eps, call.input.view.dtype)),
          exact_(call, arrays_, clipping_, kernels_.float64),
          smoothing_(call.options.label_smoothing),
          dense_(!call.indices || smoothing_ > 0.0),
          grad_factor_(product(call.normalization.gradient_factor, arrays_.upstream_of_sum)),
          moderate_(quotients_stay_normal(call.normalization.gradient_factor) &&
                    quotients_stay_normal(arrays_.upstream_of_sum)) {
        double weights[pieces];
        for (std::size_t j = 0; dense_ && writes() && arrays_.class_weighted() && j < call.classes; j += pieces) {
            const std::size_t n = std::min(pieces, call.classes - j);
            arrays_.class_weights(j, n, weights);
            moderate_ = moderate_ && std::all_of(weights, weights + n, quotients_stay_normal);
        }
    }

    void run() {
        if (!call_.options.eps) {
            stage_ = Stage::checking;
            if (sweep() >= 0.5)
                reject();
        }
        stage_ = Stage::computing;
        const double sum = sweep();
        if (!arrays_.loss.given())
            call_.loss.set_number(call_.normalization.reduce(sum));
    }

    // What RowTraversal asks.
    const Positions& positions() const { return arrays_.rows; }
    const Positions& class_positions() const { return arrays_.classes; }
    Scratch scratch(const RowPlan& plan) const {
        return Scratch(plan.tile_rows, plan.tiled() ? plan.classes : std::min(plan.classes, block_size));
    }
    int sweeps() const {
        const int of_totals = call_.options.eps ? 1 : 0;
        return stage_ == Stage::checking ? 1 : of_totals + (dense_ ? 1 : 0);
    }
    bool has_losses() const { return true; }
    bool writes() const { return stage_ == Stage::computing && arrays_.grad.given(); }

    void begin(const RowTile& tile, Row* rows, const Scratch&) const {
        bool read[most_lanes];
        std::size_t label[most_lanes];
        double weight[most_lanes];
        arrays_.selection.read(tile, read, label, weight);
        for (std::size_t r = 0; r < tile.count; ++r) {
            rows[r].read = read[r] && (dense_ || arrays_.class_weight(label[r]) != 0.0);
            rows[r].label = label[r];
            rows[r].sample_weight = weight[r];
        }
    }

    Block reduce(int sweep, const RowPlace& place, const Row& row, std::size_t first, std::size_t n,
                 Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const T* p = arrays_.input.read(place, first, n, scratch.probs);
        if (stage_ == Stage::checking)
            return {k.count_outside_unit(p, nullptr, n), 0.0};
        if (call_.options.eps && sweep == 0)
            return {k.wide_sum(p, n, dense_ ? no_index : within(row.label, first, n)), 0.0};
        if (exact_.is_far(place, first, n))
            return exact_.terms(place, row, first, n, scratch.probs);
        return k.probability_terms(p, coefficients(place, row, first, n, scratch), n, exact_.clipping_of_row(row));
    }

    void fold(int sweep, const Block* blocks, std::size_t count, Row& row) const {
        StridedSum first, second;
        for (std::size_t b = 0; b < count; ++b) {
            first.add(b, blocks[b].first);
            second.add(b, blocks[b].second);
        }
        keep(sweep, {first.total(), second.total()}, row);
    }

    void reduce_columns(int sweep, const RowTile& tile, Row* rows, Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const TileShape shape{tile.lanes, call_.classes};
        const Columns<const T> p = arrays_.input.columns(k, tile, shape.classes, scratch.prob_columns);
        double first[most_lanes], second[most_lanes] = {};
        if (stage_ == Stage::checking) {
            T counts[most_lanes];
            k.column_outside_unit(p.data, p.stride, shape, counts);
            std::copy(counts, counts + tile.count, first);
        } else if (call_.options.eps && sweep == 0) {
            T aside[most_lanes];
            for (std::size_t r = 0; r < tile.lanes; ++r)
                aside[r] = r < tile.count && !dense_ && rows[r].read ? static_cast<T>(rows[r].label) : T(-1);
            k.column_wide_sum(p.data, p.stride, shape, aside, first);
        } else {
            const ColumnsOfTile in(*this, tile, rows, p, scratch);
            k.column_probability_terms(in.columns, shape, clipping_, first, second);
            for (std::size_t r = 0; arrays_.may_be_far() && r < tile.count; ++r)
                if (rows[r].read && exact_.is_far(tile.place(r), 0, call_.classes)) {
                    const SumPair sums = exact_.terms(tile.place(r), rows[r], 0, call_.classes, scratch.probs);
                    first[r] = sums.first;
                    second[r] = sums.second;
                }
        }
        for (std::size_t r = 0; r < tile.count; ++r)
            keep(sweep, {first[r], second[r]}, rows[r]);
    }

    void end(const RowTile& tile, Row* rows, double* losses, Scratch& scratch) const {
        if (stage_ == Stage::checking) {
            for (std::size_t r = 0; r < tile.count; ++r) {
                const bool counts = rows[r].read && rows[r].first >= 0.5 && !is_removed(tile.place(r), rows[r]);
                losses[r] = counts ? rows[r].first : 0.0;
            }
            return;
        }
        double upstream[most_lanes];
        if (arrays_.upstream.given())
            arrays_.upstream.read(tile, upstream);
        if (!dense_)
            label_losses(tile, rows, losses, scratch);
        for (std::size_t r = 0; r < tile.count; ++r) {
            if (arrays_.upstream.given())
                rows[r].upstream = upstream[r];
            if (rows[r].read)
                end_row(tile, r, rows[r], losses[r], scratch);
            else
                losses[r] = 0.0;
        }
        if (arrays_.loss.given())
            arrays_.loss.set(tile, losses);
    }

    void write(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        T* out = arrays_.grad.place(place, first, scratch.out);
        if (!dense_) {
            std::fill(out, out + n, label_gradient(row, row.linear, &ScaledSlopes::linear));
            const std::size_t label = within(row.label, first, n);
            if (label != no_index)
                out[label] = label_gradient(row, row.own, &ScaledSlopes::own);
        } else if (!row.scaled && row.factor == 0.0) {
            std::fill(out, out + n, T(0));
        } else {
            write_dense(place, row, first, n, scratch, out);
        }
        arrays_.grad.store(place, first, n, out);
    }

    void write_columns(const RowTile& tile, const Row* rows, Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const TileShape shape{tile.lanes, call_.classes};
        if (!dense_)
            return write_labels(tile, rows, scratch);
        const Columns<const T> p = arrays_.input.columns(k, tile, shape.classes, scratch.prob_columns);
        const ColumnsOfTile in(*this, tile, rows, p, scratch);
        double linear[most_lanes] = {}, raise[most_lanes] = {}, factor[most_lanes] = {};
        for (std::size_t r = 0; r < tile.count; ++r) {
            const ProbabilitySlope slope =
                rows[r].scaled ? ProbabilitySlope{} : ExactProbabilities<T>::slope_of(rows[r]);
            linear[r] = slope.linear;
            raise[r] = slope.raise;
            factor[r] = slope.factor;
        }
        T* out = scratch.out_columns.columns.data();
        const auto stride = static_cast<std::ptrdiff_t>(tile.lanes);
        const bool finite =
            k.column_probability_gradient(in.columns, shape, clipping_, linear, raise, factor, stride, out);
        for (std::size_t r = 0; r < tile.count; ++r)
            if (rows[r].scaled || (factor[r] != 0.0 && ((!finite && sizeof(T) == sizeof(double)) ||
                                                        exact_.is_far(tile.place(r), 0, call_.classes))))
                exact_.write_column(tile, r, rows[r], scratch.probs, out + r);
        if (!finite)
            k.canonical_nan(out, shape.lanes * shape.classes);
        store_columns(tile, scratch);
    }

private:
    static constexpr std::size_t pieces = CrossEntropyArrays<T>::piece;

    static std::size_t within(std::size_t label, std::size_t first, std::size_t n) {
        return label != no_index && label >= first && label < first + n ? label - first : no_index;
    }

    /// What the kernels of columns take.
    struct ColumnsOfTile {
        double totals[most_lanes];
        ProbabilityColumns<T> columns;

        ColumnsOfTile(const ProbabilityRows& problem, const RowTile& tile, const Row* rows, const Columns<const T>& p,
                      Scratch& scratch) {
            const Columns<const T> a = problem.coefficient_columns(tile, rows, scratch);
            std::fill(totals, totals + tile.lanes, 1.0);
            for (std::size_t r = 0; r < tile.count; ++r)
                totals[r] = rows[r].total;
            columns = {p.data, p.stride, a.data, a.stride, totals};
        }
    };

    // ------------------------------------------------------------------------------------------------ a row's numbers

    /// Loss and factors of a row, whose loss has no sample weight yet.
    void end_row(const RowTile& tile, std::size_t r, Row& row, double& loss, Scratch& scratch) const {
        if (dense_)
            loss = row.first;
        const bool total_is_moderate = quotients_stay_normal(row.total) || row.total != row.total;
        const bool scaled_loss = !total_is_moderate || (may_leave_range() && leaves_range(tile, r, row, loss));
        const bool scaled_gradient = writes() && set_slopes(row, total_is_moderate);
        if (!scaled_gradient && !scaled_loss) {
            loss *= row.sample_weight;
            return;
        }
        ScaledSlopes slopes;
        const RowPlace place = tile.place(r);
        const Scaled exact =
            dense_ ? exact_.sums(place, row, slopes, scratch.probs) : exact_.label(place, row, slopes, scratch.probs);
        if (scaled_gradient)
            row.scaled = slopes;
        loss = scaled_loss ? (exact * Scaled(row.sample_weight)).value() : loss * row.sample_weight;
    }

    /// What the gradient sweep takes. Returns whether that has to be Scaled numbers.
    bool set_slopes(Row& row, bool total_is_moderate) const {
        if (dense_) {
            const bool nothing = row.first == 0.0 && row.second == 0.0;  // whatever the total is
            row.linear = call_.options.eps && !nothing ? row.second / row.total : 0.0;
        }
        row.factor = product(grad_factor_, row.sample_weight);
        if (arrays_.upstream.given())
            row.factor = product(row.factor, row.upstream);
        const bool removed =
            row.upstream == 0.0 || call_.normalization.gradient_factor == 0.0 || arrays_.upstream_of_sum == 0.0;
        return !removed && !(moderate_ && total_is_moderate && quotients_stay_normal(row.sample_weight) &&
                             quotients_stay_normal(row.upstream) && std::isfinite(row.second) &&
                             quotients_stay_normal(row.probability) &&
                             (dense_ || quotients_stay_normal(arrays_.class_weight(row.label))));
    }

    /// Whether products in a loss may leave the range at all.
    bool may_leave_range() const { return !dense_ || sizeof(T) == sizeof(double) || arrays_.may_be_far(); }

    /// Whether the products in a loss may have left the range, though it is within it; a sample weight may bring back what
    /// is too small or too large without it.
    bool leaves_range(const RowTile& tile, std::size_t r, const Row& row, double loss) const {
        const double weight = std::fabs(row.sample_weight);
        if (!std::isfinite(loss))
            return weight < 1.0;
        if (!(std::fabs(loss) < 0x1p-900))
            return false;
        if (!dense_)
            return weight > 1.0;
        return (weight > 1.0 || arrays_.class_weighted()) && has_small_coefficient(tile.place(r), row);
    }
    /// Whether a coefficient is so small that its product with a logarithm may be subnormal, or 0.
    bool has_small_coefficient(const RowPlace& place, const Row& row) const {
        return any_coefficient(place, row,
                               [](double t, double w) { return t != 0.0 && w != 0.0 && std::fabs(t * w) < 0x1p-900; });
    }
    /// Whether every coefficient of a row is 0, which then counts as one that is not read.
    bool is_removed(const RowPlace& place, const Row& row) const {
        return dense_ && !any_coefficient(place, row, [](double t, double w) { return t != 0.0 && w != 0.0; });
    }
    /// Whether test(t_j, w_j) holds for a class, t smoothed.
    template <class Test>
    bool any_coefficient(RowPlace place, const Row& row, const Test& test) const {
        double t[pieces];
        place.target = row.label;
        for (std::size_t first = 0; first < call_.classes; first += pieces) {
            const std::size_t n = std::min(pieces, call_.classes - first);
            arrays_.exact_targets(place, first, n, t);
            for (std::size_t j = 0; j < n; ++j)
                if (test(t[j], arrays_.class_weight(first + j)))
                    return true;
        }
        return false;
    }

    static T label_gradient(const Row& row, double slope, Scaled ScaledSlopes::* scaled_slope) {
        return ExactProbabilities<T>::as_stored(row.scaled ? ((*row.scaled).*scaled_slope).value()
                                                           : product(row.factor, slope));
    }

    /// Gradients of n classes of a row over coefficients. `out` may be where its probabilities lie.
    void write_dense(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch,
                     T* out) const {
        if (row.scaled || exact_.is_far(place, first, n))
            return exact_.write(place, row, first, n, scratch.probs, out);
        const Kernels<T>& k = kernels_.of<T>();
        const T* p = arrays_.input.read(place, first, n, scratch.probs);
        constexpr bool mends = sizeof(T) == sizeof(double);
        T* values = mends && p == out ? scratch.out.data() : out;
        const bool finite =
            k.probability_gradient(p, coefficients(place, row, first, n, scratch), n, exact_.clipping_of_row(row),
                                   ExactProbabilities<T>::slope_of(row), values);
        if (!finite && mends)
            exact_.write(place, row, first, n, scratch.probs, values);
        else if (!finite)
            k.canonical_nan(values, n);
        if (values != out)
            std::copy(values, values + n, out);
    }

    /// The sums of a sweep, which with eps begins with the rows' totals.
    void keep(int sweep, const SumPair& sums, Row& row) const {
        row.first = sums.first;
        row.second = sums.second;
        if (stage_ == Stage::computing && dense_ && sweep == 0 && call_.options.eps)
            row.total = row.first;
    }

    double sweep() {
        return traverse_rows(*this, plan_rows<T>(positions(), class_positions()), call_.options.num_threads);
    }

    /// Gradients of class indices: one number in all classes of a row, and another one at the label.
    void write_labels(const RowTile& tile, const Row* rows, Scratch& scratch) const {
        T* out = scratch.out_columns.columns.data();
        T others[most_lanes] = {};
        for (std::size_t r = 0; r < tile.count; ++r)
            others[r] = label_gradient(rows[r], rows[r].linear, &ScaledSlopes::linear);
        for (std::size_t j = 0; j < call_.classes; ++j)
            std::copy(others, others + tile.lanes, out + j * tile.lanes);
        for (std::size_t r = 0; r < tile.count; ++r)
            if (rows[r].read)
                out[rows[r].label * tile.lanes + r] = label_gradient(rows[r], rows[r].own, &ScaledSlopes::own);
        store_columns(tile, scratch);
    }

    /// From scratch.out_columns to where the tile's gradients belong.
    void store_columns(const RowTile& tile, Scratch& scratch) const {
        const T* from = scratch.out_columns.columns.data();
        const Columns<T> to = arrays_.grad.columns(tile, scratch.out_columns);
        if (to.data != from)
            for (std::size_t j = 0; j < call_.classes; ++j)
                std::copy_n(from + j * tile.lanes, tile.lanes, to.data + static_cast<std::ptrdiff_t>(j) * to.stride);
        arrays_.grad.store_columns(kernels_.of<T>(), tile, call_.classes, to.data, scratch.out_columns);
    }

    /// Losses of class indices y, in two logarithms over the tile: log1p - log, one of them 0. With eps and the sum s of
    /// all and s' of the other probabilities, -log(p_y / s) is log(1 + s' / p_y), and its slope 1/s - 1/p_y is
    /// -s' / (s p_y): neither cancels where p_y is nearly all of s.
    void label_losses(const RowTile& tile, Row* rows, double* losses, Scratch& scratch) const {
        double log[most_lanes], log1p[most_lanes];
        for (std::size_t r = 0; r < tile.count; ++r) {
            log[r] = 1.0;
            log1p[r] = 0.0;
            if (!rows[r].read)
                continue;
            Row& row = rows[r];
            const T stored = arrays_.input.number(tile, r, row.label, scratch.probs);
            const double p = static_cast<double>(stored) + 0.0;  // not -0.0
            const double w = arrays_.class_weight(row.label);
            row.probability = p;
            if (!call_.options.eps) {
                row.own = -w / p;
                log[r] = p;
                continue;
            }
            const double total = row.total = row.first + p;
            const double q = p / total;
            if (q < clipping_.lower || q > clipping_.upper) {
                log[r] = q < clipping_.lower ? clipping_.lower : clipping_.upper;
                continue;
            }
            row.linear = w / total;
            row.own = -row.linear * (row.first / p);
            (q > 0.5 ? log1p : log)[r] = q > 0.5 ? row.first / p : q;
        }
        kernels_.float64.log(log, tile.count, log);
        kernels_.float64.log1p(log1p, tile.count, log1p);
        for (std::size_t r = 0; r < tile.count; ++r)
            losses[r] = rows[r].read ? product(arrays_.class_weight(rows[r].label), log1p[r] - log[r]) : 0.0;
    }

    /// a_j = w_j ((1-e) t_j + e/C).
    const T* coefficients(const RowPlace& place, const Row& row, std::size_t first, std::size_t n,
                          Scratch& scratch) const {
        if (!call_.indices)
            return arrays_.coefficients(place, first, n, scratch.coefficients, scratch.weights);
        T* a = scratch.coefficients.data();
        std::fill(a, a + n, T(0));
        const std::size_t label = within(row.label, first, n);
        if (label != no_index)
            a[label] = T(1);
        arrays_.blend(a, n, arrays_.class_weights(first, n, scratch.weights.data()));
        return a;
    }

    /// The coefficients a_j of a tile's rows.
    Columns<const T> coefficient_columns(const RowTile& tile, const Row* rows, Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const auto stride = static_cast<std::ptrdiff_t>(tile.lanes);
        const bool as_given = smoothing_ == 0.0 && !arrays_.class_weighted();
        if (!call_.indices && as_given)
            return arrays_.probabilities.columns(k, tile, call_.classes, scratch.coefficient_columns);
        T* a = scratch.coefficient_columns.columns.data();
        if (!call_.indices) {
            arrays_.probabilities.copy(k, tile, call_.classes, scratch.coefficient_columns);
        } else {
            std::fill(a, a + tile.lanes * call_.classes, T(0));
            for (std::size_t r = 0; r < tile.count; ++r)
                if (rows[r].read)
                    a[rows[r].label * tile.lanes + r] = T(1);
        }
        const T* weights = arrays_.class_weights(0, call_.classes, scratch.weights.data());
        for (std::size_t j = 0; j < call_.classes; ++j)
            arrays_.blend(a + j * tile.lanes, tile.lanes, weights == nullptr ? T(1) : weights[j]);
        return {a, stride};
    }

    /// Names the first probability which is none in a row that is read, if there is one.
    void reject() const {
        const auto along = [&](const Shape& strides) {
            Shape all = strides;
            all.insert(static_cast<std::size_t>(call_.axis), 0);
            return all;
        };
        const Argument& weight = call_.sample_weight;
        const Shape none(call_.rows.size());
        const Line labels = call_.target.line();
        const Line weights = weight.line();
        bool no_class_weight = arrays_.class_weighted();
        for (std::size_t j = 0; j < call_.classes; ++j)
            no_class_weight = no_class_weight && arrays_.class_weight(j) == 0.0;
        reject_first(
            call_.input,
            {along(call_.indices ? call_.target.strides : without_axis(call_.target.strides, call_.axis)),
             along(weight.given() ? broadcast_strides(weight, call_.rows) : none)},
            is_probability,
            [&](const Positions::Cursor& cursor) {
                if (weight.given() && read_number(weights, weight.bytes() + cursor.offset(2)) == 0.0)
                    return true;
                const char* of_row = call_.target.bytes() + cursor.offset(1);
                if (!call_.indices)
                    return has_no_target(of_row);
                const std::int64_t label = read_integer(labels, of_row);
                return (call_.options.ignore_index && label == *call_.options.ignore_index) ||
                       (!dense_ && arrays_.class_weight(static_cast<std::size_t>(label)) == 0.0) ||
                       (dense_ && no_class_weight);
            },
            probability_expected);
    }
    /// is_removed of the row whose class probabilities begin there.
    bool has_no_target(const char* row) const {
        const std::ptrdiff_t stride = call_.target.strides[static_cast<std::size_t>(call_.axis)];
        const Line line = call_.target.line();
        const double spread = smoothing_ / static_cast<double>(call_.classes);
        for (std::size_t j = 0; j < call_.classes; ++j) {
            const double t = read_number(line, row + static_cast<std::ptrdiff_t>(j) * stride);
            if ((1.0 - smoothing_) * t + spread != 0.0 && arrays_.class_weight(j) != 0.0)
                return false;
        }
        return true;
    }

    const ProbabilityCall& call_;
    const KernelTable& kernels_;
    CrossEntropyArrays<T> arrays_;
    Clipping clipping_;
    ExactProbabilities<T> exact_;
    double smoothing_;
    bool dense_;
    double grad_factor_;
    bool moderate_;  ///< the factors of the whole call, and the class weights of sums over coefficients
    Stage stage_ = Stage::computing;
};

void run_from_probs(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                    const MutableArrayView& loss, const MutableArrayView& grad,
                    const ProbabilityEntropyOptions& options) {
    const ProbabilityCall call("probs", probs, target, upstream, loss, grad, options);
    with_arithmetic_type(call.input.view.dtype, [&](auto number) { ProbabilityRows<decltype(number)>(call).run(); });
}

}  // namespace
}  // namespace detail

void cross_entropy_from_probs(const ArrayView& probs, const ArrayView& target, const MutableArrayView& loss,
                              const ProbabilityEntropyOptions& options) {
    detail::enter([&] { detail::run_from_probs(probs, target, {}, loss, {}, options); });
}

void cross_entropy_from_probs_value_and_grad(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                                             const MutableArrayView& loss, const MutableArrayView& grad,
                                             const ProbabilityEntropyOptions& options) {
    detail::enter([&] { detail::run_from_probs(probs, target, upstream, loss, grad, options); });
}

}  // namespace logitloss
