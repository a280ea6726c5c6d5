# How every file that computes, or that tests what is computed, is compiled.
#
# -ffp-contract=off: a product and a sum are fused where the source says fma and nowhere else; otherwise bits would
# depend on the compiler. -fno-math-errno and -fno-trapping-math give up side effects that nobody reads (errno, status
# flags) and let selections become vector code; neither may change a value. Nothing else of -ffast-math is allowed.
# -fno-strict-aliasing: GCC 12 for 64-bit Arm otherwise moves a vector load past the memcpy that fills what it reads,
# where bits are taken from an array of floats (docs/adr/0010-build-and-wheels.md). No kernel is slower for it.

# Flags that change values get in by CXXFLAGS and LDFLAGS, and by whoever adds this folder to a project of theirs. They
# are taken out of the former, since a linker that sees them may switch the whole process to flush-to-zero, and undone
# after the latter. kernel_table.hpp refuses what is left of them.
set(flags_that_change_values
    -ffast-math -funsafe-math-optimizations -fassociative-math -freciprocal-math -ffinite-math-only -fno-signed-zeros
    -fno-honor-nans -fno-honor-infinities -fapprox-func -fsingle-precision-constant -ffp-model=fast
    -ffp-model=aggressive -mdaz-ftz)
set(flags_that_keep_values -fno-fast-math -fno-unsafe-math-optimizations -fno-associative-math -fno-reciprocal-math
                           -fno-finite-math-only -fsigned-zeros)

set(flag_variables CMAKE_CXX_FLAGS CMAKE_EXE_LINKER_FLAGS CMAKE_SHARED_LINKER_FLAGS CMAKE_MODULE_LINKER_FLAGS)
foreach(configuration IN LISTS CMAKE_BUILD_TYPE CMAKE_CONFIGURATION_TYPES)
  string(TOUPPER "_${configuration}" suffix)
  list(APPEND flag_variables CMAKE_CXX_FLAGS${suffix} CMAKE_EXE_LINKER_FLAGS${suffix}
       CMAKE_SHARED_LINKER_FLAGS${suffix} CMAKE_MODULE_LINKER_FLAGS${suffix})
endforeach()
foreach(variable IN LISTS flag_variables)
  separate_arguments(kept UNIX_COMMAND "${${variable}}")
  set(left_out "")
  foreach(flag IN LISTS flags_that_change_values)
    if(flag IN_LIST kept)
      list(APPEND left_out ${flag})
      list(REMOVE_ITEM kept ${flag})
    endif()
  endforeach()
  if("-Ofast" IN_LIST kept)
    list(APPEND left_out "the -ffast-math of -Ofast")
    list(TRANSFORM kept REPLACE "^-Ofast$" "-O3")
  endif()
  if(left_out)
    list(JOIN left_out ", " left_out)
    list(JOIN kept " " ${variable})
    message(WARNING "logitloss is built without ${left_out}, which ${variable} asks for: results would change.")
  endif()
endforeach()

add_library(logitloss_arithmetic_flags INTERFACE)
target_compile_options(
  logitloss_arithmetic_flags
  INTERFACE ${flags_that_keep_values} -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-strict-aliasing -Wall
            -Wextra $<$<BOOL:${LOGITLOSS_WARNINGS_AS_ERRORS}>:-Werror>)
