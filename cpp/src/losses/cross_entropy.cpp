// Softmax cross-entropy: class indices and class probabilities, with every option, on the row traversal.
//
// Note [row factors]: the options do not multiply kernels. Each is one of
//   - a change of the logits of a block (softcap, margin, scale: LogitTransform),
//   - the coefficients q_j of a linear term sum_j q_j (L - z_j): probabilities, smoothing, class weights,
//   - a few scalars per row (class weight of the target, sample weight, z-loss, upstream, normalizer), which `end`
//     combines in float64 into the row's loss and the three numbers that the gradient sweep takes:
//     grad_j = scale exp(z_j) + linear q_j, and the value at the class taken out.
#include "logitloss/cross_entropy.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "losses/arguments.hpp"
#include "losses/class_indices.hpp"
#include "losses/dtype_switch.hpp"
#include "losses/logit_rows.hpp"
#include "losses/logit_transform.hpp"
#include "losses/reduction.hpp"

namespace logitloss {
namespace detail {
namespace {

/// a b, but 0 for 0 times infinity: a weight of 0 removes an infinite term. NaN stays.
double times(double a, double b) { return (a == 0.0 && std::isinf(b)) || (b == 0.0 && std::isinf(a)) ? 0.0 : a * b; }

/// The arguments of one call, checked.
struct CrossEntropyCall {
    const Argument logits, target, class_weight, sample_weight, upstream;
    const Output loss, grad;
    const CrossEntropyOptions& options;
    int axis = 0;
    std::size_t classes = 0;
    bool indices = false;
    Shape rows;  ///< shape of the per-position loss
    Normalization normalization;

    CrossEntropyCall(const ArrayView& logits_view, const ArrayView& target_view, const ArrayView& upstream_view,
                     const MutableArrayView& loss_view, const MutableArrayView& grad_view,
                     const CrossEntropyOptions& call_options)
        : logits("logits", logits_view),
          target("target", target_view),
          class_weight("class_weight", call_options.class_weight),
          sample_weight("sample_weight", call_options.sample_weight),
          upstream("upstream", upstream_view),
          loss("out", loss_view),
          grad("grad_out", grad_view),
          options(call_options) {
        check_options();
        require_floating(logits);
        axis = normalized_axis(options.axis, logits.shape.size());
        classes = static_cast<std::size_t>(logits.shape[static_cast<std::size_t>(axis)]);
        rows = without_axis(logits.shape, axis);
        check_target();
        if (class_weight.given())
            require_shape(class_weight, {static_cast<std::ptrdiff_t>(classes)});
        if (sample_weight.given())
            broadcast_strides(sample_weight, rows);
        const Shape loss_shape = options.reduction == Reduction::none ? rows : Shape{};
        check_outputs(loss_shape);
        if (upstream.given())
            broadcast_strides(upstream, loss_shape);
        const double weights = indices ? check_labels(target, classes, options.ignore_index, class_weight,
                                                      sample_weight, options.num_threads)
                                       : mean_weights();
        normalization = Normalization(options.reduction, options.normalizer, weights);
    }

private:
    void check_options() const {
        require_unit_interval("label_smoothing", options.label_smoothing);
        require_finite("z_loss", options.z_loss);
        require_finite("margin", options.margin);
        require_positive_finite("scale", options.scale);
        if (options.softcap)
            require_positive_finite("softcap", *options.softcap);
        check_normalizer(options.reduction, options.normalizer);
    }

    void check_target() {
        indices = holds_class_indices(target, logits.shape, rows);
        if (!indices && options.margin != 0.0)
            throw value_error("margin: got " + to_string(options.margin) +
                              " with class probabilities, expected class indices or a margin of 0");
    }

    void check_outputs(const Shape& loss_shape) const {
        require_dtype(loss, loss_dtype(logits.view.dtype));
        require_shape(loss, loss_shape);
        require_no_overlap(loss, {&logits, &target, &class_weight, &sample_weight, &upstream, &grad});
        if (!grad.given())
            return;
        require_dtype(grad, logits.view.dtype);
        require_shape(grad, logits.shape);
        require_no_overlap(grad, {&logits, &target, &class_weight, &sample_weight, &upstream}, {&logits});
    }

