// Checks that every loss makes of its arguments, and the messages they give. A message says which argument, what was
// got and what was expected.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "layout/overlap.hpp"
#include "layout/positions.hpp"
#include "layout/shape.hpp"
#include "layout/staging.hpp"
#include "logitloss/array.hpp"
#include "logitloss/error.hpp"

namespace logitloss::detail {

/// A view with its strides written out, under the name that messages give it.
struct Argument {
    const char* name;
    ArrayView view;
    Shape shape;
    Shape strides;
    Interval span;  ///< the memory it lies in

    Argument(const char* argument_name, const ArrayView& argument_view);
    Argument(const Argument&) = delete;  // the view points into it
    Argument& operator=(const Argument&) = delete;
    bool given() const { return view.given(); }
    const char* bytes() const { return static_cast<const char*>(view.data); }
    /// Its elements one by one.
    Line line() const { return {view.dtype, view.byteswapped, 0}; }
    /// The first element; 1 if there is no array.
    double number() const { return given() ? read_number(line(), bytes()) : 1.0; }
};

/// An output, the same way.
struct Output : Argument {
    char* data;

    Output(const char* argument_name, const MutableArrayView& output);
    /// The element of an array without axes.
    void set_number(double value) const { write_number(line(), value, data); }
};

std::string to_string(const Shape& shape);

/// `axis` in [0, ndim); axis_error otherwise.
int normalized_axis(int axis, std::size_t ndim);

Shape without_axis(const Shape& shape, int axis);

/// Those axes in [0, ndim), sorted; axis_error, or value_error for one named twice.
std::vector<int> normalized_axes(const std::vector<int>& axes, std::size_t ndim);

/// The entries of `shape` (or strides) at the sorted axes, and those elsewhere.
Shape at_axes(const Shape& shape, const std::vector<int>& axes);
Shape without_axes(const Shape& shape, const std::vector<int>& axes);

/// dtype of losses and log-sum-exps of such logits.
DType loss_dtype(DType logits);

void require_floating(const Argument& argument);
void require_shape(const Argument& argument, const Shape& expected);
void require_dtype(const Argument& argument, DType expected);

/// Strides with which the argument walks `shape`, 0 along the axes it broadcasts over; value_error if it does not.
/// A weight that was not given broadcasts.
Shape broadcast_strides(const Argument& argument, const Shape& shape);

/// Checks a mask, if there is one: bools (type_error) that broadcast to `shape`.
void require_mask(const Argument& where, const Shape& shape);

/// value_error if the output overlaps itself or any of the arrays. `in_place` are those that it may be the same as.
void require_no_overlap(const Output& output, std::initializer_list<const Argument*> others,
                        std::initializer_list<const Argument*> in_place = {});

/// Checks the outputs of a loss of `input`: shapes, dtypes, and that they overlap neither each other nor the `others`. Either
/// may be missing; the gradient may be `input`, which is one of the others.
void require_value_and_grad(const Argument& input, const Shape& loss_shape,
                            std::initializer_list<const Argument*> others, const Output& loss, const Output& grad);

/// Checks the outputs of a gradient and a Hessian diagonal: of the input's shape, of one dtype, which is the input's or
/// float32, and without overlaps, but that the gradient may be `input`, which is one of the others.
void require_grad_and_hess(const Argument& input, std::initializer_list<const Argument*> others, const Output& grad,
                           const Output& hess);

void require_at_least(const char* name, double value, double least);
void require_positive_finite(const char* name, double value);
void require_unit_interval(const char* name, double value);
void require_finite(const char* name, double value);

/// The index of the position-th element of an array in C order, as messages print it after the array's name: "[2, 3]",
/// nothing for an array without axes.
std::string index_text(const Shape& shape, std::size_t position);

/// A number as messages print it.
std::string to_string(double value);

/// value_error for the first element, in C order, that is neither valid(x) nor skipped, if there is one. `operands` are the
/// strides with which other arrays walk the shape of `values`; skip(cursor) finds their offsets there under 1, 2, ...
template <class Valid, class Skip>
void reject_first(const Argument& values, const std::vector<Shape>& operands, Valid&& valid, Skip&& skip,
                  const char* expected) {
    Positions positions(values.shape);  // not simplified
    positions.add(values.strides);
    for (const Shape& strides : operands)
        positions.add(strides);
    Positions::Cursor cursor(positions, 0);
    for (std::size_t position = 0; position < positions.count(); ++position, cursor.advance()) {
        const double x = read_number(values.line(), values.bytes() + cursor.offset(0));
        if (!valid(x) && !skip(cursor))
            throw value_error(std::string(values.name) + index_text(values.shape, position) + ": got " + to_string(x) +
                              ", expected " + expected);
    }
}

}  // namespace logitloss::detail
