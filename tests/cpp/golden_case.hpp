// One function of the library on the inputs of the golden corpus, as tests/python/support/corpus.py calls it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "golden_corpus.hpp"
#include "logitloss/logitloss.hpp"

namespace logitloss::golden {

struct Size {
    std::size_t rows, classes;
};

inline std::vector<Size> sizes_of(const std::string& values) {
    std::vector<Size> sizes;
    for (std::size_t k : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129})
        sizes.push_back({37, k});
    for (Size size : {Size{5, 200}, {5, 1000}, {2, 4095}, {2, 4096}, {2, 4097}, {2, 8193}})
        sizes.push_back(size);
    if (values == "plain")
        for (Size size : {Size{7001, 10}, {70, 1000}, {1, 70001}})
            sizes.push_back(size);
    return sizes;
}

/// One function on one size: its inputs, laid out with the class axis last or first, and the hash of its results.
template <class T>
class Case {
public:
    Case(const std::string& name, const std::string& values, bool strided, Size size, int num_threads)
        : stream_(name + "/" + std::to_string(size.rows) + "x" + std::to_string(size.classes)),
          size_(size),
          strided_(strided),
          num_threads_(num_threads),
          x_(matrix()),
          loss_(vector<Real<T>>(size.rows)),
          total_({}),
          grad_(matrix()) {
        fill(x_, "x", [&](std::uint64_t word, Position at) { return stored<T>(value_of<T>(values, word, at)); });
    }

    void run(const std::string& function, Hash& hash);

private:
    using Shape = std::vector<std::ptrdiff_t>;

    template <class U = T>
    Array<U> matrix() const {
        const auto rows = static_cast<std::ptrdiff_t>(size_.rows), classes = static_cast<std::ptrdiff_t>(size_.classes);
        return Array<U>(strided_ ? Shape{classes, rows} : Shape{rows, classes});
    }
    template <class U>
    static Array<U> vector(std::size_t size) {
        return Array<U>({static_cast<std::ptrdiff_t>(size)});
    }
    std::vector<std::uint64_t> stream(const char* array, std::size_t count) const {
        return words(stream_ + "/" + array, count);
    }

    template <class U, class Value>
    void fill(Array<U>& array, const char* name, Value value) const {
        const auto word = stream(name, size_.rows * size_.classes);
        for (std::size_t r = 0; r < size_.rows; ++r)
            for (std::size_t c = 0; c < size_.classes; ++c)
                array.data[strided_ ? c * size_.rows + r : r * size_.classes + c] =
                    value(word[r * size_.classes + c], Position{r, c, size_.classes});
    }
    template <class U>
    Array<U> units(Real<U> factor, const char* name = "unit") const {
        Array<U> array = matrix<U>();
        fill(array, name, [&](std::uint64_t word, Position) { return stored<U>(unit<U>(word) * factor); });
        return array;
    }
    Array<std::uint8_t> hard() const {
        Array<std::uint8_t> array = matrix<std::uint8_t>();
        fill(array, "hard", [](std::uint64_t word, Position) { return static_cast<std::uint8_t>(word & 1); });
        return array;
    }
    Array<std::int64_t> labels() const {
        Array<std::int64_t> array = vector<std::int64_t>(size_.rows);
        const auto word = stream("labels", size_.rows);
        for (std::size_t r = 0; r < size_.rows; ++r)
            array.data[r] = word[r] >> 60 == 0 ? -100 : static_cast<std::int64_t>(word[r] % size_.classes);
        return array;
    }
    Array<float> halves(const char* name, std::size_t count, float least) const {
        Array<float> array = vector<float>(count);
        const auto word = stream(name, count);
        for (std::size_t i = 0; i < count; ++i)
            array.data[i] = (static_cast<float>(word[i] >> 62) + least) * 0.5f;
        return array;
    }

    void run_softmax_family(const std::string& function, Hash& hash);
    void run_cross_entropy(const std::string& variant, Hash& hash);
    void run_cross_entropy_states(Hash& hash);
    void run_bce(const std::string& variant, Hash& hash);
    void run_focal(const std::string& variant, Hash& hash);
    void run_grad_hess(const std::string& family, const std::string& variant, Hash& hash);
    void run_regression(const std::string& family, const std::string& variant, Hash& hash);
    void run_information(const std::string& function, Hash& hash);
    void run_from_probs(const std::string& variant, Hash& hash);
    void run_binary_from_probs(const std::string& variant, Hash& hash);
    void run_metric(const std::string& function, Hash& hash);
    void run_weighted(Hash& hash);
    void run_tokens(const std::string& function, Hash& hash);

    std::string stream_;
    Size size_;
    bool strided_;
    int num_threads_;
    Array<T> x_;
    Array<Real<T>> loss_, total_;  // losses of 16-bit logits are float32
    Array<T> grad_;
};

