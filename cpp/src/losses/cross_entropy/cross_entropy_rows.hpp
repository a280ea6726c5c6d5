// The rows of a softmax cross-entropy as RowDriver walks them: one by one, and side by side in tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "logits/logit_transform.hpp"
#include "losses/cross_entropy/cross_entropy_arrays.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {

/// The rows of a call, as RowDriver walks them.
template <class T>
class CrossEntropyRows {
public:
    using Coefficients = BlockCoefficients<T, CrossEntropyArrays<T>>;

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
          terms_{call.options.label_smoothing, static_cast<double>(call.classes), call.options.z_loss, 0.0},
          linear_(!call.indices || terms_.smoothing > 0.0),
          as_distribution_(!call.indices || (terms_.smoothing > 0.0 && call.class_weight.given())) {
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
                                  arrays_.grad.direct() && transform_.identity());
        terms_.grad_factor = call.normalization.gradient_factor * transform_.scale() * arrays_.upstream_of_sum;
    }

    void run() {
        const double sum = run_rows<T>(*this, arrays_.rows, arrays_.classes, call_.options.num_threads, staged_);
        if (!arrays_.loss.given())
            RowResults(call_.loss, 0).set(RowPlace{}, call_.normalization.reduce(sum));
    }

    // What RowDriver asks, first of the call.
    const Positions& positions() const { return arrays_.rows; }
    const KernelTable& table() const { return table_; }
    TakenOut taken_out() const { return as_distribution_ ? TakenOut::largest : TakenOut::target; }
    EndParts end_parts() const {
        if (as_distribution_ || terms_.smoothing > 0.0 || terms_.z_loss != 0.0)
            return EndParts::all;
        return arrays_.grad.given() ? EndParts::gradient : EndParts::gap;
    }
    bool linear() const { return linear_; }
    bool writes() const { return arrays_.grad.given(); }
    bool writes_exponentials() const { return arrays_.grad.given(); }
    bool has_losses() const { return true; }
    bool has_values() const { return false; }
    double summed_again_below(std::size_t) const { return 0.0; }

    void read_rows(const Tile& tile, TileSums<T>& sums) const {
        if (call_.indices)
            arrays_.counted.read_labels(kernels(), tile, sums);
        if (arrays_.counted.sample_weight.given())
            arrays_.counted.skip_weightless(tile, sums);
    }

    // Of a row.
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

    /// q_j = w_j ((1-e) t_j + e/C), t_j = [j=y] for weighted indices; all 1, of the smoothing term, for others.
    Coefficients coefficients(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        if (as_distribution_ && arrays_.is_far(place, first, n))
            return Coefficients(nullptr, &arrays_, place, first);
        return Coefficients(near_coefficients(place, first, n, scratch), nullptr, place, first);
    }

    void end_rows(const Tile& tile, TileSums<T>& sums) const {
        double weight[most_lanes], upstream[most_lanes], class_weight[most_lanes];
        TermRows<T> rows{};
        rows.ends = &sums.excluding;
        if (linear_) {
            rows.max = sums.max;
            rows.gaps = sums.gaps;
            rows.other_mass = sums.other_mass;
            rows.out_mass = sums.out_mass;
        }
        if (arrays_.class_weighted() && call_.indices) {
            for (std::size_t r = 0; r < tile.lanes; ++r)
                class_weight[r] = weight_of_target(sums, r);
            rows.class_weight = class_weight;
        }
        rows.weight = arrays_.counted.sample_weight.read_if_given(tile, weight);
        rows.upstream = arrays_.upstream.read_if_given(tile, upstream);
        rows.read = sums.all_read ? nullptr : sums.read;
        rows.loss = sums.loss;
        if (arrays_.grad.given()) {
            rows.scale = sums.out_scale;
            rows.linear = sums.linear;
            rows.value = sums.value;
            rows.columns = &sums.columns;
        }
        sums.writable = (as_distribution_ ? kernels().soft_terms : kernels().index_terms)(rows, tile.lanes, terms_) &&
                        !call_.normalization.gradient_is_zero;
        if (arrays_.loss.given())
            arrays_.loss.set(tile, sums.loss);
    }

    Write write_of(const TileSums<T>& sums, std::size_t r) const {
        Write write;
        write.base = sums.excluding.base[r];
        write.scale = sums.out_scale[r];
        write.linear = sums.linear[r];
        write.out_class = sums.target[r] < T(0) ? no_index : static_cast<std::size_t>(sums.target[r]);
        write.out_value = sums.value[r];
        write.zero = call_.normalization.gradient_is_zero;
        write.nan = write.scale != write.scale;
        return write;
    }

    bool goes_along(const Write& row) const {
        return !(linear_ && as_distribution_) && arrays_.grad.direct() && transform_.identity() &&
               mode_ != StoreMode::streaming && !row.zero && !row.careful && std::isfinite(static_cast<T>(row.scale)) &&
               std::isfinite(static_cast<T>(row.linear));
    }
    KeptRow<T> kept_row(const RowPlace& place, const Write& row, const T* exponentials) const {
        const T linear = linear_ && row.linear != 0.0 ? static_cast<T>(row.linear) : T(-0.0);
        return {exponentials,
                static_cast<T>(row.scale),
                linear,
                patch_of(row, 0, call_.classes),
                arrays_.grad.row(place),
                mode_ == StoreMode::cached};
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
    Columns<const T> columns(const Tile& tile, const TileSums<T>& sums, Scratch<T>& scratch) const {
        if (transform_.identity())
            return arrays_.input.columns(kernels(), tile, call_.classes, scratch.logit_columns);
        const T* raw = arrays_.input.copy(kernels(), tile, call_.classes, scratch.logit_columns);
        transform_.apply_columns(kernels(), raw, {tile.lanes, call_.classes}, sums.target,
                                 scratch.transformed_columns.data());
        return {scratch.transformed_columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
    }

    bool reads_columns_again() const { return linear_; }
    NextTile next(const Tile& tile) const { return arrays_.input.next(tile, call_.classes); }

    /// `coefficients`, tile.lanes apart. Rows with some that T is too narrow for leave the tile.
    const T* column_coefficients(const Tile& tile, TileSums<T>& sums, Scratch<T>& scratch) const {
        if (as_distribution_ && arrays_.may_be_far())
            find_far_rows(tile, sums);
        if (call_.indices)
            return as_distribution_ ? weight_columns(tile, sums, scratch) : nullptr;
        T* q = arrays_.probabilities.copy(kernels(), tile, call_.classes, scratch.coefficient_columns);
        blend_columns(q, tile.lanes);
        return q;
    }

    void write_columns(const Tile& tile, const TileSums<T>& sums, Columns<const T> x, const T* exponentials,
                       Scratch<T>& scratch) const {
        ColumnScales<T> rows = sums.columns;
        std::copy(sums.target, sums.target + tile.lanes, rows.patched);
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
    double spread() const { return terms_.smoothing / terms_.classes; }
    /// q of the target, whose weight is w.
    T target_coefficient(double w) const { return static_cast<T>(w * ((1.0 - terms_.smoothing) + spread())); }

    void write_gradient(const RowPlace& place, const Write& row, std::size_t first, std::size_t n,
                        const T* exponentials, T* out, Scratch<T>& scratch) const {
        const double linear = linear_ ? row.linear : 0.0;
        const bool beyond = !std::isfinite(static_cast<T>(row.scale)) || !std::isfinite(static_cast<T>(linear));
        const Coefficients q = linear_ ? coefficients(place, first, n, scratch) : Coefficients{};
        const bool carefully = row.careful || beyond || q.far != nullptr;
        const T* x = carefully || exponentials == nullptr ? logits(place, first, n, scratch) : nullptr;
        const Patch<T> patch = patch_of(row, first, n);
        if (carefully)
            write_carefully(x, n, row, linear, q, patch, out);
        else
            kernels().scaled_exponentials(x, exponentials, n,
                                          {static_cast<T>(row.base), static_cast<T>(row.scale), static_cast<T>(linear)},
                                          q.values, patch, mode_, out);
        if (!transform_.identity())
            transform_.pull_back(kernels(), arrays_.input.read(place, first, n, scratch.raw_logits), n, out);
        if (beyond || q.far != nullptr)
            kernels().canonical_nan(out, n);
    }

    static Patch<T> patch_of(const Write& row, std::size_t first, std::size_t n) {
        Patch<T> patch;
        if (row.out_class != no_index && row.out_class >= first && row.out_class < first + n)
            patch = {row.out_class - first, static_cast<T>(row.out_value)};
        return patch;
    }

    /// In float64, piece by piece.
    void write_carefully(const T* x, std::size_t n, const Write& row, double linear, const Coefficients& q,
                         const Patch<T>& patch, T* out) const {
        q.for_pieces(n, [&](std::size_t first, std::size_t count, const double* piece) {
            Patch<T> here;
            if (patch.index != no_index && patch.index >= first && patch.index < first + count)
                here = {patch.index - first, patch.value};
            kernels().careful_write(x + first, count, reference_of(row), row.scale, linear, piece, here, out + first);
        });
    }

    /// The same as numbers of type T.
    const T* near_coefficients(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        if (!call_.indices)
            return arrays_.coefficients(place, first, n, scratch.coefficients, scratch.weights);
        if (!as_distribution_)
            return nullptr;
        T* q = arrays_.class_weights(first, n, scratch.weights.data());
        for (std::size_t j = 0; j < n; ++j)
            q[j] *= static_cast<T>(spread());
        if (place.target >= first && place.target < first + n)
            q[place.target - first] = target_coefficient(arrays_.class_weight(place.target));
        return q;
    }

    // Rows side by side.

    /// Has rows with coefficients that T is too narrow for take the row traversal, which has float64 for them.
    void find_far_rows(const Tile& tile, TileSums<T>& sums) const {
        if (!sums.any_careful)
            std::fill(sums.careful, sums.careful + tile.lanes, false);
        for (std::size_t r = 0; r < tile.count; ++r)
            if (sums.reads(r) && arrays_.is_far(tile.place(r), 0, call_.classes))
                sums.any_careful = sums.careful[r] = true;
    }

    /// `coefficients` of weighted indices, side by side.
    const T* weight_columns(const Tile& tile, const TileSums<T>& sums, Scratch<T>& scratch) const {
        T* q = scratch.coefficient_columns.columns.data();
        for (std::size_t j = 0; j < call_.classes; ++j)
            std::fill_n(q + j * tile.lanes, tile.lanes, static_cast<T>(class_weights_[j]) * static_cast<T>(spread()));
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            const std::size_t label = sums.class_of(r, call_.classes);
            if (label != no_index)
                q[label * tile.lanes + r] = target_coefficient(class_weights_[label]);
        }
        return q;
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

    double weight_of_target(const TileSums<T>& sums, std::size_t r) const {
        const std::size_t label = sums.class_of(r, call_.classes);
        if (label == no_index)
            return 1.0;
        return class_weights_.empty() ? arrays_.class_weight(label) : class_weights_[label];
    }

    void clear_unread(const Tile& tile, const TileSums<T>& sums, Columns<T> out) const {
        for (std::size_t r = 0; r < tile.count; ++r)
            if (!sums.reads(r))
                for (std::size_t j = 0; j < call_.classes; ++j)
                    out.data[static_cast<std::ptrdiff_t>(j) * out.stride + static_cast<std::ptrdiff_t>(r)] = T(0);
    }

    const Kernels<T>& kernels() const { return table_.template of<T>(); }

    const LogitCall& call_;
    const KernelTable& table_;
    CrossEntropyArrays<T> arrays_;
    LogitTransform<T> transform_;
    TermOptions terms_;
    bool linear_;
    bool as_distribution_;  // class probabilities, and indices that Note [smoothing with class weights] takes as such
    bool staged_ = false;
    StoreMode mode_ = StoreMode::cached;
    std::vector<double> class_weights_;
};

}  // namespace logitloss::detail
