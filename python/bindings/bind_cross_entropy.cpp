// Softmax cross-entropy.
#include <algorithm>

#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/cross_entropy.hpp"

namespace logitloss::python {
namespace {

/// The positional arguments that both functions share, in the order in which the Python layer passes them.
class Arguments {
public:
    Arguments(const py::object& logits_object, const py::object& target_object, const py::object& axis,
              const py::object& class_weight_object, const py::object& sample_weight_object,
              const py::object& ignore_index, const py::object& label_smoothing, const py::object& z_loss,
              const py::object& softcap, const py::object& margin, const py::object& scale, const py::object& reduction,
              const py::object& normalizer, const py::object& out, const py::object& num_threads)
        : logits(as_logits(logits_object, "logits")),
          target(as_array(target_object, "target")),
          class_weight_(class_weight_object, "class_weight"),
          sample_weight_(sample_weight_object, "sample_weight") {
        options.axis = as_axis(axis);
        options.class_weight = class_weight_.view;
        options.sample_weight = sample_weight_.view;
        options.ignore_index = as_optional_integer(ignore_index, "ignore_index");
        options.label_smoothing = as_number(label_smoothing, "label_smoothing");
        options.z_loss = as_number(z_loss, "z_loss");
        options.softcap = as_optional_number(softcap, "softcap");
        options.margin = as_number(margin, "margin");
        options.scale = as_number(scale, "scale");
        options.reduction = as_reduction(reduction);
        options.normalizer = as_optional_number(normalizer, "normalizer");
        options.num_threads = as_num_threads(num_threads);
        loss.emplace(out, "out", options.reduction == Reduction::none ? shape_without(logits, options.axis) : Shape{},
                     loss_dtype(logits));
        logits_view = view_of(logits, "logits");
        target_view = view_of(target, "target");
        loss_view = loss->view("out");
    }

    py::array logits, target;
    CrossEntropyOptions options;
    std::optional<Result> loss;
    ArrayView logits_view, target_view;
    MutableArrayView loss_view;

private:
    OptionalArray class_weight_, sample_weight_;
};

template <class... Objects>
py::object bound_cross_entropy(const Objects&... objects) {
    Arguments call(objects...);
    without_gil(call.logits.size(),
                [&] { cross_entropy(call.logits_view, call.target_view, call.loss_view, call.options); });
    return call.loss->value();
}

template <class... Objects>
py::tuple bound_value_and_grad(const py::object& upstream_object, const py::object& grad_out,
                               const Objects&... objects) {
    Arguments call(objects...);
    const OptionalArray upstream(upstream_object, "upstream");
    Result grad(grad_out, "grad_out", call.logits);
    const MutableArrayView grad_view = grad.view("grad_out");
    without_gil(call.logits.size(), [&] {
        cross_entropy_value_and_grad(call.logits_view, call.target_view, upstream.view, call.loss_view, grad_view,
                                     call.options);
    });
    return py::make_tuple(call.loss->value(), grad.value());
}

using O = py::object;

}  // namespace

void bind_cross_entropy(py::module_& module) {
    module.def("cross_entropy", &bound_cross_entropy<O, O, O, O, O, O, O, O, O, O, O, O, O, O, O>);
    module.def("cross_entropy_value_and_grad", &bound_value_and_grad<O, O, O, O, O, O, O, O, O, O, O, O, O, O, O>);
}

}  // namespace logitloss::python
