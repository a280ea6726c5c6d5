// Losses on probabilities.
#include <optional>

#include "arrays.hpp"
#include "binary_arguments.hpp"
#include "bind.hpp"
#include "logitloss/probabilities.hpp"

namespace logitloss::python {
namespace {

using O = py::object;

/// The positional arguments that both functions share, in the order in which the Python layer passes them.
class Arguments {
public:
    Arguments(const O& probs_object, const O& target_object, const O& axis, const O& eps, const O& class_weight_object,
              const O& sample_weight_object, const O& ignore_index, const O& label_smoothing, const O& reduction,
              const O& normalizer, const O& out, const O& num_threads)
        : probs(as_logits(probs_object, "probs")),
          target(as_array(target_object, "target")),
          class_weight_(class_weight_object, "class_weight"),
          sample_weight_(sample_weight_object, "sample_weight") {
        options.axis = as_axis(axis);
        options.eps = as_optional_number(eps, "eps");
        options.class_weight = class_weight_.view;
        options.sample_weight = sample_weight_.view;
        options.ignore_index = as_optional_integer(ignore_index, "ignore_index");
        options.label_smoothing = as_number(label_smoothing, "label_smoothing");
        options.reduction = as_reduction(reduction);
        options.normalizer = as_optional_number(normalizer, "normalizer");
        options.num_threads = as_num_threads(num_threads);
        loss.emplace(out, "out", options.reduction == Reduction::none ? shape_without(probs, options.axis) : Shape{},
                     loss_dtype(probs));
        probs_view = view_of(probs, "probs");
        target_view = view_of(target, "target");
        loss_view = loss->view("out");
    }

    py::array probs, target;
    ProbabilityEntropyOptions options;
    std::optional<Result> loss;
    ArrayView probs_view, target_view;
    MutableArrayView loss_view;

private:
    OptionalArray class_weight_, sample_weight_;
};

template <class... Objects>
O bound_from_probs(const Objects&... objects) {
    Arguments call(objects...);
    without_gil(call.probs.size(),
                [&] { cross_entropy_from_probs(call.probs_view, call.target_view, call.loss_view, call.options); });
    return call.loss->value();
}

template <class... Objects>
py::tuple bound_value_and_grad(const O& upstream_object, const O& grad_out, const Objects&... objects) {
    Arguments call(objects...);
    const OptionalArray upstream(upstream_object, "upstream");
    Result grad(grad_out, "grad_out", call.probs);
    const MutableArrayView grad_view = grad.view("grad_out");
    without_gil(call.probs.size(), [&] {
        cross_entropy_from_probs_value_and_grad(call.probs_view, call.target_view, upstream.view, call.loss_view,
                                                grad_view, call.options);
    });
    return py::make_tuple(call.loss->value(), grad.value());
}

class BinaryFromProbs : public BinaryArguments<ProbabilityBceOptions> {
public:
    template <class... Objects>
    explicit BinaryFromProbs(const O& eps, const Objects&... objects) : BinaryArguments("probs", objects...) {
        options.eps = as_optional_number(eps, "eps");
    }
};

}  // namespace

void bind_probabilities(py::module_& module) {
    module.def("cross_entropy_from_probs", &bound_from_probs<O, O, O, O, O, O, O, O, O, O, O, O>);
    module.def("cross_entropy_from_probs_value_and_grad", &bound_value_and_grad<O, O, O, O, O, O, O, O, O, O, O, O>);
    module.def("binary_cross_entropy",
               &bound_binary<BinaryFromProbs, binary_cross_entropy, O, O, O, O, O, O, O, O, O, O>);
    module.def("binary_cross_entropy_value_and_grad",
               &bound_binary_value_and_grad<BinaryFromProbs, binary_cross_entropy_value_and_grad, O, O, O, O, O, O, O,
                                            O, O, O>);
}

}  // namespace logitloss::python
