// Log-sum-exp with weights of either sign: sums in float64, every element staged.
#include <cmath>
#include <limits>
#include <vector>

#include "arguments/arguments.hpp"
#include "layout/strided_sum.hpp"
#include "logitloss/logsumexp.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/entry.hpp"
#include "traversal/masked_rows.hpp"
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
    WeightedRows(const Argument& a, const Argument& b, const Argument& where, const Output& out, const Output& sign,
                 const std::vector<int>& axes, bool mean)
        : kernels_(detail::kernels().float64),
          rows_(without_axes(a.shape, axes)),
          classes_(at_axes(a.shape, axes)),
          signed_(sign.given()),
          mean_(mean) {
        for (const Argument* argument : {&a, &b}) {
            rows_.add(without_axes(argument->strides, axes));
            classes_.add(at_axes(argument->strides, axes));
        }
        rows_.add(out.strides);
        if (signed_)
            rows_.add(sign.strides);
        if (where.given()) {
            const Shape strides = broadcast_strides(where, a.shape);
            rows_.add(without_axes(strides, axes));
            classes_.add(at_axes(strides, axes));
        }
        rows_.simplify(true);
        classes_.simplify(true);
        const RowMask mask = where.given() ? RowMask(where, rows_.operands() - 1, classes_, 2) : RowMask();
        a_ = {RowInput<double>(a, rows_, 0, classes_, 0), mask};
        b_ = {RowInput<double>(b, rows_, 1, classes_, 1), mask};
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
        Buffer<unsigned char> where;
        MaskBuffer mask;
        RowPlan plan;

        explicit Scratch(const RowPlan& row_plan)
            : space(2 * BufferSpace::bytes<double>(std::min(block_size, row_plan.classes)) +
                    BufferSpace::bytes<unsigned char>(std::min(block_size, row_plan.classes))),
              a(space.take<double>(std::min(block_size, row_plan.classes))),
              b(space.take<double>(std::min(block_size, row_plan.classes))),
              where(space.take<unsigned char>(std::min(block_size, row_plan.classes))),
              mask{where.data()},
              plan(row_plan) {}
    };
    const Positions& positions() const { return rows_; }
    Scratch scratch(const RowPlan& plan) const { return Scratch(plan); }
    void reduce_columns(int, const RowTile& tile, TileRows&, Scratch& scratch) const {
        run_row(tile.place(0), scratch.plan, scratch);
    }
    void end(const RowTile&, const TileRows&, const double*, const Scratch&) const {}

