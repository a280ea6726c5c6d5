#include "losses/cross_entropy/cross_entropy_call.hpp"

#include <string>

#include "arguments/clipping.hpp"
#include "arguments/labels.hpp"

namespace logitloss::detail {
namespace {

void check_own_options(const CrossEntropyOptions& options) {
    require_finite("z_loss", options.z_loss);
    require_finite("margin", options.margin);
    require_positive_finite("scale", options.scale);
    if (options.softcap)
        require_positive_finite("softcap", *options.softcap);
}

void check_own_options(const ProbabilityEntropyOptions& options) { check_eps(options.eps); }

/// Of options that only class indices may come with.
void check_without_indices(const CrossEntropyOptions& options) {
    if (options.margin != 0.0)
        throw value_error("margin: got " + to_string(options.margin) +
                          " with class probabilities, expected class indices or a margin of 0");
}

void check_without_indices(const ProbabilityEntropyOptions&) {}

}  // namespace

template <class Options>
CrossEntropyCall<Options>::CrossEntropyCall(const char* input_name, const ArrayView& input_view,
                                            const ArrayView& target_view, const ArrayView& upstream_view,
                                            const MutableArrayView& loss_view, const MutableArrayView& grad_view,
                                            const Options& call_options, const ClassShard& class_shard)
    : input(input_name, input_view),
      target("target", target_view),
      class_weight("class_weight", call_options.class_weight),
      sample_weight("sample_weight", call_options.sample_weight),
      upstream("upstream", upstream_view),
      loss("out", loss_view),
      grad("grad_out", grad_view),
      options(call_options),
      shard(class_shard) {
    check_options();
    require_floating(input);
    axis = normalized_axis(options.axis, input.shape.size());
    classes = static_cast<std::size_t>(input.shape[static_cast<std::size_t>(axis)]);
    check_shard();
    rows = without_axis(input.shape, axis);
    indices = holds_class_indices(target, input.shape, rows);
    if (!indices)
        check_without_indices(options);
    if (class_weight.given())
        require_shape(class_weight, {static_cast<std::ptrdiff_t>(all_classes)});
    if (sample_weight.given())
        broadcast_strides(sample_weight, rows);
    const Shape loss_shape = options.reduction == Reduction::none ? rows : Shape{};
    require_value_and_grad(input, loss_shape, {&input, &target, &class_weight, &sample_weight, &upstream}, loss, grad);
    if (upstream.given())
        broadcast_strides(upstream, loss_shape);
    normalization = Normalization(options.reduction, options.normalizer, mean_weights());
}

template <class Options>
void CrossEntropyCall<Options>::check_options() const {
    require_unit_interval("label_smoothing", options.label_smoothing);
    check_own_options(options);
    check_normalizer(options.reduction, options.normalizer);
}

template <class Options>
void CrossEntropyCall<Options>::check_shard() {
    const auto here = static_cast<std::int64_t>(classes);
    const std::int64_t all = shard.all.value_or(here);
    if (shard.all && all < 1)
        throw value_error("num_classes: got " + std::to_string(all) + ", expected at least 1");
    if (shard.first < 0 || here > all || shard.first > all - here)
        throw value_error("first_class: got " + std::to_string(shard.first) + " for a shard of " +
                          std::to_string(here) + " classes, expected classes in [0, " + std::to_string(all) + ")");
    first_class = static_cast<std::size_t>(shard.first);
    all_classes = static_cast<std::size_t>(all);
}

/// Checks the labels, too.
template <class Options>
WeightSum CrossEntropyCall<Options>::mean_weights() const {
    if (indices)
        return check_labels(target, all_classes, options.ignore_index, class_weight, sample_weight,
                            options.num_threads);
    return options.reduction == Reduction::mean && !options.normalizer
               ? sum_sample_weights(sample_weight, rows, options.num_threads)
               : WeightSum{};
}

template struct CrossEntropyCall<CrossEntropyOptions>;
template struct CrossEntropyCall<ProbabilityEntropyOptions>;

}  // namespace logitloss::detail
