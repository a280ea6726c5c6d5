#include "gil.hpp"

#include <chrono>
#include <thread>

namespace logitloss::python {

void ReleasedGil::take_back(PyThreadState* state) noexcept {
    try {
        PyEval_RestoreThread(state);
    } catch (...) {  // abi::__forced_unwind, of which there is no object: a reference to it would be one to nothing
        // The interpreter is gone. This thread owns objects that nobody may touch any more, so it neither returns nor
        // unwinds; the process ends without it. From 3.14 on Python does the same.
        while (true)
            std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

}  // namespace logitloss::python
