#include "runtime/float_environment.hpp"

#include <cstdint>

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

namespace logitloss::detail {
namespace {

/// Sets the environment, and puts back what was there.
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

FloatEnvironment::FloatEnvironment() noexcept : control_(_mm_getcsr()) {
    constexpr unsigned all_masked_to_nearest = 0x1F80;  // no FTZ, no DAZ, no flag raised
    _mm_setcsr(all_masked_to_nearest);
}
FloatEnvironment::~FloatEnvironment() { _mm_setcsr(control_); }

#elif defined(__aarch64__)

FloatEnvironment::FloatEnvironment() noexcept {
    asm volatile("mrs %0, fpcr" : "=r"(control_));
    asm volatile("mrs %0, fpsr" : "=r"(status_));
    asm volatile("msr fpcr, %0" : : "r"(std::uint64_t{0}) : "memory");  // nearest, no FZ, no FZ16, no traps
}
FloatEnvironment::~FloatEnvironment() {
    asm volatile("msr fpsr, %0" : : "r"(status_));
    asm volatile("msr fpcr, %0" : : "r"(control_) : "memory");
}

#else

FloatEnvironment::FloatEnvironment() noexcept {
    std::feholdexcept(&environment_);
    std::fesetround(FE_TONEAREST);
}
FloatEnvironment::~FloatEnvironment() { std::fesetenv(&environment_); }

#endif

}  // namespace

void in_float_environment(void (*body)(void* context), void* context) {
    const FloatEnvironment environment;
    asm volatile("" : "+r"(body) : : "memory");  // from here on the compiler cannot tell what is called, nor inline it
    body(context);
}

}  // namespace logitloss::detail
