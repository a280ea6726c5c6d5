// Buffers of a worker: parts of one piece of memory, taken before anything is written, so that a call that finds none
// has changed nothing.
#pragma once

#include <cstddef>
#include <memory>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LOGITLOSS_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define LOGITLOSS_ADDRESS_SANITIZER
#endif
#ifdef LOGITLOSS_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace logitloss::detail {

/// A part of a BufferSpace. Uninitialised: write before reading.
template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(T* data) : data_(data) {}
    T* data() const { return data_; }
    T& operator[](std::size_t i) const { return data_[i]; }

private:
    T* data_ = nullptr;
};

/// Memory from which buffers are taken one after another, each at the start of a cache line.
class BufferSpace {
public:
    /// Bytes that a buffer of n numbers takes.
    template <class T>
    static constexpr std::size_t bytes(std::size_t n) {
        return (n * sizeof(T) + line - 1) / line * line + gap;
    }

    BufferSpace() = default;
    explicit BufferSpace(std::size_t bytes) {
        if (bytes == 0)
            return;
        memory_.reset(new char[bytes + line]);  // which takes half as long as to ask for an alignment
        void* start = memory_.get();
        std::size_t room = bytes + line;
        next_ = static_cast<char*>(std::align(line, bytes, start, room));
    }

    /// n numbers; an empty buffer of an empty space.
    template <class T>
    Buffer<T> take(std::size_t n) {
        if (next_ == nullptr)
            return {};
        T* data = reinterpret_cast<T*>(next_);
        next_ += bytes<T>(n);
#ifdef LOGITLOSS_ADDRESS_SANITIZER
        __asan_poison_memory_region(data + n, static_cast<std::size_t>(next_ - reinterpret_cast<char*>(data + n)));
#endif
        return Buffer<T>(data);
    }

private:
    static constexpr std::size_t line = 64;
#ifdef LOGITLOSS_ADDRESS_SANITIZER
    static constexpr std::size_t gap = line;  // that nobody may touch, so that a step past a buffer's end is seen
#else
    static constexpr std::size_t gap = 0;
#endif
    std::unique_ptr<char[]> memory_;
    char* next_ = nullptr;
};

}  // namespace logitloss::detail
