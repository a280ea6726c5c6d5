// The rows of a softmax cross-entropy as LogitRows walks them: one by one, and side by side in tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "logits/logit_rows.hpp"
#include "logits/logit_transform.hpp"
#include "losses/cross_entropy/cross_entropy_arrays.hpp"
#include "losses/cross_entropy/cross_entropy_few_rows.hpp"
#include "losses/cross_entropy/exact_rows.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {

/// The rows of a call, as LogitRows walks them.
template <class T>
class CrossEntropyRows {
public:
    using Coefficients = BlockCoefficients<T, CrossEntropyArrays<T>>;

    /// What the gradient sweep of a row takes.
    struct Write {
        bool zero = false;
        bool nan = false;
        bool needs_float64 = false;
        bool exactly = false;  ///< as `exact` says, and nothing else here
        T reference = T(0);    ///< Note [reference of a row]
        double base = 0.0;
        double scale = 0.0;
        double linear = 0.0;
        std::size_t aside_class = no_index;
        double aside_value = 0.0;
        ExactRow exact;
    };

    explicit CrossEntropyRows(const LogitCall& call)
        : call_(call),
          table_(detail::kernels()),
          arrays_(call),
          exact_rows_(call, arrays_, table_),
          transform_(call.options.softcap, call.options.margin, call.options.scale),
          terms_{call.options.label_smoothing, static_cast<double>(call.all_classes), call.options.z_loss, 0.0},
          linear_(!call.indices || terms_.smoothing > 0.0),
          as_distribution_(!call.indices || (terms_.smoothing > 0.0 && call.class_weight.given())) {
        staged_ = !arrays_.input.direct() || !transform_.identity() || linear_;
        const double spread = terms_.smoothing / terms_.classes;
        all_losses_exact_ = !transform_.held() || !is_moderate(terms_.z_loss) || !is_moderate(spread) ||
                            (spread == 0.0 && terms_.smoothing > 0.0) || (linear_ && arrays_.weights_are_extreme());
        all_exact_ = all_losses_exact_;
        if (arrays_.class_weighted() && call.classes == call.all_classes &&
            TileRule<T>::applies(arrays_.rows, arrays_.classes)) {
            class_weights_.resize(call.classes);
            arrays_.class_weights(0, call.classes, class_weights_.data());
        }
        if (!arrays_.grad.given())
            return;
        staged_ |= !arrays_.grad.direct();
        mode_ = choose_store_mode(call.grad.view.data == call.input.view.data,
                                  arrays_.rows.count() * call.classes * sizeof(T),
                                  arrays_.grad.direct() && transform_.identity());
        zero_gradient_ = call.normalization.gradient_is_zero || arrays_.upstream_of_sum == 0.0;
        if (zero_gradient_)
            return;
        grad_factor_ = ScaledNumber(arrays_.upstream_of_sum) * call.options.scale / call.normalization.divisor;
        terms_.grad_factor = call.normalization.gradient_factor * transform_.scale() * arrays_.upstream_of_sum;
        const double factor = grad_factor_.value();
        if (!is_moderate(call.options.scale) || !is_moderate(arrays_.upstream_of_sum))
            terms_.grad_factor = factor;  // a product on the way may have left the normal numbers
        all_exact_ |= factor == 0.0 || (grad_factor_.is_finite() && !is_moderate(factor));
    }

    void run() {
        const RowPlan plan = plan_rows<T>(arrays_.rows, arrays_.classes);
        chunk_rows_ = plan.chunk_rows;
        if (!arrays_.loss.given())
            large_losses_.resize(plan.chunks());
        const double sum = LogitRows<T, CrossEntropyRows>(*this, plan, staged_).run(call_.options.num_threads);
        if (!arrays_.loss.given())
            call_.loss.set_number(reduced(sum));
    }

    // What LogitRows asks, first of the call.
    const CrossEntropyArrays<T>& arrays() const { return arrays_; }
    const LogitTransform<T>& transform() const { return transform_; }
    const Positions& positions() const { return arrays_.rows; }
    const KernelTable& table() const { return table_; }
    SetAside set_aside() const { return as_distribution_ ? SetAside::largest : SetAside::target; }
    EndParts end_parts() const {
        if (linear_ && !as_distribution_)
            return EndParts::smoothed;
        if (linear_ || terms_.z_loss != 0.0)
            return EndParts::all;
        return arrays_.grad.given() ? EndParts::gradient : EndParts::gap;
    }
    bool linear() const { return linear_; }
    bool writes() const { return arrays_.grad.given(); }
    bool writes_exponentials() const { return arrays_.grad.given(); }
    bool has_losses() const { return true; }
    bool has_values() const { return false; }
    bool sums_again() const { return false; }
    bool sums_again(const RowLanes<T>&, std::size_t) const { return false; }

