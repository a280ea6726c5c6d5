// Gradients of log-probabilities of ids and of entropies, in float64, row by row.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "arguments/dtype_switch.hpp"
#include "logits/logit_transform.hpp"
#include "losses/token_logprobs/token_call.hpp"
#include "losses/token_logprobs/wide_row.hpp"
#include "runtime/entry.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss {
namespace detail {
namespace {

/// The arguments of one call, checked.
struct GradientCall : TokenCall {
    const Argument d_logprob, d_entropy, lse;
    const Output grad;

    GradientCall(const ArrayView& logits_view, const ArrayView& ids_view, const ArrayView& d_logprob_view,
                 const ArrayView& d_entropy_view, const MutableArrayView& grad_view,
                 const TokenLogProbsVjpOptions& call_options)
        : TokenCall(logits_view, ids_view, call_options),
          d_logprob("d_logprob", d_logprob_view),
          d_entropy("d_entropy", d_entropy_view),
          lse("lse", call_options.lse),
          grad("grad_out", grad_view) {
        if (!d_logprob.given())
            throw value_error("d_logprob: got none, expected an array that broadcasts to " + to_string(ids.shape));
        broadcast_strides(d_logprob, ids.shape);
        if (d_entropy.given())
            broadcast_strides(d_entropy, rows);
        if (lse.given())
            require_shape(lse, rows);
        require_value_and_grad(logits, rows, {&logits, &ids, &d_logprob, &d_entropy, &lse}, Output("out", {}), grad);
        check_ids();
    }
};

/// One id a row without d_entropy: the gradient of cross-entropy.
void run_cross_entropy_gradient(const GradientCall& call) {
    const OfRows<ArrayView> ids(call, call.ids.strides, call.ids.view);
    const OfRows<ArrayView> upstream(call, broadcast_strides(call.d_logprob, call.ids.shape), call.d_logprob.view);
    const Shape& shape = call.grad.shape;
    const Shape& strides = call.grad.strides;
    const MutableArrayView grad{call.grad.data, call.grad.view.dtype, static_cast<int>(shape.size()), shape.data(),
                                strides.data()};
    std::vector<double> losses(Positions(call.rows).count() + 1);
    const MutableArrayView loss{losses.data(), loss_dtype(call.logits.view.dtype), static_cast<int>(call.rows.size()),
                                call.rows.data(), nullptr};
    run_cross_entropy(call.logits.view, ids.view, upstream.view, loss, grad, call.turned_round());
}

/// With m the largest of the scaled logits x and S, G as in entropy_beside_top,
///     (L - x_j) - H = (m - x_j) - G / (1 + S):
/// neither L nor H is needed, and where p is near 1 nothing cancels.
class TokenGradientRows : public RowProblem {
public:
    /// A gradient that is written as it stands.
    struct OfId {
        std::size_t id;
        double factor;  ///< of its log-probability
        double value;
    };
    struct Scratch {
        BufferSpace space;
        Buffer<double> logits, out;
        std::vector<std::int64_t> numbers;
        std::vector<std::size_t> ids;
        std::vector<OfId> of_ids;
        std::size_t count = 0;  ///< of those

        Scratch(std::size_t block, std::size_t ids_per_row)
            : space(2 * BufferSpace::bytes<double>(block)),
              logits(space.take<double>(block)),
              out(space.take<double>(block)),
              numbers(ids_per_row),
              ids(ids_per_row),
              of_ids(ids_per_row) {}
    };

