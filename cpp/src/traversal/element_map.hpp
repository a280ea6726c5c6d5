// Functions of single elements, without sums: one array in, one out.
#pragma once

#include <algorithm>
#include <vector>

#include "arguments/arguments.hpp"
#include "traversal/elements.hpp"

namespace logitloss::detail {

/// Checks the result of an elementwise function: the shape of the input, the dtype of losses, memory of its own.
inline void require_element_result(const Argument& input, const Output& out) {
    require_floating(input);
    require_dtype(out, loss_dtype(input.view.dtype));
    require_shape(out, input.shape);
    require_no_overlap(out, {&input});
}

/// Calls function(x, n, out) for every block; elements that are not of type T are staged as that.
template <class T, class Fn>
void map_elements(const Argument& input_argument, const Output& output_argument, int num_threads, Fn&& function) {
    ElementOperands operands(input_argument.shape);
    const ElementOperand& input = operands.add(input_argument);
    const ElementOperand& output = operands.add(output_argument);
    operands.settle();
    const Positions& positions = operands.positions();
    const int workers = plan_threads(positions.count(), num_threads);
    const std::size_t block = std::min(block_size, positions.count());
    const std::size_t count = 2 * static_cast<std::size_t>(workers);
    BufferSpace space(count * BufferSpace::bytes<T>(block));
    std::vector<Buffer<T>> buffers(count);
    for (Buffer<T>& buffer : buffers)
        buffer = space.take<T>(block);
    sum_element_blocks(positions, workers, [&](const Positions::Cursor& cursor, std::size_t n, int worker) {
        const std::size_t own = 2 * static_cast<std::size_t>(worker);
        T* values = output.place(cursor, buffers[own].data());
        function(input.read(cursor, n, buffers[own + 1].data()), n, values);
        kernels().of<T>().canonical_nan(values, n);
        output.store(cursor, n, values);
        return 0.0;
    });
}

}  // namespace logitloss::detail
