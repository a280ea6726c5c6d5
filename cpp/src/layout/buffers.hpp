// Buffers of a worker: parts of one piece of memory, taken before anything is written, so that a call that finds none
// has changed nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace logitloss::detail {

/// A part of a BufferSpace. Its numbers are whatever the memory held: who reads a place has written it.
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
        return (n * sizeof(T) + line - 1) / line * line;
    }

    BufferSpace() = default;
    explicit BufferSpace(std::size_t bytes)
        : memory_(bytes == 0 ? nullptr : static_cast<char*>(::operator new(bytes, std::align_val_t{line}))),
          next_(memory_.get()) {}

    /// n numbers; an empty buffer of an empty space.
    template <class T>
    Buffer<T> take(std::size_t n) {
        if (next_ == nullptr)
            return {};
        T* data = reinterpret_cast<T*>(next_);
        next_ += bytes<T>(n);
        return Buffer<T>(data);
    }

private:
    static constexpr std::size_t line = 64;
    struct Free {
        void operator()(char* memory) const { ::operator delete(memory, std::align_val_t{line}); }
    };
    std::unique_ptr<char, Free> memory_;
    char* next_ = nullptr;
};

}  // namespace logitloss::detail
