// States of softmax cross-entropy: arrays of float64 whose last axis has the numbers of a CrossEntropyState.
#include <string>

#include "bind.hpp"
#include "logitloss/cross_entropy_state.hpp"
#include "logitloss/error.hpp"
#include "losses.hpp"

namespace logitloss::python {
namespace {

using O = py::object;
using StateArray = py::array_t<double, py::array::c_style | py::array::forcecast>;

constexpr py::ssize_t numbers = sizeof(CrossEntropyState) / sizeof(double);
static_assert(sizeof(CrossEntropyState) == numbers * sizeof(double));

/// The options of rows, in the order in which the Python layer keeps them.
struct RowOptions {
    OptionalArray class_weight, sample_weight;
    CrossEntropyOptions options;

    explicit RowOptions(const py::tuple& given)
        : class_weight(given[1], "class_weight"), sample_weight(given[2], "sample_weight") {
        set_row_options(options, given[0], class_weight, sample_weight, given[3], given[4]);
        options.z_loss = as_number(given[5], "z_loss");
        options.softcap = as_optional_number(given[6], "softcap");
        options.margin = as_number(given[7], "margin");
        options.scale = as_number(given[8], "scale");
    }
};

ClassRange range_of(const O& first_class, const O& num_classes) {
    return {as_integer(first_class, "first_class"), as_integer(num_classes, "num_classes")};
}

CrossEntropyState* states_in(StateArray& array) { return reinterpret_cast<CrossEntropyState*>(array.mutable_data()); }
const CrossEntropyState* states_in(const StateArray& array) {
    return reinterpret_cast<const CrossEntropyState*>(array.data());
}

/// Of rows that have the shape of `logits` without its class axis.
StateArray bound_states(const O& logits_object, const O& target_object, const O& first_class, const O& num_classes,
                        const py::tuple& row_options, const O& num_threads) {
    const py::array logits = as_logits(logits_object, "logits_shard");
    const py::array target = as_array(target_object, "target");
    RowOptions row(row_options);
    row.options.num_threads = as_num_threads(num_threads);
    const ClassRange range = range_of(first_class, num_classes);
    const ArrayView logits_view = view_of(logits, "logits_shard");
    const ArrayView target_view = view_of(target, "target");
    Shape shape = shape_without(logits, row.options.axis);
    shape.push_back(numbers);
    StateArray states(shape);
    CrossEntropyState* const first = states_in(states);
    without_gil(logits.size(), [&] { cross_entropy_states(logits_view, target_view, range, first, row.options); });
    return states;
}

/// From an array of rows x shards x numbers.
StateArray bound_merge(const StateArray& states, bool class_probabilities, const py::tuple& row_options) {
    const RowOptions row(row_options);
    Shape shape = shape_of(states);
    const auto shards = static_cast<std::size_t>(shape[shape.size() - 2]);
    shape.erase(shape.end() - 2);
    StateArray merged(shape);
    const auto rows = static_cast<std::size_t>(merged.size() / numbers);
    CrossEntropyState* const first = states_in(merged);
    without_gil(states.size(), [&] {
        merge_cross_entropy_states(states_in(states), rows, shards, class_probabilities, first, row.options);
    });
    return merged;
}

/// The loss, or None if `reduction` is, and the gradient, or None unless it is asked for.
py::tuple bound_of_states(const StateArray& states, const O& logits_object, const O& target_object,
                          const O& first_class, const O& num_classes, const py::tuple& row_options, const O& reduction,
                          const O& normalizer, bool wants_loss, bool wants_grad, const O& upstream_object,
                          const O& grad_out, const O& num_threads) {
    const py::array logits = as_logits(logits_object, "logits_shard");
    const py::array target = as_array(target_object, "target");
    RowOptions row(row_options);
    row.options.num_threads = as_num_threads(num_threads);
    row.options.reduction = as_reduction(reduction);
    row.options.normalizer = as_optional_number(normalizer, "normalizer");
    const ClassRange range = range_of(first_class, num_classes);
    const OptionalArray upstream(upstream_object, "upstream");
    const Shape rows = shape_without(logits, row.options.axis);
    Shape expected = shape_of(states);
    expected.pop_back();
    if (rows != expected && rows.size() < static_cast<std::size_t>(logits.ndim()))
        throw value_error("logits_shard: got rows of shape " + shape_text(rows) + ", expected " + shape_text(expected));
    std::optional<Result> loss, grad;
    if (wants_loss)
        loss.emplace(py::none(), "out", row.options.reduction == Reduction::none ? rows : Shape{}, loss_dtype(logits));
    if (wants_grad)
        grad.emplace(grad_out, "grad_out", logits);
    const ArrayView logits_view = view_of(logits, "logits_shard");
    const ArrayView target_view = view_of(target, "target");
    const MutableArrayView loss_view = loss ? loss->view("out") : MutableArrayView{};
    const MutableArrayView grad_view = grad ? grad->view("grad_out") : MutableArrayView{};
    without_gil(logits.size() + states.size(), [&] {
        cross_entropy_of_states(logits_view, target_view, range, states_in(states), upstream.view, loss_view, grad_view,
                                row.options);
    });
    return py::make_tuple(loss ? loss->value() : py::none(), grad ? grad->value() : py::none());
}

}  // namespace

void bind_cross_entropy_state(py::module_& module) {
    module.attr("cross_entropy_state_numbers") = numbers;
    module.def("cross_entropy_states", &bound_states);
    module.def("merge_cross_entropy_states", &bound_merge);
    module.def("cross_entropy_of_states", &bound_of_states);
}

}  // namespace logitloss::python
