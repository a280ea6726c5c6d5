// Information measures: -log p on elements; entropies and divergences on rows.
#include "logitloss/information.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/dtype_switch.hpp"
#include "layout/scaled_number.hpp"
#include "logits/row_entropy.hpp"
#include "runtime/elementary.hpp"
#include "runtime/entry.hpp"
#include "traversal/element_map.hpp"
#include "traversal/row_operands.hpp"
#include "traversal/row_traversal.hpp"

namespace logitloss {
namespace detail {
namespace {

constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

enum class Measure { entropy, entropy_from_logits, kl_divergence, cross_entropy };

void check_base(const InformationOptions& options) {
    if (!options.base)
        return;
    require_positive_finite("base", *options.base);
    if (*options.base == 1.0)
        throw value_error("base: got 1.0, expected another base, whose logarithm is not 0");
}

/// Nats in one unit of the result.
double nats_per_unit(const InformationOptions& options) { return options.base ? log_of(*options.base) : 1.0; }

/// A divergence from its sums of h and of differences. Note [divergence without cancellation]
double divergence_of_sums(double terms, double difference) {
    constexpr double rounding = 0x1p-47;
    const double sum = terms + difference;
    return sum < 0.0 && std::isfinite(sum) && sum >= -rounding * (terms - difference) ? 0.0 : sum;
}

// ------------------------------------------------------------------------------------------------------------- rows

/// The arguments of a measure of rows, checked.
struct MeasureCall {
    const Measure measure;
    const Argument p, q;
    const Output out;
    const InformationOptions& options;
    int axis = 0;

    MeasureCall(Measure call_measure, const char* p_name, const ArrayView& p_view, const ArrayView& q_view,
                const MutableArrayView& out_view, const InformationOptions& call_options)
        : measure(call_measure), p(p_name, p_view), q("q", q_view), out("out", out_view), options(call_options) {
        check_base(options);
        require_floating(p);
        axis = normalized_axis(options.axis, p.shape.size());
        if (q.given())
            broadcast_strides(q, p.shape);
        require_dtype(out, loss_dtype(p.view.dtype));
        require_shape(out, without_axis(p.shape, axis));
        require_no_overlap(out, {&p, &q});
    }
};

/// The rows of a measure: sums over p, or over p and q.
template <class T>
class MeasureRows : public RowProblem {
public:
    struct Scratch {
        BufferSpace space;
        Buffer<T> p, q;
        ColumnBuffer<T> p_columns, q_columns;

        Scratch(std::size_t tile_rows, std::size_t n)
            : space(2 * BufferSpace::bytes<T>(n) + 4 * BufferSpace::bytes<T>(tile_rows * n)),
              p(space.take<T>(n)),
              q(space.take<T>(n)),
              p_columns(space, tile_rows * n),
              q_columns(space, tile_rows * n) {}
    };
    struct Block {
        SumPair sums;
        double top;  ///< of logits: the largest, which the sums leave out
    };
    struct Row {
        bool read = true;
        double value = 0.0;  ///< in nats, times
        double scale = 1.0;  ///< a power of two
    };
    using TileRows = Row[most_lanes];

    explicit MeasureRows(const MeasureCall& call)
        : call_(call),
          table_(detail::kernels()),
          positions_(without_axis(call.p.shape, call.axis)),
          class_positions_({call.p.shape[static_cast<std::size_t>(call.axis)]}),
          unit_(nats_per_unit(call.options)) {
        const auto axis = static_cast<std::size_t>(call.axis);
        const Shape q_strides = call.q.given() ? broadcast_strides(call.q, call.p.shape) : call.p.strides;
        for (const Shape& strides : {call.p.strides, q_strides}) {
            positions_.add(without_axis(strides, call.axis));
            class_positions_.add({strides[axis]});
        }
        positions_.add(call.out.strides);
        positions_.simplify(true);
        class_positions_.simplify(false);
        p_ = RowInput<T>(call.p, positions_, 0, class_positions_, 0);
        if (call.q.given())
            q_ = RowInput<T>(call.q, positions_, 1, class_positions_, 1);
        out_ = RowResults(call.out, 2);
    }

