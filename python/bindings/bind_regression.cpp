// Losses of regression.
#include <optional>

#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/regression.hpp"

namespace logitloss::python {
namespace {

/// The positional arguments that all of them take, in the order in which the Python layer passes them.
class Arguments {
public:
    Arguments(const py::object& pred_object, const py::object& target_object, const py::object& weight_object,
              const py::object& reduction, const py::object& out, const py::object& num_threads)
        : pred(as_logits(pred_object, "pred")),
          target(as_array(target_object, "target")),
          weight_(weight_object, "weight") {
        options.weight = weight_.view;
        options.reduction = as_reduction(reduction);
        options.num_threads = as_num_threads(num_threads);
        loss.emplace(out, "out", options.reduction == Reduction::none ? shape_of(pred) : Shape{}, loss_dtype(pred));
        pred_view = view_of(pred, "pred");
        target_view = view_of(target, "target");
        loss_view = loss->view("out");
    }

    py::array pred, target;
    RegressionOptions options;
    std::optional<Result> loss;
    ArrayView pred_view, target_view;
    MutableArrayView loss_view;

private:
    OptionalArray weight_;
};

using O = py::object;

template <auto function>
O bound_error(const O& pred, const O& target, const O& weight, const O& reduction, const O& out, const O& num_threads) {
    Arguments call(pred, target, weight, reduction, out, num_threads);
    without_gil(call.pred.size(), [&] { function(call.pred_view, call.target_view, call.loss_view, call.options); });
    return call.loss->value();
}

template <auto function>
py::tuple bound_value_and_grad(const O& upstream_object, const O& grad_out, const O& pred, const O& target,
                               const O& weight, const O& reduction, const O& out, const O& num_threads) {
    Arguments call(pred, target, weight, reduction, out, num_threads);
    const OptionalArray upstream(upstream_object, "upstream");
    Result grad(grad_out, "grad_out", call.pred);
    const MutableArrayView grad_view = grad.view("grad_out");
    without_gil(call.pred.size(), [&] {
        function(call.pred_view, call.target_view, upstream.view, call.loss_view, grad_view, call.options);
    });
    return py::make_tuple(call.loss->value(), grad.value());
}

}  // namespace

void bind_regression(py::module_& module) {
    module.def("mean_squared_error", &bound_error<mean_squared_error>);
    module.def("mean_absolute_error", &bound_error<mean_absolute_error>);
    module.def("root_mean_squared_error", &bound_error<root_mean_squared_error>);
    module.def("mean_squared_error_value_and_grad", &bound_value_and_grad<mean_squared_error_value_and_grad>);
    module.def("mean_absolute_error_value_and_grad", &bound_value_and_grad<mean_absolute_error_value_and_grad>);
    module.def("root_mean_squared_error_value_and_grad", &bound_value_and_grad<root_mean_squared_error_value_and_grad>);
}

}  // namespace logitloss::python