    void read_rows(const RowTile& tile, RowLanes<T>& sums) const {
        if (call_.indices)
            sums.all_read = arrays_.selection.read_labels(kernels(), tile, sums.label, sums.target, sums.read);
        if (arrays_.selection.sample_weight.given() && arrays_.selection.skip_weightless(tile, sums.read))
            sums.all_read = false;
        if (call_.indices && arrays_.class_weighted() && !linear_)
            skip_weightless_classes(tile, sums);
    }

    /// Smoothing beside class weights, class probabilities, z-loss and exact rows go without.
    CrossEntropyFewRows<T> few_classes() const {
        const double nan = std::numeric_limits<double>::quiet_NaN();  // leaves gradients to other rows
        CrossEntropyFewRows<T> few(call_, arrays_, transform_, class_weights_, terms_);
        few.takes &= !as_distribution_ && !all_losses_exact_;
        few.factor = zero_gradient_ ? 0.0 : all_exact_ ? nan : terms_.grad_factor;
        return few;
    }

    // Of a row.
    Write skip(const RowPlace& place) const {
        if (arrays_.loss.given())
            arrays_.loss.set(place, 0.0);
        Write zero;
        zero.zero = true;
        return zero;
    }

    /// Before anything of the row is written.
    const T* logits(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        return logits(place, first, n, reference_logit(place), scratch);
    }
    /// Against a reference of the caller's.
    const T* logits(const RowPlace& place, std::size_t first, std::size_t n, T reference, Scratch<T>& scratch) const {
        const T* x = arrays_.input.read(place, first, n, scratch.raw_logits);
        if (transform_.identity())
            return x;
        const std::size_t label = place.target;
        const bool here = label != no_index && label >= first && label < first + n;
        transform_.apply(kernels(), x, n, here ? label - first : no_index, reference, scratch.logits.data());
        return scratch.logits.data();
    }

    template <class Half>
    const Half* stored_logits(const RowPlace& place, std::size_t first) const {
        return transform_.identity() ? arrays_.input.template stored<Half>(place, first) : nullptr;
    }

    /// q_j = w_j ((1-e) t_j + e/C), t_j = [j=y] for weighted indices; all 1, of the smoothing term, for others.
    Coefficients coefficients(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        if (as_distribution_ && arrays_.is_far(place, first, n))
            return Coefficients(nullptr, &arrays_, place, first);
        return Coefficients(near_coefficients(place, first, n, scratch), nullptr, place, first);
    }

    void finish_rows(const RowTile& tile, RowLanes<T>& sums) const {
        double weight[most_lanes], upstream[most_lanes], class_weight[most_lanes];
        TermRows<T> rows{};
        rows.ends = &sums.aside;
        if (linear_) {
            rows.gaps = sums.gaps;
            rows.other_mass = sums.other_mass;
            rows.aside_mass = sums.aside_mass;
        }
        if (arrays_.class_weighted() && call_.indices) {
            for (std::size_t r = 0; r < tile.lanes; ++r)
                class_weight[r] = weight_of_target(sums, r);
            rows.class_weight = class_weight;
        }
        rows.weight = arrays_.selection.weights(tile, weight);
        rows.read = sums.all_read ? nullptr : sums.read;
        rows.loss = sums.loss;
        if (transform_.shifts())
            refer_to_logits(tile, sums);
        if (arrays_.grad.given()) {
            rows.upstream = arrays_.upstream.read_if_given(tile, upstream);
            rows.scale = sums.out_scale;
            rows.linear = sums.linear;
            rows.value = sums.value;
            rows.columns = &sums.columns;
        }
        const auto terms = as_distribution_ ? kernels().soft_terms : kernels().index_terms;
        const bool fine = terms(rows, tile.lanes, terms_) && !all_exact_;
        sums.writable = fine && !zero_gradient_;
        if (rows.upstream != nullptr)
            clear_without_upstream(tile, rows.upstream, sums);
        if (!fine || transform_.caps())
            find_exact_rows(tile, rows, sums);
        if (arrays_.loss.given())
            arrays_.loss.set(tile, sums.loss);
    }

