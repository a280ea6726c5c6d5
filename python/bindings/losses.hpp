// What the bindings of all losses share: the arguments, and how a function and its value_and_grad are called.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "arrays.hpp"

namespace logitloss::python {

/// The arguments that all losses take. `Options` is the loss's own struct.
template <class Options>
class LossArguments {
public:
    py::array input, target;
    Options options;
    std::optional<Result> loss;
    ArrayView input_view, target_view;
    MutableArrayView loss_view;

protected:
    LossArguments(const char* input_name, const py::object& input_object, const py::object& target_object)
        : input(as_logits(input_object, input_name)),
          target(as_array(target_object, "target")),
          input_view(view_of(input, input_name)),
          target_view(view_of(target, "target")) {}
    /// `unreduced`: shape of the loss for Reduction::none.
    void set_loss(const Shape& unreduced, const py::object& reduction, const py::object& out,
                  const py::object& num_threads) {
        options.reduction = as_reduction(reduction);
        options.num_threads = as_num_threads(num_threads);
        loss.emplace(out, "out", options.reduction == Reduction::none ? unreduced : Shape{}, loss_dtype(input));
        loss_view = loss->view("out");
    }
};

/// Those of elementwise losses, in the order in which the Python layer passes them. A loss's own come before them.
template <class Options>
class ElementArguments : public LossArguments<Options> {
public:
    static constexpr std::size_t count = 6;

    ElementArguments(const char* input_name, const py::object& input, const py::object& target,
                     const py::object& weight, const py::object& reduction, const py::object& out,
                     const py::object& num_threads)
        : LossArguments<Options>(input_name, input, target), weight_(weight, "weight") {
        this->options.weight = weight_.view;
        this->set_loss(shape_of(this->input), reduction, out, num_threads);
    }

private:
    OptionalArray weight_;
};

/// Those of losses against targets in [0, 1].
template <class Options>
class BinaryArguments : public ElementArguments<Options> {
public:
    static constexpr std::size_t count = 3 + ElementArguments<Options>::count;

    template <class... Objects>
    BinaryArguments(const char* input_name, const py::object& label_smoothing, const py::object& ignore_value,
                    const py::object& normalizer, const Objects&... objects)
        : ElementArguments<Options>(input_name, objects...) {
        this->options.label_smoothing = as_number(label_smoothing, "label_smoothing");
        this->options.ignore_value = as_optional_number(ignore_value, "ignore_value");
        this->options.normalizer = as_optional_number(normalizer, "normalizer");
    }
};

/// What all cross-entropies of rows have, their Hessians too.
template <class Options>
void set_row_options(Options& options, const py::object& axis, const OptionalArray& class_weight,
                     const OptionalArray& sample_weight, const py::object& ignore_index,
                     const py::object& label_smoothing) {
    options.axis = as_axis(axis);
    options.class_weight = class_weight.view;
    options.sample_weight = sample_weight.view;
    options.ignore_index = as_optional_integer(ignore_index, "ignore_index");
    options.label_smoothing = as_number(label_smoothing, "label_smoothing");
}

/// Those of cross-entropies of rows.
template <class Options>
class RowArguments : public LossArguments<Options> {
public:
    static constexpr std::size_t count = 11;

    RowArguments(const char* input_name, const py::object& input, const py::object& target, const py::object& axis,
                 const py::object& class_weight, const py::object& sample_weight, const py::object& ignore_index,
                 const py::object& label_smoothing, const py::object& reduction, const py::object& normalizer,
                 const py::object& out, const py::object& num_threads)
        : LossArguments<Options>(input_name, input, target),
          class_weight_(class_weight, "class_weight"),
          sample_weight_(sample_weight, "sample_weight") {
        Options& options = this->options;
        set_row_options(options, axis, class_weight_, sample_weight_, ignore_index, label_smoothing);
        options.normalizer = as_optional_number(normalizer, "normalizer");
        this->set_loss(shape_without(this->input, options.axis), reduction, out, num_threads);
    }

private:
    OptionalArray class_weight_, sample_weight_;
};

template <std::size_t>
using Object = py::object;

template <class Arguments, auto value, auto value_and_grad, std::size_t... i>
void define_loss(py::module_& module, const std::string& name, std::index_sequence<i...>) {
    module.def(name.c_str(), [](const Object<i>&... objects) {
        Arguments call(objects...);
        without_gil(call.input.size(), [&] { value(call.input_view, call.target_view, call.loss_view, call.options); });
        return call.loss->value();
    });
    module.def((name + "_value_and_grad").c_str(), [](const py::object& upstream_object, const py::object& grad_out,
                                                      const Object<i>&... objects) {
        Arguments call(objects...);
        const OptionalArray upstream(upstream_object, "upstream");
        Result grad(grad_out, "grad_out", call.input);
        const MutableArrayView grad_view = grad.view("grad_out");
        without_gil(call.input.size(), [&] {
            value_and_grad(call.input_view, call.target_view, upstream.view, call.loss_view, grad_view, call.options);
        });
        return py::make_tuple(call.loss->value(), grad.value());
    });
}

/// Adds `name`, which takes the Python objects that `Arguments` is made of, and `name`_value_and_grad, which takes the
/// upstream gradient and grad_out before them.
template <class Arguments, auto value, auto value_and_grad>
void define_loss(py::module_& module, const std::string& name) {
    define_loss<Arguments, value, value_and_grad>(module, name, std::make_index_sequence<Arguments::count>());
}

}  // namespace logitloss::python
