// Cross-entropy of rows of probabilities, against class indices or class probabilities.
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "logitloss/probabilities.hpp"
#include "losses/arguments.hpp"
#include "losses/class_indices.hpp"
#include "losses/clipping.hpp"
#include "losses/dtype_switch.hpp"
#include "losses/logit_rows.hpp"
#include "losses/reduction.hpp"
#include "losses/row_sweeps.hpp"

namespace logitloss {
namespace detail {
namespace {

/// a b, but 0 where either is 0, whatever the other is.
double product(double a, double b) { return a == 0.0 || b == 0.0 ? 0.0 : a * b; }

/// The arguments of one call, checked, all but the probabilities themselves.
struct ProbabilityCall {
    const Argument probs, target, class_weight, sample_weight, upstream;
    const Output loss, grad;
    const ProbabilityEntropyOptions& options;
    int axis = 0;
    std::size_t classes = 0;
    bool indices = false;
    Shape rows;  ///< shape of the per-position loss
    Normalization normalization;

    ProbabilityCall(const ArrayView& probs_view, const ArrayView& target_view, const ArrayView& upstream_view,
                    const MutableArrayView& loss_view, const MutableArrayView& grad_view,
                    const ProbabilityEntropyOptions& call_options)
        : probs("probs", probs_view),
          target("target", target_view),
          class_weight("class_weight", call_options.class_weight),
          sample_weight("sample_weight", call_options.sample_weight),
          upstream("upstream", upstream_view),
          loss("out", loss_view),
          grad("grad_out", grad_view),
          options(call_options) {
        require_unit_interval("label_smoothing", options.label_smoothing);
        check_eps(options.eps);
        check_normalizer(options.reduction, options.normalizer);
        require_floating(probs);
        axis = normalized_axis(options.axis, probs.shape.size());
        classes = static_cast<std::size_t>(probs.shape[static_cast<std::size_t>(axis)]);
        rows = without_axis(probs.shape, axis);
        indices = holds_class_indices(target, probs.shape, rows);
        if (class_weight.given())
            require_shape(class_weight, {static_cast<std::ptrdiff_t>(classes)});
        if (sample_weight.given())
            broadcast_strides(sample_weight, rows);
        check_outputs(options.reduction == Reduction::none ? rows : Shape{});
        normalization = Normalization(options.reduction, options.normalizer, mean_weights());
    }

private:
    void check_outputs(const Shape& loss_shape) const {
        if (upstream.given())
            broadcast_strides(upstream, loss_shape);
        require_dtype(loss, loss_dtype(probs.view.dtype));
        require_shape(loss, loss_shape);
        require_no_overlap(loss, {&probs, &target, &class_weight, &sample_weight, &upstream, &grad});
        if (!grad.given())
            return;
        require_dtype(grad, probs.view.dtype);
        require_shape(grad, probs.shape);
        require_no_overlap(grad, {&probs, &target, &class_weight, &sample_weight, &upstream}, {&probs});
    }

