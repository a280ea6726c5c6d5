// Sigmoid focal loss.
#include "binary_arguments.hpp"
#include "bind.hpp"
#include "logitloss/focal_loss.hpp"

namespace logitloss::python {
namespace {

class FocalArguments : public BinaryArguments<FocalOptions> {
public:
    template <class... Objects>
    FocalArguments(const py::object& alpha, const py::object& gamma, const Objects&... objects)
        : BinaryArguments("logits", objects...) {
        options.alpha = as_optional_number(alpha, "alpha");
        options.gamma = as_number(gamma, "gamma");
    }
};

using O = py::object;

}  // namespace

void bind_focal_loss(py::module_& module) {
    module.def("sigmoid_focal_loss",
               &bound_binary<FocalArguments, sigmoid_focal_loss, O, O, O, O, O, O, O, O, O, O, O>);
    module.def("sigmoid_focal_loss_value_and_grad",
               &bound_binary_value_and_grad<FocalArguments, sigmoid_focal_loss_value_and_grad, O, O, O, O, O, O, O, O,
                                            O, O, O>);
}

}  // namespace logitloss::python
