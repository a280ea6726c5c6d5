#include "arrays.hpp"

#include <pybind11/gil_safe_call_once.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "logitloss/error.hpp"

namespace logitloss::python {
namespace {

std::string type_name(const py::handle& object) {
    return py::cast<std::string>(py::type::handle_of(object).attr("__name__"));
}

[[noreturn]] void reject_kind(const char* name, const py::handle& object, const char* expected) {
    throw py::type_error(std::string(name) + ": got " + type_name(object) + ", expected " + expected);
}

bool is_plain_array(const py::handle& object) {
    return Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_;
}

/// bfloat16 has no number of its own in NumPy: ml_dtypes registers one when it is imported. Without ml_dtypes the bits come
/// as a field of that name (BFLOAT16 of _arrays.py).
bool is_bfloat16(const py::dtype& dtype) {
    if (dtype.itemsize() != 2)
        return false;
    const py::object fields = dtype.attr("names");
    const py::object name = fields.is_none() ? py::object(dtype.attr("name")) : py::object(fields[py::int_(0)]);
    return py::cast<std::string>(name) == "bfloat16";
}

py::module_ helpers() { return py::module_::import("logitloss._arrays"); }

DType integer_dtype(py::ssize_t bytes, bool is_signed) {
    switch (bytes) {
    case 1:
        return is_signed ? DType::int8 : DType::uint8;
    case 2:
        return is_signed ? DType::int16 : DType::uint16;
    case 4:
        return is_signed ? DType::int32 : DType::uint32;
    default:
        return is_signed ? DType::int64 : DType::uint64;
    }
}

bool is_byteswapped(const py::array& array) {
    const char order = array.dtype().byteorder();
    return order == '>' || order == '!';
}

}  // namespace

DType dtype_of(const py::array& array, const char* name) {
    constexpr int half = 23;
    const py::dtype dtype = array.dtype();
    const int number = dtype.num();
    switch (number) {
    case py::detail::npy_api::NPY_BOOL_:
        return DType::boolean;
    case half:
        return DType::float16;
    case py::detail::npy_api::NPY_FLOAT_:
        return DType::float32;
    case py::detail::npy_api::NPY_DOUBLE_:
        return DType::float64;
    default:
        break;
    }
    if (number >= py::detail::npy_api::NPY_BYTE_ && number <= py::detail::npy_api::NPY_ULONGLONG_)
        return integer_dtype(dtype.itemsize(), number % 2 == 1);
    if (is_bfloat16(dtype))
        return DType::bfloat16;
    if (number == py::detail::npy_api::NPY_OBJECT_)
        throw py::type_error(py::cast<std::string>(helpers().attr("why_no_objects")(array, name)));
    throw py::type_error(std::string(name) + ": got dtype " + py::cast<std::string>(py::str(dtype)) +
                         ", expected a real one: bool, an integer, float16, bfloat16, float32 or float64");
}

py::array as_array(const py::object& object, const char* name) {
    if (is_plain_array(object))
        return py::reinterpret_borrow<py::array>(object);
    return py::reinterpret_borrow<py::array>(helpers().attr("as_array")(object, name));
}

py::array as_logits(const py::object& object, const char* name) {
    py::array array = as_array(object, name);
    if (is_floating(dtype_of(array, name)))
        return array;
    return py::reinterpret_borrow<py::array>(array.attr("astype")("float64"));
}

ArrayView view_of(const py::array& array, const char* name) {
    return {array.data(),  dtype_of(array, name), static_cast<int>(array.ndim()),
            array.shape(), array.strides(),       is_byteswapped(array)};
}

OptionalArray::OptionalArray(const py::object& object, const char* name) {
    if (object.is_none())
        return;
    array = as_array(object, name);
    view = view_of(*array, name);
}

namespace {

bool accept_given(const py::object& given, const char* name) {
    if (given.is_none())
        return false;
    if (!py::isinstance<py::array>(given))
        reject_kind(name, given, "a numpy.ndarray to write to");
    if (!is_plain_array(given))
        helpers().attr("as_array")(given, name);  // a masked array is a TypeError
    const auto array = py::reinterpret_borrow<py::array>(given);
    if (!array.writeable())
        throw value_error(std::string(name) + ": got a read-only array, expected a writable one");
    if (is_byteswapped(array))
        throw value_error(std::string(name) + ": got dtype " + py::cast<std::string>(py::str(array.dtype())) +
                          ", expected native byte order");
    return true;
}

}  // namespace

py::dtype numpy_dtype(DType dtype) {
    return dtype == DType::float64 ? py::dtype::of<double>() : py::dtype::of<float>();
}

namespace {

/// What it takes to make NumPy scalars. A call of numpy.float32 takes ten times as long, as it parses its arguments.
struct ScalarMaker {
    PyObject* (*make)(void* value, PyObject* dtype, PyObject* base);  ///< PyArray_Scalar of NumPy's C API
    py::dtype float32 = py::dtype::of<float>();
    py::dtype float64 = py::dtype::of<double>();

