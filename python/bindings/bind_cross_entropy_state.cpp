// States of softmax cross-entropy: arrays of float64 whose last axis has the numbers of a CrossEntropyState.
#include <optional>
#include <utility>

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

/// What a state keeps, in the order in which the Python layer does, and what a call adds.
struct RowOptions {
    OptionalArray class_weight, sample_weight;
    ClassRange range;
    CrossEntropyOptions options;

    explicit RowOptions(const py::tuple& kept)
        : class_weight(kept[1], "class_weight"), sample_weight(kept[2], "sample_weight") {
        set_row_options(options, kept[0], class_weight, sample_weight, kept[3], kept[4]);
        options.z_loss = as_number(kept[5], "z_loss");
        options.softcap = as_optional_number(kept[6], "softcap");
        options.margin = as_number(kept[7], "margin");
        options.scale = as_number(kept[8], "scale");
        range.num_classes = as_integer(kept[9], "num_classes");
    }
    RowOptions(const py::tuple& kept, const py::tuple& given) : RowOptions(kept) {
        range.first_class = as_integer(given[0], "first_class");
        options.num_threads = as_num_threads(given[1]);
    }
};

CrossEntropyState* states_in(StateArray& array) { return reinterpret_cast<CrossEntropyState*>(array.mutable_data()); }
const CrossEntropyState* states_in(const StateArray& array) {
    return reinterpret_cast<const CrossEntropyState*>(array.data());
}

/// Of rows that have the shape of `logits` without its class axis. `given`: first_class, num_threads.
O bound_states(const O& logits_object, const O& target_object, const py::tuple& kept, const py::tuple& given) {
    const py::array logits = as_logits(logits_object, "logits_shard");
    const py::array target = as_array(target_object, "target");
    const RowOptions row(kept, given);
    const ArrayView logits_view = view_of(logits, "logits_shard");
    const ArrayView target_view = view_of(target, "target");
    Shape shape = shape_without(logits, row.options.axis);
    shape.push_back(numbers);
    StateArray states(shape);
    CrossEntropyState* const first = states_in(states);
    without_gil(logits.size(), [&] { cross_entropy_states(logits_view, target_view, row.range, first, row.options); });
    return std::move(states);
}

/// From an array of rows x shards x numbers.
O bound_merge(const StateArray& states, bool class_probabilities, const py::tuple& kept) {
    const RowOptions row(kept);
    Shape shape = shape_of(states);
    const auto shards = static_cast<std::size_t>(shape[shape.size() - 2]);
    shape.erase(shape.end() - 2);
    StateArray merged(shape);
    const auto rows = static_cast<std::size_t>(merged.size() / numbers);
    CrossEntropyState* const first = states_in(merged);
    without_gil(states.size(), [&] {
        merge_cross_entropy_states(states_in(states), rows, shards, class_probabilities, first, row.options);
    });
    return std::move(merged);
}

/// The loss and the gradient, None where they are not asked for. `given`: first_class, num_threads, reduction,
/// normalizer, whether the loss and whether the gradient are, upstream, grad_out. Without states it checks the others.
O bound_of_states(const O& states_object, const O& logits_object, const O& target_object, const py::tuple& kept,
                  const py::tuple& given) {
    const py::array logits = as_logits(logits_object, "logits_shard");
    const py::array target = as_array(target_object, "target");
    RowOptions row(kept, given);
    row.options.reduction = as_reduction(given[2]);
    row.options.normalizer = as_optional_number(given[3], "normalizer");
    const OptionalArray upstream(given[6], "upstream");
    const Shape rows = shape_without(logits, row.options.axis);
    std::optional<StateArray> states;
    Shape expected = rows;
    if (!states_object.is_none()) {
        states = states_object.cast<StateArray>();
        expected = shape_of(*states);
        expected.pop_back();
    }
    if (rows != expected && rows.size() < static_cast<std::size_t>(logits.ndim()))
        throw value_error("logits_shard: got rows of shape " + shape_text(rows) + ", expected " + shape_text(expected));
    std::optional<Result> loss, grad;
    if (given[4].cast<bool>())
        loss.emplace(py::none(), "out", row.options.reduction == Reduction::none ? rows : Shape{}, loss_dtype(logits));
    if (given[5].cast<bool>())
        grad.emplace(given[7], "grad_out", logits);
    const ArrayView logits_view = view_of(logits, "logits_shard");
    const ArrayView target_view = view_of(target, "target");
    const MutableArrayView loss_view = loss ? loss->view("out") : MutableArrayView{};
    const MutableArrayView grad_view = grad ? grad->view("grad_out") : MutableArrayView{};
    const CrossEntropyState* const first = states ? states_in(*states) : nullptr;
    without_gil(logits.size() + (states ? states->size() : target.size()), [&] {
        cross_entropy_of_states(logits_view, target_view, row.range, first, upstream.view, loss_view, grad_view,
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
