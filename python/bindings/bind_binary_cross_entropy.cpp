// Binary cross-entropy with logits.
#include "binary_arguments.hpp"
#include "bind.hpp"

namespace logitloss::python {
namespace {

class BceArguments : public BinaryArguments<BceOptions> {
public:
    template <class... Objects>
    explicit BceArguments(const py::object& pos_weight, const Objects&... objects)
        : BinaryArguments("logits", objects...), pos_weight_(pos_weight, "pos_weight") {
        options.pos_weight = pos_weight_.view;
    }

private:
    OptionalArray pos_weight_;
};

using O = py::object;

}  // namespace

void bind_binary_cross_entropy(py::module_& module) {
    module.def("bce_with_logits", &bound_binary<BceArguments, bce_with_logits, O, O, O, O, O, O, O, O, O, O>);
    module.def(
        "bce_with_logits_value_and_grad",
        &bound_binary_value_and_grad<BceArguments, bce_with_logits_value_and_grad, O, O, O, O, O, O, O, O, O, O>);
}

}  // namespace logitloss::python
