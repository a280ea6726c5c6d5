// Everything: losses of classifiers and their gradients on a CPU.
//
// What holds for every function, and is not said again at each:
//
// - Arguments are views of memory that stays the caller's. Nothing is kept after the return.
// - All checks are made before the first byte of any output is written. What is thrown is in error.hpp, besides
//   std::bad_alloc; what() names the argument, what was got and what was expected. If an environment variable that
//   runtime.hpp names has a bad value, calls throw value_error.
// - An output may be an input only where the function says so, and then exactly that array; any other overlap of an
//   output with an argument or with itself is a value_error. A wrong shape or dtype of an output is a value_error, too.
// - Results depend on values, shapes, dtypes and strides only. The instruction set and the number of threads change no
//   bit, nor do the rounding mode and the flush-to-zero flags of the caller, which are as before afterwards.
// - Functions may be called from several threads at once. Threads besides the caller's are OpenMP's; a function returns
//   when they are done, and none of them throws. `num_threads` is the most that a call may use; 0 or less stands for
//   the library's setting (runtime.hpp).
// - The dtype of losses and log-sum-exps is float64 for float64 logits, otherwise float32.
#pragma once

#include "logitloss/array.hpp"
#include "logitloss/binary_cross_entropy.hpp"
#include "logitloss/cross_entropy.hpp"
#include "logitloss/cross_entropy_state.hpp"
#include "logitloss/error.hpp"
#include "logitloss/focal_loss.hpp"
#include "logitloss/hessian.hpp"
#include "logitloss/information.hpp"
#include "logitloss/logsumexp.hpp"
#include "logitloss/logsumexp_state.hpp"
#include "logitloss/metrics.hpp"
#include "logitloss/probabilities.hpp"
#include "logitloss/reduction.hpp"
#include "logitloss/regression.hpp"
#include "logitloss/runtime.hpp"
#include "logitloss/token_logprobs.hpp"