    /// Has the last word on a row that stands alone: Note [exact rows].
    void end_alone(const RowPlace& place, RowLanes<T>& one, Write& write, Scratch<T>& scratch) const {
        // Logits beyond the fast kernels' range have been rounded by a transform, though differences may matter.
        const bool rounded = write.needs_float64 && !transform_.identity();
        if (!rounded && !one.any_needs_exact)
            return;
        RowFactors factors(*this, place);
        ScaledNumber loss;
        if (!factors.of_loss_are_finite() || !exact_rows_.sum(place, scratch.raw_logits, loss, write.exact))
            return;
        if (rounded || !one.keeps_loss[0])
            set_loss(place, loss * factors.weight, one);
        if (!std::isfinite(factors.upstream) || !grad_factor_.is_finite())
            return;
        write.zero = zero_gradient_ || factors.upstream == 0.0 || write.exact.leader == no_index;
        write.exact.factor = grad_factor_ * factors.weight * factors.upstream;
        write.exactly = true;
    }

    /// The loss that a row keeps, though it stood alone for its gradient.
    void set_loss(const RowPlace& place, double loss) const {
        if (arrays_.loss.given())
            arrays_.loss.set(place, loss);
    }

    Write write_of(const RowLanes<T>& sums, std::size_t r, bool needs_float64, std::size_t aside_class) const {
        Write write;
        write.needs_float64 = needs_float64;
        write.reference = transform_.shifts() ? sums.reference[r] : T(0);
        write.base = sums.aside.base[r];
        write.scale = sums.out_scale[r];
        write.linear = sums.linear[r];
        write.aside_class = aside_class;
        write.aside_value = sums.value[r];
        write.zero = zero_gradient_ || (write.scale == 0.0 && write.linear == 0.0 && write.aside_value == 0.0);
        write.nan = write.scale != write.scale;
        return write;
    }

    bool can_write_during_sweep(const Write& row) const {
        return !(linear_ && as_distribution_) && arrays_.grad.direct() && transform_.identity() &&
               mode_ != StoreMode::streaming && !row.zero && !row.needs_float64 &&
               std::isfinite(static_cast<T>(row.scale)) && holds(row.linear);
    }
    PendingRow<T> pending_row(const RowPlace& place, const Write& row, const T* exponentials) const {
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
        if (row.exactly && !row.zero)
            write_exactly(place, row, first, n, out, scratch);
        else if (row.zero || row.nan)
            std::fill(out, out + n, row.zero ? T(0) : std::numeric_limits<T>::quiet_NaN());
        else
            write_gradient(place, row, first, n, exponentials, out, scratch);
        if (out != to)
            std::copy(out, out + n, to);
        arrays_.grad.store(place, first, n, out);
    }

    // Of a tile.
    Columns<const T> columns(const RowTile& tile, RowLanes<T>& sums, Scratch<T>& scratch) const {
        if (transform_.identity())
            return arrays_.input.columns(kernels(), tile, call_.classes, scratch.logit_columns);
        const T* raw = arrays_.input.copy(kernels(), tile, call_.classes, scratch.logit_columns);
        transform_.apply_columns(kernels(), raw, {tile.lanes, call_.classes}, sums.target, sums.reference,
                                 scratch.transformed_columns.data());
        sums.referenced = true;
        return {scratch.transformed_columns.data(), static_cast<std::ptrdiff_t>(tile.lanes)};
    }

    bool reads_columns_again() const { return linear_; }
    NextTile next(const RowTile& tile) const { return arrays_.input.next(tile, call_.classes); }

    /// `coefficients`, tile.lanes apart. Rows with some that T is too narrow for leave the tile.
    const T* column_coefficients(const RowTile& tile, RowLanes<T>& sums, Scratch<T>& scratch) const {
        if (as_distribution_ && arrays_.may_be_far())
            find_far_rows(tile, sums);
        if (call_.indices)
            return as_distribution_ ? weight_columns(tile, sums, scratch) : nullptr;
        T* q = arrays_.probabilities.copy(kernels(), tile, call_.classes, scratch.coefficient_columns);
        blend_columns(q, tile.lanes);
        return q;
    }

