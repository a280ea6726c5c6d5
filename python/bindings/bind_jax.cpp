// Handlers of custom calls of XLA, which logitloss.jax registers. They run on threads of XLA, without the GIL.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "bind.hpp"
#include "logitloss/binary_cross_entropy.hpp"
#include "logitloss/cross_entropy.hpp"
#include "logitloss/logsumexp.hpp"
#include "xla_ffi.hpp"

namespace logitloss::xla {
namespace {

DType dtype_of(Type type) {
    switch (type) {
    case Type::boolean:
        return DType::boolean;
    case Type::int8:
        return DType::int8;
    case Type::int16:
        return DType::int16;
    case Type::int32:
        return DType::int32;
    case Type::int64:
        return DType::int64;
    case Type::uint8:
        return DType::uint8;
    case Type::uint16:
        return DType::uint16;
    case Type::uint32:
        return DType::uint32;
    case Type::uint64:
        return DType::uint64;
    case Type::float16:
        return DType::float16;
    case Type::float32:
        return DType::float32;
    case Type::float64:
        return DType::float64;
    case Type::bfloat16:
        return DType::bfloat16;
    }
    throw std::invalid_argument("a dtype that logitloss does not take");
}

/// XLA allocates a large result anew in every call, and the faults of its pages, one each 4 KB, take longer than the
/// kernel. NumPy asks the system the same for its arrays.
void ask_for_huge_pages([[maybe_unused]] const MutableArrayView& array) {
#ifdef __linux__
    constexpr std::size_t huge_page = std::size_t{1} << 21;
    std::size_t bytes = item_size(array.dtype);
    for (int i = 0; i < array.ndim; ++i)
        bytes *= static_cast<std::size_t>(array.shape[i]);
    if (bytes < 2 * huge_page)
        return;
    const std::size_t before = (huge_page - reinterpret_cast<std::uintptr_t>(array.data) % huge_page) % huge_page;
    const std::size_t whole = (bytes - before) / huge_page * huge_page;
    madvise(static_cast<char*>(array.data) + before, whole, MADV_HUGEPAGE);  // advice: it may fail
#endif
}

/// A call, by the positions of its operands and the names of its attributes. They are what logitloss.jax passes; what
/// does not fit is an error all the same, because anybody may call a registered name.
class Call {
public:
    Call(const CallFrame& frame, std::int64_t arguments, std::int64_t results) : frame_(frame) {
        if (frame.struct_size < sizeof(CallFrame) || frame.stage != execute_stage)
            throw std::invalid_argument("not a call of the version of the interface that was agreed on");
        if (frame.arguments.size != arguments || frame.results.size != results)
            throw std::invalid_argument("wrong number of operands");
    }

    ArrayView argument(int i) const { return view(frame_.arguments, i); }
    MutableArrayView result(int i) const {
        const MutableArrayView result = view(frame_.results, i);
        ask_for_huge_pages(result);
        return result;
    }

    std::int64_t integer(const char* name) const { return attribute<std::int64_t>(name, Type::int64); }
    double number(const char* name) const { return attribute<double>(name, Type::float64); }

private:
    static MutableArrayView view(const Operands& operands, int i) {
        static_assert(sizeof(std::int64_t) == sizeof(std::ptrdiff_t));
        if (operands.kinds[i] != is_buffer)
            throw std::invalid_argument("an operand that is no array");
        const Buffer& buffer = *static_cast<const Buffer*>(operands.values[i]);
        return {buffer.data, dtype_of(buffer.type), static_cast<int>(buffer.rank),
                reinterpret_cast<const std::ptrdiff_t*>(buffer.lengths), nullptr};
    }

    template <class T>
    T attribute(const char* name, Type type) const {
        const Attributes& attributes = frame_.attributes;
        for (std::int64_t i = 0; i < attributes.size; ++i) {
            if (std::string_view(attributes.names[i]->data, attributes.names[i]->size) != name)
                continue;
            const Scalar& scalar = *static_cast<const Scalar*>(attributes.values[i]);
            if (attributes.kinds[i] != is_scalar || scalar.type != type)
                break;
            T value;
            std::memcpy(&value, scalar.value, sizeof value);
            return value;
        }
        throw std::invalid_argument(std::string("no attribute ") + name + " of the right kind");
    }

