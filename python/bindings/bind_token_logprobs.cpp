// What is read off logits.
#include "logitloss/token_logprobs.hpp"

#include <algorithm>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/error.hpp"

namespace logitloss::python {
namespace {

using O = py::object;

constexpr std::size_t result_count = 7;
constexpr const char* result_names[result_count] = {"logprob", "lse",      "entropy",      "argmax",
                                                    "rank",    "topk_ids", "topk_logprobs"};
enum Field : std::size_t { logprob, lse, entropy, argmax, rank, topk_ids, topk_logprobs };

/// A result: fresh, or None.
struct TokenResult {
    bool wanted = false;
    std::optional<py::array> array;

    void make(const Shape& shape, const py::dtype& dtype) {
        if (wanted)
            array.emplace(dtype, shape);
    }
    MutableArrayView view() {
        if (!array)
            return {};
        return {array->mutable_data(), dtype_of(*array, "returns"), static_cast<int>(array->ndim()), array->shape(),
                array->strides()};
    }
    /// A number in place of an array without axes.
    O value() const {
        if (!array)
            return py::none();
        return array->ndim() == 0 ? O(array->attr("__getitem__")(py::tuple())) : O(*array);
    }
};

/// Marks the results that `returns` names.
void mark_wanted(const O& returns, TokenResult (&results)[result_count]) {
    const auto text_of = [](const py::handle& object) { return py::cast<std::string>(py::repr(object)); };
    if (!py::isinstance<py::tuple>(returns) && !py::isinstance<py::list>(returns))
        throw py::type_error("returns: got " + text_of(returns) + ", expected a tuple of names of results");
    const auto* const end = result_names + result_count;
    for (const py::handle item : returns) {
        if (!py::isinstance<py::str>(item))
            throw py::type_error("returns: got " + text_of(returns) + ", expected a tuple of names of results");
        const auto* const found = std::find(result_names, end, py::cast<std::string>(item));
        if (found != end)
            results[found - result_names].wanted = true;
        else
            throw value_error("returns: got " + text_of(item) +
                              ", expected 'logprob', 'lse', 'entropy', 'argmax', 'rank', 'topk_ids' or "
                              "'topk_logprobs'");
    }
    if (py::len(returns) == 0)
        throw value_error("returns: got " + text_of(returns) + ", expected the name of at least one result");
}

TokenLogProbsOptions options_of(const O& axis, const O& temperature, const O& ignore_index, const O& num_threads) {
    TokenLogProbsOptions options;
    options.axis = as_axis(axis);
    options.temperature = as_number(temperature, "temperature");
    options.ignore_index = as_optional_integer(ignore_index, "ignore_index");
    options.num_threads = as_num_threads(num_threads);
    return options;
}

/// Shape of the best k classes; of an axis that is out of range, which is the library's to report, all of the logits'.
Shape topk_shape(const py::array& logits, int axis, const O& k) {
    if (k.is_none())
        throw py::type_error("k: got None, expected an int >= 1 beside 'topk_ids' and 'topk_logprobs'");
    const std::int64_t count = as_count(k, "k", "an int >= 1");
    Shape shape = shape_of(logits);
    const auto ndim = static_cast<int>(shape.size());
    if (axis < -ndim || axis >= ndim)
        return shape;
    py::ssize_t& length = shape[static_cast<std::size_t>(axis < 0 ? axis + ndim : axis)];
    if (count > length)  // before memory is asked for
        throw value_error("k: got " + py::cast<std::string>(py::str(k)) + ", expected at most the " +
                          std::to_string(length) + " classes");
    length = static_cast<py::ssize_t>(count);
    return shape;
}

O bound_token_logprobs(const O& logits_object, const O& ids_object, const O& axis, const O& temperature,
                       const O& ignore_index, const O& returns, const O& k, const O& num_threads) {
    const py::array logits = as_logits(logits_object, "logits");
    const py::array ids = as_array(ids_object, "ids");
    const ArrayView logits_view = view_of(logits, "logits");
    const ArrayView ids_view = view_of(ids, "ids");
    const TokenLogProbsOptions options = options_of(axis, temperature, ignore_index, num_threads);
    TokenResult results[result_count];
    mark_wanted(returns, results);
    const py::dtype number = numpy_dtype(loss_dtype(logits));
    const py::dtype index = py::dtype::of<std::int64_t>();
    const Shape rows = shape_without(logits, options.axis);
    results[logprob].make(shape_of(ids), number);
    results[rank].make(shape_of(ids), index);
    results[lse].make(rows, number);
    results[entropy].make(rows, number);
    results[argmax].make(rows, index);
    if (results[topk_ids].wanted || results[topk_logprobs].wanted || !k.is_none()) {
        const Shape best = topk_shape(logits, options.axis, k);
        results[topk_ids].make(best, index);
        results[topk_logprobs].make(best, number);
    }
    const TokenLogProbsResults views{results[logprob].view(),      results[lse].view(),  results[entropy].view(),
                                     results[argmax].view(),       results[rank].view(), results[topk_ids].view(),
                                     results[topk_logprobs].view()};
    without_gil(logits.size(), [&] { token_logprobs(logits_view, ids_view, views, options); });
    py::tuple values(result_count);
    for (std::size_t i = 0; i < result_count; ++i)
        values[i] = results[i].value();
    return values;
}

O bound_token_logprobs_vjp(const O& logits_object, const O& ids_object, const O& d_logprob_object,
                           const O& d_entropy_object, const O& axis, const O& temperature, const O& ignore_index,
                           const O& lse_object, const O& grad_out, const O& num_threads) {
    const py::array logits = as_logits(logits_object, "logits");
    const py::array ids = as_array(ids_object, "ids");
    const py::array d_logprob = as_array(d_logprob_object, "d_logprob");
    const OptionalArray d_entropy(d_entropy_object, "d_entropy");
    const OptionalArray lse_given(lse_object, "lse");
    TokenLogProbsVjpOptions options{options_of(axis, temperature, ignore_index, num_threads), lse_given.view};
    const ArrayView logits_view = view_of(logits, "logits");
    const ArrayView ids_view = view_of(ids, "ids");
    const ArrayView d_logprob_view = view_of(d_logprob, "d_logprob");
    Result grad(grad_out, "grad_out", logits);
    const MutableArrayView grad_view = grad.view("grad_out");
    without_gil(logits.size(),
                [&] { token_logprobs_vjp(logits_view, ids_view, d_logprob_view, d_entropy.view, grad_view, options); });
    return grad.value();
}

}  // namespace

void bind_token_logprobs(py::module_& module) {
    module.def("token_logprobs", &bound_token_logprobs);
    module.def("token_logprobs_vjp", &bound_token_logprobs_vjp);
}

}  // namespace logitloss::python
