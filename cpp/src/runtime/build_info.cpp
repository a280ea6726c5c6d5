// What the build system knows about this build.
#include "logitloss/runtime.hpp"

namespace logitloss {

const char* compiler() { return LOGITLOSS_COMPILER; }

const char* version() { return LOGITLOSS_VERSION; }

}  // namespace logitloss