    double mean_weights() const {
        return options.reduction == Reduction::mean && !options.normalizer
                   ? sum_sample_weights(sample_weight, rows, options.num_threads)
                   : 1.0;
    }
};

/// The rows of a call, as RowDriver walks them.
template <class T>
class CrossEntropyRows {
public:
    /// What the gradient sweep of a row takes.
    struct Write {
        bool zero = false;
        bool nan = false;
        bool careful = false;
        double base = 0.0;
        double scale = 0.0;
        double linear = 0.0;
        std::size_t out_class = no_index;
        double out_value = 0.0;
    };

    explicit CrossEntropyRows(const CrossEntropyCall& call)
        : call_(call),
          table_(detail::kernels()),
          positions_(call.rows),
          class_positions_({static_cast<std::ptrdiff_t>(call.classes)}),
          transform_(call.options.softcap, call.options.margin, call.options.scale),
          smoothing_(call.options.label_smoothing),
          linear_(!call.indices || smoothing_ > 0.0) {
        const auto class_axis = static_cast<std::size_t>(call.axis);
        const auto add = [&](const Argument& argument, const Shape& strides) {
            return argument.given() ? positions_.add(strides) : -1;
        };
        const auto rows_of = [&](const Argument& argument) {
            return argument.given() ? without_axis(argument.strides, call.axis) : Shape{};
        };
        const auto broadcast = [&](const Argument& argument) {
            return argument.given() ? broadcast_strides(argument, call.rows) : Shape{};
        };
        const bool none = call.options.reduction == Reduction::none;
        const int logits = add(call.logits, rows_of(call.logits));
        const int target = add(call.target, call.indices ? call.target.strides : rows_of(call.target));
        const int grad = add(call.grad, rows_of(call.grad));
        const int sample_weight = add(call.sample_weight, broadcast(call.sample_weight));
        const int upstream = none ? add(call.upstream, broadcast(call.upstream)) : -1;
        const int loss = none ? add(call.loss, call.loss.strides) : -1;
        positions_.simplify(true);
        const auto add_classes = [&](const Argument& argument) {
            return class_positions_.add({argument.given() ? argument.strides[class_axis] : 0});
        };
        add_classes(call.logits);
        const int class_target = call.indices ? -1 : add_classes(call.target);
        const int class_grad = add_classes(call.grad);
        class_positions_.simplify(false);

        logits_ = RowInput<T>(call.logits, positions_, logits, class_positions_, 0);
        staged_ = !logits_.direct() || !transform_.identity() || linear_;
        if (call.indices)
            labels_ = RowNumbers(call.target, target);
        else
            probabilities_ = RowInput<T>(call.target, positions_, target, class_positions_, class_target);
        if (call.class_weight.given()) {
            class_weight_line_ = {call.class_weight.view.dtype, call.class_weight.view.byteswapped,
                                  call.class_weight.strides[0]};
        }
        if (call.class_weight.given() && TileRule<T>::applies(positions_, class_positions_))
            read_class_weights();
        if (call.sample_weight.given())
            sample_weight_ = RowNumbers(call.sample_weight, sample_weight);
        if (none && call.upstream.given())
            upstream_ = RowNumbers(call.upstream, upstream);
        if (none)
            loss_ = RowResults(call.loss, loss);
        if (call.grad.given()) {
            grad_ = RowOutput<T>(call.grad, positions_, grad, class_positions_, class_grad);
            staged_ |= !grad_.direct();
            mode_ = choose_store_mode(call.grad.view.data == call.logits.view.data,
                                      positions_.count() * call.classes * sizeof(T),
                                      grad_.direct() && transform_.identity() ? grad_.alignment() : 1);
            grad_factor_ = call.normalization.gradient_factor * transform_.scale();
            if (!none && call.upstream.given())
                grad_factor_ *= RowNumbers(call.upstream, 0)[RowPlace{}];
        }
    }

    void run() {
        const double sum = run_rows<T>(*this, positions_, class_positions_, item_size(call_.logits.view.dtype),
                                       call_.options.num_threads, staged_);
        if (!loss_.given())
            RowResults(call_.loss, 0).set(RowPlace{}, call_.normalization.reduce(sum));
    }

