// Results do not depend on the floating-point modes that the caller has set (flush-to-zero, rounding upwards), whichever
// function is called first.
#if defined(__x86_64__) || defined(__aarch64__)
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "public_functions.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace logitloss {
namespace {

using public_functions::Call;
using public_functions::Results;

using Control = std::uint64_t;

#if defined(__x86_64__)
Control float_control() { return _mm_getcsr(); }
void set_float_control(Control control) { _mm_setcsr(static_cast<unsigned>(control)); }
constexpr Control default_modes = 0x1F80;
constexpr Control flush_to_zero = 0x8040;  // subnormal inputs are zero, too
constexpr Control downward = 0x2000, upward = 0x4000, toward_zero = 0x6000;
#else
Control float_control() {
    Control control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
void set_float_control(Control control) { asm volatile("msr fpcr, %0" : : "r"(control) : "memory"); }
constexpr Control default_modes = 0;
constexpr Control flush_to_zero = Control{1} << 24;
constexpr Control downward = Control{2} << 22, upward = Control{1} << 22, toward_zero = Control{3} << 22;
#endif

const std::vector<Control> all_modes = {default_modes | upward, default_modes | downward, default_modes | toward_zero,
                                        default_modes | flush_to_zero, default_modes | upward | flush_to_zero};

__attribute__((noinline)) Results results_under(Control modes, Call call) {
    const Control before = float_control();
    set_float_control(modes);
    Results results = call();
    const Control after = float_control();
    set_float_control(before);
    EXPECT_EQ(after, modes) << "the caller's modes are back";
    return results;
}

/// Ends the process: with status 0 if `call`, the first one of the process, gives the same under all modes.
[[noreturn]] void compare_modes(Call call) {
    for (const Control modes : all_modes) {
        const Results got = results_under(modes, call);
        if (!(got == call()))
            std::_Exit(1);
    }
    std::_Exit(testing::Test::HasFailure() ? 2 : 0);
}

TEST(FloatModesDeathTest, ChangeNothingInAnyFunctionThatIsCalledFirst) {
    testing::FLAGS_gtest_death_test_style = "threadsafe";  // a fresh process
    for (const auto& function : public_functions::all())
        EXPECT_EXIT(compare_modes(function.second), testing::ExitedWithCode(0), "") << function.first;
}

TEST(FloatModes, TheModesAreSet) {
    volatile float third = 1.0f, three = 3.0f, tiny = std::numeric_limits<float>::min(), half = 0.5f;
    set_float_control(default_modes | upward);
    const float up = third / three;
    set_float_control(default_modes | toward_zero);
    const float cut = third / three;
    set_float_control(default_modes | flush_to_zero);
    const float flushed = tiny * half;
    set_float_control(default_modes);
    EXPECT_GT(up, cut);
    EXPECT_EQ(flushed, 0.0f);
}

}  // namespace
}  // namespace logitloss
#endif