    ScalarMaker() {
        constexpr std::size_t number_of_scalar = 60;  // in the table, whose order is part of NumPy's ABI
        const py::object table = py::detail::import_numpy_core_submodule("multiarray").attr("_ARRAY_API");
        void** functions = static_cast<void**>(PyCapsule_GetPointer(table.ptr(), nullptr));
        if (functions == nullptr)
            throw py::error_already_set();
        make = reinterpret_cast<decltype(make)>(functions[number_of_scalar]);
    }
};

}  // namespace

py::object scalar(double value, DType dtype) {
    PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<ScalarMaker> maker;
    const ScalarMaker& scalars = maker.call_once_and_store_result([] { return ScalarMaker(); }).get_stored();
    auto narrow = static_cast<float>(value);
    const bool wide = dtype == DType::float64;
    PyObject* result = scalars.make(wide ? static_cast<void*>(&value) : &narrow,
                                    (wide ? scalars.float64 : scalars.float32).ptr(), nullptr);
    if (result == nullptr)
        throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

Result::Result(const py::object& given, const char* name, const Shape& shape, DType dtype)
    : fresh_(!accept_given(given, name)), dtype_(dtype) {
    if (!fresh_)
        array_ = py::reinterpret_borrow<py::array>(given);
    else if (!shape.empty())
        array_ = py::array(numpy_dtype(dtype), shape);
}

Result::Result(const py::object& given, const char* name, const py::array& like, const std::optional<py::dtype>& dtype)
    : fresh_(!accept_given(given, name)), like_(dtype ? *dtype : like.dtype()) {
    if (!fresh_)
        array_ = py::reinterpret_borrow<py::array>(given);
    else if ((like.flags() & py::array::c_style) != 0 && !is_byteswapped(like))
        array_ = py::array(*like_, shape_of(like));
    else
        array_ = py::reinterpret_borrow<py::array>(helpers().attr("empty_like")(like, *like_));
}

MutableArrayView Result::view(const char* name) {
    if (!array_)
        return {dtype_ == DType::float64 ? static_cast<void*>(&float64_) : &float32_, dtype_, 0, nullptr, nullptr};
    DType dtype;
    try {
        dtype = dtype_of(*array_, name);
    } catch (const py::type_error&) {
        const py::dtype expected = like_ ? *like_ : numpy_dtype(dtype_);
        throw value_error(std::string(name) + ": got dtype " + py::cast<std::string>(py::str(array_->dtype())) +
                          ", expected " + py::cast<std::string>(py::str(expected.attr("newbyteorder")("="))));
    }
    return {const_cast<void*>(array_->data()), dtype, static_cast<int>(array_->ndim()), array_->shape(),
            array_->strides()};
}

py::object Result::value() const {
    if (!array_)
        return scalar(dtype_ == DType::float64 ? float64_ : static_cast<double>(float32_), dtype_);
    return fresh_ && array_->ndim() == 0 ? py::object(array_->attr("__getitem__")(py::tuple())) : py::object(*array_);
}

std::string shape_text(const Shape& shape) {
    py::tuple lengths(shape.size());
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
        lengths[axis] = py::int_(shape[axis]);
    return py::cast<std::string>(py::str(lengths));
}

Shape shape_of(const py::array& array) { return Shape(array.shape(), array.shape() + array.ndim()); }

Shape shape_without(const py::array& array, int axis) {
    Shape shape = shape_of(array);
    const auto ndim = static_cast<int>(shape.size());
    if (axis >= -ndim && axis < ndim)
        shape.erase(shape.begin() + (axis < 0 ? axis + ndim : axis));
    return shape;
}

DType loss_dtype(const py::array& logits) {
    return logits.dtype().num() == py::detail::npy_api::NPY_DOUBLE_ ? DType::float64 : DType::float32;
}

double as_number(const py::object& object, const char* name) {
    if (PyFloat_CheckExact(object.ptr()))
        return PyFloat_AS_DOUBLE(object.ptr());
    return py::cast<double>(helpers().attr("as_number")(object, name));
}

std::optional<double> as_optional_number(const py::object& object, const char* name) {
    return object.is_none() ? std::nullopt : std::optional<double>(as_number(object, name));
}

namespace {

/// `overflow` is -1 or 1 if the value does not fit; the result then is the nearest that does.
std::int64_t convert_integer(const py::object& object, const char* name, int& overflow) {
    const bool plain = PyLong_CheckExact(object.ptr());
    const py::object number = plain ? object : py::object(helpers().attr("as_integer")(object, name));
    const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    using Limits = std::numeric_limits<std::int64_t>;
    return overflow == 0 ? value : overflow < 0 ? Limits::min() : Limits::max();
}

std::int64_t as_saturated_integer(const py::object& object, const char* name) {
    int overflow = 0;
    return convert_integer(object, name, overflow);
}

std::string text_of(const py::object& object) { return py::cast<std::string>(py::str(object)); }

}  // namespace

std::int64_t as_integer(const py::object& object, const char* name) {
    int overflow = 0;
    const std::int64_t value = convert_integer(object, name, overflow);
    if (overflow != 0)
        throw value_error(std::string(name) + ": got " + text_of(object) + ", expected an integer of at most 64 bits");
    return value;
}

std::int64_t as_count(const py::object& object, const char* name, const char* expected) {
    const std::int64_t count = as_saturated_integer(object, name);
    if (count < 1)
        throw value_error(std::string(name) + ": got " + text_of(object) + ", expected " + expected);
    return count;
}

std::optional<std::int64_t> as_optional_integer(const py::object& object, const char* name) {
    return object.is_none() ? std::nullopt : std::optional<std::int64_t>(as_integer(object, name));
}

int as_axis(const py::object& object) {
    constexpr std::int64_t out_of_range = std::numeric_limits<int>::max();
    const std::int64_t axis = as_saturated_integer(object, "axis");
    if (axis < -out_of_range || axis > out_of_range) {
        const std::string message = "axis: axis " + text_of(object) + " is out of bounds for any array";
        PyErr_SetString(py::module_::import("numpy").attr("exceptions").attr("AxisError").ptr(), message.c_str());
        throw py::error_already_set();
    }
    return static_cast<int>(axis);
}

std::vector<int> as_axes(const py::object& object, py::ssize_t ndim) {
    std::vector<int> axes;
    if (object.is_none()) {
        for (int axis = 0; axis < ndim; ++axis)
            axes.push_back(axis);
    } else if (py::isinstance<py::tuple>(object) || py::isinstance<py::list>(object)) {
        for (const py::handle axis : object)
            axes.push_back(as_axis(py::reinterpret_borrow<py::object>(axis)));
    } else {
        axes.push_back(as_axis(object));
    }
    if (ndim == 0 && axes.size() == 1 && (axes[0] == 0 || axes[0] == -1))
        axes.clear();  // as SciPy: a 0-d array is a row of one class
    return axes;
}

int as_num_threads(const py::object& object) {
    if (object.is_none())
        return 0;
    const std::int64_t threads = as_count(object, "num_threads", "None or an int >= 1");
    return static_cast<int>(std::min<std::int64_t>(threads, std::numeric_limits<int>::max()));
}

std::string as_text(const py::object& object, const char* name, const char* expected) {
    if (!py::isinstance<py::str>(object))
        reject_kind(name, object, expected);
    return py::cast<std::string>(object);
}

Reduction as_reduction(const py::object& object) {
    const std::string text = as_text(object, "reduction", "'none', 'sum' or 'mean'");
    if (text == "mean")
        return Reduction::mean;
    if (text == "sum")
        return Reduction::sum;
    if (text == "none")
        return Reduction::none;
    throw value_error("reduction: got '" + text + "', expected 'none', 'sum' or 'mean'");
}

bool as_flag(const py::object& object, const char* name) {
    if (!PyLong_Check(object.ptr()) && type_name(object) != "bool")  // NumPy's bool; integers count as in SciPy
        reject_kind(name, object, "True or False");
    return py::cast<bool>(py::bool_(object));
}

}  // namespace logitloss::python
