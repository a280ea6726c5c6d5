// Information measures.
#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/information.hpp"

namespace logitloss::python {
namespace {

using O = py::object;

InformationOptions options_of(const O& axis, const O& base, const O& num_threads) {
    InformationOptions options;
    if (!axis.is_none())
        options.axis = as_axis(axis);
    options.base = as_optional_number(base, "base");
    options.num_threads = as_num_threads(num_threads);
    return options;
}

O require_axis(const O& axis) {
    if (axis.is_none())
        throw py::type_error("axis: got None, expected an int");
    return axis;
}

O bound_self_information(const O& p_object, const O& base, const O& out, const O& num_threads) {
    const py::array p = as_logits(p_object, "p");
    const InformationOptions options = options_of(py::none(), base, num_threads);
    Result result(out, "out", shape_of(p), loss_dtype(p));
    const ArrayView p_view = view_of(p, "p");
    const MutableArrayView out_view = result.view("out");
    without_gil(p.size(), [&] { self_information(p_view, out_view, options); });
    return result.value();
}

template <auto function>
O bound_measure(const char* name, const O& p_object, const O& axis, const O& base, const O& out, const O& num_threads) {
    const py::array p = as_logits(p_object, name);
    const InformationOptions options = options_of(require_axis(axis), base, num_threads);
    Result result(out, "out", shape_without(p, options.axis), loss_dtype(p));
    const ArrayView p_view = view_of(p, name);
    const MutableArrayView out_view = result.view("out");
    without_gil(p.size(), [&] { function(p_view, out_view, options); });
    return result.value();
}

O bound_entropy(const O& p, const O& axis, const O& base, const O& out, const O& num_threads) {
    return bound_measure<entropy>("p", p, axis, base, out, num_threads);
}
O bound_entropy_from_logits(const O& logits, const O& axis, const O& base, const O& out, const O& num_threads) {
    return bound_measure<entropy_from_logits>("logits", logits, axis, base, out, num_threads);
}

/// `p` and `q` broadcast against each other, as views.
template <auto function>
O bound_comparison(const O& p_object, const O& q_object, const O& axis, const O& base, const O& out,
                   const O& num_threads) {
    py::array p = as_logits(p_object, "p");
    py::array q = as_array(q_object, "q");
    dtype_of(q, "q");
    if (shape_of(p) != shape_of(q)) {
        const py::tuple wide = py::module_::import("logitloss._arrays").attr("broadcast_pair")(p, q);
        p = py::reinterpret_borrow<py::array>(wide[0]);
        q = py::reinterpret_borrow<py::array>(wide[1]);
    }
    const InformationOptions options = options_of(require_axis(axis), base, num_threads);
    Result result(out, "out", shape_without(p, options.axis), loss_dtype(p));
    const ArrayView p_view = view_of(p, "p");
    const ArrayView q_view = view_of(q, "q");
    const MutableArrayView out_view = result.view("out");
    without_gil(p.size(), [&] { function(p_view, q_view, out_view, options); });
    return result.value();
}

}  // namespace

void bind_information(py::module_& module) {
    module.def("self_information", &bound_self_information);
    module.def("entropy", &bound_entropy);
    module.def("entropy_from_logits", &bound_entropy_from_logits);
    module.def("kl_divergence", &bound_comparison<kl_divergence>);
    module.def("cross_entropy_of", &bound_comparison<cross_entropy_of>);
}

}  // namespace logitloss::python
