// Coverage-guided fuzzing of the public C++ API, differential: a call is made from the fuzzer's bytes, and is made again
// with every instruction set of this machine and with several threads. It must throw the same error, or write the same
// bits; inputs, and outputs after an error, must be as they were. Sanitizers watch the memory.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fuzz_arrays.hpp"
#include "kernels/kernel_table.hpp"
#include "logitloss/logitloss.hpp"
#include "runtime/dispatch.hpp"

// ------------------------------------------------- in the place of runtime/dispatch.cpp: a choice that can be changed

namespace logitloss {
namespace detail {

#if defined(LOGITLOSS_HAVE_X86)
extern const KernelTable avx2_kernels;
extern const KernelTable avx512_kernels;
#endif
#if defined(LOGITLOSS_HAVE_NEON)
extern const KernelTable neon_kernels;
#endif
extern const KernelTable scalar_kernels;

namespace {
const KernelTable* const all_tables[] = {
    &scalar_kernels,
#if defined(LOGITLOSS_HAVE_X86)
    &avx2_kernels,
    &avx512_kernels,
#endif
#if defined(LOGITLOSS_HAVE_NEON)
    &neon_kernels,
#endif
};
const KernelTable* current = &scalar_kernels;
}  // namespace

const KernelTable& kernels() { return *current; }
const KernelTable* kernels_named(const char*) { return current; }

}  // namespace detail

std::string isa() { return detail::current->name; }
std::vector<std::string> available_isas() { return {isa()}; }

namespace {

/// What is called; with a gradient or without it, for the functions that have one.
enum class Function : std::size_t {
    // losses of rows: with class indices and with class probabilities
    cross_entropy_of_indices,
    cross_entropy_of_probabilities,
    from_probs_of_indices,
    from_probs_of_probabilities,
    // losses of elements
    bce,
    focal,
    binary_from_probs,
    squared_error,
    absolute_error,
    poisson,
    root_squared_error,
    // one number
    accuracy_of_indices,
    accuracy_of_probabilities,
    // a number of each row, or the gradient and the Hessian of a row
    cross_entropy_hessian_of_indices,
    cross_entropy_hessian_of_probabilities,
    entropy,
    entropy_from_logits,
    kl_divergence,
    cross_entropy_of,
    token_logprobs,
    logsumexp,
    weighted_logsumexp,
    logmeanexp,
    weighted_logmeanexp,
    logsumexp_states,
    // a number of each element
    softmax,
    log_softmax,
    self_information,
    perplexity,
    bce_hessian,
    focal_hessian,
};
constexpr std::size_t functions = static_cast<std::size_t>(Function::focal_hessian) + 1;

/// One call: its arguments and options, as the bytes decide.
struct Call {
    Function function;
    bool gradient, in_place;
    Array a, b, where, weight, second_weight, upstream, out, grad;
    CrossEntropyOptions cross_entropy;
    ProbabilityEntropyOptions from_probs;
    FocalOptions focal;
    BceOptions bce;
    ProbabilityBceOptions binary_from_probs;
    PoissonOptions regression;
    SoftmaxOptions softmax;
    InformationOptions information;
    AccuracyOptions accuracy;
    CrossEntropyHessianOptions cross_entropy_hessian;
    BceHessianOptions bce_hessian;
    FocalHessianOptions focal_hessian;
    TokenLogProbsVjpOptions tokens;
    double number = 0.0;  ///< result of a function that returns one

    bool is_loss() const { return function <= Function::root_squared_error; }
    bool is_of_elements() const {
        return (function >= Function::bce && function <= Function::root_squared_error) || function >= Function::softmax;
    }
    bool takes_indices() const {
        return function == Function::cross_entropy_of_indices || function == Function::from_probs_of_indices ||
               function == Function::accuracy_of_indices || function == Function::token_logprobs ||
               function == Function::cross_entropy_hessian_of_indices;
    }
    /// Writes a gradient and, in the place of a loss, a Hessian.
    bool is_hessian() const {
        return function == Function::cross_entropy_hessian_of_indices ||
               function == Function::cross_entropy_hessian_of_probabilities || function >= Function::bce_hessian;
    }
    bool takes_axes() const { return function >= Function::logsumexp && function <= Function::log_softmax; }
    bool is_softmax() const { return function == Function::softmax || function == Function::log_softmax; }
    /// The product is over dy, or a result over what it is of.
    bool writes_an_input() const { return in_place || (is_softmax() && gradient); }
    /// A pair of calls, of which the first may have written when the second throws.
    bool is_pair() const { return is_softmax() && gradient; }

