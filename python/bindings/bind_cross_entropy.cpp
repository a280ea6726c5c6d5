// Softmax cross-entropy.
#include "bind.hpp"
#include "logitloss/cross_entropy.hpp"
#include "losses.hpp"

namespace logitloss::python {
namespace {

class LogitArguments : public RowArguments<CrossEntropyOptions> {
public:
    static constexpr std::size_t count = 4 + RowArguments::count;

    template <class... Objects>
    LogitArguments(const py::object& z_loss, const py::object& softcap, const py::object& margin,
                   const py::object& scale, const Objects&... objects)
        : RowArguments("logits", objects...) {
        options.z_loss = as_number(z_loss, "z_loss");
        options.softcap = as_optional_number(softcap, "softcap");
        options.margin = as_number(margin, "margin");
        options.scale = as_number(scale, "scale");
    }
};

}  // namespace

void bind_cross_entropy(py::module_& module) {
    define_loss<LogitArguments, cross_entropy, cross_entropy_value_and_grad>(module, "cross_entropy");
}

}  // namespace logitloss::python
