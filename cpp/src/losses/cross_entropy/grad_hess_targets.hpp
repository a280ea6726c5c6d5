// The arguments of a gradient and Hessian diagonal of cross-entropy, checked, and the coefficients that targets stand for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/hessian_rule.hpp"
#include "arguments/labels.hpp"
#include "traversal/row_tile.hpp"

namespace logitloss::detail {

/// The arguments of one call, checked.
struct GradHessCall {
    const Argument logits, target, class_weight, sample_weight;
    const Output grad, hess;
    const CrossEntropyHessianOptions& options;
    int axis = 0;
    std::size_t classes = 0;
    bool indices = false;  ///< whether the target holds class indices
    Shape rows;
    HessianRule rule;

    GradHessCall(const ArrayView& logits_view, const ArrayView& target_view, const MutableArrayView& grad_view,
                 const MutableArrayView& hess_view, const CrossEntropyHessianOptions& call_options)
        : logits("logits", logits_view),
          target("target", target_view),
          class_weight("class_weight", call_options.class_weight),
          sample_weight("sample_weight", call_options.sample_weight),
          grad("grad_out", grad_view),
          hess("hess_out", hess_view),
          options(call_options) {
        require_unit_interval("label_smoothing", options.label_smoothing);
        require_positive_finite("scale", options.scale);
        require_floating(logits);
        axis = normalized_axis(options.axis, logits.shape.size());
        classes = static_cast<std::size_t>(logits.shape[static_cast<std::size_t>(axis)]);
        rule = convex_hessian_rule(options.hessian, static_cast<double>(classes), options.scale);
        rows = without_axis(logits.shape, axis);
        indices = holds_class_indices(target, logits.shape, rows, LabelDTypes::real);
        if (class_weight.given())
            require_shape(class_weight, {static_cast<std::ptrdiff_t>(classes)});
        if (sample_weight.given())
            broadcast_strides(sample_weight, rows);
        require_grad_and_hess(logits, {&logits, &target, &class_weight, &sample_weight}, grad, hess);
        if (indices)
            check_labels(target, classes, options.ignore_index, Argument("", {}), Argument("", {}),
                         options.num_threads);
    }
};

/// Sums over the coefficients of a row.
struct TargetSums {
    double mass = 0.0;         ///< of all,
    double others_mass = 0.0;  ///< without that of the largest class,
    double size = 0.0;         ///< and of their magnitudes
};

/// The coefficients q_j of log p_j in the loss: w_j ((1-e) t_j + e/C) of class probabilities t; of a class index y
/// (e/C) w_j, and (1-e) w_y more at y.
class TargetCoefficients {
public:
    explicit TargetCoefficients(const GradHessCall& call)
        : kept_(1.0 - call.options.label_smoothing),
          spread_(call.classes > 0 ? call.options.label_smoothing / static_cast<double>(call.classes) : 0.0),
          classes_(call.classes),
          weights_(call.class_weight.given() ? call.classes : 0) {
        if (weights_.empty())
            return;
        const ArrayView& view = call.class_weight.view;
        gather({view.dtype, view.byteswapped, call.class_weight.strides[0]}, call.class_weight.bytes(), classes_,
               weights_.data());
        if (call.indices && smooth())
            add_up_spread();
    }

    bool smooth() const { return spread_ != 0.0; }
    /// Whether a class index is all there is to a row.
    bool plain() const { return weights_.empty() && !smooth(); }
    /// Of class indices, numbers of which -1 is none: what is at the class beside the smoothing.
    double kept(double label) const {
        return weights_.empty() || label < 0.0 ? kept_ : kept_ * weights_[static_cast<std::size_t>(label)];
    }
    /// Of a class index and the number of the largest class.
    TargetSums sums(double label, double top) const {
        const double at_label = kept(label);
        const auto classes = static_cast<double>(classes_);
        TargetSums row;
        row.mass = at_label + (weights_.empty() ? spread_ * classes : spread_total_);
        row.others_mass = top == label ? 0.0 : at_label;
        if (smooth() && top >= 0.0)
            row.others_mass +=
                weights_.empty() ? spread_ * (classes - 1.0) : spread_others_[static_cast<std::size_t>(top)];
        return row;
    }
    /// n classes from `first` on of `lanes` rows side by side with class indices.
    template <class T>
    void of_indices(const T* label, std::size_t first, std::size_t n, std::size_t lanes, double* q) const {
        for (std::size_t j = 0; j < n; ++j)
            std::fill_n(q + j * lanes, lanes, spread_ * weight(first + j));
        for (std::size_t r = 0; r < lanes; ++r) {
            const auto at = label[r] < T(0) ? no_index : static_cast<std::size_t>(label[r]) - first;
            if (at < n)
                q[at * lanes + r] += kept(static_cast<double>(label[r]));
        }
    }
    /// The same of class probabilities, which stand in `q`.
    void of_probabilities(std::size_t first, std::size_t n, std::size_t lanes, double* q) const {
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t r = 0; r < lanes; ++r)
                q[j * lanes + r] = weight(first + j) * (kept_ * q[j * lanes + r] + spread_);
    }

private:
    double weight(std::size_t j) const { return weights_.empty() ? 1.0 : weights_[j]; }
    /// The sums of (e/C) w_k over k != j, from both ends, so that none is a difference.
    void add_up_spread() {
        spread_others_.resize(classes_);
        double sum = 0.0;
        for (std::size_t j = 0; j < classes_; ++j) {
            spread_others_[j] = sum;
            sum += spread_ * weights_[j];
        }
        spread_total_ = sum;
        sum = 0.0;
        for (std::size_t j = classes_; j-- > 0;) {
            spread_others_[j] += sum;
            sum += spread_ * weights_[j];
        }
    }

    double kept_, spread_, spread_total_ = 0.0;
    std::size_t classes_;
    std::vector<double> weights_, spread_others_;
};

}  // namespace logitloss::detail
