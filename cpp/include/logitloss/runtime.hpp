// Which instruction set runs, and on how many threads.
#pragma once

#include <string>
#include <vector>

namespace logitloss {

/// Instruction set in use: "scalar", "avx2", "avx512" or "neon". Chosen once, the best one that this CPU runs, or the
/// one that the environment variable LOGITLOSS_ISA names. Throws value_error if that name is unknown or unsupported,
/// naming the choices. The choice changes speed only, never a bit of a result.
std::string isa();

/// Instruction sets that were built in and that this CPU runs, best first; "scalar" is always the last.
std::vector<std::string> available_isas();

/// Upper limit on the threads of later calls, from any thread (n >= 1, otherwise value_error). At first it is what the
/// environment variable LOGITLOSS_NUM_THREADS says, or there is none.
/// The number that a large call uses is the smallest of this limit, omp_get_max_threads(), the CPUs that the process
/// may use and its cgroup quota; LOGITLOSS_OVERSUBSCRIBE=1 lifts the last two.
void set_num_threads(int n);

/// Threads that a large call made now from this thread would use. Throws value_error if LOGITLOSS_NUM_THREADS,
/// LOGITLOSS_STREAM_BYTES or LOGITLOSS_OVERSUBSCRIBE says what it cannot, naming it and what was expected.
int get_num_threads();

/// True once in a process: after the system has refused a call the threads that it asked for (a limit on processes or
/// on address space), so that the call ran on its own thread. For callers that want to warn of it.
bool take_thread_refusal();

/// Threads behind parallel_for: "openmp" or "serial".
const char* threading_backend();

/// Compiler that built the library, as "GNU 12.2.0".
const char* compiler();

/// Version of the library, as "0.1.0".
const char* version();

}  // namespace logitloss
