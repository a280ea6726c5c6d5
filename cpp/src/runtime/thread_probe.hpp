// Whether threads can be had, found out before an OpenMP runtime tries: it ends the process when it fails.
#pragma once

#include <pthread.h>

namespace logitloss::detail {

/// Attributes of threads whose stacks are as large as those of the OpenMP runtime's.
class WorkerAttributes {
public:
    WorkerAttributes();
    ~WorkerAttributes();
    WorkerAttributes(const WorkerAttributes&) = delete;
    WorkerAttributes& operator=(const WorkerAttributes&) = delete;
    /// Whether a kernel can run on such a stack.
    bool suffice() const;
    const pthread_attr_t* get() const { return &attributes_; }

private:
    pthread_attr_t attributes_;
    bool initialized_;
};

/// Whether the system lets this process have `count` more threads now. Tried out, because the limits that may
/// stand in the way (processes per user, pids of a cgroup, address space) cannot be read off in one place.
bool can_create_threads(int count);

}  // namespace logitloss::detail
