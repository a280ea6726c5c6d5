#include "gil.hpp"

#include <chrono>
#include <thread>
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace logitloss::python {

void ReleasedGil::take_back(PyThreadState* state) noexcept {
#if defined(__GLIBCXX__)
    try {
        PyEval_RestoreThread(state);
    } catch (abi::__forced_unwind&) {
        // The interpreter is gone. This thread owns objects that nobody may touch any more, so it neither returns nor
        // unwinds; the process ends without it. From 3.14 on Python does the same.
        while (true)
            std::this_thread::sleep_for(std::chrono::hours(1));
    }
#else
    PyEval_RestoreThread(state);
#endif
}

}  // namespace logitloss::python
