// Metrics of classifiers.
#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/metrics.hpp"

namespace logitloss::python {
namespace {

using O = py::object;

/// Predicted labels have the target's shape, as logits beside class probabilities have; but they are integers.
void refuse_labels(const py::array& logits, const py::array& target) {
    if (!is_floating(dtype_of(logits, "logits")) && shape_of(logits) == shape_of(target))
        throw py::type_error(
            "logits: got integers of the target's shape " + shape_text(shape_of(target)) +
            ", expected a number a class: this takes logits, not predicted labels; compare labels with "
            "np.mean(pred == target)");
}

template <auto function>
O bound_share(const O& logits_object, const O& target_object, const O& axis, const O& top_k, const O& ignore_index,
              const O& sample_weight_object, const O& num_threads) {
    const py::array given = as_array(logits_object, "logits");
    const py::array target = as_array(target_object, "target");
    refuse_labels(given, target);
    const py::array logits = as_logits(given, "logits");
    const OptionalArray sample_weight(sample_weight_object, "sample_weight");
    AccuracyOptions options;
    options.axis = as_axis(axis);
    options.top_k = as_count(top_k, "top_k", "an int >= 1");
    options.ignore_index = as_optional_integer(ignore_index, "ignore_index");
    options.sample_weight = sample_weight.view;
    options.num_threads = as_num_threads(num_threads);
    const ArrayView logits_view = view_of(logits, "logits");
    const ArrayView target_view = view_of(target, "target");
    double share = 0.0;
    without_gil(logits.size(), [&] { share = function(logits_view, target_view, options); });
    return scalar(share, DType::float64);
}

O bound_perplexity(const O& loss_object, const O& out, const O& num_threads) {
    const py::array loss = as_logits(loss_object, "loss");
    Result result(out, "out", shape_of(loss), loss_dtype(loss));
    const int threads = as_num_threads(num_threads);
    const ArrayView loss_view = view_of(loss, "loss");
    const MutableArrayView out_view = result.view("out");
    without_gil(loss.size(), [&] { perplexity(loss_view, out_view, threads); });
    return result.value();
}

}  // namespace

void bind_metrics(py::module_& module) {
    module.def("accuracy", &bound_share<accuracy>);
    module.def("error_rate", &bound_share<error_rate>);
    module.def("perplexity", &bound_perplexity);
}

}  // namespace logitloss::python
