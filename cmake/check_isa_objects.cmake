# Fails if an object file of an instruction set exports more than its one kernel table.
#
#   cmake -DNM=nm -DOBJECTS=a.o,b.o -P check_isa_objects.cmake
#
# A weak symbol (an inline function, a template of the standard library) compiled for AVX-512 may be the copy that the
# linker keeps for the whole program, and a static initialiser runs before anyone has asked the CPU what it can: both
# end in an illegal instruction on an older machine.
if(NOT OBJECTS)
  message(FATAL_ERROR "no object files given")
endif()
string(REPLACE "," ";" OBJECTS "${OBJECTS}")

foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --defined-only --demangle ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${NM} failed on ${object}")
  endif()
  string(REPLACE ";" "," symbols "${symbols}")
  string(REPLACE "[" "(" symbols "${symbols}") # a list does not split inside brackets
  string(REPLACE "]" ")" symbols "${symbols}")
  string(REPLACE "\n" ";" symbols "${symbols}")
  set(tables 0)
  foreach(symbol IN LISTS symbols)
    if(symbol MATCHES " V DW\\.ref\\.")
      # A pointer to the C++ runtime's unwinder, in every object that may be unwound through: data, the same in all.
    elseif(symbol MATCHES "^[0-9a-f]* *[VWuvw] ")
      message(SEND_ERROR "${object}: weak symbol: ${symbol}")
    elseif(symbol MATCHES "_GLOBAL__sub_I|__cxx_global_var_init|global constructors|static_initialization")
      message(SEND_ERROR "${object}: static initialiser: ${symbol}")
    elseif(symbol MATCHES " [RD] logitloss::detail::[a-z0-9]+_kernels$")
      math(EXPR tables "${tables} + 1")
    elseif(symbol MATCHES "^[0-9a-f]+ [A-Z] ")
      message(SEND_ERROR "${object}: exported symbol: ${symbol}")
    endif()
  endforeach()
  if(NOT tables EQUAL 1)
    message(SEND_ERROR "${object}: ${tables} kernel tables, expected 1")
  endif()
endforeach()