    // What RowDriver asks.
    const Positions& positions() const { return positions_; }
    int operands() const { return positions_.operands(); }
    const Kernels<T>& kernels() const { return table_.template of<T>(); }
    const Kernels<double>& float64_kernels() const { return table_.float64; }
    TakenOut taken_out() const { return call_.indices ? TakenOut::target : TakenOut::largest; }
    bool linear() const { return linear_; }
    bool writes() const { return grad_.given(); }
    bool writes_exponentials() const { return grad_.given(); }

    bool reads(RowPlace& place) const {
        if (sample_weight_.given() && sample_weight_[place] == 0.0)
            return false;
        if (!call_.indices)
            return true;
        const std::int64_t label = labels_.integer(place);
        // The labels were checked, but another thread of the caller's may be writing them.
        const bool inside = static_cast<std::uint64_t>(label) < call_.classes;
        place.target = inside ? static_cast<std::size_t>(label) : no_index;
        return !(call_.options.ignore_index && label == *call_.options.ignore_index);
    }

    void skip(const RowPlace& place, Scratch<T>& scratch) const {
        if (loss_.given())
            loss_.set(place, 0.0);
        if (!grad_.given())
            return;
        Write zero;
        zero.zero = true;
        for (std::size_t first = 0; first < call_.classes; first += block_size)
            write(place, zero, first, std::min(block_size, call_.classes - first), nullptr, scratch);
    }

    const T* logits(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        const T* x = logits_.read(place, first, n, scratch.raw_logits);
        if (transform_.identity())
            return x;
        const std::size_t label = place.target;
        const bool here = label != no_index && label >= first && label < first + n;
        transform_.apply(kernels(), x, n, here ? label - first : no_index, scratch.logits.data());
        return scratch.logits.data();
    }

    /// q_j = w_j ((1-e) t_j + e/C) for probabilities; w_j, or 1, of the smoothing term for indices.
    const T* coefficients(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        const T* weights = nullptr;
        if (call_.class_weight.given()) {
            gather(class_weight_line_,
                   call_.class_weight.bytes() + static_cast<std::ptrdiff_t>(first) * class_weight_line_.stride, n,
                   scratch.weights.data());
            weights = scratch.weights.data();
        }
        if (call_.indices)
            return weights;
        const T* t = probabilities_.read(place, first, n, scratch.coefficients);
        if (smoothing_ == 0.0 && weights == nullptr)
            return t;
        T* q = scratch.coefficients.data();
        if (t != q)
            std::copy(t, t + n, q);
        blend_coefficients(q, weights, n);
        return q;
    }

    Write end(const RowPlace& place, const RowSums<T>& sums, const RowEnd& end, double& loss) const {
        const double sample_weight = sample_weight_.given() ? sample_weight_[place] : 1.0;
        const RowFigures figures{
            end.gap,   end.lse,         end.probability, end.complement, static_cast<double>(sums.max),
            sums.gaps, sums.other_mass, sums.out_mass,   sums.mass};
        const RowTerms terms =
            call_.indices ? index_terms(class_weight(place.target), figures) : probability_terms(figures);
        loss = sample_weight * terms.loss;
        if (loss_.given())
            loss_.set(place, loss);
        Write write;
        if (!grad_.given())
            return write;
        double factor = grad_factor_ * sample_weight;
        if (upstream_.given())
            factor *= upstream_[place];
        write.careful = end.careful;
        write.base = end.base;
        write.scale = factor * terms.mass * end.scale;
        write.linear = factor * terms.linear;
        write.out_class = sums.out_class;
        write.out_value = factor * terms.out_gradient;
        write.zero = call_.normalization.gradient_is_zero;
        write.nan = write.scale != write.scale;
        return write;
    }

    void write(const RowPlace& place, const Write& row, std::size_t first, std::size_t n, const T* exponentials,
               Scratch<T>& scratch) const {
        const bool through_buffer = !grad_.direct() || !transform_.identity();
        T* const to = grad_.place(place, first, scratch.out);
        T* const out = through_buffer ? scratch.out.data() : to;
        if (row.zero || row.nan)
            std::fill(out, out + n, row.zero ? T(0) : std::numeric_limits<T>::quiet_NaN());
        else
            write_gradient(place, row, first, n, exponentials, out, scratch);
        if (out != to)
            std::copy(out, out + n, to);
        grad_.store(place, first, n, out);
    }

