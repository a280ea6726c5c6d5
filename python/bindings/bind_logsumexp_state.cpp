// States of log-sum-exps. Python holds them as a float64 array with a last axis of four numbers a state.
#include <algorithm>

#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/logsumexp_state.hpp"

namespace logitloss::python {
namespace {

constexpr py::ssize_t numbers = sizeof(LogSumExpState) / sizeof(double);
static_assert(sizeof(LogSumExpState) == numbers * sizeof(double));

using StateArray = py::array_t<double, py::array::c_style | py::array::forcecast>;

StateArray states_of_shape(std::vector<std::ptrdiff_t> rows) {
    rows.push_back(numbers);
    return StateArray(rows);
}

py::ssize_t count_of(const StateArray& states) { return states.size() / numbers; }
const LogSumExpState* data_of(const StateArray& states) {
    return reinterpret_cast<const LogSumExpState*>(states.data());
}
LogSumExpState* data_of(StateArray& states) { return reinterpret_cast<LogSumExpState*>(states.mutable_data()); }

/// The states of the chunk's rows, and the dtype that their values have.
py::tuple bound_states(const py::object& chunk_object, const py::object& axis, const py::object& num_threads) {
    const py::array chunk = as_logits(chunk_object, "chunk");
    SoftmaxOptions options;
    options.axes = as_axes(axis, chunk.ndim());
    options.num_threads = as_num_threads(num_threads);
    const ArrayView view = view_of(chunk, "chunk");
    StateArray states = states_of_shape(shape_of_rows(view, options));
    LogSumExpState* data = data_of(states);
    without_gil(chunk.size(), [&] { logsumexp_states(view, data, options); });
    return py::make_tuple(states, numpy_dtype(loss_dtype(chunk)));
}

StateArray bound_merge(const StateArray& left, const StateArray& right) {
    StateArray both(shape_of(left));
    const LogSumExpState* a = data_of(left);
    const LogSumExpState* b = data_of(right);
    std::transform(a, a + count_of(left), b, data_of(both), merge);
    return both;
}

py::object bound_value(const StateArray& states, const py::dtype& dtype) {
    Shape rows = shape_of(states);
    rows.pop_back();
    Result result(py::none(), "out", rows, dtype.itemsize() == 8 ? DType::float64 : DType::float32);
    logsumexp_of_states(data_of(states), result.view("out"));
    return result.value();
}

}  // namespace

void bind_logsumexp_state(py::module_& module) {
    module.def("logsumexp_states", &bound_states);
    module.def("merge_logsumexp_states", &bound_merge);
    module.def("logsumexp_of_states", &bound_value);
}

}  // namespace logitloss::python
