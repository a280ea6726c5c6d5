// The floating-point environment that every kernel runs in, whatever the caller has set.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace logitloss::detail {

/// While it lives, arithmetic of this thread rounds to nearest, keeps subnormal numbers and traps nothing; then the
/// caller's environment is back, status flags included, so that a call leaves no floating-point warning behind.
///
/// A library loaded with -ffast-math may have switched the whole process to flush-to-zero, and workers of a thread
/// pool inherit what their creator had: without this, bits would depend on the program around us.
class FloatEnvironment {
public:
    FloatEnvironment() noexcept;
    ~FloatEnvironment();
    FloatEnvironment(const FloatEnvironment&) = delete;
    FloatEnvironment& operator=(const FloatEnvironment&) = delete;

private:
#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
    unsigned control_;
#elif defined(__aarch64__)
    std::uint64_t control_;
    std::uint64_t status_;
#else
    std::fenv_t environment_;
#endif
};

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)

inline FloatEnvironment::FloatEnvironment() noexcept : control_(_mm_getcsr()) {
    constexpr unsigned all_masked_to_nearest = 0x1F80;  // no FTZ, no DAZ, no flag raised
    _mm_setcsr(all_masked_to_nearest);
}
inline FloatEnvironment::~FloatEnvironment() { _mm_setcsr(control_); }

#elif defined(__aarch64__)

inline FloatEnvironment::FloatEnvironment() noexcept {
    asm volatile("mrs %0, fpcr" : "=r"(control_));
    asm volatile("mrs %0, fpsr" : "=r"(status_));
    asm volatile("msr fpcr, %0" : : "r"(std::uint64_t{0}) : "memory");  // nearest, no FZ, no FZ16, no traps
}
inline FloatEnvironment::~FloatEnvironment() {
    asm volatile("msr fpsr, %0" : : "r"(status_));
    asm volatile("msr fpcr, %0" : : "r"(control_) : "memory");
}

#else

inline FloatEnvironment::FloatEnvironment() noexcept {
    std::feholdexcept(&environment_);
    std::fesetround(FE_TONEAREST);
}
inline FloatEnvironment::~FloatEnvironment() { std::fesetenv(&environment_); }

#endif

}  // namespace logitloss::detail
