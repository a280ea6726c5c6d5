#include "runtime/thread_probe.hpp"

#include <cstddef>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace logitloss::detail {
namespace {

/// Bytes of stack that a variable asks for ("64 M"; kilobytes without a unit); 0 if it says nothing.
std::size_t stack_size_in(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr)
        return 0;
    char* end = nullptr;
    const double number = std::strtod(text, &end);
    while (*end == ' ')
        ++end;
    const char unit = static_cast<char>(*end == '\0' ? 'k' : *end | 0x20);
    const double bytes = number * (unit == 'b' ? 1.0 : unit == 'k' ? 0x1p10 : unit == 'm' ? 0x1p20 : 0x1p30);
    return bytes >= 1.0 && bytes < 0x1p46 ? static_cast<std::size_t>(bytes) : 0;
}

/// What the OpenMP runtimes look at, in their order; 0 if none of it is set.
std::size_t stack_size_of_workers() {
    for (const char* variable : {"OMP_STACKSIZE", "GOMP_STACKSIZE", "KMP_STACKSIZE"})
        if (const std::size_t size = stack_size_in(variable))
            return size;
    return 0;
}

struct ProbeThread {
    pthread_t handle;
    pthread_mutex_t* gate;
    long system_id;
};

void* wait_at_gate(void* argument) {
    ProbeThread& self = *static_cast<ProbeThread*>(argument);
#if defined(__linux__)
    self.system_id = syscall(SYS_gettid);
#endif
    pthread_mutex_lock(self.gate);
    pthread_mutex_unlock(self.gate);
    return nullptr;
}

// A joined thread counts against the limits for a moment longer, until the system has buried it.
void wait_until_buried([[maybe_unused]] const ProbeThread& thread) {
#if defined(__linux__)
    constexpr int patience = 10000;
    for (int i = 0; i < patience && syscall(SYS_tgkill, getpid(), thread.system_id, 0) == 0; ++i)
        sched_yield();
#endif
}

}  // namespace

WorkerAttributes::WorkerAttributes() : initialized_(pthread_attr_init(&attributes_) == 0) {
    static const std::size_t stack_size = stack_size_of_workers();
    if (initialized_ && stack_size != 0)
        pthread_attr_setstacksize(&attributes_, stack_size);  // a size that is refused leaves the default, as in OpenMP
}

WorkerAttributes::~WorkerAttributes() {
    if (initialized_)
        pthread_attr_destroy(&attributes_);
}

bool WorkerAttributes::suffice() const {
    // A third of it is what the deepest worker takes; thread-local variables and a guard page lie in it too.
    constexpr std::size_t least = 32768;
    std::size_t size = 0;
    return initialized_ && pthread_attr_getstacksize(&attributes_, &size) == 0 && size >= least;
}

bool can_create_threads(int count) {
    const WorkerAttributes attributes;
    const std::unique_ptr<ProbeThread[]> threads(new (std::nothrow) ProbeThread[static_cast<std::size_t>(count)]);
    if (threads == nullptr || !attributes.suffice())
        return false;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&gate);
    int created = 0;
    for (; created < count; ++created) {
        ProbeThread& thread = threads[created];
        thread.gate = &gate;
        if (pthread_create(&thread.handle, attributes.get(), wait_at_gate, &thread) != 0)
            break;
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < created; ++i)
        pthread_join(threads[i].handle, nullptr);
    for (int i = 0; i < created; ++i)
        wait_until_buried(threads[i]);
    pthread_mutex_destroy(&gate);
    return created == count;
}

}  // namespace logitloss::detail
