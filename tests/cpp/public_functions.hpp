// Every public function that computes, each as a call whose result would show a wrong floating-point mode.
#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "logitloss/logitloss.hpp"

namespace logitloss::public_functions {

/// Small inputs: subnormal results, factors that are no sums of few powers of two, a weight that is subnormal.
constexpr std::ptrdiff_t rows = 3;
constexpr std::ptrdiff_t classes = 3;
constexpr std::ptrdiff_t shape[] = {rows, classes};
constexpr std::ptrdiff_t first_row[] = {1, classes};
constexpr bool mask[] = {true, false, true};

template <class T>
constexpr DType dtype_of = sizeof(T) == sizeof(double) ? DType::float64 : DType::float32;

/// Results, one behind the other.
class Results {
public:
    template <class T>
    void keep(const std::vector<T>& values) {
        const char* data = reinterpret_cast<const char*>(values.data());
        bytes_.insert(bytes_.end(), data, data + values.size() * sizeof(T));
    }
    bool operator==(const Results& other) const { return bytes_ == other.bytes_; }

private:
    std::vector<char> bytes_;
};

/// The arguments in a dtype, and where results go.
template <class T>
struct Arrays {
    std::vector<T> logits = {95, 0, 0, T(0.1), T(0.7), T(-0.3), 30, -95, 2};
    std::vector<T> probs = {T(0.1), T(0.2), T(0.7), T(1e-38), T(0.3), T(0.6), T(0.25), T(0.3), T(0.45)};
    std::vector<T> targets = {T(0.1), 1, 0, T(0.6), T(0.3), 0, 1, T(0.7), T(0.2)};
    std::vector<int> labels = {0, 2, 1};
    std::vector<double> weights = {0.1, 1e-310, 0.7};
    std::vector<double> upstream = {0.3, 0.1, 0.7};
    std::vector<T> out = std::vector<T>(9, T(7)), more = out;

    ArrayView view(const std::vector<T>& values) const { return {values.data(), dtype_of<T>, 2, shape, nullptr}; }
    ArrayView label_view() const { return {labels.data(), DType::int32, 1, shape, nullptr}; }
    ArrayView row_view(const std::vector<double>& values) const {
        return {values.data(), DType::float64, 1, shape, nullptr};
    }
    ArrayView class_view() const { return row_view(weights); }
    ArrayView scalar(const std::vector<double>& values) const { return {values.data(), DType::float64, 0}; }
    MutableArrayView out_view(int dimensions) { return {out.data(), dtype_of<T>, dimensions, shape, nullptr}; }
    MutableArrayView more_view(int dimensions) { return {more.data(), dtype_of<T>, dimensions, shape, nullptr}; }

    /// In place of results: the sums of states.
    void keep(const CrossEntropyState (&states)[rows]) {
        for (std::size_t r = 0; r < rows; ++r) {
            const double* numbers[] = {&states[r].sum, &states[r].gaps, &states[r].mass, &states[r].aside_logit};
            for (std::size_t i = 0; i < 3; ++i)  // of a float, the last bits
                std::memcpy(&out[3 * r + i], numbers[i], sizeof(T));
            std::memcpy(&more[r], numbers[3], sizeof(T));
        }
    }

    template <class Options>
    Options row_options(Reduction reduction) const {
        Options options;
        options.label_smoothing = 0.1;
        options.sample_weight = row_view(weights);
        options.class_weight = class_view();
        options.reduction = reduction;
        return options;
    }
    template <class Options>
    Options element_options(Reduction reduction) const {
        Options options;
        options.label_smoothing = 0.1;
        options.weight = class_view();
        options.reduction = reduction;
        return options;
    }
};

/// call(arrays, reduction) for both dtypes and all reductions, and what it wrote.
template <class Call>
Results results_of(Call call) {
    Results results;
    const auto run = [&](auto number, Reduction reduction) {
        Arrays<decltype(number)> arrays;
        call(arrays, reduction);
        results.keep(arrays.out);
        results.keep(arrays.more);
    };
    for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
        run(float{}, reduction);
        run(double{}, reduction);
    }
    return results;
}