    void run() { traverse_rows(*this, plan_rows<T>(positions(), class_positions()), call_.options.num_threads); }

    // What RowTraversal asks.
    const Positions& positions() const { return positions_; }
    const Positions& class_positions() const { return class_positions_; }
    Scratch scratch(const RowPlan& plan) const {
        return Scratch(plan.tile_rows, plan.tiled() ? plan.classes : std::min(plan.classes, block_size));
    }

    Block reduce(int, const RowPlace& place, const Row&, std::size_t first, std::size_t n, Scratch& scratch) const {
        const Kernels<T>& k = table_.of<T>();
        const T* p = p_.read(place, first, n, scratch.p);
        if (call_.measure == Measure::entropy)
            return {{k.entropy(p, n), 0.0}, 0.0};
        if (call_.measure == Measure::entropy_from_logits) {
            const T top = k.largest(p, n);
            const double reference = std::isinf(top) ? 0.0 : static_cast<double>(top);
            return {k.exponential_gaps(p, n, k.find(p, n, top), reference), static_cast<double>(top)};
        }
        const T* q = q_.read(place, first, n, scratch.q);
        if (call_.measure == Measure::cross_entropy)
            return {{k.cross_entropy_of(p, q, n), 0.0}, 0.0};
        return {k.divergence(p, q, n), 0.0};
    }

    void fold(int, const Block* blocks, std::size_t count, Row& row) const {
        if (call_.measure == Measure::entropy_from_logits) {
            set_entropy_of_blocks(blocks, count, row);
            return;
        }
        StridedSum first, second;
        for (std::size_t b = 0; b < count; ++b) {
            first.add(b, blocks[b].sums.first);
            second.add(b, blocks[b].sums.second);
        }
        row.value = value_of({first.total(), second.total()});
    }

    void reduce_columns(int, const RowTile& tile, Row* rows, Scratch& scratch) const {
        const Kernels<T>& k = table_.of<T>();
        const TileShape shape{tile.lanes, class_positions_.count()};
        const Columns<const T> p = p_.columns(k, tile, shape.classes, scratch.p_columns);
        double first[most_lanes], second[most_lanes] = {};
        if (call_.measure == Measure::entropy_from_logits)
            return reduce_logits(p, shape, tile, rows);
        if (call_.measure == Measure::entropy) {
            k.column_entropy(p.data, p.stride, shape, first);
        } else {
            const Columns<const T> q = q_.columns(k, tile, shape.classes, scratch.q_columns);
            if (call_.measure == Measure::cross_entropy)
                k.column_cross_entropy_of(p.data, p.stride, q.data, q.stride, shape, first);
            else
                k.column_divergence(p.data, p.stride, q.data, q.stride, shape, first, second);
        }
        for (std::size_t r = 0; r < tile.count; ++r)
            rows[r].value = value_of({first[r], second[r]});
    }

    void end(const RowTile& tile, Row* rows, double*, Scratch& scratch) const {
        double values[most_lanes];
        for (std::size_t r = 0; r < tile.count; ++r) {
            if (may_leave_range(rows[r].value))
                take_into_range(tile.place(r), rows[r], scratch);
            values[r] = rows[r].value / unit_ * rows[r].scale + 0.0;  // not -0.0, where the base is below 1
        }
        out_.set(tile, values);
    }

private:
    double value_of(const SumPair& sums) const {
        return call_.measure == Measure::kl_divergence ? divergence_of_sums(sums.first, sums.second) : sums.first;
    }

    // Sums over large or small p may leave the range of float64, or end among its subnormal numbers, before the rows'
    // other terms or the base bring them back. They are linear in p: such a row is summed again from p near 1.
    bool may_leave_range(double value) const {
        if (sizeof(T) < sizeof(double) || call_.measure == Measure::entropy_from_logits)
            return false;
        const bool may_be_lost = call_.measure == Measure::kl_divergence || std::fabs(unit_) < 0.5;
        return !std::isfinite(value) || (std::fabs(value) < 0x1p-900 && (value != 0.0 || may_be_lost));
    }

