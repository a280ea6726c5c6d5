// Sigmoid focal loss.
#include "bind.hpp"
#include "logitloss/focal_loss.hpp"
#include "losses.hpp"

namespace logitloss::python {
namespace {

class FocalArguments : public BinaryArguments<FocalOptions> {
public:
    static constexpr std::size_t count = 2 + BinaryArguments::count;

    template <class... Objects>
    FocalArguments(const py::object& alpha, const py::object& gamma, const Objects&... objects)
        : BinaryArguments("logits", objects...) {
        options.alpha = as_optional_number(alpha, "alpha");
        options.gamma = as_number(gamma, "gamma");
    }
};

}  // namespace

void bind_focal_loss(py::module_& module) {
    define_loss<FocalArguments, sigmoid_focal_loss, sigmoid_focal_loss_value_and_grad>(module, "sigmoid_focal_loss");
}

}  // namespace logitloss::python
