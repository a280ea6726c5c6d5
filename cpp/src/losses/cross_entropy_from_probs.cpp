// Cross-entropy of rows of probabilities, against class indices or class probabilities.
#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "logitloss/probabilities.hpp"
#include "losses/clipping.hpp"
#include "losses/cross_entropy_arrays.hpp"
#include "losses/cross_entropy_call.hpp"
#include "losses/dtype_switch.hpp"
#include "losses/elementary.hpp"
#include "losses/row_sweeps.hpp"

namespace logitloss {
namespace detail {
namespace {

/// a b, but 0 where either is 0, whatever the other is.
double product(double a, double b) { return a == 0.0 || b == 0.0 ? 0.0 : a * b; }

enum class Stage { checking, computing };

/// The rows of a call. A row against a class index, without smoothing, needs the target's probability and, with eps, the
/// sum of the others; every other row is a sum over coefficients a_j.
template <class T>
class ProbabilityRows {
public:
    struct Scratch {
        BufferSpace space;
        Buffer<T> probs, coefficients, weights, out;

        explicit Scratch(std::size_t n) : space(4 * BufferSpace::bytes<T>(n)) {
            for (Buffer<T>* buffer : {&probs, &coefficients, &weights, &out})
                *buffer = space.take<T>(n);
        }
    };
    using Block = SumPair;
    struct Row {
        std::size_t label = no_index;
        double first = 0.0;  ///< of the last sweep, its sums
        double second = 0.0;
        Clipping clipping;
        // What the gradient sweep takes: out_j = factor (linear - a_j / p_j); of a class index `own` at the label.
        double factor = 0.0;
        double linear = 0.0;
        double own = 0.0;
    };

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

    // What RowSweeps asks.
    const Positions& positions() const { return arrays_.rows; }
    std::size_t classes() const { return call_.classes; }
    Scratch scratch(std::size_t n) const { return Scratch(n); }
    int sweeps() const {
        const int of_totals = call_.options.eps ? 1 : 0;
        return stage_ == Stage::checking ? 1 : of_totals + (dense_ ? 1 : 0);
    }
    bool writes() const { return stage_ == Stage::computing && arrays_.grad.given(); }

    bool reads(const RowPlace& place, Row& row) const {
        row.clipping = clipping_;
        return arrays_.counted.reads(place, row.label) && (!call_.indices || row.label != no_index);
    }
    void skip(const RowPlace& place, Scratch& scratch) const {
        if (stage_ == Stage::checking)
            return;
        if (arrays_.loss.given())
            arrays_.loss.set(place, 0.0);
        if (arrays_.grad.given())
            for (std::size_t first = 0; first < call_.classes; first += block_size)
                fill(place, first, std::min(block_size, call_.classes - first), 0.0, scratch);
    }

    Block reduce(int sweep, const RowPlace& place, const Row& row, std::size_t first, std::size_t n,
                 Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const T* p = arrays_.input.read(place, first, n, scratch.probs);
        if (stage_ == Stage::checking)
            return {k.count_outside_unit(p, nullptr, n), 0.0};
        if (call_.options.eps && sweep == 0)
            return {k.wide_sum(p, n, dense_ ? no_index : within(row.label, first, n)), 0.0};
        return k.probability_terms(p, coefficients(place, row, first, n, scratch), n, row.clipping);
    }

    void fold(int sweep, const Block* blocks, std::size_t count, Row& row) const {
        StridedSum first, second;
        for (std::size_t b = 0; b < count; ++b) {
            first.add(b, blocks[b].first);
            second.add(b, blocks[b].second);
        }
        row.first = first.total();
        row.second = second.total();
        if (dense_ && sweep == 0 && call_.options.eps)
            row.clipping.total = row.first;
    }