    void take_into_range(const RowPlace& place, Row& row, Scratch& scratch) const {
        const std::size_t classes = class_positions_.count();
        double largest = 0.0;
        for_pieces(classes, [&](std::size_t first, std::size_t n) {
            const T top = table_.of<T>().largest(p_.read(place, first, n, scratch.p), n);
            largest = std::max(largest, static_cast<double>(top));
        });
        if (!(largest > 0x1p900 || (largest > 0.0 && largest < 0x1p-500)) || std::isinf(largest))
            return;
        const int power = std::clamp(-Scaled(largest).exponent(), -1000, 1000);
        StridedSum first_sum, second_sum;
        std::size_t index = 0;
        for_pieces(classes, [&](std::size_t first, std::size_t n) {
            const SumPair sums = sums_in_range(place, first, n, power, scratch);
            first_sum.add(index, sums.first);
            second_sum.add(index++, sums.second);
        });
        row.value = value_of({first_sum.total(), second_sum.total()});
        row.scale = std::ldexp(1.0, -power);
    }

    static constexpr std::size_t piece = 256;
    template <class Fn>
    static void for_pieces(std::size_t classes, Fn&& fn) {
        for (std::size_t first = 0; first < classes; first += piece)
            fn(first, std::min(piece, classes - first));
    }

    /// What `reduce` gives for 2^power p; of a divergence for 2^power q, too, and where that leaves the range, the term
    /// is p (log p - log q).
    SumPair sums_in_range(const RowPlace& place, std::size_t first, std::size_t n, int power, Scratch& scratch) const {
        const Kernels<double>& k = table_.float64;
        double p[piece], q[piece];
        const T* given_p = p_.read(place, first, n, scratch.p);
        std::copy(given_p, given_p + n, q);
        if (call_.measure != Measure::entropy) {
            const T* given_q = q_.read(place, first, n, scratch.q);
            std::copy(given_q, given_q + n, q);
        }
        for (std::size_t j = 0; j < n; ++j)
            p[j] = std::ldexp(static_cast<double>(given_p[j]), power);
        if (call_.measure != Measure::kl_divergence)
            return {k.cross_entropy_of(p, q, n), 0.0};
        double far = 0.0;
        for (std::size_t j = 0; j < n; ++j) {
            const double scaled = std::ldexp(q[j], power);
            if (p[j] > 0.0 && q[j] > 0.0 && std::isfinite(q[j]) && !std::isnormal(scaled)) {
                far += p[j] * log_of(Scaled(static_cast<double>(given_p[j])) / Scaled(q[j]));
                p[j] = q[j] = 0.0;
            } else {
                q[j] = scaled;
            }
        }
        const SumPair sums = k.divergence(p, q, n);
        return {sums.first, sums.second + far};
    }

    void reduce_logits(const Columns<const T>& x, const TileShape& shape, const RowTile& tile, Row* rows) const {
        const Kernels<T>& k = table_.of<T>();
        T largest[most_lanes];
        double top[most_lanes] = {}, minus_reference[most_lanes], others[most_lanes] = {}, gaps[most_lanes] = {};
        k.column_largest(x.data, x.stride, shape, largest);
        for (std::size_t r = 0; r < shape.lanes; ++r) {
            const auto out = static_cast<std::ptrdiff_t>(std::max(largest[r], T(0)));
            top[r] = static_cast<double>(x.data[out * x.stride + static_cast<std::ptrdiff_t>(r)]);
            minus_reference[r] = std::isinf(top[r]) ? 0.0 : -top[r];
        }
        k.column_exponential_gaps(x.data, x.stride, shape, largest, minus_reference, others, gaps);
        double log1p_others[most_lanes] = {};
        for (std::size_t r = 0; r < tile.count; ++r)
            log1p_others[r] = others[r] / raised;
        table_.float64.log1p(log1p_others, tile.count, log1p_others);
        for (std::size_t r = 0; r < tile.count; ++r)
            set_entropy(top[r], others[r], log1p_others[r], gaps[r], rows[r]);
    }

    static void set_entropy(double top, double others, double log1p_others, double gaps, Row& row) {
        const ScaledNats nats =
            std::isinf(top) ? ScaledNats{quiet_nan} : entropy_beside_top(others, log1p_others, gaps);
        row.value = nats.value;
        row.scale = nats.scale;
    }

