// What the library throws. Every check is made before the first byte of any output is written.
#pragma once

#include <stdexcept>

namespace logitloss {

/// A wrong value or shape: a label out of range, an option outside its domain, an output of the wrong shape.
class value_error : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

/// A wrong kind of thing: logits of an integer dtype, class indices of a floating dtype.
class type_error : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

/// A class axis outside [-ndim, ndim).
class axis_error : public value_error {
public:
    /// With a message that names both.
    axis_error(int wrong_axis, int dimensions);
    int axis;  ///< as it was given
    int ndim;  ///< of the array that it was given for
};

}  // namespace logitloss
