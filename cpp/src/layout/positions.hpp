// Positions: the index space over which several arrays are walked together, all axes but the class axis for rows, all
// axes for elements.
#pragma once

#include <array>
#include <cstddef>

#include "layout/shape.hpp"

namespace logitloss::detail {

/// An index space and, per operand, the byte strides with which it is walked. Axes of length 1 are dropped and axes
/// that every operand walks in one go are merged, so that contiguous arrays end with a single axis.
class Positions {
public:
    static constexpr std::size_t max_operands = 8;

    /// `shape` without the axes that are not walked.
    explicit Positions(const Shape& shape);

    /// Adds an operand of the space's full shape with these strides (0 where it broadcasts) and returns its number.
    int add(const Shape& strides);

    /// Drops and merges axes. With `reorder` the axes are first sorted so that the first operand's strides fall.
    void simplify(bool reorder);

    std::size_t count() const { return count_; }
    int operands() const { return operands_; }
    int axes() const { return static_cast<int>(shape_.size()); }
    /// Length and stride of the innermost axis; 1 and 0 of a single position.
    std::size_t inner_length() const { return shape_.empty() ? 1 : static_cast<std::size_t>(shape_.back()); }
    std::ptrdiff_t inner_stride(int operand) const {
        return shape_.empty() ? 0 : strides_[static_cast<std::size_t>(operand)].back();
    }
    /// Whether the operand's elements of `item_bytes` follow each other without a gap in the order of the positions.
    bool contiguous(int operand, std::size_t item_bytes) const;
    /// Largest power of two, up to 64, that divides every stride of the operand.
    std::size_t alignment(int operand) const;

    /// A place in the space, and each operand's byte offset there.
    class Cursor {
    public:
        Cursor(const Positions& positions, std::size_t first);
        std::ptrdiff_t offset(int operand) const { return offsets_[static_cast<std::size_t>(operand)]; }
        void advance();
        /// Positions left on the innermost axis from here on.
        std::size_t inner_left() const;
        /// Moves `steps` <= inner_left() positions along the innermost axis.
        void advance_inner(std::size_t steps);

    private:
        void carry();

        const Positions* positions_;
        std::ptrdiff_t index_[max_dimensions];
        std::ptrdiff_t offsets_[max_operands];
    };

private:
    bool mergeable(std::size_t outer) const;

    std::size_t count_ = 1;
    int operands_ = 0;
    Shape shape_;
    std::array<Shape, max_operands> strides_;
};

}  // namespace logitloss::detail