template <class T>
void Case<T>::run_softmax_family(const std::string& function, Hash& hash) {
    SoftmaxOptions options{{strided_ ? 0 : -1}, num_threads_};
    Array<std::uint8_t> mask = hard();
    const std::string name = function.substr(0, function.find('-'));
    if (name != function) {
        options.where = mask;
        options.where.dtype = DType::boolean;
    }
    if (name == "logmeanexp") {
        logmeanexp(x_, loss_, options);
        return hash.add(loss_);
    }
    if (function == "logsumexp") {
        logsumexp(x_, loss_, options);
        return hash.add(loss_);
    }
    if (function == "logsumexp_value_and_grad") {
        logsumexp_value_and_grad(x_, {}, loss_, grad_, options);
        hash.add(loss_);
    } else if (name == "softmax") {
        softmax(x_, grad_, options);
    } else if (name == "log_softmax") {
        log_softmax(x_, grad_, options);
    } else if (function == "softmax_vjp") {
        softmax_vjp(units<T>(1), x_, grad_, options);
    } else {
        log_softmax_vjp(units<T>(-8), x_, grad_, options);
    }
    hash.add(grad_);
}

template <class T>
void Case<T>::run_cross_entropy(const std::string& variant, Hash& hash) {
    CrossEntropyOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    const Array<float> class_weight = halves("class_weight", size_.classes, 1);
    const Array<float> sample_weight = halves("sample_weight", size_.rows, 0);
    if (variant == "options") {
        options.class_weight = class_weight;
        options.sample_weight = sample_weight;
        options.label_smoothing = 0.125;
        options.z_loss = 0.03125;
        options.softcap = 16.0;
        options.margin = 0.25;
        options.scale = 1.5;
    }
    const bool per_row = variant == "loss" || variant == "none";
    if (per_row)
        options.reduction = Reduction::none;
    Array<Real<T>>& loss = per_row ? loss_ : total_;
    if (variant == "loss") {
        cross_entropy(x_, labels(), loss, options);
        return hash.add(loss);
    }
    if (variant == "far")
        options.normalizer = 0x1p-200;
    if (variant == "soft")
        cross_entropy_value_and_grad(x_, units<float>(1), {}, loss, grad_, options);
    else if (variant == "far")
        cross_entropy_value_and_grad(x_, units<double>(0x1p-200), {}, loss, grad_, options);
    else
        cross_entropy_value_and_grad(x_, labels(), {}, loss, grad_, options);
    hash.add(loss);
    hash.add(grad_);
}

template <class T>
void Case<T>::run_cross_entropy_states(Hash& hash) {
    CrossEntropyOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    options.label_smoothing = 0.125;
    options.z_loss = 0.03125;
    options.reduction = Reduction::none;
    const Array<std::int64_t> label = labels();
    const std::size_t cut = size_.classes / 3;
    const std::size_t first[] = {0, cut}, length[] = {cut, size_.classes - cut};
    const auto all = static_cast<std::int64_t>(size_.classes);
    Shape shape;
    const auto shard_of = [&](auto view, std::size_t s) {
        const std::size_t axis = strided_ ? 0 : 1;
        shape = x_.shape;
        shape[axis] = static_cast<std::ptrdiff_t>(length[s]);
        view.data = (strided_ ? size_.rows : 1) * first[s] + static_cast<T*>(const_cast<void*>(view.data));
        view.shape = shape.data();
        return view;
    };
    std::vector<CrossEntropyState> states(2 * size_.rows), own(size_.rows);
    for (std::size_t s = 0; s < 2; ++s) {
        const ClassRange range{static_cast<std::int64_t>(first[s]), all};
        cross_entropy_states(shard_of(ArrayView(x_), s), label, range, own.data(), options);
        for (std::size_t r = 0; r < size_.rows; ++r)
            states[2 * r + s] = own[r];
    }
    merge_cross_entropy_states(states.data(), size_.rows, 2, false, own.data(), options);
    for (std::size_t s = 0; s < 2; ++s) {
        const ClassRange range{static_cast<std::int64_t>(first[s]), all};
        const MutableArrayView grad = shard_of(MutableArrayView(grad_), s);
        cross_entropy_of_states(shard_of(ArrayView(x_), s), label, range, own.data(), {}, loss_, grad, options);
    }
    hash.add(loss_);
    hash.add(grad_);
}

