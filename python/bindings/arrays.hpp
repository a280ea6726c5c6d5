// From Python objects to the views that the library takes, and what every binding shares.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gil.hpp"
#include "logitloss/array.hpp"
#include "logitloss/reduction.hpp"

namespace logitloss::python {

namespace py = pybind11;

using Shape = std::vector<py::ssize_t>;

/// Element type of an array; TypeError for what the library does not take (complex, longdouble, objects, text).
DType dtype_of(const py::array& array, const char* name);

/// `object` as an array, itself if it is one. TypeError for masks, for arrays that are lazy or lie on several devices, and
/// for anything that holds one: a mask would be lost, a lazy array computed whole.
py::array as_array(const py::object& object, const char* name);

/// The same for logits: integers and booleans become float64.
py::array as_logits(const py::object& object, const char* name);

/// An optional argument: a view of nothing for None. Owns the array.
struct OptionalArray {
    std::optional<py::array> array;
    ArrayView view;

    OptionalArray(const py::object& object, const char* name);
};

ArrayView view_of(const py::array& array, const char* name);

/// float32 and float64 as NumPy has them: the dtype, and a number of it.
py::dtype numpy_dtype(DType dtype);
py::object scalar(double value, DType dtype);

/// A result: fresh, or the array that the caller gave as `name`. `shape` is that of the result.
class Result {
public:
    Result(const py::object& given, const char* name, const Shape& shape, DType dtype);
    /// A fresh one in the memory order of `like`, and of its dtype unless another is given.
    Result(const py::object& given, const char* name, const py::array& like,
           const std::optional<py::dtype>& dtype = std::nullopt);
    Result(const Result&) = delete;  // views may point into it
    Result& operator=(const Result&) = delete;

    MutableArrayView view(const char* name);
    /// Whether the result is a number of its own and no array.
    bool is_scalar() const { return !array_; }
    const py::array& array() const { return *array_; }
    /// What the user gets: the array, or a NumPy scalar in place of a fresh one without axes.
    py::object value() const;

private:
    bool fresh_;
    std::optional<py::array> array_;
    double float64_ = 0.0;  ///< without an array, the result is one of these
    float float32_ = 0.0F;
    DType dtype_ = DType::float32;
    std::optional<py::dtype> like_;  ///< dtype of an array of the input's; otherwise dtype_
};

Shape shape_of(const py::array& array);
/// As Python prints it.
std::string shape_text(const Shape& shape);
/// The same without an axis; with one that is out of range, which is the library's to report, all of it.
Shape shape_without(const py::array& array, int axis);

/// dtype of losses and log-sum-exps.
DType loss_dtype(const py::array& logits);

// Options. A wrong kind of thing is a TypeError; values are checked by the library.
double as_number(const py::object& object, const char* name);
std::optional<double> as_optional_number(const py::object& object, const char* name);
std::int64_t as_integer(const py::object& object, const char* name);
/// An int >= 1; the largest of 64 bits stands for all that are larger.
std::int64_t as_count(const py::object& object, const char* name, const char* expected);
std::optional<std::int64_t> as_optional_integer(const py::object& object, const char* name);
int as_axis(const py::object& object);
/// None: all axes of an array of `ndim` dimensions.
std::vector<int> as_axes(const py::object& object, py::ssize_t ndim);
int as_num_threads(const py::object& object);
std::string as_text(const py::object& object, const char* name, const char* expected);
Reduction as_reduction(const py::object& object);
bool as_flag(const py::object& object, const char* name);

/// A RuntimeWarning, once in a process, if the system refused threads to a call.
void warn_of_thread_refusal();

/// Runs fn without the GIL if there is work enough for somebody else to notice.
template <class Fn>
void without_gil(py::ssize_t work, Fn&& fn) {
    constexpr py::ssize_t worth_releasing = 16384;
    if (work < worth_releasing)
        return fn();
    {
        const ReleasedGil released;
        fn();
    }
    warn_of_thread_refusal();
}

}  // namespace logitloss::python
