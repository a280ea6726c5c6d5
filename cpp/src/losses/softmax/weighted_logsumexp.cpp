// Log-sum-exp with weights of either sign: sums in float64, every element staged.
#include <cmath>
#include <limits>
#include <vector>

#include "arguments/arguments.hpp"
#include "logitloss/logsumexp.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/entry.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss {
namespace detail {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

/// log |sum| and the sign of the sum.
struct SignedLog {
    double log;
    double sign;
};

class WeightedRows : public RowProblem {
public:
    WeightedRows(const Argument& a, const Argument& b, const Output& out, const Output& sign,
                 const std::vector<int>& axes)
        : kernels_(detail::kernels().float64),
          rows_(without_axes(a.shape, axes)),
          classes_(at_axes(a.shape, axes)),
          signed_(sign.given()) {
        for (const Argument* argument : {&a, &b}) {
            rows_.add(without_axes(argument->strides, axes));
            classes_.add(at_axes(argument->strides, axes));
        }
        rows_.add(out.strides);
        if (signed_)
            rows_.add(sign.strides);
        rows_.simplify(true);
        classes_.simplify(true);
        a_ = RowInput<double>(a, rows_, 0, classes_, 0);
        b_ = RowInput<double>(b, rows_, 1, classes_, 1);
        out_ = RowResults(out, 2);
        if (signed_)
            sign_ = RowResults(sign, 3);
    }

    void run(int num_threads) {
        RowPlan plan(rows_.count(), classes_.count());
        plan.hand_out_whole(1);
        traverse_rows(*this, plan, num_threads);
    }

    // What RowTraversal asks.
    struct Scratch {
        BufferSpace space;
        Buffer<double> a, b;
        RowPlan plan;

        explicit Scratch(const RowPlan& row_plan)
            : space(2 * BufferSpace::bytes<double>(std::min(block_size, row_plan.classes))),
              a(space.take<double>(std::min(block_size, row_plan.classes))),
              b(space.take<double>(std::min(block_size, row_plan.classes))),
              plan(row_plan) {}
    };
    using Block = NoBlocks;
    using Row = NoBlocks;
    struct TileRows {};
    const Positions& positions() const { return rows_; }
    Scratch scratch(const RowPlan& plan) const { return Scratch(plan); }
    void reduce_columns(int, const Tile& tile, TileRows&, Scratch& scratch) const {
        run_row(tile.place(0), scratch.plan, scratch);
    }
    void end(const Tile&, const TileRows&, const double*, const Scratch&) const {}

private:
    struct Elements {
        const double* x;  // -inf where the weight is 0
        const double* b;  // not infinite where x is -inf
        std::size_t n;
    };

    Elements read(const RowPlace& place, const RowPlan& plan, std::size_t index, Scratch& buffers) const {
        const std::size_t first = index * block_size;
        const std::size_t n = std::min(block_size, plan.classes - first);
        const double* a = a_.read(place, first, n, buffers.a);
        const double* b = b_.read(place, first, n, buffers.b);
        bool infinite = false;
        for (std::size_t j = 0; j < n; ++j) {
            infinite |= std::fabs(b[j]) == infinity;
            buffers.a[j] = b[j] == 0.0 ? -infinity : a[j];
        }
        if (!infinite)
            return {buffers.a.data(), b, n};
        for (std::size_t j = 0; j < n; ++j)
            buffers.b[j] = buffers.a[j] == -infinity && b[j] == b[j] ? 0.0 : b[j];
        return {buffers.a.data(), buffers.b.data(), n};
    }
    /// As read(), with the weights times 2^lift.
    Elements read_lifted(const RowPlace& place, const RowPlan& plan, std::size_t index, double lift,
                         Scratch& buffers) const {
        Elements block = read(place, plan, index, buffers);
        if (lift == 0.0)
            return block;
        const double factor = std::ldexp(1.0, static_cast<int>(lift));
        for (std::size_t j = 0; j < block.n; ++j)
            buffers.b[j] = block.b[j] * factor;
        return {block.x, buffers.b.data(), block.n};
    }

    void run_row(const RowPlace& place, const RowPlan& plan, Scratch& buffers) const {
        double top = -infinity;
        double heaviest = 0.0;
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read(place, plan, index, buffers);
            const double block_top = kernels_.careful_max(block.x, block.n, no_index);
            top = block_top > top || block_top != block_top ? block_top : top;
            for (std::size_t j = 0; j < block.n; ++j)
                heaviest = std::fmax(heaviest, std::fabs(block.b[j]));
        }
        const SignedLog result = end_of(place, plan, top, heaviest, buffers);
        out_.set(place, !signed_ && result.sign < 0.0 ? quiet_nan : result.log);
        if (signed_)
            sign_.set(place, result.sign);
    }