    double end(const RowPlace& place, Row& row, Scratch& scratch) const {
        if (stage_ == Stage::checking)
            return row.first;
        double loss = dense_ ? row.first : label_loss(place, row, scratch);
        if (dense_ && call_.options.eps)
            row.linear = row.second / row.clipping.total;
        const double sample_weight = arrays_.counted.weight(place);
        loss *= sample_weight;
        if (arrays_.loss.given())
            arrays_.loss.set(place, loss);
        row.factor = product(grad_factor_, sample_weight);
        if (arrays_.upstream.given())
            row.factor = product(row.factor, arrays_.upstream[place]);
        return loss;
    }

    void write(const RowPlace& place, const Row& row, std::size_t first, std::size_t n, Scratch& scratch) const {
        if (row.factor == 0.0)
            return fill(place, first, n, 0.0, scratch);
        if (!dense_) {
            fill(place, first, n, product(row.factor, row.linear), scratch, within(row.label, first, n),
                 product(row.factor, row.own));
            return;
        }
        const T* p = arrays_.input.read(place, first, n, scratch.probs);
        T* out = arrays_.grad.place(place, first, scratch.out);
        kernels_.of<T>().probability_gradient(p, coefficients(place, row, first, n, scratch), n, row.clipping,
                                              row.linear, row.factor, out);
        kernels_.of<T>().canonical_nan(out, n);
        arrays_.grad.store(place, first, n, out);
    }

private:
    static std::size_t within(std::size_t label, std::size_t first, std::size_t n) {
        return label != no_index && label >= first && label < first + n ? label - first : no_index;
    }

    double sweep() {
        return RowSweeps<ProbabilityRows>(*this, call_.options.num_threads).run();
    }

    /// Writes one number to classes of a row, and another one at the label.
    void fill(const RowPlace& place, std::size_t first, std::size_t n, double value, Scratch& scratch,
              std::size_t label = no_index, double at_label = 0.0) const {
        const auto number = [](double x) { return x == x ? static_cast<T>(x) : std::numeric_limits<T>::quiet_NaN(); };
        T* out = arrays_.grad.place(place, first, scratch.out);
        std::fill(out, out + n, number(value));
        if (label != no_index)
            out[label] = number(at_label);
        arrays_.grad.store(place, first, n, out);
    }

    /// Loss of a class index y. With eps and the sum s of all and s' of the other probabilities, -log(p_y / s) is
    /// log(1 + s' / p_y), and its slope 1/s - 1/p_y is -s' / (s p_y): neither cancels where p_y is nearly all of s.
    double label_loss(const RowPlace& place, Row& row, Scratch& scratch) const {
        const double w = arrays_.class_weight(row.label);
        const auto p = static_cast<double>(*arrays_.input.read(place, row.label, 1, scratch.probs));
        if (!call_.options.eps) {
            row.own = w == 0.0 ? 0.0 : -w / p;
            return product(w, -log_of(p));
        }
        const double total = row.first + p;
        const double q = p / total;
        if (q < clipping_.lower || q > clipping_.upper)
            return product(w, -log_of(q < clipping_.lower ? clipping_.lower : clipping_.upper));
        row.linear = w / total;
        row.own = -row.linear * (row.first / p);
        return product(w, q > 0.5 ? log1p_of(row.first / p) : -log_of(q));
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
    const FloatEnvironment environment;
    const ProbabilityCall call("probs", probs, target, upstream, loss, grad, options);
    with_arithmetic_type(call.input.view.dtype, [&](auto number) { ProbabilityRows<decltype(number)>(call).run(); });
}

}  // namespace
}  // namespace detail

void cross_entropy_from_probs(const ArrayView& probs, const ArrayView& target, const MutableArrayView& loss,
                              const ProbabilityEntropyOptions& options) {
    detail::run_from_probs(probs, target, {}, loss, {}, options);
}

void cross_entropy_from_probs_value_and_grad(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                                             const MutableArrayView& loss, const MutableArrayView& grad,
                                             const ProbabilityEntropyOptions& options) {
    detail::run_from_probs(probs, target, upstream, loss, grad, options);
}

}  // namespace logitloss