    double mean_weights() const {
        if (indices)
            return check_labels(target, classes, options.ignore_index, class_weight, sample_weight,
                                options.num_threads);
        return options.reduction == Reduction::mean && !options.normalizer
                   ? sum_sample_weights(sample_weight, rows, options.num_threads)
                   : 1.0;
    }
};

enum class Stage { checking, computing };

/// The rows of a call. A row against a class index, without smoothing, needs the target's probability and, with eps, the
/// sum of the others; every other row is a sum over coefficients a_j.
template <class T>
class ProbabilityRows {
public:
    struct Scratch {
        std::vector<T> probs, coefficients, weights, out;
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
          positions_(call.rows),
          class_positions_({static_cast<std::ptrdiff_t>(call.classes)}),
          clipping_(clipping_of(call.options.eps, call.probs.view.dtype)),
          smoothing_(call.options.label_smoothing),
          dense_(!call.indices || smoothing_ > 0.0) {
        const bool none = call.options.reduction == Reduction::none;
        const auto add = [&](const Argument& argument, const Shape& strides) {
            return argument.given() ? positions_.add(strides) : -1;
        };
        const auto broadcast = [&](const Argument& argument) {
            return argument.given() ? broadcast_strides(argument, call.rows) : Shape{};
        };
        const auto of_rows = [&](const Argument& argument) {
            return argument.given() ? without_axis(argument.strides, call.axis) : Shape{};
        };
        const int probs = add(call.probs, of_rows(call.probs));
        const int target = add(call.target, call.indices ? call.target.strides : of_rows(call.target));
        const int grad = add(call.grad, of_rows(call.grad));
        const int sample_weight = add(call.sample_weight, broadcast(call.sample_weight));
        const int upstream = none ? add(call.upstream, broadcast(call.upstream)) : -1;
        const int loss = none ? add(call.loss, call.loss.strides) : -1;
        positions_.simplify(true);
        const auto class_stride = [&](const Argument& argument) {
            return class_positions_.add({argument.strides[static_cast<std::size_t>(call.axis)]});
        };
        const int class_probs = class_stride(call.probs);
        const int class_target = call.indices ? -1 : class_stride(call.target);
        const int class_grad = call.grad.given() ? class_stride(call.grad) : -1;
        class_positions_.simplify(false);

        probs_ = RowInput<T>(call.probs, positions_, probs, class_positions_, class_probs);
        if (call.indices)
            labels_ = RowNumbers(call.target, target);
        else
            target_ = RowInput<T>(call.target, positions_, target, class_positions_, class_target);
        if (call.class_weight.given())
            class_weight_line_ = {call.class_weight.view.dtype, call.class_weight.view.byteswapped,
                                  call.class_weight.strides[0]};
        if (call.sample_weight.given())
            sample_weight_ = RowNumbers(call.sample_weight, sample_weight);
        if (none && call.upstream.given())
            upstream_ = RowNumbers(call.upstream, upstream);
        if (none)
            loss_ = RowResults(call.loss, loss);
        if (call.grad.given()) {
            grad_ = RowOutput<T>(call.grad, positions_, grad, class_positions_, class_grad);
            grad_factor_ = call.normalization.gradient_factor;
            if (!none && call.upstream.given())
                grad_factor_ = product(grad_factor_, RowNumbers(call.upstream, 0)[RowPlace{}]);
        }
    }

    void run() {
        if (!call_.options.eps) {
            stage_ = Stage::checking;
            if (sweep() != 0.0)
                reject();
        }
        stage_ = Stage::computing;
        const double sum = sweep();
        if (!loss_.given())
            RowResults(call_.loss, 0).set(RowPlace{}, call_.normalization.reduce(sum));
    }

    // What RowSweeps asks.
    const Positions& positions() const { return positions_; }
    std::size_t classes() const { return call_.classes; }
    Scratch scratch(std::size_t n) const {
        return {std::vector<T>(n), std::vector<T>(n), std::vector<T>(n), std::vector<T>(n)};
    }
    int sweeps() const {
        const int of_totals = call_.options.eps ? 1 : 0;
        return stage_ == Stage::checking ? 1 : of_totals + (dense_ ? 1 : 0);
    }
    bool writes() const { return stage_ == Stage::computing && grad_.given(); }

    bool reads(const RowPlace& place, Row& row) const {
        row.clipping = clipping_;
        if (sample_weight_.given() && sample_weight_[place] == 0.0)
            return false;
        if (!call_.indices)
            return true;
        const std::int64_t label = labels_.integer(place);
        // The labels were checked, but another thread of the caller's may be writing them.
        if (label >= 0 && static_cast<std::uint64_t>(label) < call_.classes)
            row.label = static_cast<std::size_t>(label);
        return row.label != no_index && !(call_.options.ignore_index && label == *call_.options.ignore_index);
    }
    void skip(const RowPlace& place, Scratch& scratch) const {
        if (stage_ == Stage::checking)
            return;
        if (loss_.given())
            loss_.set(place, 0.0);
        if (grad_.given())
            for (std::size_t first = 0; first < call_.classes; first += block_size)
                fill(place, first, std::min(block_size, call_.classes - first), 0.0, scratch);
    }

    Block reduce(int sweep, const RowPlace& place, const Row& row, std::size_t first, std::size_t n,
                 Scratch& scratch) const {
        const Kernels<T>& k = kernels_.of<T>();
        const T* p = probs_.read(place, first, n, scratch.probs);
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
        const double sample_weight = sample_weight_.given() ? sample_weight_[place] : 1.0;
        loss *= sample_weight;
        if (loss_.given())
            loss_.set(place, loss);
        row.factor = product(grad_factor_, sample_weight);
        if (upstream_.given())
            row.factor = product(row.factor, upstream_[place]);
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
        const T* p = probs_.read(place, first, n, scratch.probs);
        T* out = grad_.place(place, first, scratch.out);
        kernels_.of<T>().probability_gradient(p, coefficients(place, row, first, n, scratch), n, row.clipping,
                                              row.linear, row.factor, out);
        kernels_.of<T>().canonical_nan(out, n);
        grad_.store(place, first, n, out);
    }

private:
    static std::size_t within(std::size_t label, std::size_t first, std::size_t n) {
        return label != no_index && label >= first && label < first + n ? label - first : no_index;
    }

