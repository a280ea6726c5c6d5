// The traversal of elementwise losses: blocks of elements of several arrays that broadcast together, each array where
// it lies or through a small buffer.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/reduction.hpp"
#include "kernels/kernel_table.hpp"
#include "layout/buffers.hpp"
#include "layout/positions.hpp"
#include "layout/staging.hpp"
#include "layout/strided_sum.hpp"
#include "runtime/threads.hpp"

namespace logitloss::detail {

/// One array of an elementwise call, as ElementOperands::add gives it.
class ElementOperand {
public:
    bool given() const { return data_ != nullptr; }

    /// n elements from the cursor on, where they lie or in `buffer`; null if the array was not given.
    template <class T>
    const T* read(const Positions::Cursor& start, std::size_t n, T* buffer) const {
        if (!given() || direct<T>())
            return place(start, buffer);
        for_runs(start, n,
                 [&](char* data, std::size_t done, std::size_t run) { gather(line_, data, run, buffer + done); });
        return buffer;
    }
    /// Where to write n elements from the cursor on; `store` must follow. Null if the array was not given.
    template <class T>
    T* place(const Positions::Cursor& start, T* buffer) const {
        if (!given())
            return nullptr;
        return direct<T>() ? reinterpret_cast<T*>(data_ + start.offset(operand_)) : buffer;
    }
    template <class T>
    void store(const Positions::Cursor& start, std::size_t n, const T* values) const {
        if (!direct<T>())
            for_runs(start, n,
                     [&](char* data, std::size_t done, std::size_t run) { scatter(line_, values + done, run, data); });
    }

private:
    friend class ElementOperands;

    template <class T>
    bool direct() const {
        return contiguous_ && line_.dtype == dtype_of<T>();
    }
    template <class Fn>
    void for_runs(Positions::Cursor cursor, std::size_t n, Fn&& fn) const {
        for (std::size_t done = 0; done < n;) {
            const std::size_t run = std::min(n - done, cursor.inner_left());
            fn(data_ + cursor.offset(operand_), done, run);
            cursor.advance_inner(run);
            done += run;
        }
    }

    Line line_;
    char* data_ = nullptr;
    int operand_ = -1;
    bool contiguous_ = false;
};

/// The arrays of an elementwise call: each is added, and then they are settled.
class ElementOperands {
public:
    explicit ElementOperands(const Shape& shape) : shape_(shape), positions_(shape) {}
    ElementOperands(const ElementOperands&) = delete;  // operands are referred to
    ElementOperands& operator=(const ElementOperands&) = delete;

    /// An array that broadcasts to the shape. One that was not given, or is not `walked`, takes no place.
    const ElementOperand& add(const Argument& argument, bool walked = true) {
        static const ElementOperand none;
        if (!argument.given() || !walked)
            return none;
        const int number = positions_.add(broadcast_strides(argument, shape_));
        ElementOperand& operand = operands_[static_cast<std::size_t>(number)];
        operand.line_ = argument.line();
        operand.data_ = const_cast<char*>(argument.bytes());
        operand.operand_ = number;
        return operand;
    }
    void settle() {
        positions_.simplify(true);
        for (int number = 0; number < positions_.operands(); ++number) {
            ElementOperand& operand = operands_[static_cast<std::size_t>(number)];
            const std::size_t item = item_size(operand.line_.dtype);
            operand.line_.stride = positions_.inner_stride(number);
            operand.contiguous_ = !operand.line_.byteswapped &&
                                  reinterpret_cast<std::uintptr_t>(operand.data_) % item == 0 &&
                                  positions_.contiguous(number, item);
        }
    }
    const Positions& positions() const { return positions_; }

private:
    const Shape& shape_;
    Positions positions_;
    std::array<ElementOperand, Positions::max_operands> operands_;
};

/// A sum, and beside it that of numbers too large for it, in units of large_loss_unit.
struct LargeSum {
    double sum = 0.0;
    double large = 0.0;

    /// What the reduction makes of it.
    double over(const Normalization& normalization) const {
        if (large == 0.0)
            return normalization.reduce(sum);
        return normalization.reduce(sum / large_loss_unit + large) * large_loss_unit;
    }
};

/// Calls fn(cursor, n, worker, large) for every block of the positions and adds up what it returned, and what it added to
/// *large, in an order that follows from the number of positions alone.
template <class Fn>
LargeSum sum_large_element_blocks(const Positions& positions, int workers, Fn&& fn) {
    constexpr std::size_t chunk_blocks = 16;
    const std::size_t blocks = (positions.count() + block_size - 1) / block_size;
    std::vector<LargeSum> partial((blocks + chunk_blocks - 1) / chunk_blocks);
    parallel_for(partial.size(), 1, workers, [&](std::size_t first, std::size_t last, int worker) {
        for (std::size_t chunk = first; chunk < last; ++chunk) {
            StridedSum sum;
            const std::size_t end = std::min(blocks, (chunk + 1) * chunk_blocks);
            for (std::size_t block = chunk * chunk_blocks; block < end; ++block) {
                const std::size_t begin = block * block_size;
                const Positions::Cursor cursor(positions, begin);
                sum.add(block,
                        fn(cursor, std::min(block_size, positions.count() - begin), worker, &partial[chunk].large));
            }
            partial[chunk].sum = sum.total();
        }
    });
    StridedSum total;
    LargeSum result;
    for (std::size_t chunk = 0; chunk < partial.size(); ++chunk) {
        total.add(chunk, partial[chunk].sum);
        result.large += partial[chunk].large;
    }
    result.sum = total.total();
    return result;
}

/// The same of fn(cursor, n, worker) whose sums stay in range.
template <class Fn>
double sum_element_blocks(const Positions& positions, int workers, Fn&& fn) {
    return sum_large_element_blocks(positions, workers,
                                    [&](const Positions::Cursor& cursor, std::size_t n, int worker, double*) {
                                        return fn(cursor, n, worker);
                                    })
        .sum;
}

}  // namespace logitloss::detail