    /// exp(-gap (1 + lost / gap)) times x, also where the exponential alone is no normal number.
    static double fallen(double gap, double lost, double x) {
        if (gap == 0.0)
            return x;
        if (gap < 600.0)
            return exp_of(-gap) * (1.0 - lost) * x;
        const double root = gap < 1600.0 ? exp_of(-0.5 * gap) : 0.0;
        return root == 0.0 ? (x == x ? 0.0 : x) : root * (root * ((1.0 - lost) * x));
    }

    void set_entropy_of_blocks(const Block* blocks, std::size_t count, Row& row) const {
        std::size_t out = 0;
        for (std::size_t b = 1; b < count; ++b)
            out = blocks[b].top > blocks[out].top ? b : out;
        if (count == 0)
            return;
        const double top = blocks[out].top;
        StridedSum others, gaps;
        for (std::size_t b = 0; b < count; ++b) {
            const bool masked = blocks[b].top == -std::numeric_limits<double>::infinity();
            const double gap = masked ? 0.0 : top - blocks[b].top;
            const double lost = (top - gap) - blocks[b].top;  // by the subtraction: the gap is larger by this
            const double mass = blocks[b].sums.first + (b == out || masked ? 0.0 : raised);
            const double inside = blocks[b].sums.second + (gap == 0.0 ? 0.0 : gap * mass);
            others.add(b, masked ? mass : fallen(gap, lost, mass));
            gaps.add(b, masked ? inside : fallen(gap, lost, inside));
        }
        const double total = others.total();
        set_entropy(top, total, log1p_of(total / raised), gaps.total(), row);
    }

    const MeasureCall& call_;
    const KernelTable& table_;
    Positions positions_, class_positions_;
    double unit_;
    RowInput<T> p_, q_;
    RowResults out_;
};

void run_measure(Measure measure, const ArrayView& p, const ArrayView& q, const MutableArrayView& out,
                 const InformationOptions& options) {
    const char* p_name = measure == Measure::entropy_from_logits ? "logits" : "p";
    const MeasureCall call(measure, p_name, p, q, out, options);
    const DType dtype = q.given() ? common_arithmetic(p.dtype, q.dtype) : p.dtype;
    with_arithmetic_type(dtype, [&](auto number) { MeasureRows<decltype(number)>(call).run(); });
}

void run_self_information(const ArrayView& p_view, const MutableArrayView& out_view,
                          const InformationOptions& options) {
    const Argument p("p", p_view);
    const Output out("out", out_view);
    check_base(options);
    require_element_result(p, out);
    const double unit = options.base == 2.0 ? 0.0 : nats_per_unit(options);
    with_arithmetic_type(p.view.dtype, [&](auto number) {
        using T = decltype(number);
        map_elements<T>(p, out, options.num_threads, [unit](const T* x, std::size_t n, T* values) {
            kernels().of<T>().self_information(x, n, unit, values);
        });
    });
}

}  // namespace
}  // namespace detail

void self_information(const ArrayView& p, const MutableArrayView& out, const InformationOptions& options) {
    detail::enter([&] { detail::run_self_information(p, out, options); });
}

void entropy(const ArrayView& p, const MutableArrayView& out, const InformationOptions& options) {
    detail::enter([&] { detail::run_measure(detail::Measure::entropy, p, {}, out, options); });
}

void entropy_from_logits(const ArrayView& logits, const MutableArrayView& out, const InformationOptions& options) {
    detail::enter([&] { detail::run_measure(detail::Measure::entropy_from_logits, logits, {}, out, options); });
}

void kl_divergence(const ArrayView& p, const ArrayView& q, const MutableArrayView& out,
                   const InformationOptions& options) {
    detail::enter([&] { detail::run_measure(detail::Measure::kl_divergence, p, q, out, options); });
}

void cross_entropy_of(const ArrayView& p, const ArrayView& q, const MutableArrayView& out,
                      const InformationOptions& options) {
    detail::enter([&] { detail::run_measure(detail::Measure::cross_entropy, p, q, out, options); });
}

}  // namespace logitloss