private:
    struct Elements {
        const double* x;  // -inf where the weight is 0
        const double* b;  // not infinite where x is -inf
        std::size_t n;
    };

    Elements read(const RowPlace& place, const RowPlan& plan, std::size_t index, Scratch& buffers) const {
        const std::size_t first = index * block_size;
        const std::size_t n = std::min(block_size, plan.classes - first);
        const double* a = a_.read(place, first, n, buffers.a, buffers.mask);
        const double* b = b_.read(place, first, n, buffers.b, buffers.mask, 0.0);
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
    /// What a look at a row's weights says.
    struct Weights {
        double heaviest = 0.0;
        double lightest = infinity;  // of those that are not 0
        bool positive = false;
        bool negative = false;

        void look(const double* b, std::size_t n) {
            for (std::size_t j = 0; j < n; ++j) {
                const double size = std::fabs(b[j]);
                heaviest = std::fmax(heaviest, size);
                lightest = std::fmin(lightest, size == 0.0 ? infinity : size);
                positive |= b[j] > 0.0;
                negative |= b[j] < 0.0;
            }
        }
        /// Whether sums cannot cancel, and products with exponentials stay among the normal numbers, once lifted.
        bool ordinary() const { return !(positive && negative) && heaviest < 0x1p400 && lightest > 0x1p-400; }
    };
    static constexpr double lift = 512.0;  // an exponent: sums are made of terms so much larger

    void run_row(const RowPlace& place, const RowPlan& plan, Scratch& buffers) const {
        double top = -infinity;
        Weights weights;
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read(place, plan, index, buffers);
            const double block_top = kernels_.float64_max(block.x, block.n, no_index);
            top = block_top > top || block_top != block_top ? block_top : top;
            weights.look(block.b, block.n);
        }
        const auto count = static_cast<double>(mean_ ? a_.count(place, plan.classes) : 1);
        const SignedLog result =
            count == 0.0 ? SignedLog{quiet_nan, quiet_nan} : end_of(place, plan, top, weights, count, buffers);
        out_.set(place, !signed_ && result.sign < 0.0 ? quiet_nan : result.log);
        if (signed_)
            sign_.set(place, result.sign);
    }

    SignedLog end_of(const RowPlace& place, const RowPlan& plan, double top, const Weights& weights, double count,
                     Scratch& buffers) const {
        if (top != top)
            return {quiet_nan, quiet_nan};
        if (top == -infinity)
            return weight_is_nan(place, plan, buffers) ? SignedLog{quiet_nan, quiet_nan} : SignedLog{-infinity, 0.0};
        if (top == infinity || weights.heaviest == infinity)
            return infinite_sum(place, plan, buffers);
        if (mean_ || !weights.ordinary() || std::fabs(top) > fast_limit)
            return in_two_parts(place, plan, top, count, buffers);
        const SignedLog result = in_one_part(place, plan, top, buffers);
        const bool near = std::fabs(result.log) < 1.0 && std::fabs(result.log - top) < 1.0;
        return near ? in_two_parts(place, plan, top, count, buffers) : result;
    }

    SignedLog in_one_part(const RowPlace& place, const RowPlan& plan, double top, Scratch& buffers) const {
        LogSumExpEnds<double> ends;
        std::fill(ends.max, ends.max + row_batch, top);
        const double exponent = std::nearbyint(top * 0x1.71547652b82fep+0);
        StridedSum sums, own;
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read(place, plan, index, buffers);
            for (std::size_t j = 0; j < block.n; ++j)
                buffers.b[j] = block.b[j] * 0x1p512;
            sums.add(index, kernels_.weighted_exponentials(block.x, buffers.b.data(), block.n, exponent));
            double at_top = 0.0;
            for (std::size_t j = 0; j < block.n; ++j)
                at_top += block.x[j] == top ? buffers.b[j] : 0.0;
            own.add(index, at_top);
        }
        const double sum = sums.total();
        const double sign = sum > 0.0 ? 1.0 : sum < 0.0 ? -1.0 : sum;
        if (!(sum - sum == 0.0))
            return {quiet_nan, quiet_nan};  // of a weight
        double weight_at_top[row_batch];
        std::fill(weight_at_top, weight_at_top + row_batch, sign * own.total() * 0x1p-512);
        std::fill(ends.sum, ends.sum + row_batch, std::fabs(sum));
        std::fill(ends.exponent, ends.exponent + row_batch, exponent - lift);
        ends.own = weight_at_top;
        kernels_.log_sum_exp_ends(&ends, 1);
        return {ends.lse[0], sign};
    }

    /// Note [log-sum-exp near 0], with weights: rows near 0, rows whose weights have both signs, those with weights or
    /// elements of any size, and means, of `count` elements.
    SignedLog in_two_parts(const RowPlace& place, const RowPlan& plan, double top, double count,
                           Scratch& buffers) const {
        const NumberKernels& numbers = detail::kernels().numbers;
        double exponent = no_exponent;
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read(place, plan, index, buffers);
            exponent = std::fmax(exponent, numbers.weighted_exponent(block.x, block.b, block.n, top));
        }
        exponent -= lift;      // terms that are subnormal beside the largest one must keep their digits
        PairedSum sum, below;  // of the weights at the maximum, and of the other terms
        for (std::size_t index = 0; index < plan.blocks; ++index) {
            const Elements block = read(place, plan, index, buffers);
            for (std::size_t j = 0; j < block.n; ++j)
                if (block.x[j] == top) {
                    sum.add({std::ldexp(block.b[j], -static_cast<int>(exponent)), 0.0});
                    buffers.a[j] = -infinity;
                }
            below.add(numbers.weighted_pairs(block.x, block.b, block.n, top, exponent));
        }
        sum.add(below.value());
        const double high = sum.value().first;
        if (high != high)
            return {quiet_nan, quiet_nan};
        if (high == 0.0)
            return {-infinity, 0.0};
        const double sign = high > 0.0 ? 1.0 : -1.0;
        LogSumExpEnds<double> ends;
        double exponents[row_batch], counts[row_batch];
        std::fill(exponents, exponents + row_batch, exponent);
        std::fill(counts, counts + row_batch, count);
        ends.divisor = counts;
        std::fill(ends.max, ends.max + row_batch, top);
        std::fill(ends.others, ends.others + row_batch, sign * high);
        std::fill(ends.others_rest, ends.others_rest + row_batch, sign * sum.value().second);
        std::fill(ends.near, ends.near + row_batch, 1.0);
        kernels_.paired_ends(&ends, exponents, row_batch);
        return {ends.lse[0], sign};
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

    const Kernels<double>& kernels_;
    Positions rows_, classes_;
    bool signed_;
    bool mean_;
    MaskedInput<double> a_, b_;
    RowResults out_, sign_;
};

void run_weighted(const ArrayView& a_view, const ArrayView& b_view, const MutableArrayView& out_view,
                  const MutableArrayView& sign_view, const SoftmaxOptions& options, bool mean) {
    const Argument a("a", a_view);
    const Argument where("where", options.where);
    const Argument b("b", b_view);
    const Output out("out", out_view);
    const Output sign("sign", sign_view);
    const std::vector<int> axes = normalized_axes(options.axes, a.shape.size());
    require_shape(b, a.shape);
    require_mask(where, a.shape);
    for (const Output* result : {&out, &sign}) {
        if (result == &sign && !sign.given())
            continue;
        if (result->view.dtype != DType::float32 && result->view.dtype != DType::float64)
            throw value_error(std::string(result->name) + ": got dtype " + name(result->view.dtype) +
                              ", expected float32 or float64");
        require_shape(*result, without_axes(a.shape, axes));
        require_no_overlap(*result, {&a, &b, &where, result == &out ? &sign : &out});
    }
    WeightedRows(a, b, where, out, sign, axes, mean).run(options.num_threads);
}

}  // namespace
}  // namespace detail

void weighted_logsumexp(const ArrayView& a, const ArrayView& b, const MutableArrayView& out,
                        const MutableArrayView& sign, const SoftmaxOptions& options) {
    detail::enter([&] { detail::run_weighted(a, b, out, sign, options, false); });
}

void weighted_logmeanexp(const ArrayView& a, const ArrayView& b, const MutableArrayView& out,
                         const SoftmaxOptions& options) {
    detail::enter([&] { detail::run_weighted(a, b, out, {}, options, true); });
}

}  // namespace logitloss
