#include "arguments/arguments.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <sstream>

namespace logitloss {

axis_error::axis_error(int wrong_axis, int dimensions)
    : value_error("axis: got " + std::to_string(wrong_axis) + ", expected a value in [" + std::to_string(-dimensions) +
                  ", " + std::to_string(dimensions) + ") for an array of " + std::to_string(dimensions) +
                  " dimensions"),
      axis(wrong_axis),
      ndim(dimensions) {}

const char* name(DType dtype) {
    switch (dtype) {
    case DType::boolean:
        return "bool";
    case DType::int8:
        return "int8";
    case DType::uint8:
        return "uint8";
    case DType::int16:
        return "int16";
    case DType::uint16:
        return "uint16";
    case DType::int32:
        return "int32";
    case DType::uint32:
        return "uint32";
    case DType::int64:
        return "int64";
    case DType::uint64:
        return "uint64";
    case DType::float16:
        return "float16";
    case DType::bfloat16:
        return "bfloat16";
    case DType::float32:
        return "float32";
    case DType::float64:
        return "float64";
    }
    return "unknown";
}

namespace detail {
namespace {

Shape contiguous_strides(const ArrayView& view) {
    Shape strides(static_cast<std::size_t>(view.ndim));
    auto stride = static_cast<std::ptrdiff_t>(item_size(view.dtype));
    for (std::size_t axis = strides.size(); axis-- > 0;) {
        strides[axis] = stride;
        if (__builtin_mul_overflow(stride, view.shape[axis], &stride))
            stride = 0;  // check_extent refuses the shape
    }
    return strides;
}

/// value_error for lengths and strides that are those of no array: whatever is computed with them and with an address
/// stays within std::ptrdiff_t then. An axis of one element may have any stride, since nothing walks along it.
void check_extent(const char* name, const ArrayView& view, const Shape& shape, Shape& strides) {
    constexpr std::ptrdiff_t most = std::numeric_limits<std::ptrdiff_t>::max() / 2;
    auto bytes = static_cast<std::ptrdiff_t>(item_size(view.dtype));
    auto reach = bytes;
    bool fits = true;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        const std::ptrdiff_t length = shape[axis];
        if (length < 0)
            throw value_error(std::string(name) + ": got shape " + to_string(shape) +
                              ", expected lengths of at least 0");
        const bool counted = !__builtin_mul_overflow(bytes, std::max<std::ptrdiff_t>(length, 1), &bytes);
        std::ptrdiff_t run = 0;
        const bool walked = strides[axis] >= -most && strides[axis] <= most &&
                            !__builtin_mul_overflow(std::abs(strides[axis]), length, &run) &&
                            !__builtin_add_overflow(reach, run, &run) && run <= most;
        if (walked)
            reach = run;
        else if (length <= 1)
            strides[axis] = 0;
        fits = fits && counted && bytes <= most && (walked || length <= 1);
    }
    if (!fits)
        throw value_error(std::string(name) + ": got shape " + to_string(shape) + " and strides " + to_string(strides) +
                          ", expected an array that fits into memory");
}

ArrayView checked_dimensions(const char* name, const ArrayView& view) {
    if (view.ndim < 0 || view.ndim > static_cast<int>(max_dimensions))
        throw value_error(std::string(name) + ": got " + std::to_string(view.ndim) + " dimensions, expected at most " +
                          std::to_string(max_dimensions));
    return view;
}

}  // namespace

// An array without elements need not have memory (that of an empty std::vector does not). It gets an address, so that
// it is not taken for an argument that was not given.
alignas(64) static const char nowhere[64] = {};

Argument::Argument(const char* argument_name, const ArrayView& argument_view)
    : name(argument_name),
      view(checked_dimensions(argument_name, argument_view)),
      shape(view.shape, view.shape + view.ndim),
      strides(view.strides != nullptr ? Shape(view.strides, view.strides + view.ndim) : contiguous_strides(view)) {
    check_extent(name, view, shape, strides);
    view.shape = shape.data();
    view.strides = strides.data();
    if (view.data == nullptr && view.ndim != 0) {
        if (std::find(shape.begin(), shape.end(), 0) == shape.end())
            throw value_error(std::string(name) + ": got no memory, expected an array of shape " + to_string(shape));
        view.data = nowhere;
    }
    if (given())
        span = span_of(view);
}

Output::Output(const char* argument_name, const MutableArrayView& output)
    : Argument(argument_name, output), data(const_cast<char*>(bytes())) {}

std::string to_string(const Shape& shape) {
    std::string text = "(";
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
        text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

std::string to_string(double value) {
    std::string text;
    for (int digits = 6; digits <= 17; ++digits) {  // the fewest that tell the value from its neighbours
        std::ostringstream stream;
        stream.precision(digits);
        stream << value;
        text = stream.str();
        if (std::strtod(text.c_str(), nullptr) == value)
            break;
    }
    return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
}

std::string index_text(const Shape& shape, std::size_t position) {
    std::string text;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
        const auto length = static_cast<std::size_t>(shape[axis]);
        text = std::to_string(position % length) + (text.empty() ? "" : ", ") + text;
        position /= length;
    }
    return text.empty() ? text : "[" + text + "]";
}

int normalized_axis(int axis, std::size_t ndim) {
    const int dimensions = static_cast<int>(ndim);
    if (axis < -dimensions || axis >= dimensions)
        throw axis_error(axis, dimensions);
    return axis < 0 ? axis + dimensions : axis;
}

Shape without_axis(const Shape& shape, int axis) {
    Shape rest = shape;
    rest.erase(static_cast<std::size_t>(axis));
    return rest;
}

std::vector<int> normalized_axes(const std::vector<int>& axes, std::size_t ndim) {
    std::vector<int> sorted;
    for (const int axis : axes)
        sorted.push_back(normalized_axis(axis, ndim));
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end())
        throw value_error("axis: got axis " + std::to_string(*twice) + " twice, expected each axis once");
    return sorted;
}