    void write_columns(const RowTile& tile, const RowLanes<T>& sums, Columns<const T> x, const T* exponentials,
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
    /// What multiplies a row's loss and gradient, beside what is the same for all rows.
    struct RowFactors {
        double weight, upstream, class_weight;

        RowFactors(const CrossEntropyRows& rows, const RowPlace& place)
            : weight(rows.arrays_.selection.weight(place)),
              upstream(rows.writes() ? of(rows.arrays_.upstream, place) : 1.0),
              class_weight(rows.call_.indices ? rows.arrays_.class_weight(place.target) : 1.0) {}
        bool of_loss_are_finite() const { return std::isfinite(weight) && std::isfinite(class_weight); }

    private:
        static double of(const RowNumbers& numbers, const RowPlace& place) {
            return numbers.given() ? numbers[place] : 1.0;
        }
    };

    /// Whether it is 0 or a normal number of type T.
    static bool holds(double factor) {
        const T rounded = std::fabs(static_cast<T>(factor));
        return factor == 0.0 || (rounded >= std::numeric_limits<T>::min() && std::isfinite(rounded));
    }

    /// A class weight of 0 removes the rows of its class.
    void skip_weightless_classes(const RowTile& tile, RowLanes<T>& sums) const {
        for (std::size_t r = 0; r < tile.lanes; ++r)
            if (weight_of_target(sums, r) == 0.0) {
                sums.read[r] = T(0);
                sums.all_read = false;
            }
    }

    /// Note [reference of a row]
    T reference_logit(const RowPlace& place) const {
        constexpr std::size_t piece = 64;
        T buffer[piece];
        bool found = false;
        const auto look = [&](std::size_t first, std::size_t n) {
            const T* x = arrays_.input.read(place, first, n, Buffer<T>(buffer));
            return transform_.first_finite(kernels(), x, n, &found);
        };
        if (!transform_.shifts())
            return T(0);
        T reference = place.target != no_index ? look(place.target, 1) : T(0);
        for (std::size_t first = 0; first < call_.classes && !found; first += piece)
            reference = look(first, std::min(piece, call_.classes - first));
        return reference;
    }
    /// Remembers the references of a tile's rows, and gives their log-sum-exps what these took off.
    void refer_to_logits(const RowTile& tile, RowLanes<T>& sums) const {
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            if (!sums.referenced) {
                RowPlace place = tile.place(r < tile.count ? r : 0);
                place.target = sums.class_of(r, call_.classes);
                sums.reference[r] = r < tile.count && sums.reads(r) ? reference_logit(place) : T(0);
            }
            if (terms_.z_loss != 0.0)
                sums.aside.lse[r] += transform_.scale() * static_cast<double>(sums.reference[r]);
        }
    }

    /// An upstream gradient of 0 removes the row's, whatever that is.
    static void clear_without_upstream(const RowTile& tile, const double* upstream, RowLanes<T>& sums) {
        for (std::size_t r = 0; r < tile.lanes; ++r)
            if (upstream[r] == 0.0) {
                sums.out_scale[r] = sums.linear[r] = sums.value[r] = 0.0;
                sums.columns.scale[r] = sums.columns.linear[r] = sums.columns.value[r] = T(0);
            }
    }

    /// Has rows that are not ordinary (KernelTable::index_terms) take the row traversal, and end_alone.
    void find_exact_rows(const RowTile& tile, const TermRows<T>& rows, RowLanes<T>& sums) const {
        if (!sums.any_needs_float64)
            std::fill(sums.needs_float64, sums.needs_float64 + tile.lanes, false);
        // A factor that is large in T may have an infinite product, and a softcap's slope of 0 would make it NaN.
        const double most = transform_.caps() ? 0x1p60 : std::numeric_limits<double>::max();
        const auto within = [&](double factor) { return std::fabs(factor) <= most; };
        const auto extreme = [](const double* factors, std::size_t r) {
            return factors != nullptr && !is_moderate(factors[r]);
        };
        for (std::size_t r = 0; r < tile.count; ++r) {
            if (!sums.reads(r))
                continue;
            const bool exact_loss = all_losses_exact_ || !(std::fabs(sums.loss[r]) < large_loss) ||
                                    extreme(rows.class_weight, r) || extreme(rows.weight, r);
            bool exact = exact_loss || all_exact_ || extreme(rows.upstream, r);
            sums.keeps_loss[r] = !exact_loss && !sums.needs_float64[r];  // what a call without a gradient gives
            if (arrays_.grad.given())
                exact |= !within(sums.out_scale[r]) || !within(sums.linear[r]) || !within(sums.value[r]);
            if (exact)
                sums.any_needs_float64 = sums.any_needs_exact = sums.needs_float64[r] = true;
        }
    }