    bool sums_losses() const { return true; }

    void read_rows(const Tile& tile, TileSums<T>& sums) const {
        sums.start(tile);
        if (call_.indices)
            read_labels(tile, sums);
        if (!sample_weight_.given())
            return;
        double weights[most_lanes];
        sample_weight_.read(tile, weights);
        for (std::size_t r = 0; r < tile.count; ++r) {
            sums.read[r] &= weights[r] != 0.0;
            sums.all_read &= sums.read[r];
        }
    }

    Columns<const T> columns(const Tile& tile, const TileSums<T>& sums, Scratch<T>& scratch) const {
        if (transform_.identity())
            return logits_.columns(kernels(), tile, call_.classes, scratch.logit_columns);
        const T* raw = logits_.copy(kernels(), tile, call_.classes, scratch.logit_columns);
        transform_.apply_columns(kernels(), raw, {tile.lanes, call_.classes}, sums.target,
                                 scratch.transformed_columns.data());
        return {scratch.transformed_columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
    }

    NextTile next(const Tile& tile) const { return logits_.next(tile, call_.classes); }

    /// `coefficients`, tile.lanes apart.
    const T* column_coefficients(const Tile& tile, Scratch<T>& scratch) const {
        if (call_.indices)
            return call_.class_weight.given() ? weight_columns(tile.lanes, scratch) : nullptr;
        T* q = probabilities_.copy(kernels(), tile, call_.classes, scratch.coefficient_columns);
        blend_columns(q, tile.lanes);
        return q;
    }

    void end_rows(const Tile& tile, TileSums<T>& sums) const {
        double weight[most_lanes];  // of the row: its loss's factor
        double factor[most_lanes];  // its gradient's
        row_weights(tile, weight, factor);
        if (call_.indices && !linear_ && call_.options.z_loss == 0.0)
            end_plain_rows(tile, sums, weight, factor);
        else
            end_weighed_rows(tile, sums, weight, factor);
        if (!sums.all_read)
            for (std::size_t r = 0; r < tile.count; ++r)
                sums.loss[r] = sums.read[r] ? sums.loss[r] : 0.0;
        if (loss_.given())
            loss_.set(tile, sums.loss);
    }

    bool writable(const Tile& tile, const TileSums<T>& sums) const {
        if (!grad_.given())
            return true;
        if (call_.normalization.gradient_is_zero)
            return false;
        bool all = true;
        for (std::size_t r = 0; r < tile.count; ++r) {
            const T scale = static_cast<T>(sums.out_scale[r]);
            const T linear = linear_ ? static_cast<T>(sums.linear[r]) : T(1);
            const bool fine = std::fabs(scale) <= std::numeric_limits<T>::max() && linear != T(0) &&
                              std::fabs(linear) <= std::numeric_limits<T>::max();
            all &= fine || !sums.read[r];
        }
        return all;
    }

    Write write_of(const TileSums<T>& sums, std::size_t r) const {
        Write write;
        write.base = sums.excluding.base[r];
        write.scale = sums.out_scale[r];
        write.linear = linear_ ? sums.linear[r] : 0.0;
        write.out_class = sums.target[r] < T(0) ? no_index : static_cast<std::size_t>(sums.target[r]);
        write.out_value = sums.value[r];
        write.zero = call_.normalization.gradient_is_zero;
        write.nan = write.scale != write.scale;
        return write;
    }

    void write_columns(const Tile& tile, const TileSums<T>& sums, Columns<const T> x, const T* exponentials,
                       Scratch<T>& scratch) const {
        const ColumnScales<T> rows = column_scales(tile, sums);
        ColumnBuffer<T>& buffer = scratch.out_columns;
        const Columns<T> out = transform_.identity()
                                   ? grad_.columns(tile, buffer)
                                   : Columns<T>{buffer.columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
        const T* q = linear_ ? sums.coefficients : nullptr;
        kernels().write_columns({x.data, x.stride, exponentials, q}, {tile.lanes, call_.classes}, linear_, rows,
                                out.stride, out.data);
        if (!transform_.identity())
            transform_.pull_back(kernels(), scratch.logit_columns.columns.data(), call_.classes * tile.lanes, out.data);
        if (!sums.all_read)
            clear_unread(tile, sums, out);
        grad_.store_columns(kernels(), tile, call_.classes, out.data, buffer);
    }

private:
    /// What a row's loss and gradient are made of; RowSums and RowEnd say what each is.
    struct RowFigures {
        double gap, lse, probability, complement, max, gaps, other_mass, out_mass, mass;
    };

    void read_class_weights() {
        class_weights_.resize(call_.classes);
        gather(class_weight_line_, call_.class_weight.bytes(), call_.classes, class_weights_.data());
    }

    /// Every row's weights, side by side: the coefficients of the smoothing term.
    const T* weight_columns(std::size_t lanes, Scratch<T>& scratch) const {
        T* columns = scratch.coefficient_columns.columns.data();
        for (std::size_t j = 0; j < call_.classes; ++j)
            std::fill(columns + j * lanes, columns + (j + 1) * lanes, static_cast<T>(class_weights_[j]));
        return columns;
    }

    /// blend_coefficients of rows side by side.
    void blend_columns(T* q, std::size_t lanes) const {
        blend_coefficients(q, nullptr, call_.classes * lanes);
        if (!class_weights_.empty())
            for (std::size_t j = 0; j < call_.classes; ++j) {
                const T weight = static_cast<T>(class_weights_[j]);
                for (std::size_t r = 0; r < lanes; ++r)
                    q[j * lanes + r] *= weight;
            }
    }

    void read_labels(const Tile& tile, TileSums<T>& sums) const {
        std::int64_t labels[most_lanes];
        labels_.read_integers(tile, labels);
        const auto classes = static_cast<std::int64_t>(call_.classes);
        for (std::size_t r = 0; r < tile.count; ++r) {
            // The labels were checked, but another thread of the caller's may be writing them.
            const bool inside = labels[r] >= 0 && labels[r] < classes;
            sums.target[r] = inside ? static_cast<T>(labels[r]) : T(-1);
        }
        if (!call_.options.ignore_index)
            return;
        for (std::size_t r = 0; r < tile.count; ++r) {
            sums.read[r] = labels[r] != *call_.options.ignore_index;
            sums.all_read &= sums.read[r];
        }
    }

    void row_weights(const Tile& tile, double (&weight)[most_lanes], double (&factor)[most_lanes]) const {
        std::fill(weight, weight + tile.lanes, 1.0);
        std::fill(factor, factor + tile.lanes, 1.0);
        if (sample_weight_.given())
            sample_weight_.read(tile, weight);
        if (upstream_.given())
            upstream_.read(tile, factor);
        for (std::size_t r = 0; r < tile.lanes; ++r)
            factor[r] = grad_factor_ * weight[r] * factor[r];
    }

    double target_weight(const TileSums<T>& sums, std::size_t r) const {
        const bool weighted = !class_weights_.empty() && sums.target[r] >= T(0);
        return weighted ? class_weights_[static_cast<std::size_t>(sums.target[r])] : 1.0;
    }

    /// index_terms of a tile where only weights are at work.
    void end_plain_rows(const Tile& tile, TileSums<T>& sums, const double (&weight)[most_lanes],
                        const double (&factor)[most_lanes]) const {
        const ExcludedEnds<T>& ends = sums.excluding;
        if (class_weights_.empty()) {
            for (std::size_t r = 0; r < tile.lanes; ++r) {
                sums.loss[r] = weight[r] * ends.gap[r];
                sums.out_scale[r] = factor[r] * ends.scale[r];
                sums.value[r] = -(factor[r] * ends.complement[r]);
            }
            return;
        }
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            const double w = target_weight(sums, r);
            sums.loss[r] = weight[r] * times(w, ends.gap[r]);
            sums.out_scale[r] = factor[r] * w * ends.scale[r];
            sums.value[r] = -(factor[r] * (w * ends.complement[r]));
        }
    }

    void end_weighed_rows(const Tile& tile, TileSums<T>& sums, const double (&weight)[most_lanes],
                          const double (&factor)[most_lanes]) const {
        const ExcludedEnds<T>& ends = sums.excluding;
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            RowFigures row{};
            row.gap = ends.gap[r];
            row.lse = static_cast<double>(ends.logit[r]) + ends.gap[r];
            row.probability = ends.probability[r];
            row.complement = ends.complement[r];
            row.max = static_cast<double>(sums.max[r]);
            if (linear_) {
                row.gaps = sums.gaps[r];
                row.other_mass = sums.other_mass[r];
                row.out_mass = sums.out_mass[r];
                row.mass = sums.other_mass[r] + sums.out_mass[r];
            }
            const RowTerms terms = call_.indices ? index_terms(target_weight(sums, r), row) : probability_terms(row);
            sums.loss[r] = weight[r] * terms.loss;
            sums.out_scale[r] = factor[r] * terms.mass * ends.scale[r];
            sums.linear[r] = factor[r] * terms.linear;
            sums.value[r] = factor[r] * terms.out_gradient;
        }
    }