    explicit Call(Source& source)
        : function(static_cast<Function>(source.below(functions))),
          gradient(source.below(4) != 0),
          in_place(source.below(4) == 0) {
        std::vector<std::ptrdiff_t> shape(1 + source.below(3));
        std::ptrdiff_t room = 20000;
        for (std::ptrdiff_t& extent : shape) {
            extent = std::min(length(source), room);
            room /= std::max<std::ptrdiff_t>(extent, 1);
        }
        const DType dtype = source.below(16) == 0 ? any_dtype(source) : floating(source);
        const int axis = static_cast<int>(source.below(shape.size() + 1)) - (source.flag() ? 1 : 0);
        const auto reduction = static_cast<Reduction>(source.below(3));
        softmax.axes = {axis};
        if (takes_axes() && source.below(3) == 0)
            softmax.axes = some_axes(source, shape.size());
        make_arrays(source, shape, dtype, axis, is_loss() && reduction != Reduction::none);
        make_options(source, axis, reduction);
    }

    static std::vector<int> some_axes(Source& source, std::size_t dimensions) {
        std::vector<int> axes;
        for (std::size_t axis = 0; axis < dimensions; ++axis)
            if (source.flag())
                axes.push_back(static_cast<int>(axis));
        return axes;
    }

    /// The shape without the class axes; with a wrong axis, without the last.
    std::vector<std::ptrdiff_t> rows_of(const std::vector<std::ptrdiff_t>& shape) const {
        std::vector<std::ptrdiff_t> rows;
        for (std::size_t i = 0; i < shape.size(); ++i)
            if (std::none_of(softmax.axes.begin(), softmax.axes.end(),
                             [&](int axis) { return class_axis(axis, shape.size()) == i; }))
                rows.push_back(shape[i]);
        return rows;
    }
    static std::size_t class_axis(int axis, std::size_t dimensions) {
        return axis < 0 ? dimensions - 1 : std::min(static_cast<std::size_t>(axis), dimensions - 1);
    }

    void make_arrays(Source& source, const std::vector<std::ptrdiff_t>& shape, DType dtype, int axis, bool reduced) {
        const DType loss_dtype = dtype == DType::float64 ? DType::float64 : DType::float32;
        const std::vector<std::ptrdiff_t> rows = rows_of(shape);
        const std::vector<std::ptrdiff_t> results = is_of_elements() ? shape : rows;
        const auto classes = shape[class_axis(axis, shape.size())];
        const bool binary =
            (function >= Function::bce && function <= Function::binary_from_probs) || function >= Function::bce_hessian;
        const bool two_masses = function == Function::kl_divergence || function == Function::cross_entropy_of;

        a = input(source, shape, dtype);
        if (takes_indices())
            b = input(source, rows, source.below(8) == 0 ? any_dtype(source) : DType::int32,
                      static_cast<std::size_t>(classes));
        else
            b = input(source, two_masses ? broadcasting(source, shape) : shape,
                      is_softmax() && source.flag() ? dtype : any_dtype(source));
        if (source.below(3) == 0)
            weight = input(source, broadcasting(source, results), any_dtype(source));
        if (source.below(3) == 0)
            second_weight = input(source, binary ? broadcasting(source, results) : std::vector<std::ptrdiff_t>{classes},
                                  any_dtype(source));
        if (source.below(3) == 0)
            upstream = input(source, reduced ? std::vector<std::ptrdiff_t>{} : broadcasting(source, results),
                             any_dtype(source));
        out = output(source, reduced ? std::vector<std::ptrdiff_t>{} : is_hessian() ? shape : results, loss_dtype);
        if (takes_axes() && source.flag())
            where =
                input(source, broadcasting(source, shape), source.below(8) == 0 ? any_dtype(source) : DType::boolean);
        if (function == Function::weighted_logsumexp)
            grad = gradient ? output(source, results, loss_dtype) : Array();  // takes the signs
        else
            grad = output(source, shape, is_hessian() ? loss_dtype : dtype);
    }

