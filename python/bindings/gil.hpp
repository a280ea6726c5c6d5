// The GIL, given away while the library works.
#pragma once

#include <pybind11/pybind11.h>

namespace logitloss::python {

/// Gives the GIL away for its lifetime. pybind11's gil_scoped_release does the same, but ends the process where a
/// daemon thread comes back to an interpreter that is shutting down: Python before 3.14 ends such a thread by unwinding
/// its stack, which may not pass a destructor.
class ReleasedGil {
public:
    ReleasedGil() : state_(PyEval_SaveThread()) {}
    ReleasedGil(const ReleasedGil&) = delete;
    ReleasedGil& operator=(const ReleasedGil&) = delete;
    ~ReleasedGil() { take_back(state_); }

private:
    static void take_back(PyThreadState* state) noexcept;

    PyThreadState* state_;
};

}  // namespace logitloss::python