    ColumnScales<T> column_scales(const Tile& tile, const TileSums<T>& sums) const {
        ColumnScales<T> rows;
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            rows.exponent[r] = static_cast<T>(sums.excluding.base[r]);
            rows.scale[r] = static_cast<T>(sums.out_scale[r]);
            rows.value[r] = static_cast<T>(sums.value[r]);
            rows.patched[r] = sums.target[r];
            rows.linear[r] = linear_ ? static_cast<T>(sums.linear[r]) : T(0);
        }
        for (std::size_t r = 0; r < tile.lanes && !(sums.all_read && tile.count == tile.lanes); ++r)
            if (!sums.read[r])
                rows.exponent[r] = rows.scale[r] = rows.value[r] = rows.linear[r] = T(0);
        return rows;
    }

    void clear_unread(const Tile& tile, const TileSums<T>& sums, Columns<T> out) const {
        for (std::size_t r = 0; r < tile.count; ++r)
            if (!sums.read[r])
                for (std::size_t j = 0; j < call_.classes; ++j)
                    out.data[static_cast<std::ptrdiff_t>(j) * out.stride + static_cast<std::ptrdiff_t>(r)] = T(0);
    }

    /// q = w ((1-e) t + e/C) in place of t; `weights` may be missing.
    void blend_coefficients(T* q, const T* weights, std::size_t n) const {
        const T keep = static_cast<T>(1.0 - smoothing_);
        const T spread = static_cast<T>(smoothing_ / static_cast<double>(call_.classes));
        if (smoothing_ != 0.0)
            for (std::size_t j = 0; j < n; ++j)
                q[j] = keep * q[j] + spread;
        if (weights != nullptr)
            for (std::size_t j = 0; j < n; ++j)
                q[j] *= weights[j];
    }

