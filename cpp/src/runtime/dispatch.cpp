#include "runtime/dispatch.hpp"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "logitloss/error.hpp"
#include "logitloss/runtime.hpp"

namespace logitloss {
namespace detail {

#if defined(LOGITLOSS_HAVE_X86)
extern const KernelTable avx2_kernels;
extern const KernelTable avx512_kernels;
#endif
#if defined(LOGITLOSS_HAVE_NEON)
extern const KernelTable neon_kernels;
#endif
extern const KernelTable scalar_kernels;

namespace {

// Best first. The scalar table runs anywhere and ends the list, so that a choice always exists.
const KernelTable* const tables[] = {
#if defined(LOGITLOSS_HAVE_X86)
    &avx512_kernels,
    &avx2_kernels,
#endif
#if defined(LOGITLOSS_HAVE_NEON)
    &neon_kernels,
#endif
    &scalar_kernels,
};

std::string join(const std::vector<std::string>& names) {
    std::string joined;
    for (const std::string& name : names)
        joined += (joined.empty() ? "" : ", ") + name;
    return joined;
}

const KernelTable& choose() {
    const char* forced = std::getenv("LOGITLOSS_ISA");
    if (forced != nullptr && *forced != '\0') {
        if (const KernelTable* table = kernels_named(forced))
            return *table;
        throw value_error(
            "LOGITLOSS_ISA: got '" + std::string(forced) +
            "', expected an instruction set that this build and this CPU have: " + join(available_isas()));
    }
    for (const KernelTable* table : tables)
        if (table->supported())
            return *table;
    return scalar_kernels;
}

}  // namespace

const KernelTable& kernels() {
    static const KernelTable& chosen = choose();
    return chosen;
}

const KernelTable* kernels_named(const char* name) {
    for (const KernelTable* table : tables)
        if (std::strcmp(table->name, name) == 0 && table->supported())
            return table;
    return nullptr;
}

}  // namespace detail

std::string isa() { return detail::kernels().name; }

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const detail::KernelTable* table : detail::tables)
        if (table->supported())
            names.emplace_back(table->name);
    return names;
}

}  // namespace logitloss
