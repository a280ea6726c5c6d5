// Binary cross-entropy with logits.
#include "bind.hpp"
#include "logitloss/binary_cross_entropy.hpp"
#include "losses.hpp"

namespace logitloss::python {
namespace {

class BceArguments : public BinaryArguments<BceOptions> {
public:
    static constexpr std::size_t count = 1 + BinaryArguments::count;

    template <class... Objects>
    explicit BceArguments(const py::object& pos_weight, const Objects&... objects)
        : BinaryArguments("logits", objects...), pos_weight_(pos_weight, "pos_weight") {
        options.pos_weight = pos_weight_.view;
    }

private:
    OptionalArray pos_weight_;
};

}  // namespace

void bind_binary_cross_entropy(py::module_& module) {
    define_loss<BceArguments, bce_with_logits, bce_with_logits_value_and_grad>(module, "bce_with_logits");
}

}  // namespace logitloss::python
