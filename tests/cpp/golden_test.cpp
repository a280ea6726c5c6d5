// Hashes of the results on a fixed corpus, equal on every instruction set, architecture and number of threads.
//
// tests/python/corpus.py describes the corpus, and writes tests/golden/hashes.json; this file builds the same inputs in
// C++, so that the hashes can be checked where no Python runs, as in a cross build under an emulator.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "logitloss/logitloss.hpp"

namespace logitloss {
namespace {

constexpr std::uint64_t golden_ratio = 0x9E3779B97F4A7C15;

std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

std::uint64_t fnv1a(const std::string& name) {
    std::uint64_t state = 0xCBF29CE484222325;
    for (char byte : name)
        state = (state ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
    return state;
}

std::vector<std::uint64_t> words(const std::string& name, std::size_t count) {
    std::vector<std::uint64_t> result(count);
    const std::uint64_t seed = fnv1a(name);
    for (std::size_t i = 0; i < count; ++i)
        result[i] = mix(seed + (i + 1) * golden_ratio);
    return result;
}

// ------------------------------------------------------------------------------------------------------------ values

/// The 16-bit formats, as their bits.
struct Float16 {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

template <class T>
constexpr bool is_half = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

/// What the values of T are computed in.
template <class T>
using Real = std::conditional_t<std::is_same_v<T, double>, double, float>;

std::uint32_t bits_of(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

/// x as T. Every x of the corpus is 0, infinite, NaN or a normal number of T.
template <class T>
T stored(Real<T> x) {
    if constexpr (std::is_same_v<T, BFloat16>) {
        return {static_cast<std::uint16_t>(bits_of(x) >> 16)};
    } else if constexpr (std::is_same_v<T, Float16>) {
        const auto sign = static_cast<std::uint32_t>(std::signbit(x)) << 15;
        if (x == 0)
            return {static_cast<std::uint16_t>(sign)};
        if (!std::isfinite(x))
            return {static_cast<std::uint16_t>(sign | 0x7C00u | (std::isnan(x) ? 0x200u : 0u))};
        const std::uint32_t magnitude = bits_of(x) & 0x7FFFFFFFu;
        return {static_cast<std::uint16_t>(sign | ((magnitude >> 13) - ((127u - 15u) << 10)))};
    } else {
        return x;
    }
}

template <class T>
bool is_nan(T x) {
    if constexpr (std::is_same_v<T, BFloat16>)
        return (x.bits & 0x7FFF) > 0x7F80;
    else if constexpr (std::is_same_v<T, Float16>)
        return (x.bits & 0x7FFF) > 0x7C00;
    else
        return std::isnan(x);
}

/// In [0, 1).
template <class T>
Real<T> unit(std::uint64_t word) {
    if constexpr (is_half<T>)
        return static_cast<float>(word >> 56) * 0x1p-8f;
    return static_cast<float>(word >> 40) * 0x1p-24f;
}

/// In [-8, 8).
template <class T>
Real<T> plain(std::uint64_t word) {
    if constexpr (std::is_same_v<T, double>)
        return static_cast<double>(static_cast<std::int64_t>(word >> 11) - (std::int64_t{1} << 52)) * 0x1p-49;
    constexpr int bits = std::is_same_v<T, BFloat16> ? 8 : std::is_same_v<T, Float16> ? 11 : 24;
    const auto number = static_cast<std::int32_t>(word >> (64 - bits)) - (1 << (bits - 1));
    return static_cast<Real<T>>(number) * static_cast<Real<T>>(16.0 / (1 << bits));
}

struct Position {
    std::size_t row, column, classes;
};

template <class T>
Real<T> extreme(std::uint64_t word, Position at) {
    using R = Real<T>;
    constexpr R infinity = std::numeric_limits<R>::infinity();
    const R value = plain<T>(word);
    if (at.row % 7 == 6)
        return value * R(is_half<T> ? 4096 : 131072);
    if (at.row % 7 == 5 && at.column == 5 * at.row % at.classes)
        return std::numeric_limits<R>::quiet_NaN();
    if (at.row % 7 == 4 && at.column == at.row % at.classes)
        return infinity;
    if (at.row % 7 == 3)
        return -infinity;
    switch (word & 15) {
    case 0:
        return -infinity;
    case 1:
        return R(is_half<T> ? -32768 : -1073741824);
    case 2:
        return value * R(is_half<T> ? 0x1p-4 : 0x1p-20);
    case 3:
        return R(0);
    case 4:
        return -R(0);
    case 5:
        return value * R(8);
    default:
        return value;
    }
}

template <class T>
Real<T> structured(Position at) {
    using R = Real<T>;
    if (at.row % 3 == 0)
        return R(1.5);
    const auto from_middle = static_cast<std::int64_t>(at.column) - static_cast<std::int64_t>(at.classes / 2);
    if (at.row % 3 == 1)
        return static_cast<R>(from_middle) * R(0x1p-4);
    return at.column == at.row % at.classes ? R(40) : R(0);
}

template <class T>
Real<T> value_of(const std::string& values, std::uint64_t word, Position at) {
    if (values == "plain")
        return plain<T>(word);
    return values == "extreme" ? extreme<T>(word, at) : structured<T>(at);
}

// ------------------------------------------------------------------------------------------------------------ arrays

template <class T>
constexpr DType dtype_of = DType::boolean;
template <>
constexpr DType dtype_of<float> = DType::float32;
template <>
constexpr DType dtype_of<double> = DType::float64;
template <>
constexpr DType dtype_of<Float16> = DType::float16;
template <>
constexpr DType dtype_of<BFloat16> = DType::bfloat16;
template <>
constexpr DType dtype_of<std::uint8_t> = DType::uint8;
template <>
constexpr DType dtype_of<std::int64_t> = DType::int64;

/// A C-contiguous array that owns its elements.
template <class T>
struct Array {
    explicit Array(std::vector<std::ptrdiff_t> shape_) : shape(std::move(shape_)), strides(shape.size()) {
        std::ptrdiff_t size = 1;
        for (std::size_t d = shape.size(); d-- > 0; size *= shape[d])
            strides[d] = size * static_cast<std::ptrdiff_t>(sizeof(T));
        data.resize(static_cast<std::size_t>(size));
    }
    int ndim() const { return static_cast<int>(shape.size()); }
    operator ArrayView() const { return {data.data(), dtype_of<T>, ndim(), shape.data(), strides.data(), false}; }
    operator MutableArrayView() { return {data.data(), dtype_of<T>, ndim(), shape.data(), strides.data()}; }

    std::vector<T> data;
    std::vector<std::ptrdiff_t> shape, strides;
};

struct Hash {
    template <class T>
    void add(const Array<T>& array) {
        using Bits = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                        std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < array.data.size(); ++i) {
            Bits bits;
            std::memcpy(&bits, &array.data[i], sizeof bits);
            const std::uint64_t word = is_nan(array.data[i]) ? ~std::uint64_t{0} : bits;
            sum += mix(word + (i + 1) * golden_ratio);
        }
        state = mix(state + sum);
    }
    std::uint64_t state = 0;
};

// ------------------------------------------------------------------------------------------------------------- cases

struct Size {
    std::size_t rows, classes;
};

std::vector<Size> sizes_of(const std::string& values) {
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
    void run_bce(const std::string& variant, Hash& hash);
    void run_focal(const std::string& variant, Hash& hash);
    void run_regression(const std::string& family, const std::string& variant, Hash& hash);
    void run_information(const std::string& function, Hash& hash);
    void run_from_probs(const std::string& variant, Hash& hash);
    void run_binary_from_probs(const std::string& variant, Hash& hash);
    void run_accuracy(Hash& hash);
    void run_weighted(Hash& hash);

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
    const SoftmaxOptions options{{strided_ ? 0 : -1}, num_threads_};
    if (function == "logsumexp") {
        logsumexp(x_, loss_, options);
        return hash.add(loss_);
    }
    if (function == "logsumexp_value_and_grad") {
        logsumexp_value_and_grad(x_, {}, loss_, grad_, options);
        hash.add(loss_);
    } else if (function == "softmax") {
        softmax(x_, grad_, options);
    } else if (function == "log_softmax") {
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
    if (variant == "soft")
        cross_entropy_value_and_grad(x_, units<float>(1), {}, loss, grad_, options);
    else
        cross_entropy_value_and_grad(x_, labels(), {}, loss, grad_, options);
    hash.add(loss);
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
void Case<T>::run_regression(const std::string& family, const std::string& variant, Hash& hash) {
    RegressionOptions options;
    options.num_threads = num_threads_;
    const Array<float> weight = halves("weight", size_.classes, 1);
    Array<Real<T>> per_element = matrix<Real<T>>();
    Array<Real<T>>& loss = variant == "none" ? per_element : total_;
    if (variant == "none")
        options.reduction = Reduction::none;
    if (variant == "weight")
        options.weight = weight;
    if (variant == "weight")
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
void Case<T>::run_accuracy(Hash& hash) {
    AccuracyOptions options;
    options.axis = strided_ ? 0 : -1;
    options.num_threads = num_threads_;
    options.top_k = 3;
    Array<double> share({});
    share.data[0] = accuracy(units<T>(1, "p"), labels(), options);
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
    else if (family == "accuracy")
        run_accuracy(hash);
    else if (family == "cross_entropy")
        run_cross_entropy(variant, hash);
    else if (family == "bce_with_logits")
        run_bce(variant, hash);
    else if (family == "sigmoid_focal_loss")
        run_focal(variant, hash);
    else if (family.find("_error") != std::string::npos)
        run_regression(family, variant, hash);
    else if (family == "weighted_logsumexp")
        run_weighted(hash);
    else
        run_softmax_family(function, hash);
}

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts(1);
    for (char c : text) {
        if (c == separator)
            parts.emplace_back();
        else
            parts.back() += c;
    }
    return parts;
}

/// `name` is <function>/<dtype>/<values>/<layout>.
std::uint64_t hash_of_case(const std::string& name, int num_threads) {
    const std::vector<std::string> parts = split(name, '/');
    const bool strided = parts.at(3) == "strided";
    Hash hash;
    for (Size size : sizes_of(parts[2])) {
        const auto run = [&](auto element) {
            Case<decltype(element)>(name, parts[2], strided, size, num_threads).run(parts[0], hash);
        };
        if (parts[1] == "float64")
            run(double{});
        else if (parts[1] == "float32")
            run(float{});
        else if (parts[1] == "float16")
            run(Float16{});
        else
            run(BFloat16{});
    }
    return hash.state;
}

/// The committed hashes: a JSON object of strings, one to a line.
std::map<std::string, std::string> golden_hashes() {
    const std::string here = __FILE__;
    std::ifstream file(here.substr(0, here.find_last_of('/')) + "/../golden/hashes.json");
    std::map<std::string, std::string> hashes;
    for (std::string line; std::getline(file, line);) {
        const std::vector<std::string> quoted = split(line, '"');
        if (quoted.size() == 5)
            hashes[quoted[1]] = quoted[3];
    }
    return hashes;
}

class Golden : public testing::TestWithParam<int> {};

TEST_P(Golden, ResultsOnTheCorpusHaveTheCommittedBits) {
    const auto hashes = golden_hashes();
    ASSERT_GE(hashes.size(), 100u);
    for (const auto& [name, expected] : hashes) {
        char found[17];
        std::snprintf(found, sizeof found, "%016llx", static_cast<unsigned long long>(hash_of_case(name, GetParam())));
        EXPECT_EQ(found, expected) << name << " on " << isa() << " with " << GetParam() << " threads";
    }
}

INSTANTIATE_TEST_SUITE_P(Threads, Golden, testing::Values(1, 5));

}  // namespace
}  // namespace logitloss