constexpr int row_dimensions(Reduction reduction) { return reduction == Reduction::none ? 1 : 0; }
constexpr int element_dimensions(Reduction reduction) { return reduction == Reduction::none ? 2 : 0; }

inline LogSumExpState state_of(const void* data, DType dtype) {
    LogSumExpState state;
    logsumexp_states({data, dtype, 2, first_row, nullptr}, &state);
    return state;
}

template <class T>
CrossEntropyOptions shard_options(const Arrays<T>& arrays, Reduction reduction) {
    auto options = arrays.template row_options<CrossEntropyOptions>(reduction);
    options.scale = 1.1;
    options.margin = 0.3;
    options.z_loss = 0.01;
    return options;
}

using Call = Results (*)();

inline const std::map<std::string, Call>& all() {
    static const std::map<std::string, Call> calls = {
        {"cross_entropy",
         [] {
             return results_of([](auto& a, Reduction r) {
                 auto options = a.template row_options<CrossEntropyOptions>(r);
                 options.softcap = 77.7;
                 options.scale = 1.1;
                 options.margin = 0.3;
                 options.z_loss = 0.01;
                 cross_entropy(a.view(a.logits), a.label_view(), a.out_view(row_dimensions(r)), options);
                 cross_entropy(a.view(a.logits), a.label_view(), a.more_view(0));  // subnormal terms
             });
         }},
        {"cross_entropy_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 const auto options = a.template row_options<CrossEntropyOptions>(r);
                 cross_entropy_value_and_grad(a.view(a.logits), a.view(a.targets), a.scalar(a.upstream),
                                              a.out_view(row_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"cross_entropy_states",
         [] {
             return results_of([](auto& a, Reduction r) {
                 CrossEntropyState states[rows];
                 cross_entropy_states(a.view(a.logits), a.label_view(), {0, classes}, states, shard_options(a, r));
                 a.keep(states);
             });
         }},
        {"merge_cross_entropy_states",
         [] {
             return results_of([](auto& a, Reduction r) {
                 CrossEntropyState shards[2] = {{0, 1, 53, 0.3, 2, 1.1, -1, 0, 0.7, 0.3, 0, 0.1},
                                                {1, 3, 53, 0.7, -1, 0.3, 2, 0.3, 0.1, 1.3, 0.7, 0.3}};
                 CrossEntropyState merged[rows];
                 for (CrossEntropyState& state : merged) {
                     merge_cross_entropy_states(shards, 1, 2, false, &state, shard_options(a, r));
                     shards[1].max = 1e6;
                     shards[1].exponent = std::numeric_limits<double>::quiet_NaN();
                 }
                 a.keep(merged);
             });
         }},
        {"cross_entropy_of_states",
         [] {
             return results_of([](auto& a, Reduction r) {
                 const double digits = sizeof(a.out[0]) == sizeof(double) ? 53 : 24;
                 const CrossEntropyState state{0, classes, digits, 0.3, -3, 1.1, 1, 0.3, 0.7, 0.3, 0.1, 0.1};
                 const CrossEntropyState states[rows] = {state, state, state};
                 cross_entropy_of_states(a.view(a.logits), a.label_view(), {0, classes}, states, a.scalar(a.upstream),
                                         a.out_view(row_dimensions(r)), a.more_view(2), shard_options(a, r));
             });
         }},
        {"bce_with_logits",
         [] {
             return results_of([](auto& a, Reduction r) {
                 auto options = a.template element_options<BceOptions>(r);
                 options.pos_weight = a.row_view(a.upstream);
                 bce_with_logits(a.view(a.logits), a.view(a.targets), a.out_view(element_dimensions(r)), options);
             });
         }},
        {"bce_with_logits_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 const auto options = a.template element_options<BceOptions>(r);
                 bce_with_logits_value_and_grad(a.view(a.logits), a.view(a.targets), a.scalar(a.upstream),
                                                a.out_view(element_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"sigmoid_focal_loss",
         [] {
             return results_of([](auto& a, Reduction r) {
                 auto options = a.template element_options<FocalOptions>(r);
                 options.alpha = 0.3;
                 sigmoid_focal_loss(a.view(a.logits), a.view(a.targets), a.out_view(element_dimensions(r)), options);
             });
         }},
        {"sigmoid_focal_loss_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 auto options = a.template element_options<FocalOptions>(r);
                 options.alpha = 0.3;
                 options.gamma = 1.7;
                 sigmoid_focal_loss_value_and_grad(a.view(a.logits), a.view(a.targets), a.scalar(a.upstream),
                                                   a.out_view(element_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"cross_entropy_grad_hess",
         [] {
             return results_of([](auto& a, Reduction) {
                 CrossEntropyHessianOptions options;
                 options.label_smoothing = 0.1;
                 options.sample_weight = a.row_view(a.weights);
                 options.class_weight = a.class_view();
                 cross_entropy_grad_hess(a.view(a.logits), a.label_view(), a.out_view(2), a.more_view(2), options);
             });
         }},
        {"bce_with_logits_grad_hess",
         [] {
             return results_of([](auto& a, Reduction) {
                 BceHessianOptions options;
                 options.weight = a.class_view();
                 options.pos_weight = a.row_view(a.upstream);
                 bce_with_logits_grad_hess(a.view(a.logits), a.view(a.targets), a.out_view(2), a.more_view(2), options);
             });
         }},
        {"sigmoid_focal_loss_grad_hess",
         [] {
             return results_of([](auto& a, Reduction) {
                 FocalHessianOptions options;
                 options.alpha = 0.3;
                 options.gamma = 1.7;
                 sigmoid_focal_loss_grad_hess(a.view(a.logits), a.view(a.targets), a.out_view(2), a.more_view(2),
                                              options);
             });
         }},
        {"self_information",
         [] {
             return results_of([](auto& a, Reduction) {
                 InformationOptions options;
                 options.base = 3.3;
                 self_information(a.view(a.probs), a.out_view(2), options);
                 self_information(a.view(a.probs), a.more_view(2));
             });
         }},
        {"entropy", [] { return results_of([](auto& a, Reduction) { entropy(a.view(a.probs), a.out_view(1)); }); }},
        {"entropy_from_logits",
         [] {
             return results_of([](auto& a, Reduction) {
                 InformationOptions options;
                 options.base = 2.0;
                 entropy_from_logits(a.view(a.logits), a.out_view(1), options);
             });
         }},
        {"kl_divergence",
         [] {
             return results_of(
                 [](auto& a, Reduction) { kl_divergence(a.view(a.probs), a.view(a.targets), a.out_view(1)); });
         }},
        {"cross_entropy_of",
         [] {
             return results_of(
                 [](auto& a, Reduction) { cross_entropy_of(a.view(a.probs), a.view(a.probs), a.out_view(1)); });
         }},
        {"logsumexp",
         [] {
             return results_of([](auto& a, Reduction) {
                 logsumexp(a.view(a.logits), a.out_view(1));
                 logsumexp(a.view(a.probs), a.more_view(0), SoftmaxOptions{{0, 1}});
             });
         }},
        {"weighted_logsumexp",
         [] {
             return results_of([](auto& a, Reduction) {
                 weighted_logsumexp(a.view(a.logits), a.view(a.targets), a.out_view(1), a.more_view(1));
             });
         }},
        {"logmeanexp",
         [] {
             return results_of([](auto& a, Reduction) {
                 SoftmaxOptions options{{1}};
                 options.where = {mask, DType::boolean, 1, shape, nullptr};
                 logmeanexp(a.view(a.logits), a.out_view(1), options);
                 logmeanexp(a.view(a.probs), a.more_view(0), SoftmaxOptions{{0, 1}});
             });
         }},
        {"weighted_logmeanexp",
         [] {
             return results_of(
                 [](auto& a, Reduction) { weighted_logmeanexp(a.view(a.logits), a.view(a.targets), a.out_view(1)); });
         }},
        {"logsumexp_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction) {
                 logsumexp_value_and_grad(a.view(a.logits), a.row_view(a.upstream), a.out_view(1), a.more_view(2));
             });
         }},
        {"softmax", [] { return results_of([](auto& a, Reduction) { softmax(a.view(a.logits), a.out_view(2)); }); }},
        {"log_softmax",
         [] { return results_of([](auto& a, Reduction) { log_softmax(a.view(a.logits), a.out_view(2)); }); }},
        {"softmax_vjp",
         [] {
             return results_of(
                 [](auto& a, Reduction) { softmax_vjp(a.view(a.probs), a.view(a.targets), a.out_view(2)); });
         }},
        {"log_softmax_vjp",
         [] {
             return results_of(
                 [](auto& a, Reduction) { log_softmax_vjp(a.view(a.logits), a.view(a.targets), a.out_view(2)); });
         }},
        {"shape_of_rows",
         [] {
             Results results;
             const Arrays<float> arrays;
             results.keep(shape_of_rows(arrays.view(arrays.logits), SoftmaxOptions{{1}}));
             return results;
         }},
        {"logsumexp_states",
         [] {
             return results_of([](auto& a, Reduction) {
                 LogSumExpState states[rows];
                 logsumexp_states(a.view(a.logits), states);
                 for (std::ptrdiff_t r = 0; r < rows; ++r) {
                     std::memcpy(&a.out[static_cast<std::size_t>(r)], &states[r].others, sizeof(a.out[0]));
                     std::memcpy(&a.more[static_cast<std::size_t>(r)], &states[r].value, sizeof(a.out[0]));
                 }
             });
         }},
        {"merge",
         [] {
             Results results;
             const double nan = std::numeric_limits<double>::quiet_NaN();  // the value of no single piece
             const LogSumExpState odd{0.3, 0x1p512 * 0.7, 0.0, nan}, even{0.1, 0x1p512 / 3, 0.0, nan};
             const LogSumExpState far{1e300, 0x1p512 * 0.1, 0x1p450, nan};
             for (const LogSumExpState& state :
                  {merge(odd, even), merge(far, even), merge(far, far), merge(merge(even, even), odd)})
                 results.keep(std::vector<double>{state.max, state.others, state.rest, state.value});
             return results;
         }},
        {"logsumexp_of_states",
         [] {
             return results_of([](auto& a, Reduction) {
                 const LogSumExpState states[rows] = {
                     {0.3, 0x1p512 * 0.7, 0.0, 0.8}, {0.1, 0x1p512, 0x1p440, 0.8}, {1e30, 0x1p500, 0.0, 1e30}};
                 logsumexp_of_states(states, a.out_view(1));
             });
         }},
        {"accuracy",
         [] {
             return results_of([](auto& a, Reduction) {
                 AccuracyOptions options;
                 options.sample_weight = a.row_view(a.upstream);
                 const double share = accuracy(a.view(a.logits), a.label_view(), options);
                 std::memcpy(a.out.data(), &share, sizeof(share));
             });
         }},
        {"error_rate",
         [] {
             return results_of([](auto& a, Reduction) {
                 AccuracyOptions options;
                 options.sample_weight = a.row_view(a.upstream);
                 const double share = error_rate(a.view(a.logits), a.label_view(), options);
                 std::memcpy(a.out.data(), &share, sizeof(share));
             });
         }},
        {"token_logprobs",
         [] {
             return results_of([](auto& a, Reduction) {
                 TokenLogProbsOptions options;
                 options.temperature = 1.3;
                 TokenLogProbsResults results;
                 results.logprob = a.out_view(1);
                 results.entropy = a.more_view(1);
                 token_logprobs(a.view(a.logits), a.label_view(), results, options);
             });
         }},
        {"token_logprobs_vjp",
         [] {
             return results_of([](auto& a, Reduction) {
                 token_logprobs_vjp(a.view(a.logits), a.label_view(), a.row_view(a.weights), a.row_view(a.upstream),
                                    a.out_view(2));
             });
         }},
        {"perplexity",
         [] { return results_of([](auto& a, Reduction) { perplexity(a.view(a.probs), a.out_view(2)); }); }},
        {"cross_entropy_from_probs",
         [] {
             return results_of([](auto& a, Reduction r) {
                 auto options = a.template row_options<ProbabilityEntropyOptions>(r);
                 options.eps = 1e-7;
                 cross_entropy_from_probs(a.view(a.probs), a.label_view(), a.out_view(row_dimensions(r)), options);
                 cross_entropy_from_probs(a.view(a.probs), a.label_view(), a.more_view(0));
             });
         }},
        {"cross_entropy_from_probs_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 const auto options = a.template row_options<ProbabilityEntropyOptions>(r);
                 cross_entropy_from_probs_value_and_grad(a.view(a.probs), a.view(a.targets), a.scalar(a.upstream),
                                                         a.out_view(row_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"binary_cross_entropy",
         [] {
             return results_of([](auto& a, Reduction r) {
                 auto options = a.template element_options<ProbabilityBceOptions>(r);
                 options.eps = 1e-7;
                 binary_cross_entropy(a.view(a.probs), a.view(a.targets), a.out_view(element_dimensions(r)), options);
             });
         }},
        {"binary_cross_entropy_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 const auto options = a.template element_options<ProbabilityBceOptions>(r);
                 binary_cross_entropy_value_and_grad(a.view(a.probs), a.view(a.targets), a.scalar(a.upstream),
                                                     a.out_view(element_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"mean_squared_error",
         [] {
             return results_of([](auto& a, Reduction r) {
                 RegressionOptions options;
                 options.weight = a.row_view(a.upstream);
                 options.reduction = r;
                 mean_squared_error(a.view(a.logits), a.view(a.probs), a.out_view(element_dimensions(r)), options);
             });
         }},
        {"mean_squared_error_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 RegressionOptions options;
                 options.weight = a.row_view(a.weights);
                 options.reduction = r;
                 mean_squared_error_value_and_grad(a.view(a.logits), a.view(a.probs), a.scalar(a.upstream),
                                                   a.out_view(element_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"mean_absolute_error",
         [] {
             return results_of([](auto& a, Reduction r) {
                 RegressionOptions options;
                 options.weight = a.row_view(a.upstream);
                 options.reduction = r;
                 mean_absolute_error(a.view(a.logits), a.view(a.probs), a.out_view(element_dimensions(r)), options);
             });
         }},
        {"mean_absolute_error_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 RegressionOptions options;
                 options.weight = a.row_view(a.weights);
                 options.reduction = r;
                 mean_absolute_error_value_and_grad(a.view(a.logits), a.view(a.probs), a.scalar(a.upstream),
                                                    a.out_view(element_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"poisson_nll",
         [] {
             return results_of([](auto& a, Reduction r) {
                 PoissonOptions options;
                 options.weight = a.row_view(a.upstream);
                 options.reduction = r;
                 poisson_nll(a.view(a.logits), a.view(a.probs), a.out_view(element_dimensions(r)), options);
             });
         }},
        {"poisson_nll_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction r) {
                 PoissonOptions options;
                 options.full = true;
                 options.weight = a.row_view(a.weights);
                 options.reduction = r;
                 poisson_nll_value_and_grad(a.view(a.logits), a.view(a.probs), a.scalar(a.upstream),
                                            a.out_view(element_dimensions(r)), a.more_view(2), options);
             });
         }},
        {"root_mean_squared_error",
         [] {
             return results_of(
                 [](auto& a, Reduction) { root_mean_squared_error(a.view(a.logits), a.view(a.probs), a.out_view(0)); });
         }},
        {"root_mean_squared_error_value_and_grad",
         [] {
             return results_of([](auto& a, Reduction) {
                 root_mean_squared_error_value_and_grad(a.view(a.logits), a.view(a.probs), a.scalar(a.upstream),
                                                        a.out_view(0), a.more_view(2));
             });
         }},
    };
    return calls;
}

}  // namespace logitloss::public_functions
