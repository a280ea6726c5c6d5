# How every file that computes, or that tests what is computed, is compiled.
#
# -ffp-contract=off: a product and a sum are fused where the source says fma and nowhere else; otherwise bits would
# depend on the compiler. -fno-math-errno and -fno-trapping-math give up side effects that nobody reads (errno, status
# flags) and let selections become vector code; neither may change a value. Nothing else of -ffast-math is allowed.
# -fno-strict-aliasing: GCC 12 for 64-bit Arm otherwise moves a vector load past the memcpy that fills what it reads,
# where bits are taken from an array of floats (docs/adr/0010-build-and-wheels.md). No kernel is slower for it.
add_library(logitloss_arithmetic_flags INTERFACE)
target_compile_options(
  logitloss_arithmetic_flags INTERFACE -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-strict-aliasing -Wall
                                       -Wextra $<$<BOOL:${LOGITLOSS_WARNINGS_AS_ERRORS}>:-Werror>)
