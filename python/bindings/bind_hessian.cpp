// Gradients and Hessian diagonals.
#include "bind.hpp"
#include "logitloss/error.hpp"
#include "logitloss/hessian.hpp"
#include "losses.hpp"

namespace logitloss::python {
namespace {

using O = py::object;

Hessian as_hessian(const O& object) {
    const std::pair<const char*, Hessian> kinds[] = {{"exact", Hessian::exact},
                                                     {"upper", Hessian::upper},
                                                     {"friedman", Hessian::friedman},
                                                     {"abs", Hessian::absolute},
                                                     {"clipped", Hessian::clipped}};
    const auto text = as_text(object, "hessian", "a kind of Hessian such as 'exact'");
    for (const auto& [name, kind] : kinds)
        if (text == name)
            return kind;
    throw value_error("hessian: got '" + text + "', expected 'exact', 'upper', 'friedman', 'abs' or 'clipped'");
}

/// The two results: as they were given, or in the memory order of the logits and of the dtype of the other.
struct GradHess {
    Result grad, hess;

    GradHess(const O& grad_out, const O& hess_out, const py::array& logits)
        : grad(grad_out, "grad_out", logits, dtype_beside(hess_out)),
          hess(hess_out, "hess_out", logits, dtype_beside(grad_out)) {}
    py::tuple values() const { return py::make_tuple(grad.value(), hess.value()); }

private:
    static std::optional<py::dtype> dtype_beside(const O& other) {
        if (!py::isinstance<py::array>(other))
            return std::nullopt;
        const py::dtype dtype = py::reinterpret_borrow<py::array>(other).dtype();
        return dtype.is(py::dtype::of<float>()) ? std::optional<py::dtype>(dtype) : std::nullopt;
    }
};

template <auto function, class Options>
py::tuple run(const py::array& logits, const O& target_object, const Options& options, const O& grad_out,
              const O& hess_out) {
    const py::array target = as_array(target_object, "target");
    const ArrayView logits_view = view_of(logits, "logits");
    const ArrayView target_view = view_of(target, "target");
    GradHess results(grad_out, hess_out, logits);
    const MutableArrayView grad_view = results.grad.view("grad_out");
    const MutableArrayView hess_view = results.hess.view("hess_out");
    without_gil(logits.size(), [&] { function(logits_view, target_view, grad_view, hess_view, options); });
    return results.values();
}

py::tuple bound_cross_entropy(const O& logits, const O& target, const O& hessian, const O& axis, const O& class_weight,
                              const O& sample_weight, const O& ignore_index, const O& label_smoothing, const O& scale,
                              const O& grad_out, const O& hess_out, const O& num_threads) {
    const OptionalArray class_weights(class_weight, "class_weight");
    const OptionalArray sample_weights(sample_weight, "sample_weight");
    CrossEntropyHessianOptions options;
    set_row_options(options, axis, class_weights, sample_weights, ignore_index, label_smoothing);
    options.scale = as_number(scale, "scale");
    options.hessian = as_hessian(hessian);
    options.num_threads = as_num_threads(num_threads);
    return run<cross_entropy_grad_hess>(as_logits(logits, "logits"), target, options, grad_out, hess_out);
}

void set_binary(BinaryHessianOptions& options, const OptionalArray& weight, const O& label_smoothing,
                const O& ignore_value, const O& hessian, const O& num_threads) {
    options.weight = weight.view;
    options.label_smoothing = as_number(label_smoothing, "label_smoothing");
    options.ignore_value = as_optional_number(ignore_value, "ignore_value");
    options.hessian = as_hessian(hessian);
    options.num_threads = as_num_threads(num_threads);
}

py::tuple bound_bce(const O& logits, const O& target, const O& hessian, const O& weight, const O& pos_weight,
                    const O& label_smoothing, const O& ignore_value, const O& grad_out, const O& hess_out,
                    const O& num_threads) {
    const OptionalArray weights(weight, "weight");
    const OptionalArray pos_weights(pos_weight, "pos_weight");
    BceHessianOptions options;
    set_binary(options, weights, label_smoothing, ignore_value, hessian, num_threads);
    options.pos_weight = pos_weights.view;
    return run<bce_with_logits_grad_hess>(as_logits(logits, "logits"), target, options, grad_out, hess_out);
}

py::tuple bound_focal(const O& logits, const O& target, const O& hessian, const O& alpha, const O& gamma,
                      const O& weight, const O& label_smoothing, const O& ignore_value, const O& grad_out,
                      const O& hess_out, const O& num_threads) {
    const OptionalArray weights(weight, "weight");
    FocalHessianOptions options;
    set_binary(options, weights, label_smoothing, ignore_value, hessian, num_threads);
    options.alpha = as_optional_number(alpha, "alpha");
    options.gamma = as_number(gamma, "gamma");
    return run<sigmoid_focal_loss_grad_hess>(as_logits(logits, "logits"), target, options, grad_out, hess_out);
}

}  // namespace

void bind_hessian(py::module_& module) {
    module.def("cross_entropy_grad_hess", &bound_cross_entropy);
    module.def("bce_with_logits_grad_hess", &bound_bce);
    module.def("sigmoid_focal_loss_grad_hess", &bound_focal);
}

}  // namespace logitloss::python