Shape at_axes(const Shape& shape, const std::vector<int>& axes) {
    Shape chosen;
    for (const int axis : axes)
        chosen.push_back(shape[static_cast<std::size_t>(axis)]);
    return chosen;
}

Shape without_axes(const Shape& shape, const std::vector<int>& axes) {
    Shape rest;
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
        if (std::find(axes.begin(), axes.end(), static_cast<int>(axis)) == axes.end())
            rest.push_back(shape[axis]);
    return rest;
}

DType loss_dtype(DType logits) { return logits == DType::float64 ? DType::float64 : DType::float32; }

void require_floating(const Argument& argument) {
    if (!is_floating(argument.view.dtype))
        throw type_error(std::string(argument.name) + ": got dtype " + name(argument.view.dtype) +
                         ", expected float16, bfloat16, float32 or float64");
}

void require_shape(const Argument& argument, const Shape& expected) {
    if (argument.shape != expected)
        throw value_error(std::string(argument.name) + ": got shape " + to_string(argument.shape) + ", expected " +
                          to_string(expected));
}

void require_dtype(const Argument& argument, DType expected) {
    if (argument.view.dtype != expected)
        throw value_error(std::string(argument.name) + ": got dtype " + name(argument.view.dtype) + ", expected " +
                          name(expected));
}

Shape broadcast_strides(const Argument& argument, const Shape& shape) {
    Shape strides(shape.size(), 0);
    const std::size_t own = argument.shape.size();
    bool fits = own <= shape.size();
    for (std::size_t back = 1; fits && back <= own; ++back) {
        const std::ptrdiff_t length = argument.shape[own - back];
        const std::ptrdiff_t target = shape[shape.size() - back];
        if (length == target)
            strides[shape.size() - back] = argument.strides[own - back];
        else
            fits = length == 1;
    }
    if (!fits)
        throw value_error(std::string(argument.name) + ": got shape " + to_string(argument.shape) +
                          ", expected one that broadcasts to " + to_string(shape));
    return strides;
}

void require_mask(const Argument& where, const Shape& shape) {
    if (!where.given())
        return;
    if (where.view.dtype != DType::boolean)
        throw type_error(std::string(where.name) + ": got dtype " + name(where.view.dtype) + ", expected bool");
    broadcast_strides(where, shape);
}

void require_no_overlap(const Output& output, std::initializer_list<const Argument*> others,
                        std::initializer_list<const Argument*> in_place) {
    if (!output.given())
        return;
    if (may_overlap_itself(output.view))
        throw value_error(std::string(output.name) +
                          ": got an array whose elements overlap each other, expected one element per place");
    for (const Argument* other : others) {
        if (!intersect(output.span, other->span) || !may_overlap(output.view, other->view))
            continue;
        const bool allowed = std::find(in_place.begin(), in_place.end(), other) != in_place.end();
        if (allowed && same_array(output.view, other->view))
            continue;
        throw value_error(std::string(output.name) + ": got an array that overlaps " + other->name + ", expected " +
                          (allowed ? "exactly that array or memory of its own" : "memory of its own"));
    }
}

void require_value_and_grad(const Argument& input, const Shape& loss_shape,
                            std::initializer_list<const Argument*> others, const Output& loss, const Output& grad) {
    if (loss.given()) {
        require_dtype(loss, loss_dtype(input.view.dtype));
        require_shape(loss, loss_shape);
        require_no_overlap(loss, others);
        require_no_overlap(loss, {&grad});
    }
    if (grad.given()) {
        require_dtype(grad, input.view.dtype);
        require_shape(grad, input.shape);
        require_no_overlap(grad, others, {&input});
    }
}

void require_grad_and_hess(const Argument& input, std::initializer_list<const Argument*> others, const Output& grad,
                           const Output& hess) {
    for (const Output* output : {&grad, &hess}) {
        if (!output->given())
            throw value_error(std::string(output->name) + ": got no array, expected one of shape " +
                              to_string(input.shape));
        require_shape(*output, input.shape);
    }
    if (grad.view.dtype != DType::float32)
        require_dtype(grad, input.view.dtype);
    require_dtype(hess, grad.view.dtype);
    require_no_overlap(grad, others, {&input});
    require_no_overlap(hess, others);
    require_no_overlap(hess, {&grad});
}

namespace {

[[noreturn]] void reject(const char* name, double value, const char* expected) {
    throw value_error(std::string(name) + ": got " + to_string(value) + ", expected " + expected);
}

}  // namespace

void require_at_least(const char* name, double value, double least) {
    if (!(value >= least))
        reject(name, value, ("a value of at least " + to_string(least)).c_str());
}

void require_positive_finite(const char* name, double value) {
    if (!(value > 0.0 && std::isfinite(value)))
        reject(name, value, "a positive finite value");
}

void require_unit_interval(const char* name, double value) {
    if (!(value >= 0.0 && value <= 1.0))
        reject(name, value, "a value in [0, 1]");
}

void require_finite(const char* name, double value) {
    if (!std::isfinite(value))
        reject(name, value, "a finite value");
}

}  // namespace detail
}  // namespace logitloss
