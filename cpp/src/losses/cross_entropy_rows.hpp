// The rows of a softmax cross-entropy as RowDriver walks them: one by one, and side by side in tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "losses/cross_entropy_arrays.hpp"
#include "losses/cross_entropy_terms.hpp"
#include "losses/logit_transform.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {

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

    explicit CrossEntropyRows(const LogitCall& call)
        : call_(call),
          table_(detail::kernels()),
          arrays_(call),
          transform_(call.options.softcap, call.options.margin, call.options.scale),
          terms_{call.options.label_smoothing, call.classes, call.options.z_loss},
          linear_(!call.indices || terms_.smoothing > 0.0) {
        staged_ = !arrays_.input.direct() || !transform_.identity() || linear_;
        if (arrays_.class_weighted() && TileRule<T>::applies(arrays_.rows, arrays_.classes)) {
            class_weights_.resize(call.classes);
            arrays_.class_weights(0, call.classes, class_weights_.data());
        }
        if (!arrays_.grad.given())
            return;
        staged_ |= !arrays_.grad.direct();
        mode_ = choose_store_mode(call.grad.view.data == call.input.view.data,
                                  arrays_.rows.count() * call.classes * sizeof(T),
                                  arrays_.grad.direct() && transform_.identity() ? arrays_.grad.alignment() : 1);
        grad_factor_ = call.normalization.gradient_factor * transform_.scale() * arrays_.upstream_of_sum;
    }

    void run() {
        const double sum = run_rows<T>(*this, arrays_.rows, arrays_.classes, item_size(call_.input.view.dtype),
                                       call_.options.num_threads, staged_);
        if (!arrays_.loss.given())
            RowResults(call_.loss, 0).set(RowPlace{}, call_.normalization.reduce(sum));
    }

    // What RowDriver asks, first of the call.
    const Positions& positions() const { return arrays_.rows; }
    int operands() const { return arrays_.rows.operands(); }
    const Kernels<T>& kernels() const { return table_.template of<T>(); }
    const Kernels<double>& float64_kernels() const { return table_.float64; }
    TakenOut taken_out() const { return call_.indices ? TakenOut::target : TakenOut::largest; }
    bool linear() const { return linear_; }
    bool writes() const { return arrays_.grad.given(); }
    bool writes_exponentials() const { return arrays_.grad.given(); }
    bool sums_losses() const { return true; }

    // Of a row.
    bool reads(RowPlace& place) const { return arrays_.counted.reads(place, place.target); }

    void skip(const RowPlace& place, Scratch<T>& scratch) const {
        if (arrays_.loss.given())
            arrays_.loss.set(place, 0.0);
        if (!arrays_.grad.given())
            return;
        Write zero;
        zero.zero = true;
        for (std::size_t first = 0; first < call_.classes; first += block_size)
            write(place, zero, first, std::min(block_size, call_.classes - first), nullptr, scratch);
    }

    const T* logits(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        const T* x = arrays_.input.read(place, first, n, scratch.raw_logits);
        if (transform_.identity())
            return x;
        const std::size_t label = place.target;
        const bool here = label != no_index && label >= first && label < first + n;
        transform_.apply(kernels(), x, n, here ? label - first : no_index, scratch.logits.data());
        return scratch.logits.data();
    }

    /// q_j = w_j ((1-e) t_j + e/C) for probabilities; w_j, or 1, of the smoothing term for indices.
    const T* coefficients(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        return call_.indices ? arrays_.class_weights(first, n, scratch.weights.data())
                             : arrays_.coefficients(place, first, n, scratch.coefficients, scratch.weights);
    }

    Write end(const RowPlace& place, const RowSums<T>& sums, const RowEnd& end, double& loss) const {
        const double sample_weight = arrays_.counted.weight(place);
        const RowFigures figures{
            end.gap,   end.lse,         end.probability, end.complement, static_cast<double>(sums.max),
            sums.gaps, sums.other_mass, sums.out_mass,   sums.mass};
        const RowTerms terms = call_.indices ? index_terms<T>(arrays_.class_weight(place.target), figures, terms_)
                                             : probability_terms(figures, terms_);
        loss = sample_weight * terms.loss;
        if (arrays_.loss.given())
            arrays_.loss.set(place, loss);
        Write write;
        if (!arrays_.grad.given())
            return write;
        double factor = grad_factor_ * sample_weight;
        if (arrays_.upstream.given())
            factor *= arrays_.upstream[place];
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
        const bool through_buffer = !arrays_.grad.direct() || !transform_.identity();
        T* const to = arrays_.grad.place(place, first, scratch.out);
        T* const out = through_buffer ? scratch.out.data() : to;
        if (row.zero || row.nan)
            std::fill(out, out + n, row.zero ? T(0) : std::numeric_limits<T>::quiet_NaN());
        else
            write_gradient(place, row, first, n, exponentials, out, scratch);
        if (out != to)
            std::copy(out, out + n, to);
        arrays_.grad.store(place, first, n, out);
    }

    // Of a tile.
    void read_rows(const Tile& tile, TileSums<T>& sums) const {
        sums.start(tile);
        if (call_.indices)
            read_labels(tile, sums);
        if (!arrays_.counted.sample_weight.given())
            return;
        double weights[most_lanes];
        arrays_.counted.sample_weight.read(tile, weights);
        for (std::size_t r = 0; r < tile.count; ++r) {
            sums.read[r] &= weights[r] != 0.0;
            sums.all_read &= sums.read[r];
        }
    }

    Columns<const T> columns(const Tile& tile, const TileSums<T>& sums, Scratch<T>& scratch) const {
        if (transform_.identity())
            return arrays_.input.columns(kernels(), tile, call_.classes, scratch.logit_columns);
        const T* raw = arrays_.input.copy(kernels(), tile, call_.classes, scratch.logit_columns);
        transform_.apply_columns(kernels(), raw, {tile.lanes, call_.classes}, sums.target,
                                 scratch.transformed_columns.data());
        return {scratch.transformed_columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
    }

    NextTile next(const Tile& tile) const { return arrays_.input.next(tile, call_.classes); }

    /// `coefficients`, tile.lanes apart.
    const T* column_coefficients(const Tile& tile, Scratch<T>& scratch) const {
        if (call_.indices)
            return call_.class_weight.given() ? weight_columns(tile.lanes, scratch) : nullptr;
        T* q = arrays_.probabilities.copy(kernels(), tile, call_.classes, scratch.coefficient_columns);
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
        if (arrays_.loss.given())
            arrays_.loss.set(tile, sums.loss);
    }

    bool writable(const Tile& tile, const TileSums<T>& sums) const {
        if (!arrays_.grad.given())
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
                                   ? arrays_.grad.columns(tile, buffer)
                                   : Columns<T>{buffer.columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
        const T* q = linear_ ? sums.coefficients : nullptr;
        kernels().write_columns({x.data, x.stride, exponentials, q}, {tile.lanes, call_.classes}, linear_, rows,
                                out.stride, out.data);
        if (!transform_.identity())
            transform_.pull_back(kernels(), scratch.logit_columns.columns.data(), call_.classes * tile.lanes, out.data);
        if (!sums.all_read)
            clear_unread(tile, sums, out);
        arrays_.grad.store_columns(kernels(), tile, call_.classes, out.data, buffer);
    }

private:
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
            transform_.pull_back(kernels(), arrays_.input.read(place, first, n, scratch.raw_logits), n, out);
        if (!std::isfinite(static_cast<T>(row.scale)))
            kernels().canonical_nan(out, n);
    }

    // Rows side by side.

    /// Every row's weights, side by side: the coefficients of the smoothing term.
    const T* weight_columns(std::size_t lanes, Scratch<T>& scratch) const {
        T* columns = scratch.coefficient_columns.columns.data();
        for (std::size_t j = 0; j < call_.classes; ++j)
            std::fill(columns + j * lanes, columns + (j + 1) * lanes, static_cast<T>(class_weights_[j]));
        return columns;
    }

    /// CrossEntropyArrays::blend of rows side by side.
    void blend_columns(T* q, std::size_t lanes) const {
        arrays_.blend(q, call_.classes * lanes, nullptr);
        if (!class_weights_.empty())
            for (std::size_t j = 0; j < call_.classes; ++j) {
                const T weight = static_cast<T>(class_weights_[j]);
                for (std::size_t r = 0; r < lanes; ++r)
                    q[j * lanes + r] *= weight;
            }
    }

    void read_labels(const Tile& tile, TileSums<T>& sums) const {
        std::int64_t labels[most_lanes];
        arrays_.counted.labels.read_integers(tile, labels);
        const auto classes = static_cast<std::int64_t>(call_.classes);
        for (std::size_t r = 0; r < tile.count; ++r) {
            const bool inside = labels[r] >= 0 && labels[r] < classes;  // still: see CountedRows
            sums.target[r] = inside ? static_cast<T>(labels[r]) : T(-1);
        }
        if (!call_.options.ignore_index)
            return;
        for (std::size_t r = 0; r < tile.count; ++r) {
            sums.read[r] = !arrays_.counted.is_ignored(labels[r]);
            sums.all_read &= sums.read[r];
        }
    }

    void row_weights(const Tile& tile, double (&weight)[most_lanes], double (&factor)[most_lanes]) const {
        std::fill(weight, weight + tile.lanes, 1.0);
        std::fill(factor, factor + tile.lanes, 1.0);
        if (arrays_.counted.sample_weight.given())
            arrays_.counted.sample_weight.read(tile, weight);
        if (arrays_.upstream.given())
            arrays_.upstream.read(tile, factor);
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
            row.lse = lse_beside(float64_kernels(), static_cast<double>(ends.logit[r]), ends.gap[r], ends.base[r],
                                 ends.scale[r]);
            row.probability = ends.probability[r];
            row.complement = ends.complement[r];
            row.max = static_cast<double>(sums.max[r]);
            if (linear_) {
                row.gaps = sums.gaps[r];
                row.other_mass = sums.other_mass[r];
                row.out_mass = sums.out_mass[r];
                row.mass = sums.other_mass[r] + sums.out_mass[r];
            }
            const RowTerms terms =
                call_.indices ? index_terms<T>(target_weight(sums, r), row, terms_) : probability_terms(row, terms_);
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

    const LogitCall& call_;
    const KernelTable& table_;
    CrossEntropyArrays<T> arrays_;
    LogitTransform<T> transform_;
    TermOptions terms_;
    bool linear_;
    bool staged_ = false;
    double grad_factor_ = 0.0;
    StoreMode mode_ = StoreMode::cached;
    std::vector<double> class_weights_;  // for tiles
};

}  // namespace logitloss::detail
