// Instruction set, threads, build.
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/runtime.hpp"

namespace logitloss::python {

void warn_of_thread_refusal() {
    if (!take_thread_refusal())
        return;
    const char* message =
        "logitloss: the system refused to create threads; where it does, or gives them too little stack "
        "(OMP_STACKSIZE), "
        "calls run on the calling thread alone (this is said once)";
    if (PyErr_WarnEx(PyExc_RuntimeWarning, message, 2) != 0)
        throw pybind11::error_already_set();
}

void bind_runtime(pybind11::module_& module) {
    module.attr("__version__") = version();
    module.def("isa", &isa);
    module.def("available_isas", &available_isas);
    module.def("set_num_threads", &set_num_threads);
    module.def("get_num_threads", &get_num_threads);
    module.def("threading_backend", &threading_backend);
    module.def("compiler", &compiler);
}

}  // namespace logitloss::python