    void make_options(Source& source, int axis, Reduction reduction) {
        const double smoothing = source.below(3) == 0 ? source.number() : 0.0;
        std::optional<double> normalizer, number_or_none;
        if (source.below(4) == 0)
            normalizer = source.number();
        if (source.below(4) == 0)
            number_or_none = source.number();
        cross_entropy.axis = axis;
        cross_entropy.label_smoothing = smoothing;
        cross_entropy.z_loss = source.below(4) == 0 ? source.number() : 0.0;
        cross_entropy.softcap = number_or_none;
        cross_entropy.margin = takes_indices() && source.below(4) == 0 ? source.number() : 0.0;
        cross_entropy.scale = source.below(4) == 0 ? source.number() : 1.0;
        cross_entropy.reduction = reduction;
        cross_entropy.normalizer = reduction != Reduction::none ? normalizer : std::nullopt;
        if (source.flag())
            cross_entropy.ignore_index = static_cast<std::int64_t>(source.below(5)) - 1;
        else if (source.below(4) == 0)
            cross_entropy.ignore_index = std::nullopt;
        from_probs.axis = axis;
        from_probs.eps = number_or_none;
        from_probs.ignore_index = cross_entropy.ignore_index;
        from_probs.label_smoothing = smoothing;
        from_probs.reduction = reduction;
        from_probs.normalizer = cross_entropy.normalizer;
        bce.label_smoothing = smoothing;
        bce.ignore_value = number_or_none;
        bce.reduction = reduction;
        bce.normalizer = cross_entropy.normalizer;
        static_cast<BinaryOptions&>(focal) = static_cast<BinaryOptions&>(binary_from_probs) = bce;
        binary_from_probs.ignore_value = std::nullopt;
        binary_from_probs.eps = number_or_none;
        focal.gamma = source.number();
        if (source.flag())
            focal.alpha = source.flag() ? std::optional<double>(source.number()) : std::nullopt;
        const auto hessian = static_cast<Hessian>(source.below(5));
        cross_entropy_hessian.axis = axis;
        cross_entropy_hessian.ignore_index = cross_entropy.ignore_index;
        cross_entropy_hessian.label_smoothing = smoothing;
        cross_entropy_hessian.scale = cross_entropy.scale;
        cross_entropy_hessian.hessian = bce_hessian.hessian = focal_hessian.hessian = hessian;
        bce_hessian.label_smoothing = focal_hessian.label_smoothing = smoothing;
        bce_hessian.ignore_value = focal_hessian.ignore_value = number_or_none;
        focal_hessian.alpha = focal.alpha;
        focal_hessian.gamma = focal.gamma;
        regression.reduction = function == Function::root_squared_error ? Reduction::mean : reduction;
        regression.full = source.flag();
        information.axis = axis;
        information.base = number_or_none;
        accuracy.axis = axis;
        accuracy.top_k = source.below(8) == 7 ? static_cast<std::int64_t>(source.word())
                                              : static_cast<std::int64_t>(source.below(6));
        accuracy.ignore_index = tokens.ignore_index = cross_entropy.ignore_index;
        tokens.axis = axis;
        tokens.temperature = cross_entropy.scale;
    }

    void give(int num_threads) {
        cross_entropy.num_threads = from_probs.num_threads = bce.num_threads = focal.num_threads =
            binary_from_probs.num_threads = regression.num_threads = softmax.num_threads = information.num_threads =
                accuracy.num_threads = tokens.num_threads = cross_entropy_hessian.num_threads =
                    bce_hessian.num_threads = focal_hessian.num_threads = num_threads;
        cross_entropy.sample_weight = from_probs.sample_weight = accuracy.sample_weight = bce.weight = focal.weight =
            binary_from_probs.weight = regression.weight = cross_entropy_hessian.sample_weight = bce_hessian.weight =
                focal_hessian.weight = weight.view();
        softmax.where = where.view();
        cross_entropy.class_weight = from_probs.class_weight = bce.pos_weight = cross_entropy_hessian.class_weight =
            bce_hessian.pos_weight = second_weight.view();
    }