    TokenGradientRows(const GradientCall& call, double scale)
        : call_(call),
          kernels_(detail::kernels().float64),
          positions_(call.rows),
          classes_({static_cast<std::ptrdiff_t>(call.classes)}) {
        const auto axis = static_cast<std::size_t>(call.axis);
        const Shape factor_strides = broadcast_strides(call.d_logprob, call.ids.shape);
        positions_.add(without_axis(call.logits.strides, call.axis));
        positions_.add(call.row_strides(call.ids.strides));
        positions_.add(without_axis(call.grad.strides, call.axis));
        positions_.add(call.row_strides(factor_strides));
        if (call.d_entropy.given())
            positions_.add(broadcast_strides(call.d_entropy, call.rows));
        positions_.simplify(true);
        classes_.add({call.logits.strides[axis]});
        classes_.add({call.grad.strides[axis]});
        classes_.simplify(false);
        ids_ = RowIds(call, 1);
        grad_ = RowOutput<double>(call.grad, positions_, 2, classes_, 1);
        factors_ = {call.d_logprob.view.dtype, call.d_logprob.view.byteswapped, call.id_stride(factor_strides)};
        if (call.d_entropy.given())
            of_entropy_ = RowNumbers(call.d_entropy, 4);
        wide_ = WideRows(RowInput<double>(call.logits, positions_, 0, classes_, 0), call.classes, scale);
    }

    void run() {
        RowPlan plan(positions_.count(), call_.classes);
        plan.hand_out_whole(1);
        traverse_rows(*this, plan, call_.options.num_threads);
    }

    // What RowTraversal asks.
    const Positions& positions() const { return positions_; }
    Scratch scratch(const RowPlan& plan) const {
        return Scratch(std::min(plan.classes, block_size), call_.ids_per_row);
    }
    void reduce_columns(int, const RowTile& tile, TileRows&, Scratch& scratch) const {
        for (std::size_t r = 0; r < tile.count; ++r)
            write_row(tile.place(r), scratch);
    }
    void end(const RowTile&, TileRows&, double*, Scratch&) const {}

private:
    void write_row(const RowPlace& place, Scratch& scratch) const {
        const bool counts = ids_.read(place, scratch.numbers, scratch.ids);
        const double of_entropy = counts && of_entropy_.given() ? of_entropy_[place] : 0.0;
        if (!gather_ids(place, scratch) && of_entropy == 0.0)
            return fill(place, 0.0, scratch);
        BesideTop row;
        wide_.find_top(place, scratch.logits, row);
        wide_.sum(place, scratch.logits, row);
        if (!row.finite())
            return fill(place, std::numeric_limits<double>::quiet_NaN(), scratch);
        set_values(place, row, of_entropy, scratch);
        double factor = 0.0;
        for (std::size_t i = 0; i < scratch.count; ++i)
            factor += scratch.of_ids[i].factor;
        write(place, row, factor, of_entropy, scratch);
    }

    /// Ids of a row in order, each once with the sum of its factors. Returns whether one of these is not 0.
    bool gather_ids(const RowPlace& place, Scratch& scratch) const {
        std::size_t count = 0;
        bool any = false;
        OfId* of_ids = scratch.of_ids.data();
        for (std::size_t i = 0; i < call_.ids_per_row; ++i) {
            if (scratch.ids[i] == no_index)
                continue;
            const char* data =
                call_.d_logprob.bytes() + place.offset[3] + static_cast<std::ptrdiff_t>(i) * factors_.stride;
            of_ids[count] = {scratch.ids[i], read_number(factors_, data), static_cast<double>(i)};
            any |= of_ids[count++].factor != 0.0;
        }
        std::sort(of_ids, of_ids + count, [](const OfId& a, const OfId& b) {
            return a.id != b.id ? a.id < b.id : a.value < b.value;  // equal ones as they were given
        });
        scratch.count = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const bool again = scratch.count > 0 && of_ids[scratch.count - 1].id == of_ids[i].id;
            if (again)
                of_ids[scratch.count - 1].factor += of_ids[i].factor;
            else
                of_ids[scratch.count++] = of_ids[i];
        }
        return any;
    }

