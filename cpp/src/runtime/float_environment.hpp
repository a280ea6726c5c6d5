// The floating-point environment that everything computes in, whatever the caller has set.
#pragma once

#include <memory>
#include <type_traits>

namespace logitloss::detail {

/// Runs body(context) while arithmetic of this thread rounds to nearest, keeps subnormal numbers and traps nothing; then
/// the caller's environment is back, status flags included, so that a call leaves no floating-point warning behind.
///
/// A library loaded with -ffast-math may have switched the whole process to flush-to-zero, and workers of a thread
/// pool inherit what their creator had: without this, bits would depend on the program around us. The compiler knows
/// nothing of what is called, so that no arithmetic of the body can leave it.
void in_float_environment(void (*body)(void* context), void* context);

template <class Body>
void in_float_environment(Body&& body) {
    using Function = std::remove_reference_t<Body>;
    in_float_environment([](void* context) { (*static_cast<Function*>(context))(); },
                         const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

}  // namespace logitloss::detail