template <class T>
void Case<T>::run_bce(const std::string& variant, Hash& hash) {
    BceOptions options;
    options.num_threads = num_threads_;
    const Array<float> weight = halves("weight", size_.classes, 0);
    const Array<float> pos_weight = halves("pos_weight", size_.classes, 1);
    if (variant == "options") {
        options.weight = weight;
        options.pos_weight = pos_weight;
        options.label_smoothing = 0.125;
    }
    Array<Real<T>> per_element = matrix<Real<T>>();
    if (variant == "none")
        options.reduction = Reduction::none;
    Array<Real<T>>& loss = variant == "none" ? per_element : total_;
    if (variant == "mean")
        bce_with_logits_value_and_grad(x_, units<float>(1), {}, loss, grad_, options);
    else
        bce_with_logits_value_and_grad(x_, hard(), {}, loss, grad_, options);
    hash.add(loss);
    hash.add(grad_);
}

template <class T>
void Case<T>::run_focal(const std::string& variant, Hash& hash) {
    FocalOptions options;
    options.num_threads = num_threads_;
    Array<Real<T>> per_element = matrix<Real<T>>();
    Array<Real<T>>& loss = variant == "none" ? per_element : total_;
    if (variant == "none") {
        options.reduction = Reduction::none;
        sigmoid_focal_loss_value_and_grad(x_, hard(), {}, loss, grad_, options);
    } else {
        options.alpha.reset();
        options.gamma = 1.5;
        sigmoid_focal_loss_value_and_grad(x_, units<float>(1), {}, loss, grad_, options);
    }
    hash.add(loss);
    hash.add(grad_);
}

template <class T>
void Case<T>::run_grad_hess(const std::string& family, const std::string& variant, Hash& hash) {
    Array<T> hess = matrix<T>();
    CrossEntropyHessianOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    BceHessianOptions bce;
    FocalHessianOptions focal;
    bce.num_threads = focal.num_threads = num_threads_;
    if (variant == "soft") {
        options.hessian = Hessian::absolute;
        cross_entropy_grad_hess(x_, units<float>(1), grad_, hess, options);
    } else if (variant == "smooth") {
        options.hessian = Hessian::friedman;
        options.label_smoothing = 0.125;
        options.scale = 0.75;
        cross_entropy_grad_hess(x_, labels(), grad_, hess, options);
    } else if (variant == "upper") {
        options.hessian = Hessian::upper;
        cross_entropy_grad_hess(x_, labels(), grad_, hess, options);
    } else if (family == "bce_with_logits_grad_hess") {
        bce_with_logits_grad_hess(x_, units<float>(1), grad_, hess, bce);
    } else {
        sigmoid_focal_loss_grad_hess(x_, hard(), grad_, hess, focal);
    }
    hash.add(grad_);
    hash.add(hess);
}

template <class T>
void Case<T>::run_regression(const std::string& family, const std::string& variant, Hash& hash) {
    PoissonOptions options;
    options.num_threads = num_threads_;
    options.full = variant == "full";
    const Array<float> weight = halves("weight", size_.classes, 1);
    Array<Real<T>> per_element = matrix<Real<T>>();
    Array<Real<T>>& loss = variant == "none" ? per_element : total_;
    if (variant == "none")
        options.reduction = Reduction::none;
    if (variant == "weight" || variant == "full")
        options.weight = weight;
    if (variant == "full")
        poisson_nll_value_and_grad(x_, units<float>(8), {}, loss, grad_, options);
    else if (family == "poisson_nll")
        poisson_nll_value_and_grad(x_, hard(), {}, loss, grad_, options);
    else if (variant == "weight")
        mean_squared_error_value_and_grad(x_, hard(), {}, loss, grad_, options);
    else if (family == "mean_squared_error")
        mean_squared_error_value_and_grad(x_, units<float>(1), {}, loss, grad_, options);
    else if (family == "mean_absolute_error")
        mean_absolute_error_value_and_grad(x_, units<float>(1), {}, loss, grad_, options);
    else
        root_mean_squared_error_value_and_grad(x_, hard(), {}, loss, grad_, options);
    hash.add(loss);
    hash.add(grad_);
}

template <class T>
void Case<T>::run_information(const std::string& function, Hash& hash) {
    InformationOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    const Array<T> p = units<T>(1, "p");
    const Array<T> q = units<T>(1, "q");
    if (function == "self_information") {
        options.base = 2.0;
        Array<Real<T>> per_element = matrix<Real<T>>();
        self_information(p, per_element, options);
        return hash.add(per_element);
    }
    if (function == "entropy") {
        entropy(p, loss_, options);
    } else if (function == "entropy_from_logits") {
        entropy_from_logits(x_, loss_, options);
    } else if (function == "kl_divergence") {
        kl_divergence(p, q, loss_, options);
    } else {
        options.base = 10.0;
        cross_entropy_of(p, q, loss_, options);
    }
    hash.add(loss_);
}

template <class T>
void Case<T>::run_from_probs(const std::string& variant, Hash& hash) {
    ProbabilityEntropyOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    if (variant == "none") {
        options.reduction = Reduction::none;
        cross_entropy_from_probs_value_and_grad(units<T>(1, "p"), labels(), {}, loss_, grad_, options);
        hash.add(loss_);
    } else {
        options.eps = 0x1p-6;
        options.label_smoothing = 0.125;
        cross_entropy_from_probs_value_and_grad(units<T>(1, "p"), units<float>(1), {}, total_, grad_, options);
        hash.add(total_);
    }
    hash.add(grad_);
}

