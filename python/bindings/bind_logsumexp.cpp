// Log-sum-exp, softmax, log-softmax and their gradients.
#include <algorithm>

#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/error.hpp"
#include "logitloss/logsumexp.hpp"

namespace logitloss::python {
namespace {

SoftmaxOptions options_of(const py::array& array, const py::object& axis, const py::object& num_threads) {
    SoftmaxOptions options;
    options.axes = as_axes(axis, array.ndim());
    options.num_threads = as_num_threads(num_threads);
    return options;
}
SoftmaxOptions options_of(const py::array& array, const py::object& axis, const OptionalArray& where,
                          const py::object& num_threads) {
    SoftmaxOptions options = options_of(array, axis, num_threads);
    options.where = where.view;
    return options;
}

/// A log-sum-exp's result: one value a row, with the class axes kept at length 1 or not.
class RowResult {
public:
    RowResult(const py::object& given, const Shape& a, DType dtype, const std::vector<int>& axes, bool keepdims) {
        std::vector<bool> reduced(a.size());
        for (const int axis : axes) {
            const auto ndim = static_cast<int>(a.size());
            if (axis >= -ndim && axis < ndim)  // otherwise the library says so
                reduced[static_cast<std::size_t>(axis < 0 ? axis + ndim : axis)] = true;
        }
        Shape shape;
        for (std::size_t axis = 0; axis < reduced.size(); ++axis)
            if (!reduced[axis])
                shape.push_back(a[axis]);
            else if (keepdims)
                shape.push_back(1);
        result_.emplace(given, "out", shape, dtype);
        view_ = result_->view("out");
        if (!keepdims || result_->is_scalar())
            return;
        if (shape_of(result_->array()) != shape)  // the library does not know of the axes that are kept
            throw value_error("out: got shape " + shape_text(shape_of(result_->array())) + ", expected " +
                              shape_text(shape));
        for (std::size_t axis = 0; axis < reduced.size(); ++axis) {
            if (reduced[axis])
                continue;
            shape_.push_back(result_->array().shape(static_cast<py::ssize_t>(axis)));
            strides_.push_back(result_->array().strides(static_cast<py::ssize_t>(axis)));
        }
        view_.ndim = static_cast<int>(shape_.size());
        view_.shape = shape_.data();
        view_.strides = strides_.data();
    }
    const MutableArrayView& view() const { return view_; }
    py::object value() const { return result_->value(); }

private:
    std::optional<Result> result_;
    Shape shape_, strides_;
    MutableArrayView view_;
};

/// With weights or a sign: `a` and `b` broadcast against each other, as views.
py::object weighted(const py::array& a, const py::object& b_object, const py::object& axis, bool keepdims,
                    bool return_sign, bool mean, const OptionalArray& where, const py::object& out,
                    const py::object& num_threads) {
    const py::array b = as_array(b_object.is_none() ? py::object(py::int_(1)) : b_object, "b");
    dtype_of(b, "b");
    const py::tuple prepared = py::module_::import("logitloss._arrays").attr("weighted_operands")(a, b, b_object);
    const auto wide_a = py::reinterpret_borrow<py::array>(prepared[0]);
    const auto wide_b = py::reinterpret_borrow<py::array>(prepared[1]);
    const auto result_dtype = py::reinterpret_borrow<py::dtype>(prepared[2]);
    const DType dtype = result_dtype.itemsize() == 8 ? DType::float64 : DType::float32;
    const SoftmaxOptions options = options_of(wide_a, axis, where, num_threads);
    const RowResult result(out, shape_of(wide_a), dtype, options.axes, keepdims);
    std::optional<RowResult> sign;
    if (return_sign)
        sign.emplace(py::none(), shape_of(wide_a), dtype, options.axes, keepdims);
    const ArrayView a_view = view_of(wide_a, "a");
    const ArrayView b_view = view_of(wide_b, "b");
    const MutableArrayView sign_view = sign ? sign->view() : MutableArrayView{};
    if (result.view().dtype != dtype)
        throw value_error(std::string("out: got dtype ") + name(result.view().dtype) + ", expected " + name(dtype));
    without_gil(wide_a.size(), [&] {
        if (mean)
            weighted_logmeanexp(a_view, b_view, result.view(), options);
        else
            weighted_logsumexp(a_view, b_view, result.view(), sign_view, options);
    });
    return sign ? py::object(py::make_tuple(result.value(), sign->value())) : result.value();
}

template <void (*function)(const ArrayView&, const MutableArrayView&, const SoftmaxOptions&)>
py::object unweighted(const py::array& a, const py::object& axis, bool keepdims, const OptionalArray& where,
                      const py::object& out, const py::object& num_threads) {
    const SoftmaxOptions options = options_of(a, axis, where, num_threads);
    const RowResult result(out, shape_of(a), loss_dtype(a), options.axes, keepdims);
    const ArrayView view = view_of(a, "a");
    without_gil(a.size(), [&] { function(view, result.view(), options); });
    return result.value();
}

py::object bound_logsumexp(const py::object& a_object, const py::object& axis, const py::object& b,
                           const py::object& keepdims_object, const py::object& return_sign_object,
                           const py::object& where_object, const py::object& out, const py::object& num_threads) {
    const py::array a = as_logits(a_object, "a");
    const bool keepdims = as_flag(keepdims_object, "keepdims");
    const bool return_sign = as_flag(return_sign_object, "return_sign");
    const OptionalArray where(where_object, "where");
    if (!b.is_none() || return_sign)
        return weighted(a, b, axis, keepdims, return_sign, false, where, out, num_threads);
    return unweighted<logsumexp>(a, axis, keepdims, where, out, num_threads);
}

py::object bound_logmeanexp(const py::object& a_object, const py::object& axis, const py::object& b,
                            const py::object& keepdims_object, const py::object& where_object, const py::object& out,
                            const py::object& num_threads) {
    const py::array a = as_logits(a_object, "a");
    const bool keepdims = as_flag(keepdims_object, "keepdims");
    const OptionalArray where(where_object, "where");
    if (!b.is_none())
        return weighted(a, b, axis, keepdims, false, true, where, out, num_threads);
    return unweighted<logmeanexp>(a, axis, keepdims, where, out, num_threads);
}

py::tuple bound_logsumexp_value_and_grad(const py::object& a_object, const py::object& axis,
                                         const py::object& where_object, const py::object& upstream_object,
                                         const py::object& grad_out, const py::object& num_threads) {
    const py::array a = as_logits(a_object, "a");
    const OptionalArray where(where_object, "where");
    const SoftmaxOptions options = options_of(a, axis, where, num_threads);
    const OptionalArray upstream(upstream_object, "upstream");
    Result grad(grad_out, "grad_out", a);
    const RowResult result(py::none(), shape_of(a), loss_dtype(a), options.axes, false);
    const ArrayView view = view_of(a, "a");
    const MutableArrayView grad_view = grad.view("grad_out");
    without_gil(a.size(), [&] { logsumexp_value_and_grad(view, upstream.view, result.view(), grad_view, options); });
    return py::make_tuple(result.value(), grad.value());
}

template <void (*function)(const ArrayView&, const MutableArrayView&, const SoftmaxOptions&)>
py::object bound_softmax(const py::object& x_object, const py::object& axis, const py::object& where_object,
                         const py::object& out, const py::object& num_threads) {
    const py::array x = as_logits(x_object, "x");
    const OptionalArray where(where_object, "where");
    const SoftmaxOptions options = options_of(x, axis, where, num_threads);
    Result result(out, "out", x);
    const ArrayView view = view_of(x, "x");
    const MutableArrayView out_view = result.view("out");
    without_gil(x.size(), [&] { function(view, out_view, options); });
    return result.value();
}

template <void (*function)(const ArrayView&, const ArrayView&, const MutableArrayView&, const SoftmaxOptions&)>
py::object bound_vjp(const py::object& y_object, const py::object& dy_object, const py::object& axis,
                     const py::object& out, const py::object& num_threads) {
    const py::array y = as_logits(y_object, "y");
    const py::array dy = as_array(dy_object, "dy");
    const SoftmaxOptions options = options_of(y, axis, num_threads);
    Result result(out, "out", y);
    const ArrayView y_view = view_of(y, "y");
    const ArrayView dy_view = view_of(dy, "dy");
    const MutableArrayView out_view = result.view("out");
    without_gil(y.size(), [&] { function(y_view, dy_view, out_view, options); });
    return result.value();
}

}  // namespace

void bind_logsumexp(py::module_& module) {
    module.def("logsumexp", &bound_logsumexp);
    module.def("logmeanexp", &bound_logmeanexp);
    module.def("logsumexp_value_and_grad", &bound_logsumexp_value_and_grad);
    module.def("softmax", &bound_softmax<softmax>);
    module.def("log_softmax", &bound_softmax<log_softmax>);
    module.def("softmax_vjp", &bound_vjp<softmax_vjp>);
    module.def("log_softmax_vjp", &bound_vjp<log_softmax_vjp>);
}

}  // namespace logitloss::python