    /// A loss, or with its gradient.
    template <class Loss, class ValueAndGrad, class Options>
    void make_loss(Loss loss, ValueAndGrad value_and_grad, const Options& options) {
        if (gradient)
            value_and_grad(a.view(), b.view(), upstream.view(), out.output(), in_place ? a.output() : grad.output(),
                           options);
        else
            loss(a.view(), b.view(), out.output(), options);
    }

    /// softmax or log-softmax, and its product, over the softmax or over dy.
    template <class Forward, class Product>
    void make_softmax(Forward forward, Product product) {
        const MutableArrayView y = in_place ? a.output() : grad.output();
        forward(a.view(), y, softmax);
        SoftmaxOptions unmasked = softmax;
        unmasked.where = {};
        if (gradient)
            product(y, b.view(), b.dtype == a.dtype && !b.byteswapped ? b.output() : y, unmasked);
    }

    void make(int num_threads) {
        give(num_threads);
        const MutableArrayView result = in_place ? a.output() : out.output();
        switch (function) {
        case Function::cross_entropy_of_indices:
        case Function::cross_entropy_of_probabilities:
            return make_loss(logitloss::cross_entropy, cross_entropy_value_and_grad, cross_entropy);
        case Function::from_probs_of_indices:
        case Function::from_probs_of_probabilities:
            return make_loss(cross_entropy_from_probs, cross_entropy_from_probs_value_and_grad, from_probs);
        case Function::bce:
            return make_loss(bce_with_logits, bce_with_logits_value_and_grad, bce);
        case Function::focal:
            return make_loss(sigmoid_focal_loss, sigmoid_focal_loss_value_and_grad, focal);
        case Function::binary_from_probs:
            return make_loss(binary_cross_entropy, binary_cross_entropy_value_and_grad, binary_from_probs);
        case Function::squared_error:
            return make_loss(mean_squared_error, mean_squared_error_value_and_grad, regression);
        case Function::absolute_error:
            return make_loss(mean_absolute_error, mean_absolute_error_value_and_grad, regression);
        case Function::poisson:
            return make_loss(poisson_nll, poisson_nll_value_and_grad, regression);
        case Function::root_squared_error:
            return make_loss(root_mean_squared_error, root_mean_squared_error_value_and_grad, regression);
        case Function::accuracy_of_indices:
        case Function::accuracy_of_probabilities:
            number = (gradient ? logitloss::accuracy : error_rate)(a.view(), b.view(), accuracy);
            return;
        case Function::cross_entropy_hessian_of_indices:
        case Function::cross_entropy_hessian_of_probabilities:
            return make_hessian(cross_entropy_grad_hess, cross_entropy_hessian);
        case Function::bce_hessian:
            return make_hessian(bce_with_logits_grad_hess, bce_hessian);
        case Function::focal_hessian:
            return make_hessian(sigmoid_focal_loss_grad_hess, focal_hessian);
        case Function::entropy:
            return logitloss::entropy(a.view(), out.output(), information);
        case Function::entropy_from_logits:
            return logitloss::entropy_from_logits(a.view(), out.output(), information);
        case Function::kl_divergence:
            return logitloss::kl_divergence(a.view(), b.view(), out.output(), information);
        case Function::cross_entropy_of:
            return logitloss::cross_entropy_of(a.view(), b.view(), out.output(), information);
        case Function::token_logprobs:
            return make_tokens();
        case Function::logsumexp:
            if (!gradient)
                return logitloss::logsumexp(a.view(), out.output(), softmax);
            return logsumexp_value_and_grad(a.view(), upstream.view(), out.output(),
                                            in_place ? a.output() : grad.output(), softmax);
        case Function::weighted_logsumexp:
            return logitloss::weighted_logsumexp(a.view(), b.view(), out.output(), grad.output(), softmax);
        case Function::logmeanexp:
            return logitloss::logmeanexp(a.view(), out.output(), softmax);
        case Function::weighted_logmeanexp:
            return logitloss::weighted_logmeanexp(a.view(), b.view(), out.output(), softmax);
        case Function::logsumexp_states:
            return make_states();
        case Function::softmax:
            return make_softmax(logitloss::softmax, softmax_vjp);
        case Function::log_softmax:
            return make_softmax(logitloss::log_softmax, log_softmax_vjp);
        case Function::self_information:
            return logitloss::self_information(a.view(), result, information);
        case Function::perplexity:
            return logitloss::perplexity(a.view(), result, num_threads);
        }
    }

