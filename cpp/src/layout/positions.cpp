#include "layout/positions.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <stdexcept>

namespace logitloss::detail {

Positions::Positions(const Shape& shape) : shape_(shape) {
    for (const std::ptrdiff_t length : shape_)
        count_ *= static_cast<std::size_t>(length);
}

int Positions::add(const Shape& strides) {
    if (operands_ == static_cast<int>(max_operands))
        throw std::length_error("positions: more operands than a cursor walks");
    strides_[static_cast<std::size_t>(operands_)] = strides;
    return operands_++;
}

bool Positions::mergeable(std::size_t outer) const {
    return std::all_of(strides_.begin(), strides_.begin() + operands_,
                       [&](const Shape& strides) { return strides[outer] == strides[outer + 1] * shape_[outer + 1]; });
}

void Positions::simplify(bool reorder) {
    std::size_t order[max_dimensions] = {};
    std::size_t* end = order;
    for (std::size_t axis = 0; axis < shape_.size(); ++axis)
        if (shape_[axis] != 1)
            *end++ = axis;
    if (reorder && operands_ > 0)
        std::sort(order, end, [&](std::size_t a, std::size_t b) {
            const std::ptrdiff_t stride_a = std::abs(strides_[0][a]);
            const std::ptrdiff_t stride_b = std::abs(strides_[0][b]);
            return stride_a != stride_b ? stride_a > stride_b : a < b;
        });
    const auto permute = [&](Shape& values) {
        Shape kept;
        for (const std::size_t* axis = order; axis != end; ++axis)
            kept.push_back(values[*axis]);
        values = kept;
    };
    permute(shape_);
    std::for_each(strides_.begin(), strides_.begin() + operands_, permute);
    for (std::size_t axis = shape_.size(); axis-- > 1;) {
        if (!mergeable(axis - 1))
            continue;
        shape_[axis - 1] *= shape_[axis];
        shape_.erase(axis);
        std::for_each(strides_.begin(), strides_.begin() + operands_, [&](Shape& strides) { strides.erase(axis - 1); });
    }
}

bool Positions::contiguous(int operand, std::size_t item_bytes) const {
    const auto& strides = strides_[static_cast<std::size_t>(operand)];
    auto expected = static_cast<std::ptrdiff_t>(item_bytes);
    for (std::size_t axis = shape_.size(); axis-- > 0;) {
        if (strides[axis] != expected)
            return false;
        expected *= shape_[axis];
    }
    return true;
}

std::size_t Positions::alignment(int operand) const {
    std::size_t common = 64;
    for (const std::ptrdiff_t stride : strides_[static_cast<std::size_t>(operand)])
        common = std::gcd(common, static_cast<std::size_t>(std::abs(stride)));
    return common;
}

Positions::Cursor::Cursor(const Positions& positions, std::size_t first) : positions_(&positions) {
    std::fill(std::begin(offsets_), std::end(offsets_), 0);
    for (std::size_t axis = positions.shape_.size(); axis-- > 0;) {
        const auto length = static_cast<std::size_t>(positions.shape_[axis]);
        index_[axis] = length == 0 ? 0 : static_cast<std::ptrdiff_t>(first % length);
        first = length == 0 ? 0 : first / length;
        for (std::size_t operand = 0; operand < static_cast<std::size_t>(positions.operands_); ++operand)
            offsets_[operand] += index_[axis] * positions.strides_[operand][axis];
    }
}

void Positions::Cursor::carry() {
    const std::size_t axes = positions_->shape_.size();
    for (std::size_t axis = axes; axis-- > 0 && index_[axis] == positions_->shape_[axis];) {
        index_[axis] = 0;
        for (std::size_t operand = 0; operand < static_cast<std::size_t>(positions_->operands_); ++operand)
            offsets_[operand] -= positions_->shape_[axis] * positions_->strides_[operand][axis];
        if (axis == 0)
            return;
        ++index_[axis - 1];
        for (std::size_t operand = 0; operand < static_cast<std::size_t>(positions_->operands_); ++operand)
            offsets_[operand] += positions_->strides_[operand][axis - 1];
    }
}

void Positions::Cursor::advance() { advance_inner(1); }

std::size_t Positions::Cursor::inner_left() const {
    if (positions_->shape_.empty())
        return 1;
    return static_cast<std::size_t>(positions_->shape_.back() - index_[positions_->shape_.size() - 1]);
}

void Positions::Cursor::advance_inner(std::size_t steps) {
    if (positions_->shape_.empty())
        return;
    const std::size_t last = positions_->shape_.size() - 1;
    index_[last] += static_cast<std::ptrdiff_t>(steps);
    for (std::size_t operand = 0; operand < static_cast<std::size_t>(positions_->operands_); ++operand)
        offsets_[operand] += static_cast<std::ptrdiff_t>(steps) * positions_->strides_[operand][last];
    carry();
}

}  // namespace logitloss::detail