    /// Of a row that stands alone. Losses whose sum float64 may not hold are added up apart.
    void set_loss(const RowPlace& place, const ScaledNumber& loss, RowLanes<T>& one) const {
        one.loss[0] = loss.value();
        if (arrays_.loss.given()) {
            arrays_.loss.set(place, one.loss[0]);
        } else if (loss.is_finite() && !(std::fabs(one.loss[0]) < large_loss)) {
            large_losses_[place.row / chunk_rows_].add(loss);
            one.loss[0] = 0.0;
        }
    }
    double reduced(double sum) const {
        ScaledPairSum all;
        all.add(sum);
        bool any = false;
        for (const ScaledPairSum& losses : large_losses_) {
            any |= !losses.total().is_zero();
            all.add(losses.total());
        }
        if (!any || call_.normalization.gradient_is_zero)
            return call_.normalization.reduce(sum);
        return (all.total() / call_.normalization.divisor).value();
    }

    double spread() const { return terms_.smoothing / terms_.classes; }
    /// q of the target, whose weight is w.
    T target_coefficient(double w) const { return static_cast<T>(w * ((1.0 - terms_.smoothing) + spread())); }

    void write_gradient(const RowPlace& place, const Write& row, std::size_t first, std::size_t n,
                        const T* exponentials, T* out, Scratch<T>& scratch) const {
        const double linear = linear_ ? row.linear : 0.0;
        const bool beyond = !std::isfinite(static_cast<T>(row.scale)) || !holds(linear);
        const Coefficients q = linear_ ? coefficients(place, first, n, scratch) : Coefficients{};
        const bool takes_float64 = row.needs_float64 || beyond || q.far != nullptr;
        const T* x =
            takes_float64 || exponentials == nullptr ? logits(place, first, n, row.reference, scratch) : nullptr;
        const Patch<T> patch = patch_of(row, first, n);
        if (takes_float64)
            write_in_float64(x, n, row, linear, q, patch, out);
        else
            kernels().scaled_exponentials(x, exponentials, n,
                                          {static_cast<T>(row.base), static_cast<T>(row.scale), static_cast<T>(linear)},
                                          q.values, patch, mode_, out);
        if (!transform_.identity())
            transform_.pull_back(kernels(), arrays_.input.read(place, first, n, scratch.raw_logits), n, out);
        if (beyond || q.far != nullptr)
            kernels().canonical_nan(out, n);
    }

    void write_exactly(const RowPlace& place, const Write& row, std::size_t first, std::size_t n, T* out,
                       Scratch<T>& scratch) const {
        exact_rows_.write(place, row.exact, first, n, scratch.raw_logits, out);
        kernels().canonical_nan(out, n);
    }

    static Patch<T> patch_of(const Write& row, std::size_t first, std::size_t n) {
        Patch<T> patch;
        if (row.aside_class != no_index && row.aside_class >= first && row.aside_class < first + n)
            patch = {row.aside_class - first, static_cast<T>(row.aside_value)};
        return patch;
    }

    /// In float64, piece by piece.
    void write_in_float64(const T* x, std::size_t n, const Write& row, double linear, const Coefficients& q,
                          const Patch<T>& patch, T* out) const {
        q.for_pieces(n, [&](std::size_t first, std::size_t count, const double* piece) {
            Patch<T> here;
            if (patch.index != no_index && patch.index >= first && patch.index < first + count)
                here = {patch.index - first, patch.value};
            kernels().float64_write(x + first, count, reference_of(row), row.scale, linear, piece, here, out + first);
        });
    }

    /// The coefficients of n classes as numbers of type T; null: all 1.
    const T* near_coefficients(const RowPlace& place, std::size_t first, std::size_t n, Scratch<T>& scratch) const {
        if (!call_.indices)
            return arrays_.coefficients(place, first, n, scratch.coefficients, scratch.weights);
        if (!as_distribution_)
            return nullptr;
        T* q = arrays_.class_weights(first, n, scratch.weights.data());
        for (std::size_t j = 0; j < n; ++j)
            q[j] *= static_cast<T>(spread());
        if (place.target >= first && place.target < first + n)
            q[place.target - first] = target_coefficient(arrays_.class_weight(call_.first_class + place.target));
        return q;
    }

