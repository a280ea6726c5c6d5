// The one way into every public function that computes.
#pragma once

#include <type_traits>

#include "runtime/dispatch.hpp"
#include "runtime/environment.hpp"
#include "runtime/float_environment.hpp"

namespace logitloss::detail {

/// Runs the body of a public function, and returns what it returns.
///
/// Whatever the environment says wrong (LOGITLOSS_ISA and the variables of Environment) is a value_error here, before a
/// parallel loop, which nothing may leave. Everything else, the work on options included, belongs into the body: it
/// runs in the library's floating-point environment.
template <class Body>
auto enter(Body&& body) {
    using Result = std::invoke_result_t<Body&>;
    kernels();
    environment();
    if constexpr (std::is_void_v<Result>) {
        in_float_environment(body);
    } else {
        Result result{};
        in_float_environment([&] { result = body(); });
        return result;
    }
}

}  // namespace logitloss::detail