    /// A row's loss and gradient before the factors that multiply all of it:
    /// grad_j = mass p_j + linear q_j, and out_gradient at the class taken out.
    struct RowTerms {
        double loss;
        double mass;
        double linear;
        double out_gradient;
    };

    double class_weight(std::size_t j) const {
        if (!call_.class_weight.given() || j == no_index)
            return 1.0;
        return read_number(class_weight_line_,
                           call_.class_weight.bytes() + static_cast<std::ptrdiff_t>(j) * class_weight_line_.stride);
    }

    /// (1-e) w_y (L - z_y) + (e/C) sum_j w_j (L - z_j) + c w_y L^2.
    ///
    /// Note [smoothing without cancellation]: sum_j w_j (L - z_j) = W (L - max) + sum_j w_j (max - z_j), whose terms
    /// all have one sign; and the gradient at the target is built from 1 - p_y, which the row's end has to relative
    /// accuracy.
    RowTerms index_terms(double w, const RowFigures& row) const {
        const double c = call_.options.z_loss;
        RowTerms terms{times((1.0 - smoothing_) * w, row.gap), (1.0 - smoothing_) * w, 0.0,
                       -((1.0 - smoothing_) * w) * row.complement};
        if (smoothing_ > 0.0) {
            const double spread = smoothing_ / static_cast<double>(call_.classes);
            const double above_max = std::fmax(0.0, row.lse - row.max);
            terms.loss += spread * (times(row.mass, above_max) + row.gaps);
            terms.mass += spread * row.mass;
            terms.linear = -spread;
            // row.mass is a sum of weights of type T: one class must give exactly 0.
            const double target_mass = static_cast<double>(static_cast<T>(w));
            terms.out_gradient += spread * (row.mass * row.probability - target_mass);
        }
        if (c != 0.0) {
            terms.loss += times(c * w, row.lse * row.lse);
            terms.mass += 2.0 * c * row.lse * w;
            terms.out_gradient += 2.0 * c * row.lse * w * row.probability;
        }
        return terms;
    }