    const CallFrame& frame_;
};

/// How XLA learns which version of the interface a handler was written for, and refuses it if it does not support that:
/// the newest that XLA has, of those that were compared.
void answer(const CallFrame& frame, Metadata& metadata) {
    const int newest = frame.api != nullptr ? frame.api->version.minor : oldest_minor_version;
    metadata.version = {sizeof(Version), nullptr, major_version, std::min(newest, newest_minor_version)};
    metadata.traits = 0;
}

Error* error(const Api* api, int code, const char* message) {
    char text[512];  // no string: it may be memory that is missing
    std::snprintf(text, sizeof text, "logitloss.jax: %s", message);
    ErrorArguments arguments{sizeof(ErrorArguments), nullptr, text, code};
    return api->create_error(&arguments);
}

/// What is said of another platform than a CPU.
class Refusal : public std::exception {
public:
    const char* what() const noexcept override {
        return "runs on CPU devices only; move the arrays with jax.device_put(x, jax.devices('cpu')[0]), "
               "or use optax on this device";
    }
};

using Run = void(const CallFrame&);

Error* handle(const CallFrame* frame, Run* run) noexcept {
    Extension* const extension = frame->extensions;
    if (extension != nullptr && extension->type == metadata_extension) {
        answer(*frame, *reinterpret_cast<MetadataExtension*>(extension)->metadata);
        return nullptr;
    }
    try {
        run(*frame);
    } catch (const std::invalid_argument& exception) {
        return error(frame->api, invalid_argument, exception.what());
    } catch (const Refusal& refusal) {
        return error(frame->api, unimplemented, refusal.what());
    } catch (const std::exception& exception) {
        return error(frame->api, internal, exception.what());
    } catch (...) {
        return error(frame->api, internal, "an error of no known type");
    }
    return nullptr;
}

// ------------------------------------------------------------------------------------------------ softmax cross-entropy

constexpr std::int32_t no_class = -1;

/// One element of a dense array, and the classes of one row of it, with the stride that the view points at.
template <class View>
View element_of(View view, std::ptrdiff_t i) {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(view.data)>>, const char, char>;
    view.data = static_cast<Byte*>(view.data) + i * static_cast<std::ptrdiff_t>(item_size(view.dtype));
    view.ndim = 0;
    return view;
}
template <class View>
View row_of(View view, int axis, std::ptrdiff_t row, std::ptrdiff_t& stride) {
    const std::ptrdiff_t* const length = view.shape + axis;
    std::ptrdiff_t apart = 1;
    for (int later = axis + 1; later < view.ndim; ++later)
        apart *= view.shape[later];
    stride = apart * static_cast<std::ptrdiff_t>(item_size(view.dtype));
    view = element_of(view, row / apart * *length * apart + row % apart);
    view.ndim = 1;
    view.shape = length;
    view.strides = &stride;
    return view;
}

/// The loss of a row whose label is no class is its log-sum-exp, from which logitloss.jax subtracts what optax does.
void end_rows_without_class(const ArrayView& logits, const ArrayView& labels, int axis, const ArrayView& upstream,
                            const MutableArrayView& loss, const MutableArrayView& grad) {
    std::ptrdiff_t rows = 1, stride = 0;
    for (int i = 0; i < labels.ndim; ++i)
        rows *= labels.shape[i];
    const auto* const label = static_cast<const std::int32_t*>(labels.data);
    for (std::ptrdiff_t row = 0; row < rows; ++row) {
        if (label[row] != no_class)
            continue;
        const ArrayView classes = row_of(logits, axis, row, stride);
        if (grad.given())
            logsumexp_value_and_grad(classes, element_of(upstream, row), element_of(loss, row),
                                     row_of(grad, axis, row, stride));
        else
            logsumexp(classes, element_of(loss, row));
    }
}

/// logits, labels -> losses of the rows; or logits, labels, upstream -> losses, gradient. Labels are probabilities, or
/// class indices of int32, where -1 is no class.
template <bool with_gradient>
void run_cross_entropy(const CallFrame& frame) {
    const Call call(frame, with_gradient ? 3 : 2, with_gradient ? 2 : 1);
    const ArrayView logits = call.argument(0), labels = call.argument(1);
    const MutableArrayView loss = call.result(0);
    const bool indices = labels.ndim != logits.ndim;
    if (indices && labels.dtype != DType::int32)
        throw std::invalid_argument("class indices that are not of int32");
    CrossEntropyOptions options;
    options.axis = static_cast<int>(call.integer("axis"));
    options.label_smoothing = call.number("label_smoothing");
    options.reduction = Reduction::none;
    options.ignore_index = no_class;
    ArrayView upstream;
    MutableArrayView grad;
    if constexpr (with_gradient) {
        upstream = call.argument(2);
        grad = call.result(1);
        cross_entropy_value_and_grad(logits, labels, upstream, loss, grad, options);
    } else {
        cross_entropy(logits, labels, loss, options);
    }
    if (indices)
        end_rows_without_class(logits, labels, options.axis + (options.axis < 0 ? logits.ndim : 0), upstream, loss,
                               grad);
}

// ------------------------------------------------------------------------------------------------- binary cross-entropy

/// logits, labels -> losses of the elements.
void run_binary_cross_entropy(const CallFrame& frame) {
    const Call call(frame, 2, 1);
    BceOptions options;
    options.reduction = Reduction::none;
    bce_with_logits(call.argument(0), call.argument(1), call.result(0), options);
}

/// logits, labels, upstream -> gradient. Upstream is passed as weights of a sum, so that no array of losses is needed.
void run_binary_cross_entropy_gradient(const CallFrame& frame) {
    const Call call(frame, 3, 1);
    BceOptions options;
    options.weight = call.argument(2);
    options.reduction = Reduction::sum;
    const ArrayView logits = call.argument(0);
    double float64_sum = 0.0;
    float float32_sum = 0.0F;
    MutableArrayView loss{&float32_sum};
    if (logits.dtype == DType::float64)
        loss = {&float64_sum, DType::float64};
    bce_with_logits_value_and_grad(logits, call.argument(1), {}, loss, call.result(0), options);
}

// ---------------------------------------------------------------------------------------------------------- log-sum-exp

constexpr int none = -1;

/// `where`: the argument that is a mask.
SoftmaxOptions softmax_options(const Call& call, int where) {
    SoftmaxOptions options;
    options.axes.clear();
    const std::int64_t axes = call.integer("axes");
    for (int axis = 1; axis < 64; ++axis)  // bit k is the axis k + 1 from the end
        if ((axes >> (axis - 1) & 1) != 0)
            options.axes.push_back(-axis);
    if (where != none)
        options.where = call.argument(where);
    return options;
}

/// a and, if there is a mask, where -> log-sum-exps.
void run_logsumexp(const CallFrame& frame) {
    const bool masked = frame.arguments.size == 2;
    const Call call(frame, masked ? 2 : 1, 1);
    logsumexp(call.argument(0), call.result(0), softmax_options(call, masked ? 1 : none));
}

/// a, upstream and, if there is a mask, where -> log-sum-exps, gradient.
void run_logsumexp_gradient(const CallFrame& frame) {
    const bool masked = frame.arguments.size == 3;
    const Call call(frame, masked ? 3 : 2, 2);
    logsumexp_value_and_grad(call.argument(0), call.argument(1), call.result(0), call.result(1),
                             softmax_options(call, masked ? 2 : none));
}

// ------------------------------------------------------------------------------------------------------ another platform

void refuse(const CallFrame& /*frame*/) { throw Refusal(); }

}  // namespace
}  // namespace logitloss::xla

