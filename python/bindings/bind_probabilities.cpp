// Losses on probabilities.
#include "bind.hpp"
#include "logitloss/probabilities.hpp"
#include "losses.hpp"

namespace logitloss::python {
namespace {

/// `Base` are the arguments of the loss on logits.
template <class Base>
class ProbabilityArguments : public Base {
public:
    static constexpr std::size_t count = 1 + Base::count;

    template <class... Objects>
    explicit ProbabilityArguments(const py::object& eps, const Objects&... objects) : Base("probs", objects...) {
        this->options.eps = as_optional_number(eps, "eps");
    }
};

}  // namespace

void bind_probabilities(py::module_& module) {
    define_loss<ProbabilityArguments<RowArguments<ProbabilityEntropyOptions>>, cross_entropy_from_probs,
                cross_entropy_from_probs_value_and_grad>(module, "cross_entropy_from_probs");
    define_loss<ProbabilityArguments<BinaryArguments<ProbabilityBceOptions>>, binary_cross_entropy,
                binary_cross_entropy_value_and_grad>(module, "binary_cross_entropy");
}

}  // namespace logitloss::python