    double sweep() {
        return RowSweeps<ProbabilityRows>(*this, item_size(call_.probs.view.dtype), call_.options.num_threads).run();
    }

    /// Writes one number to classes of a row, and another one at the label.
    void fill(const RowPlace& place, std::size_t first, std::size_t n, double value, Scratch& scratch,
              std::size_t label = no_index, double at_label = 0.0) const {
        const auto number = [](double x) { return x == x ? static_cast<T>(x) : std::numeric_limits<T>::quiet_NaN(); };
        T* out = grad_.place(place, first, scratch.out);
        std::fill(out, out + n, number(value));
        if (label != no_index)
            out[label] = number(at_label);
        grad_.store(place, first, n, out);
    }

    double class_weight(std::size_t j) const {
        if (!call_.class_weight.given())
            return 1.0;
        return read_number(class_weight_line_,
                           call_.class_weight.bytes() + static_cast<std::ptrdiff_t>(j) * class_weight_line_.stride);
    }
    double log_of(double x) const {
        kernels_.float64.log(&x, 1, &x);
        return x;
    }
    double log1p_of(double x) const {
        kernels_.float64.log1p(&x, 1, &x);
        return x;
    }

    /// Loss of a class index y. With eps and the sum s of all and s' of the other probabilities, -log(p_y / s) is
    /// log(1 + s' / p_y), and its slope 1/s - 1/p_y is -s' / (s p_y): neither cancels where p_y is nearly all of s.
    double label_loss(const RowPlace& place, Row& row, Scratch& scratch) const {
        const double w = class_weight(row.label);
        const auto p = static_cast<double>(*probs_.read(place, row.label, 1, scratch.probs));
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
        T* a = scratch.coefficients.data();
        const T keep = static_cast<T>(1.0 - smoothing_);
        const T spread = static_cast<T>(smoothing_ / static_cast<double>(call_.classes));
        if (call_.indices) {
            std::fill(a, a + n, spread);
            const std::size_t label = within(row.label, first, n);
            if (label != no_index)
                a[label] += keep;
        } else {
            const T* t = target_.read(place, first, n, scratch.coefficients);
            if (smoothing_ == 0.0 && !call_.class_weight.given())
                return t;
            for (std::size_t j = 0; j < n; ++j)
                a[j] = smoothing_ == 0.0 ? t[j] : keep * t[j] + spread;
        }
        if (!call_.class_weight.given())
            return a;
        gather(class_weight_line_,
               call_.class_weight.bytes() + static_cast<std::ptrdiff_t>(first) * class_weight_line_.stride, n,
               scratch.weights.data());
        for (std::size_t j = 0; j < n; ++j)
            a[j] *= scratch.weights[j];
        return a;
    }

    /// Names the first probability of a row that is read which is none.
    [[noreturn]] void reject() const {
        const auto along = [&](const Shape& strides) {
            Shape all = strides;
            all.insert(all.begin() + call_.axis, 0);
            return all;
        };
        const Argument& weight = call_.sample_weight;
        const Shape none(call_.rows.size());
        const Line labels{call_.target.view.dtype, call_.target.view.byteswapped, 0};
        const Line weights{weight.view.dtype, weight.view.byteswapped, 0};
        reject_first_outside_unit(
            call_.probs,
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
    Positions positions_, class_positions_;
    Clipping clipping_;
    double smoothing_;
    bool dense_;
    double grad_factor_ = 0.0;
    Stage stage_ = Stage::computing;
    RowInput<T> probs_, target_;
    RowNumbers labels_, sample_weight_, upstream_;
    Line class_weight_line_;
    RowResults loss_;
    RowOutput<T> grad_;
};

void run_from_probs(const ArrayView& probs, const ArrayView& target, const ArrayView& upstream,
                    const MutableArrayView& loss, const MutableArrayView& grad,
                    const ProbabilityEntropyOptions& options) {
    const FloatEnvironment environment;
    const ProbabilityCall call(probs, target, upstream, loss, grad, options);
    with_arithmetic_type(call.probs.view.dtype, [&](auto number) { ProbabilityRows<decltype(number)>(call).run(); });
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
