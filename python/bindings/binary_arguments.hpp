// Bindings of the losses of logits against targets in [0, 1].
#pragma once

#include <optional>

#include "arrays.hpp"
#include "logitloss/binary_cross_entropy.hpp"

namespace logitloss::python {

/// The arguments that all of them take. `Options` is the loss's own struct.
template <class Options>
class BinaryArguments {
public:
    BinaryArguments(const char* logits_name, const py::object& logits_object, const py::object& target_object,
                    const py::object& weight_object, const py::object& label_smoothing, const py::object& ignore_value,
                    const py::object& reduction, const py::object& normalizer, const py::object& out,
                    const py::object& num_threads)
        : logits(as_logits(logits_object, logits_name)),
          target(as_array(target_object, "target")),
          weight_(weight_object, "weight") {
        options.weight = weight_.view;
        options.label_smoothing = as_number(label_smoothing, "label_smoothing");
        options.ignore_value = as_optional_number(ignore_value, "ignore_value");
        options.reduction = as_reduction(reduction);
        options.normalizer = as_optional_number(normalizer, "normalizer");
        options.num_threads = as_num_threads(num_threads);
        const Shape shape = options.reduction == Reduction::none ? shape_of(logits) : Shape{};
        loss.emplace(out, "out", shape, loss_dtype(logits));
        logits_view = view_of(logits, logits_name);
        target_view = view_of(target, "target");
        loss_view = loss->view("out");
    }

    py::array logits, target;
    Options options;
    std::optional<Result> loss;
    ArrayView logits_view, target_view;
    MutableArrayView loss_view;

private:
    OptionalArray weight_;
};

/// The binding of `function`; `Arguments` is made of the Python objects.
template <class Arguments, auto function, class... Objects>
py::object bound_binary(const Objects&... objects) {
    Arguments call(objects...);
    without_gil(call.logits.size(),
                [&] { function(call.logits_view, call.target_view, call.loss_view, call.options); });
    return call.loss->value();
}

template <class Arguments, auto function, class... Objects>
py::tuple bound_binary_value_and_grad(const py::object& upstream_object, const py::object& grad_out,
                                      const Objects&... objects) {
    Arguments call(objects...);
    const OptionalArray upstream(upstream_object, "upstream");
    Result grad(grad_out, "grad_out", call.logits);
    const MutableArrayView grad_view = grad.view("grad_out");
    without_gil(call.logits.size(), [&] {
        function(call.logits_view, call.target_view, upstream.view, call.loss_view, grad_view, call.options);
    });
    return py::make_tuple(call.loss->value(), grad.value());
}

}  // namespace logitloss::python
