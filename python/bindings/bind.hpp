// One function a family: it adds the family's functions to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace logitloss::python {

void bind_runtime(pybind11::module_& module);
void bind_logsumexp(pybind11::module_& module);
void bind_cross_entropy(pybind11::module_& module);
void bind_binary_cross_entropy(pybind11::module_& module);
void bind_focal_loss(pybind11::module_& module);
void bind_logsumexp_state(pybind11::module_& module);
void bind_cross_entropy_state(pybind11::module_& module);
void bind_regression(pybind11::module_& module);
void bind_information(pybind11::module_& module);
void bind_probabilities(pybind11::module_& module);
void bind_metrics(pybind11::module_& module);
void bind_token_logprobs(pybind11::module_& module);
void bind_hessian(pybind11::module_& module);
void bind_jax(pybind11::module_& module);

}  // namespace logitloss::python