    template <class GradHess, class Options>
    void make_hessian(GradHess grad_hess, const Options& options) {
        const bool over_logits = in_place && a.dtype == grad.dtype;
        grad_hess(a.view(), b.view(), over_logits ? a.output() : grad.output(), out.output(), options);
    }

    void make_tokens() {
        if (gradient)
            return logitloss::token_logprobs_vjp(a.view(), b.view(), upstream.view(), weight.view(),
                                                 in_place ? a.output() : grad.output(), tokens);
        TokenLogProbsResults results;
        (in_place ? results.entropy : results.logprob) = out.output();
        logitloss::token_logprobs(a.view(), b.view(), results, tokens);
    }

    /// The states of the rows, merged with those of no class and written.
    void make_states() {
        std::vector<LogSumExpState> states(out.count());
        logitloss::logsumexp_states(a.view(), states.data(), softmax);
        for (LogSumExpState& state : states)
            state = gradient ? merge(state, LogSumExpState()) : merge(LogSumExpState(), state);
        logsumexp_of_states(states.data(), out.output());
    }
};

struct Outcome {
    std::string error;
    Bytes inputs, out, grad;
    std::uint64_t number = 0;

    bool operator==(const Outcome& other) const {
        return error == other.error && inputs == other.inputs && out == other.out && grad == other.grad &&
               number == other.number;
    }
};

Bytes inputs_of(const Call& call) {
    Bytes all;
    for (const Array* array : {&call.a, &call.b, &call.where, &call.weight, &call.second_weight, &call.upstream})
        all.insert(all.end(), array->bytes.begin(), array->bytes.end());
    return all;
}

Outcome run(Call call, int num_threads) {
    const Call before = call;
    Outcome outcome;
    try {
        call.make(num_threads);
    } catch (const std::invalid_argument& error) {
        outcome.error = error.what();
    }
    outcome.inputs = inputs_of(call);
    outcome.out = call.out.bytes;
    outcome.grad = call.grad.bytes;
    std::memcpy(&outcome.number, &call.number, sizeof outcome.number);
    const bool kept =
        outcome.inputs == inputs_of(before) && outcome.out == before.out.bytes && outcome.grad == before.grad.bytes;
    if (!outcome.error.empty() && !kept && !call.is_pair())
        outcome.error += " [and something was written]";
    if (outcome.error.empty() && !call.writes_an_input() && outcome.inputs != inputs_of(before))
        outcome.error = "[an input was written]";
    return outcome;
}

[[noreturn]] void report(const Call& call, const char* table, int num_threads, const Outcome& want,
                         const Outcome& got) {
    std::fprintf(stderr, "function %zu, %s, %d threads differ from scalar, 1 thread\nwant: %s\ngot:  %s\n",
                 static_cast<std::size_t>(call.function), table, num_threads, want.error.c_str(), got.error.c_str());
    std::abort();
}

}  // namespace
}  // namespace logitloss

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace logitloss;
    Source source(data, size);
    const Call call(source);
    detail::current = &detail::scalar_kernels;
    const Outcome want = run(call, 1);
    if (want.error.find('[') != std::string::npos && want.error.find("written]") != std::string::npos)
        report(call, "scalar", 1, want, want);
    if (call.is_loss() && call.gradient && want.error.empty()) {
        Call without = call;
        without.gradient = false;
        const Outcome got = run(without, 1);
        if (got.error != "" || got.out != want.out)
            report(call, "the loss without its gradient", 1, want, got);
    }
    for (const detail::KernelTable* table : detail::all_tables)
        if (table->supported())
            for (int num_threads : {1, 3}) {
                detail::current = table;
                const Outcome got = run(call, num_threads);
                if (!(got == want))
                    report(call, table->name, num_threads, want, got);
            }
    return 0;
}