template <class T>
void Case<T>::run_binary_from_probs(const std::string& variant, Hash& hash) {
    ProbabilityBceOptions options;
    options.num_threads = num_threads_;
    if (variant == "none") {
        options.reduction = Reduction::none;
        Array<Real<T>> per_element = matrix<Real<T>>();
        binary_cross_entropy_value_and_grad(units<T>(1, "p"), hard(), {}, per_element, grad_, options);
        hash.add(per_element);
    } else {
        options.eps = 0x1p-6;
        binary_cross_entropy_value_and_grad(units<T>(1, "p"), units<float>(1), {}, total_, grad_, options);
        hash.add(total_);
    }
    hash.add(grad_);
}

template <class T>
void Case<T>::run_metric(const std::string& function, Hash& hash) {
    if (function == "perplexity") {
        Array<Real<T>> per_element = matrix<Real<T>>();
        perplexity(x_, per_element, num_threads_);
        return hash.add(per_element);
    }
    const bool right = function == "accuracy";
    AccuracyOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    options.top_k = right ? 3 : 2;
    Array<double> share({});
    share.data[0] = (right ? accuracy : error_rate)(units<T>(1, "p"), labels(), options);
    hash.add(share);
}

template <class T>
void Case<T>::run_weighted(Hash& hash) {
    Array<Real<T>> weights = matrix<Real<T>>();
    fill(weights, "weights",
         [](std::uint64_t word, Position) { return static_cast<Real<T>>(static_cast<int>(word >> 60) - 8); });
    Array<Real<T>> sign = vector<Real<T>>(size_.rows);
    weighted_logsumexp(x_, weights, loss_, sign, {{strided_ ? 0 : -1}, num_threads_});
    hash.add(loss_);
    hash.add(sign);
}

template <class T>
void Case<T>::run_tokens(const std::string& function, Hash& hash) {
    TokenLogProbsVjpOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    if (function == "token_logprobs_vjp") {
        token_logprobs_vjp(x_, labels(), halves("d_logprob", size_.rows, 0), halves("d_entropy", size_.rows, 0), grad_,
                           options);
        return hash.add(grad_);
    }
    const auto rows = static_cast<std::ptrdiff_t>(size_.rows);
    const auto k = static_cast<std::ptrdiff_t>(std::min<std::size_t>(5, size_.classes));
    const Shape of_top = strided_ ? Shape{k, rows} : Shape{rows, k};
    Array<Real<T>> lse = vector<Real<T>>(size_.rows), entropy = lse, topk_logprobs(of_top);
    Array<std::int64_t> argmax = vector<std::int64_t>(size_.rows), rank = argmax, topk_ids(of_top);
    token_logprobs(x_, labels(), {loss_, lse, entropy, argmax, rank, topk_ids, topk_logprobs}, options);
    hash.add(loss_);
    hash.add(lse);
    hash.add(entropy);
    hash.add(argmax);
    hash.add(rank);
    hash.add(topk_ids);
    hash.add(topk_logprobs);
}

template <class T>
void Case<T>::run(const std::string& function, Hash& hash) {
    const std::string family = function.substr(0, function.find('-'));
    const std::string variant = family == function ? "" : function.substr(family.size() + 1);
    const std::set<std::string> information = {"self_information", "entropy", "entropy_from_logits", "kl_divergence",
                                               "cross_entropy_of"};
    if (information.count(function) != 0)
        run_information(function, hash);
    else if (family == "cross_entropy_from_probs")
        run_from_probs(variant, hash);
    else if (family == "binary_cross_entropy")
        run_binary_from_probs(variant, hash);
    else if (family == "accuracy" || family == "error_rate" || family == "perplexity")
        run_metric(function, hash);
    else if (family == "cross_entropy_state")
        run_cross_entropy_states(hash);
    else if (family == "cross_entropy")
        run_cross_entropy(variant, hash);
    else if (family == "bce_with_logits")
        run_bce(variant, hash);
    else if (family == "sigmoid_focal_loss")
        run_focal(variant, hash);
    else if (family.find("_grad_hess") != std::string::npos)
        run_grad_hess(family, variant, hash);
    else if (family.find("_error") != std::string::npos || family == "poisson_nll")
        run_regression(family, variant, hash);
    else if (family == "weighted_logsumexp")
        run_weighted(hash);
    else if (family == "token_logprobs" || family == "token_logprobs_vjp")
        run_tokens(family, hash);
    else
        run_softmax_family(function, hash);
}

}  // namespace logitloss::golden
