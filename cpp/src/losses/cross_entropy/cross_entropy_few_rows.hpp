// The rows of a cross-entropy that have few float32 classes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "logits/few_class_rows.hpp"
#include "logits/logit_scratch.hpp"
#include "logits/logit_transform.hpp"
#include "losses/cross_entropy/cross_entropy_arrays.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {

template <class T>
class CrossEntropyFewRows : public FewClassTraits {
public:
    double factor = 0.0;  ///< multiplies all gradients

    CrossEntropyFewRows(const LogitCall& call, const CrossEntropyArrays<T>& arrays, const LogitTransform<T>& transform,
                        const std::vector<double>& class_weights, const TermOptions& terms)
        : arrays_(arrays),
          transform_(transform),
          class_weights_(class_weights),
          kept_(1.0 - terms.smoothing),
          spread_(terms.smoothing / terms.classes) {
        takes = call.indices && terms.z_loss == 0.0 && (spread_ == 0.0 || spread_ >= least_spread);
        task = writes() ? FewClassTask::cross_entropy_gradient : FewClassTask::cross_entropy;
        long_tiles = arrays.input.direct() && (!writes() || arrays.grad.direct()) && transform.identity();
    }

    void begin(const RowTile& tile, FewClassRows& rows, FewClasses& in, Scratch<T>& scratch) const {
        // The kernel compares class numbers and never goes by them, so labels may stay where they lie.
        const std::int64_t* label = arrays_.selection.labels.integers(tile, rows.label);
        bool all_read = arrays_.selection.look_at(kernels(), tile, label, rows.target, rows.read);
        in.kept = static_cast<float>(kept_);
        in.spread = static_cast<float>(spread_);
        if (transform_.identity())
            set_input(in, arrays_.input, kernels(), tile, scratch.logit_columns);
        else
            set_transformed(tile, rows, in, scratch);
        if (arrays_.class_weighted() || arrays_.selection.weighted()) {
            all_read &= read_weights(tile, label, rows);
            in.weight = rows.weight;
        }
        in.read = all_read ? nullptr : rows.read;
        if (!writes())
            return;
        const std::ptrdiff_t lanes = in.class_step;
        set_output(in, transform_.identity() ? arrays_.grad.layout(tile, scratch.out_columns)
                                             : TileLayout<T>{scratch.out_columns.columns.data(), 1, lanes});
        in.same_factor = static_cast<float>(factor);
        const double* upstream = arrays_.upstream.read_if_given(tile, rows.factor);
        if (upstream != nullptr || in.weight != nullptr)
            in.factor = multiply_factors(tile, upstream, rows, in.weight != nullptr, rows.factor);
    }

    bool end(const RowTile& tile, FewClassRows& rows, const FewClasses& in, Scratch<T>& scratch) const {
        bool odd = false;
        if (in.weight != nullptr && rows.any_extreme)
            for (std::size_t r = 0; r < tile.count; ++r)
                if (!is_moderate(rows.weight[r]) && rows.read[r] != 0.0f) {
                    rows.odd[r] = 1.0f;
                    odd = true;
                }
        if (arrays_.loss.given())
            arrays_.loss.set(tile, in.loss);
        if (!writes())
            return odd;
        if (!transform_.identity())
            pull_back(tile, rows, in, scratch);
        arrays_.grad.store_columns(kernels(), tile, in.classes, in.out, scratch.out_columns);
        return odd;
    }

    void keep(const RowPlace& place, const FewClassRows& rows, std::size_t r) const {
        if (arrays_.loss.given())
            arrays_.loss.set(place, rows.loss[r]);
    }

private:
    /// Products of a smoothing's e / C from here on with factors that the kernel takes are normal numbers.
    static constexpr double least_spread = 0x1p-20;

    const Kernels<T>& kernels() const { return detail::kernels().template of<T>(); }
    bool writes() const { return arrays_.grad.given(); }

    void set_transformed(const RowTile& tile, const FewClassRows& rows, FewClasses& in, Scratch<T>& scratch) const {
        T reference[most_lanes];
        const T* raw = arrays_.input.copy(kernels(), tile, in.classes, scratch.logit_columns);
        T* transformed = scratch.transformed_columns.data();
        transform_.apply_columns(kernels(), raw, {tile.lanes, in.classes}, rows.target, reference, transformed);
        in.x = transformed;
        in.row_step = 1;
        in.class_step = static_cast<std::ptrdiff_t>(tile.lanes);
        in.next = arrays_.input.next(tile, in.classes);
    }

    /// Turns gradients into those with respect to the logits that were given. Odd rows keep these logits, which may lie
    /// where the gradient is written. Rows that are not read have a gradient of 0, whatever they hold.
    void pull_back(const RowTile& tile, const FewClassRows& rows, const FewClasses& in, Scratch<T>& scratch) const {
        const T* raw = scratch.logit_columns.columns.data();
        transform_.pull_back(kernels(), raw, in.classes * tile.lanes, in.out);
        for (std::size_t r = 0; r < tile.count; ++r) {
            const bool odd = rows.odd[r] != 0.0f;
            if (!odd && rows.read[r] != 0.0f)
                continue;
            for (std::size_t i = r; i < in.classes * tile.lanes; i += tile.lanes)
                in.out[i] = odd ? raw[i] : T(0);
        }
    }

    /// Rows of weight 0 are not read. Returns whether all are.
    bool read_weights(const RowTile& tile, const std::int64_t* labels, FewClassRows& rows) const {
        const RowSelection& selection = arrays_.selection;
        double of_class[most_rows];
        if (selection.sample_weight.read_if_given(tile, rows.weight) == nullptr)
            std::fill(rows.weight, rows.weight + tile.lanes, 1.0);
        std::fill(of_class, of_class + tile.lanes, 1.0);
        if (!class_weights_.empty())
            for (std::size_t r = 0; r < tile.lanes; ++r)
                if (const auto label = static_cast<std::uint64_t>(labels[r]); label < class_weights_.size())
                    of_class[r] = class_weights_[label];
        std::size_t nothing = 0, extreme = 0;
        for (std::size_t r = 0; r < tile.lanes; ++r) {
            const bool removed = (rows.weight[r] == 0.0) | (of_class[r] == 0.0);
            rows.read[r] = removed ? 0.0f : rows.read[r];
            rows.weight[r] *= selection.weight_scale() * of_class[r];
            nothing += removed ? 1 : 0;
            extreme += is_moderate(rows.weight[r]) ? 0 : 1;
        }
        rows.any_extreme = extreme != 0;
        return nothing == 0;
    }

    /// Factors of gradients; NaN, which leaves a row to others, where that has to be for the loss.
    const double* multiply_factors(const RowTile& tile, const double* upstream, const FewClassRows& rows, bool weighted,
                                   double* factors) const {
        for (std::size_t r = 0; r < tile.lanes; ++r)
            factors[r] = factor * (weighted ? rows.weight[r] : 1.0) * (upstream == nullptr ? 1.0 : upstream[r]);
        if (weighted && rows.any_extreme)
            for (std::size_t r = 0; r < tile.lanes; ++r)
                if (!is_moderate(rows.weight[r]))
                    factors[r] = std::numeric_limits<double>::quiet_NaN();
        return factors;
    }

    const CrossEntropyArrays<T>& arrays_;
    const LogitTransform<T>& transform_;
    const std::vector<double>& class_weights_;
    double kept_, spread_;
};

}  // namespace logitloss::detail