    /// Before anything of the row is written.
    void set_values(const RowPlace& place, const BesideTop& row, double of_entropy, Scratch& scratch) const {
        const double top_probability = 1.0 / (1.0 + row.others);
        double factor = 0.0;
        for (std::size_t i = 0; i < scratch.count; ++i)
            factor += scratch.of_ids[i].factor;
        for (std::size_t i = 0; i < scratch.count; ++i) {
            OfId& id = scratch.of_ids[i];
            const bool leads = id.id == row.top_class;
            const double gap = wide_.gap(row.top, wide_.logit(place, id.id));
            const double p = leads ? top_probability : exp_of(-gap) * top_probability;
            const double complement = leads ? row.others * top_probability : 1.0 - p;
            double of_others = factor - id.factor;
            if (leads) {  // whose p may be near 1
                of_others = 0.0;
                for (std::size_t j = 0; j < scratch.count; ++j)
                    of_others += j == i ? 0.0 : scratch.of_ids[j].factor;
            }
            const double slope = of_entropy == 0.0 || p == 0.0 ? 0.0 : of_entropy * (gap - row.slope);
            id.value = wide_.scale() * (id.factor * complement + p * (slope - of_others));
        }
    }

    void write(const RowPlace& place, const BesideTop& row, double factor, double of_entropy, Scratch& scratch) const {
        const double mass = wide_.scale() / (1.0 + row.others);
        const double constant = mass * (-factor - of_entropy * row.slope);
        const double linear = -mass * of_entropy;
        std::size_t next = 0;
        wide_.for_blocks(place, row.top, scratch.logits, [&](std::size_t first, std::size_t n, const double* x) {
            double* const to = grad_.place(place, first, scratch.out);
            double* const out = scratch.out.data();
            kernels_.exp(x, n, out);
            for (std::size_t j = 0; j < n; ++j)
                out[j] = out[j] == 0.0 ? 0.0 : out[j] * (constant + linear * x[j]);
            for (; next < scratch.count && scratch.of_ids[next].id < first + n; ++next)
                out[scratch.of_ids[next].id - first] = scratch.of_ids[next].value;
            kernels_.canonical_nan(out, n);
            if (to != out)
                std::copy(out, out + n, to);
            grad_.store(place, first, n, out);
        });
    }

    void fill(const RowPlace& place, double value, Scratch& scratch) const {
        for (std::size_t first = 0; first < call_.classes; first += block_size) {
            const std::size_t n = std::min(block_size, call_.classes - first);
            double* const to = grad_.place(place, first, scratch.out);
            std::fill(to, to + n, value);
            grad_.store(place, first, n, to);
        }
    }

    const GradientCall& call_;
    const Kernels<double>& kernels_;
    Positions positions_, classes_;
    RowIds ids_;
    RowOutput<double> grad_;
    Line factors_;
    RowNumbers of_entropy_;
    WideRows wide_;
};

void run_token_logprobs_vjp(const ArrayView& logits, const ArrayView& ids, const ArrayView& d_logprob,
                            const ArrayView& d_entropy, const MutableArrayView& grad,
                            const TokenLogProbsVjpOptions& options) {
    const GradientCall call(logits, ids, d_logprob, d_entropy, grad, options);
    if (call.ids_per_row == 1 && !call.d_entropy.given())
        return run_cross_entropy_gradient(call);
    with_arithmetic_type(logits.dtype, [&](auto number) {
        const LogitTransform<decltype(number)> transform(std::nullopt, 0.0, call.scale());
        TokenGradientRows(call, transform.held() ? transform.scale() : call.scale()).run();
    });
}

}  // namespace
}  // namespace detail

void token_logprobs_vjp(const ArrayView& logits, const ArrayView& ids, const ArrayView& d_logprob,
                        const ArrayView& d_entropy, const MutableArrayView& grad,
                        const TokenLogProbsVjpOptions& options) {
    detail::enter([&] { detail::run_token_logprobs_vjp(logits, ids, d_logprob, d_entropy, grad, options); });
}

}  // namespace logitloss