    /// sum_j q_j (L - z_j) + c L^2, the largest logit's class a taken out: q (L - z_a) + sum_j q_j (z_a - z_j) cancels
    /// nowhere, and at a the gradient sum(q) p_a - q_a of a confident row is sum_{j != a} q_j - sum(q) (1 - p_a).
    RowTerms probability_terms(const RowFigures& row) const {
        const double c = call_.options.z_loss;
        RowTerms terms{times(row.mass, row.gap) + row.gaps, row.mass, -1.0,
                       row.complement < 0.5 ? row.other_mass - row.mass * row.complement
                                            : row.mass * row.probability - row.out_mass};
        if (c != 0.0) {
            terms.loss += c * row.lse * row.lse;
            terms.mass += 2.0 * c * row.lse;
            terms.out_gradient += 2.0 * c * row.lse * row.probability;
        }
        return terms;
    }

    void write_gradient(const RowPlace& place, const Write& row, std::size_t first, std::size_t n,
                        const T* exponentials, T* out, Scratch<T>& scratch) const {
        const bool again = row.careful || exponentials == nullptr;
        const T* x = again ? logits(place, first, n, scratch) : nullptr;
        const T* q = linear_ ? coefficients(place, first, n, scratch) : nullptr;
        Patch<T> patch;
        if (row.out_class != no_index && row.out_class >= first && row.out_class < first + n)
            patch = {row.out_class - first, static_cast<T>(row.out_value)};
        if (row.careful)
            kernels().careful_write(x, n, row.base, row.scale, row.linear, q, patch, out);
        else
            kernels().scaled_exponentials(
                x, exponentials, n, {static_cast<T>(row.base), static_cast<T>(row.scale), static_cast<T>(row.linear)},
                q, patch, mode_, out);
        if (!transform_.identity())
            transform_.pull_back(kernels(), logits_.read(place, first, n, scratch.raw_logits), n, out);
        if (!std::isfinite(static_cast<T>(row.scale)))
            kernels().canonical_nan(out, n);
    }

    const CrossEntropyCall& call_;
    const KernelTable& table_;
    Positions positions_, class_positions_;
    LogitTransform<T> transform_;
    double smoothing_;
    bool linear_;
    bool staged_ = false;
    double grad_factor_ = 0.0;
    StoreMode mode_ = StoreMode::cached;
    RowInput<T> logits_, probabilities_;
    RowNumbers labels_, sample_weight_, upstream_;
    Line class_weight_line_;
    std::vector<double> class_weights_;  // for tiles
    RowResults loss_;
    RowOutput<T> grad_;
};

void run_cross_entropy(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                       const MutableArrayView& loss, const MutableArrayView& grad, const CrossEntropyOptions& options) {
    const FloatEnvironment environment;
    const CrossEntropyCall call(logits, target, upstream, loss, grad, options);
    with_arithmetic_type(call.logits.view.dtype, [&](auto number) {
        CrossEntropyRows<decltype(number)> rows(call);
        rows.run();
    });
}

}  // namespace
}  // namespace detail

void cross_entropy(const ArrayView& logits, const ArrayView& target, const MutableArrayView& loss,
                   const CrossEntropyOptions& options) {
    detail::run_cross_entropy(logits, target, {}, loss, {}, options);
}

void cross_entropy_value_and_grad(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                                  const MutableArrayView& loss, const MutableArrayView& grad,
                                  const CrossEntropyOptions& options) {
    detail::run_cross_entropy(logits, target, upstream, loss, grad, options);
}

}  // namespace logitloss