    // Rows side by side.

    /// Has rows with coefficients that T is too narrow for take the row traversal, which has float64 for them.
    void find_far_rows(const RowTile& tile, RowLanes<T>& sums) const {
        if (!sums.any_needs_float64)
            std::fill(sums.needs_float64, sums.needs_float64 + tile.lanes, false);
        for (std::size_t r = 0; r < tile.count; ++r)
            if (sums.reads(r) && arrays_.is_far(tile.place(r), 0, call_.classes))
                sums.any_needs_float64 = sums.needs_float64[r] = true;
    }

    /// `coefficients` of weighted indices, side by side.
    const T* weight_columns(const RowTile& tile, const RowLanes<T>& sums, Scratch<T>& scratch) const {
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

    double weight_of_target(const RowLanes<T>& sums, std::size_t r) const {
        const std::size_t label = sums.class_of(r, call_.all_classes);
        if (label == no_index)
            return 1.0;
        return class_weights_.empty() ? arrays_.class_weight(label) : class_weights_[label];
    }

    void clear_unread(const RowTile& tile, const RowLanes<T>& sums, Columns<T> out) const {
        for (std::size_t r = 0; r < tile.count; ++r)
            if (!sums.reads(r))
                for (std::size_t j = 0; j < call_.classes; ++j)
                    out.data[static_cast<std::ptrdiff_t>(j) * out.stride + static_cast<std::ptrdiff_t>(r)] = T(0);
    }

    const Kernels<T>& kernels() const { return table_.template of<T>(); }

    const LogitCall& call_;
    const KernelTable& table_;
    CrossEntropyArrays<T> arrays_;
    ExactRows<T> exact_rows_;
    LogitTransform<T> transform_;
    TermOptions terms_;
    bool linear_;
    bool as_distribution_;  // class probabilities, and indices that Note [smoothing with class weights] takes as such
    bool staged_ = false;
    StoreMode mode_ = StoreMode::cached;
    std::vector<double> class_weights_;
    bool zero_gradient_ = false;
    bool all_losses_exact_ = false;  // Note [exact rows]
    bool all_exact_ = false;
    ScaledNumber grad_factor_ = 1.0;  // TermOptions::grad_factor
    std::size_t chunk_rows_ = 1;
    mutable std::vector<ScaledPairSum> large_losses_;  // of each chunk of rows
};

// In cross_entropy.cpp, for whoever else takes rows through their steps.
extern template CrossEntropyRows<float>::CrossEntropyRows(const LogitCall&);
extern template CrossEntropyRows<double>::CrossEntropyRows(const LogitCall&);
extern template void CrossEntropyRows<float>::read_rows(const RowTile&, RowLanes<float>&) const;
extern template void CrossEntropyRows<double>::read_rows(const RowTile&, RowLanes<double>&) const;
extern template const float* CrossEntropyRows<float>::logits(const RowPlace&, std::size_t, std::size_t, float,
                                                             Scratch<float>&) const;
extern template const double* CrossEntropyRows<double>::logits(const RowPlace&, std::size_t, std::size_t, double,
                                                               Scratch<double>&) const;
extern template CrossEntropyRows<float>::Coefficients CrossEntropyRows<float>::coefficients(const RowPlace&,
                                                                                            std::size_t, std::size_t,
                                                                                            Scratch<float>&) const;
extern template CrossEntropyRows<double>::Coefficients CrossEntropyRows<double>::coefficients(const RowPlace&,
                                                                                              std::size_t, std::size_t,
                                                                                              Scratch<double>&) const;
extern template void CrossEntropyRows<float>::finish_rows(const RowTile&, RowLanes<float>&) const;
extern template void CrossEntropyRows<double>::finish_rows(const RowTile&, RowLanes<double>&) const;
extern template void CrossEntropyRows<float>::write(const RowPlace&, const Write&, std::size_t, std::size_t,
                                                    const float*, Scratch<float>&) const;
extern template void CrossEntropyRows<double>::write(const RowPlace&, const Write&, std::size_t, std::size_t,
                                                     const double*, Scratch<double>&) const;

}  // namespace logitloss::detail