    /// `heaviest`: the largest |b|. Unless that is huge, the weights are lifted while they are added up, lest products
    /// with small ones leave the normal numbers.
    SignedLog end_of(const RowPlace& place, const RowPlan& plan, double top, double heaviest, Scratch& buffers) const {
        if (top != top)
            return {quiet_nan, quiet_nan};
        if (top == -infinity)
            return weight_is_nan(place, plan, buffers) ? SignedLog{quiet_nan, quiet_nan} : SignedLog{-infinity, 0.0};
        if (top == infinity || heaviest == infinity)
            return infinite_sum(place, plan, buffers);
        const bool fast = std::fabs(top) <= fast_limit;
        LogSumExpEnds<double> ends;
        std::fill(ends.max, ends.max + row_batch, fast ? top : 0.0);
        const double exponent = fast ? std::nearbyint(top * 0x1.71547652b82fep+0) : 0.0;
        const double lift = heaviest < 0x1p400 ? 512.0 : 0.0;
        StridedSum sums, own;
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read_lifted(place, plan, index, lift, buffers);
            sums.add(index, fast ? kernels_.weighted_exponentials(block.x, block.b, block.n, exponent)
                                 : careful_sum(block, top));
            double at_top = 0.0;
            for (std::size_t j = 0; j < block.n; ++j)
                at_top += block.x[j] == top ? block.b[j] : 0.0;
            own.add(index, at_top);
        }
        const double sum = sums.total();
        const double sign = sum > 0.0 ? 1.0 : sum < 0.0 ? -1.0 : sum;
        const double magnitude = std::fabs(sum);
        if (sum == 0.0 || !std::isfinite(sum))
            return {sum == 0.0 ? -infinity : magnitude, sign};
        // sum / exp(top) must be a normal number; where it is not, part of its power of two is added as a logarithm.
        const double beyond = magnitude * 0x1p-512 < 0x1p-500 && lift != 0.0 ? 512.0 : 0.0;
        double weight_at_top[row_batch];
        std::fill(weight_at_top, weight_at_top + row_batch,
                  std::ldexp(sign * own.total(), static_cast<int>(beyond - lift)));
        std::fill(ends.sum, ends.sum + row_batch, magnitude);
        std::fill(ends.exponent, ends.exponent + row_batch, exponent - lift + beyond);
        ends.own = weight_at_top;
        kernels_.log_sum_exp_ends(&ends, 1);
        if (fast && beyond == 0.0)
            return {ends.lse[0], sign};
        return {top + std::fma(-beyond, 0x1.62e42fefa39efp-1, ends.above_max[0]), sign};
    }

    bool weight_is_nan(const RowPlace& place, const RowPlan& plan, Scratch& buffers) const {
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read(place, plan, index, buffers);
            for (std::size_t j = 0; j < block.n; ++j)
                if (block.b[j] != block.b[j])
                    return true;
        }
        return false;
    }

    /// Terms with an infinite element, or an infinite weight of one that is not -inf: where they agree in sign the sum
    /// is infinite, where they do not it is NaN.
    SignedLog infinite_sum(const RowPlace& place, const RowPlan& plan, Scratch& buffers) const {
        double sum = 0.0;
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read(place, plan, index, buffers);
            for (std::size_t j = 0; j < block.n; ++j)
                if (block.b[j] != 0.0 && (block.x[j] == infinity || !std::isfinite(block.b[j])))
                    sum += block.b[j] * infinity;
        }
        return sum != sum ? SignedLog{quiet_nan, quiet_nan} : SignedLog{infinity, sum > 0.0 ? 1.0 : -1.0};
    }

    /// sum_j b_j exp(x_j - top).
    double careful_sum(const Elements& block, double top) const {
        double sum = 0.0;
        for (std::size_t j = 0; j < block.n; ++j) {
            if (block.b[j] == 0.0)
                continue;
            double e = block.x[j] - top;
            kernels_.exp(&e, 1, &e);
            sum += block.b[j] * e;
        }
        return sum;
    }

    const Kernels<double>& kernels_;
    Positions rows_, classes_;
    bool signed_;
    RowInput<double> a_, b_;
    RowResults out_, sign_;
};

void run_weighted(const ArrayView& a_view, const ArrayView& b_view, const MutableArrayView& out_view,
                  const MutableArrayView& sign_view, const SoftmaxOptions& options) {
    const Argument a("a", a_view);
    const Argument b("b", b_view);
    const Output out("out", out_view);
    const Output sign("sign", sign_view);
    const std::vector<int> axes = normalized_axes(options.axes, a.shape.size());
    require_shape(b, a.shape);
    for (const Output* result : {&out, &sign}) {
        if (result == &sign && !sign.given())
            continue;
        if (result->view.dtype != DType::float32 && result->view.dtype != DType::float64)
            throw value_error(std::string(result->name) + ": got dtype " + name(result->view.dtype) +
                              ", expected float32 or float64");
        require_shape(*result, without_axes(a.shape, axes));
        require_no_overlap(*result, {&a, &b, result == &out ? &sign : &out});
    }
    WeightedRows(a, b, out, sign, axes).run(options.num_threads);
}

}  // namespace
}  // namespace detail

void weighted_logsumexp(const ArrayView& a, const ArrayView& b, const MutableArrayView& out,
                        const MutableArrayView& sign, const SoftmaxOptions& options) {
    detail::enter([&] { detail::run_weighted(a, b, out, sign, options); });
}

}  // namespace logitloss
