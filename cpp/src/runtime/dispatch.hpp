// Which instruction set runs: the kernel tables that were built in, and the one that was chosen.
#pragma once

namespace logitloss::detail {

struct KernelTable;

/// The table in use: the first of the ordered list that this CPU supports, or the one that LOGITLOSS_ISA names.
/// Chosen at the first call. Throws value_error, naming the choices, if LOGITLOSS_ISA names no usable one.
const KernelTable& kernels();

/// The built-in table of that name if this CPU supports it, otherwise nullptr. Lets one process compare them.
const KernelTable* kernels_named(const char* name);

}  // namespace logitloss::detail
