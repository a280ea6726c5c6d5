// Cross-entropy of rows of probabilities, against class indices or class probabilities.
#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "arguments/clipping.hpp"
#include "arguments/dtype_switch.hpp"
#include "logitloss/probabilities.hpp"
#include "losses/cross_entropy/cross_entropy_arrays.hpp"
#include "losses/cross_entropy/cross_entropy_call.hpp"
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
    struct Row {
        bool read = true;
        std::size_t label = no_index;
        double sample_weight = 1.0;
        double first = 0.0;  ///< of the last sweep, its sums
        double second = 0.0;
        double total = 1.0;  ///< Clipping::total
        // What the gradient sweep takes: out_j = factor (linear - a_j / p_j); of a class index `own` at the label.
        double factor = 0.0;
        double linear = 0.0;
        double own = 0.0;
    };
    using TileRows = Row[most_lanes];

    explicit ProbabilityRows(const ProbabilityCall& call)
        : call_(call),
          kernels_(detail::kernels()),
          arrays_(call),
          clipping_(clipping_of(call.options.eps, call.input.view.dtype)),
          smoothing_(call.options.label_smoothing),
          dense_(!call.indices || smoothing_ > 0.0),
          grad_factor_(product(call.normalization.gradient_factor, arrays_.upstream_of_sum)) {}

    void run() {
        if (!call_.options.eps) {
            stage_ = Stage::checking;
            if (sweep() != 0.0)
                reject();
        }
        stage_ = Stage::computing;
        const double sum = sweep();
        if (!arrays_.loss.given())
            RowResults(call_.loss, 0).set(RowPlace{}, call_.normalization.reduce(sum));
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

    void begin(const Tile& tile, Row* rows, const Scratch&) const {
        bool read[most_lanes];
        std::size_t label[most_lanes];
        double weight[most_lanes];
        arrays_.counted.read(tile, read, label, weight);
        for (std::size_t r = 0; r < tile.count; ++r) {
            rows[r].read = read[r];
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
        return k.probability_terms(p, coefficients(place, row, first, n, scratch), n, clipping_of_row(row));
    }

    void fold(int sweep, const Block* blocks, std::size_t count, Row& row) const {
        StridedSum first, second;
        for (std::size_t b = 0; b < count; ++b) {
            first.add(b, blocks[b].first);
            second.add(b, blocks[b].second);
        }
        keep(sweep, {first.total(), second.total()}, row);
    }

    void reduce_columns(int sweep, const Tile& tile, Row* rows, Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const TileShape shape{tile.lanes, call_.classes};
        const Columns<const T> p = arrays_.input.columns(k, tile, shape.classes, scratch.prob_columns);
        double first[most_lanes], second[most_lanes] = {};
        if (stage_ == Stage::checking) {
            T counts[most_lanes];
            k.column_outside_unit(p.data, p.stride, shape, counts);
            std::copy(counts, counts + tile.count, first);
        } else if (call_.options.eps && sweep == 0) {
            T excluded[most_lanes];
            for (std::size_t r = 0; r < tile.lanes; ++r)
                excluded[r] = r < tile.count && !dense_ && rows[r].read ? static_cast<T>(rows[r].label) : T(-1);
            k.column_wide_sum(p.data, p.stride, shape, excluded, first);
        } else {
            const ColumnsOfTile in(*this, tile, rows, p, scratch);
            k.column_probability_terms(in.columns, shape, clipping_, first, second);
        }
        for (std::size_t r = 0; r < tile.count; ++r)
            keep(sweep, {first[r], second[r]}, rows[r]);
    }

    void end(const Tile& tile, Row* rows, double* losses, Scratch& scratch) const {
        if (stage_ == Stage::checking) {
            for (std::size_t r = 0; r < tile.count; ++r)
                losses[r] = rows[r].read ? rows[r].first : 0.0;
            return;
        }
        double upstream[most_lanes];
        if (arrays_.upstream.given())
            arrays_.upstream.read(tile, upstream);
        if (!dense_)
            label_losses(tile, rows, losses, scratch);
        for (std::size_t r = 0; r < tile.count; ++r) {
            Row& row = rows[r];
            if (!row.read) {
                losses[r] = 0.0;
                continue;
            }
            if (dense_) {
                losses[r] = row.first;
                row.linear = call_.options.eps ? row.second / row.total : 0.0;
            }
            losses[r] *= row.sample_weight;
            row.factor = product(grad_factor_, row.sample_weight);
            if (arrays_.upstream.given())
                row.factor = product(row.factor, upstream[r]);
        }
        if (arrays_.loss.given())
            arrays_.loss.set(tile, losses);
    }

    void write(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        T* out = arrays_.grad.place(place, first, scratch.out);
        if (row.factor == 0.0) {
            std::fill(out, out + n, T(0));
        } else if (!dense_) {
            std::fill(out, out + n, as_stored(product(row.factor, row.linear)));
            const std::size_t label = within(row.label, first, n);
            if (label != no_index)
                out[label] = as_stored(product(row.factor, row.own));
        } else {
            const T* p = arrays_.input.read(place, first, n, scratch.probs);
            kernels_.of<T>().probability_gradient(p, coefficients(place, row, first, n, scratch), n,
                                                  clipping_of_row(row), row.linear, row.factor, out);
            kernels_.of<T>().canonical_nan(out, n);
        }
        arrays_.grad.store(place, first, n, out);
    }

    void write_columns(const Tile& tile, const Row* rows, Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const TileShape shape{tile.lanes, call_.classes};
        if (!dense_)
            return write_labels(tile, rows, scratch);
        const Columns<const T> p = arrays_.input.columns(k, tile, shape.classes, scratch.prob_columns);
        const ColumnsOfTile in(*this, tile, rows, p, scratch);
        double linear[most_lanes] = {}, factor[most_lanes] = {};
        for (std::size_t r = 0; r < tile.count; ++r) {
            linear[r] = rows[r].linear;
            factor[r] = rows[r].factor;
        }
        T* out = scratch.out_columns.columns.data();
        const auto stride = static_cast<std::ptrdiff_t>(tile.lanes);
        k.column_probability_gradient(in.columns, shape, clipping_, linear, factor, stride, out);
        k.canonical_nan(out, shape.lanes * shape.classes);
        store_columns(tile, scratch);
    }

private:
    static std::size_t within(std::size_t label, std::size_t first, std::size_t n) {
        return label != no_index && label >= first && label < first + n ? label - first : no_index;
    }

    /// What the kernels of columns take.
    struct ColumnsOfTile {
        double totals[most_lanes];
        ProbabilityColumns<T> columns;

        ColumnsOfTile(const ProbabilityRows& problem, const Tile& tile, const Row* rows, const Columns<const T>& p,
                      Scratch& scratch) {
            const Columns<const T> a = problem.coefficient_columns(tile, rows, scratch);
            std::fill(totals, totals + tile.lanes, 1.0);
            for (std::size_t r = 0; r < tile.count; ++r)
                totals[r] = rows[r].total;
            columns = {p.data, p.stride, a.data, a.stride, totals};
        }
    };

    static T as_stored(double x) { return x == x ? static_cast<T>(x) : std::numeric_limits<T>::quiet_NaN(); }

    Clipping clipping_of_row(const Row& row) const {
        Clipping clipping = clipping_;
        clipping.total = row.total;
        return clipping;
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
    void write_labels(const Tile& tile, const Row* rows, Scratch& scratch) const {
        T* out = scratch.out_columns.columns.data();
        T others[most_lanes] = {};
        for (std::size_t r = 0; r < tile.count; ++r)
            others[r] = rows[r].factor == 0.0 ? T(0) : as_stored(product(rows[r].factor, rows[r].linear));
        for (std::size_t j = 0; j < call_.classes; ++j)
            std::copy(others, others + tile.lanes, out + j * tile.lanes);
        for (std::size_t r = 0; r < tile.count; ++r)
            if (rows[r].factor != 0.0)
                out[rows[r].label * tile.lanes + r] = as_stored(product(rows[r].factor, rows[r].own));
        store_columns(tile, scratch);
    }

    /// From scratch.out_columns to where the tile's gradients belong.
    void store_columns(const Tile& tile, Scratch& scratch) const {
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
    void label_losses(const Tile& tile, Row* rows, double* losses, Scratch& scratch) const {
        double log[most_lanes], log1p[most_lanes];
        for (std::size_t r = 0; r < tile.count; ++r) {
            log[r] = 1.0;
            log1p[r] = 0.0;
            if (!rows[r].read)
                continue;
            Row& row = rows[r];
            const T stored = *arrays_.input.read(tile.place(r), row.label, 1, scratch.probs);
            const double p = static_cast<double>(stored) + 0.0;  // not -0.0
            const double w = arrays_.class_weight(row.label);
            if (!call_.options.eps) {
                row.own = w == 0.0 ? 0.0 : -w / p;
                log[r] = p;
                continue;
            }
            const double total = row.first + p;
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
    Columns<const T> coefficient_columns(const Tile& tile, const Row* rows, Scratch& scratch) const {
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

    /// Names the first probability of a row that is read which is none.
    [[noreturn]] void reject() const {
        const auto along = [&](const Shape& strides) {
            Shape all = strides;
            all.insert(static_cast<std::size_t>(call_.axis), 0);
            return all;
        };
        const Argument& weight = call_.sample_weight;
        const Shape none(call_.rows.size());
        const Line labels{call_.target.view.dtype, call_.target.view.byteswapped, 0};
        const Line weights{weight.view.dtype, weight.view.byteswapped, 0};
        reject_first_outside_unit(
            call_.input,
            {along(call_.indices ? call_.target.strides : none),
             along(weight.given() ? broadcast_strides(weight, call_.rows) : none)},
            [&](const Positions::Cursor& cursor) {
                if (weight.given() && read_number(weights, weight.bytes() + cursor.offset(2)) == 0.0)
                    return true;
                return call_.indices && call_.options.ignore_index &&
                       read_integer(labels, call_.target.bytes() + cursor.offset(1)) == *call_.options.ignore_index;
            });
    }

    const ProbabilityCall& call_;
    const KernelTable& kernels_;
    CrossEntropyArrays<T> arrays_;
    Clipping clipping_;
    double smoothing_;
    bool dense_;
    double grad_factor_;
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
