// Shapes and strides of arrays.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>

namespace logitloss::detail {

/// NumPy's limit on dimensions.
constexpr std::size_t max_dimensions = 64;

/// Lengths or strides, a number an axis. It holds them itself: a small call spends more on memory from the heap than on
/// its arithmetic.
class Shape {
public:
    using value_type = std::ptrdiff_t;

    Shape() = default;
    explicit Shape(std::size_t axes, std::ptrdiff_t value = 0) : size_(checked(axes)) {
        std::fill(begin(), end(), value);
    }
    Shape(const std::ptrdiff_t* first, const std::ptrdiff_t* last)
        : size_(checked(static_cast<std::size_t>(last - first))) {
        std::copy(first, last, begin());
    }
    Shape(std::initializer_list<std::ptrdiff_t> values) : Shape(values.begin(), values.end()) {}
    Shape(const Shape& other) : Shape(other.begin(), other.end()) {}
    Shape& operator=(const Shape& other) {
        if (this != &other) {
            size_ = other.size_;
            std::copy(other.begin(), other.end(), begin());
        }
        return *this;
    }

    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    std::ptrdiff_t* data() { return values_; }
    const std::ptrdiff_t* data() const { return values_; }
    std::ptrdiff_t* begin() { return values_; }
    std::ptrdiff_t* end() { return values_ + size_; }
    const std::ptrdiff_t* begin() const { return values_; }
    const std::ptrdiff_t* end() const { return values_ + size_; }
    std::ptrdiff_t& operator[](std::size_t axis) { return values_[axis]; }
    std::ptrdiff_t operator[](std::size_t axis) const { return values_[axis]; }
    std::ptrdiff_t back() const { return values_[size_ - 1]; }

    void push_back(std::ptrdiff_t value) {
        checked(size_ + 1);
        values_[size_++] = value;
    }
    /// Puts an axis before the one that is `axis` now.
    void insert(std::size_t axis, std::ptrdiff_t value) {
        checked(size_ + 1);
        std::copy_backward(begin() + axis, end(), end() + 1);
        values_[axis] = value;
        ++size_;
    }
    /// Drops an axis.
    void erase(std::size_t axis) {
        std::copy(begin() + axis + 1, end(), begin() + axis);
        --size_;
    }

    friend bool operator==(const Shape& a, const Shape& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end());
    }
    friend bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }

private:
    static std::size_t checked(std::size_t axes) {
        if (axes > max_dimensions)
            throw std::length_error("shape: more axes than 64");
        return axes;
    }

    std::size_t size_ = 0;
    std::ptrdiff_t values_[max_dimensions];
};

/// Strides of items of `bytes` that follow one another in C order.
inline Shape c_strides(const Shape& shape, std::size_t bytes) {
    Shape strides(shape.size());
    auto stride = static_cast<std::ptrdiff_t>(bytes);
    for (std::size_t axis = shape.size(); axis-- > 0; stride *= shape[axis])
        strides[axis] = stride;
    return strides;
}

}  // namespace logitloss::detail