// C symbols of the module, as well as what `jax_handlers` returns.
using logitloss::xla::CallFrame;
using logitloss::xla::Error;
using logitloss::xla::handle;

extern "C" {
PYBIND11_EXPORT Error* logitloss_jax_cross_entropy(const CallFrame* frame) {
    return handle(frame, logitloss::xla::run_cross_entropy<false>);
}
PYBIND11_EXPORT Error* logitloss_jax_cross_entropy_gradient(const CallFrame* frame) {
    return handle(frame, logitloss::xla::run_cross_entropy<true>);
}
PYBIND11_EXPORT Error* logitloss_jax_binary_cross_entropy(const CallFrame* frame) {
    return handle(frame, logitloss::xla::run_binary_cross_entropy);
}
PYBIND11_EXPORT Error* logitloss_jax_binary_cross_entropy_gradient(const CallFrame* frame) {
    return handle(frame, logitloss::xla::run_binary_cross_entropy_gradient);
}
PYBIND11_EXPORT Error* logitloss_jax_logsumexp(const CallFrame* frame) {
    return handle(frame, logitloss::xla::run_logsumexp);
}
PYBIND11_EXPORT Error* logitloss_jax_logsumexp_gradient(const CallFrame* frame) {
    return handle(frame, logitloss::xla::run_logsumexp_gradient);
}
PYBIND11_EXPORT Error* logitloss_jax_other_platform(const CallFrame* frame) {
    return handle(frame, logitloss::xla::refuse);
}
}

namespace py = pybind11;

namespace logitloss::python {

void bind_jax(py::module_& module) {
    module.def("jax_handlers", [] {
        const std::pair<const char*, Error* (*)(const CallFrame*)> handlers[] = {
            {"cross_entropy", logitloss_jax_cross_entropy},
            {"cross_entropy_gradient", logitloss_jax_cross_entropy_gradient},
            {"binary_cross_entropy", logitloss_jax_binary_cross_entropy},
            {"binary_cross_entropy_gradient", logitloss_jax_binary_cross_entropy_gradient},
            {"logsumexp", logitloss_jax_logsumexp},
            {"logsumexp_gradient", logitloss_jax_logsumexp_gradient},
            {"other_platform", logitloss_jax_other_platform},
        };
        py::dict result;
        for (const auto& [name, handler] : handlers)
            result[name] = py::capsule(reinterpret_cast<const void*>(handler));
        return result;
    });
}

}  // namespace logitloss::python
