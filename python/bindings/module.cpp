// The extension module logitloss._core. Users see the package's modules, which call it positionally.
#include <pybind11/pybind11.h>

#include "bind.hpp"
#include "logitloss/error.hpp"

namespace py = pybind11;

namespace {

void translate(std::exception_ptr pointer) {  // NOLINT(performance-unnecessary-value-param): pybind11 says so
    try {
        if (pointer)
            std::rethrow_exception(pointer);
    } catch (const logitloss::axis_error& error) {
        const py::object type = py::module_::import("numpy").attr("exceptions").attr("AxisError");
        PyErr_SetObject(type.ptr(), type(error.axis, error.ndim, "axis").ptr());
    } catch (const logitloss::type_error& error) {
        PyErr_SetString(PyExc_TypeError, error.what());
    } catch (const logitloss::value_error& error) {
        PyErr_SetString(PyExc_ValueError, error.what());
    }
}

}  // namespace

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
    py::register_local_exception_translator(&translate);
    logitloss::python::bind_runtime(module);
    logitloss::python::bind_logsumexp(module);
    logitloss::python::bind_cross_entropy(module);
    logitloss::python::bind_binary_cross_entropy(module);
    logitloss::python::bind_focal_loss(module);
    logitloss::python::bind_logsumexp_state(module);
    logitloss::python::bind_cross_entropy_state(module);
    logitloss::python::bind_regression(module);
    logitloss::python::bind_information(module);
    logitloss::python::bind_probabilities(module);
    logitloss::python::bind_metrics(module);
    logitloss::python::bind_token_logprobs(module);
    logitloss::python::bind_hessian(module);
    logitloss::python::bind_jax(module);
}
