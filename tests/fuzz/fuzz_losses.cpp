// Coverage-guided fuzzing of the public C++ API, differential: a call is made from the fuzzer's bytes, and is made again
// with every instruction set of this machine and with several threads. It must throw the same error, or write the same
// bits; inputs, and outputs after an error, must be as they were. Sanitizers watch the memory.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

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

using Bytes = std::vector<std::uint8_t>;

/// The fuzzer's bytes, zeros after their end.
class Source {
public:
    Source(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
    std::size_t below(std::size_t n) { return byte() % n; }
    bool flag() { return (byte() & 1) != 0; }
    std::uint64_t word() {
        std::uint64_t value = 0;
        for (int i = 0; i < 8; ++i)
            value = value << 8 | byte();
        return value;
    }
    /// A double of the fuzzer's, or one of those that options are apt to be.
    double number() {
        static constexpr double usual[] = {0.0, 0.1, 0.5, 1.0, 2.0, -1.0, 3.5, 30.0, 1e-30, 1e30, -0.0, 1e300};
        const std::size_t choice = below(16);
        if (choice < std::size(usual))
            return usual[choice];
        const std::uint64_t bits = word();
        double value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }

private:
    const std::uint8_t* data_;
    std::size_t size_;
    std::size_t at_ = 0;
};

/// An array in memory of exactly its size, so that a sanitizer sees every byte beside it.
struct Array {
    DType dtype = DType::float32;
    std::vector<std::ptrdiff_t> shape, strides;
    std::ptrdiff_t first = 0;  ///< offset of the element 0, ..., 0
    bool byteswapped = false;
    Bytes bytes;
    bool given = false;

    std::size_t count() const {
        std::size_t n = 1;
        for (std::ptrdiff_t length : shape)
            n *= static_cast<std::size_t>(length);
        return n;
    }
    ArrayView view() const {
        if (!given)
            return {};
        return {bytes.data() + first, dtype, static_cast<int>(shape.size()), shape.data(), strides.data(), byteswapped};
    }
    MutableArrayView output() {
        if (!given)
            return {};
        return {bytes.data() + first, dtype, static_cast<int>(shape.size()), shape.data(), strides.data()};
    }
};

/// Strides that lay an array out in one of the ways that callers have: C or Fortran order, backwards, with gaps, or
/// (`may_repeat`) the same elements again and again.
void lay_out(Source& source, Array& array, bool may_repeat) {
    const auto item = static_cast<std::ptrdiff_t>(item_size(array.dtype));
    const std::size_t kind = source.below(may_repeat ? 7 : 6);
    const std::size_t dimensions = array.shape.size();
    std::ptrdiff_t stride = kind == 4 ? item + 1 : kind == 5 ? 2 * item : item;
    array.strides.assign(dimensions, 0);
    array.first = 0;
    for (std::size_t i = 0; i < dimensions; ++i) {
        const std::size_t axis = kind == 1 ? i : dimensions - 1 - i;
        if (kind == 6 && source.flag())
            continue;
        array.strides[axis] = stride;
        stride *= array.shape[axis];
    }
    std::ptrdiff_t last = 0;
    for (std::size_t axis = 0; axis < dimensions; ++axis) {
        const std::ptrdiff_t reach = array.strides[axis] * (array.shape[axis] - 1);
        last += array.shape[axis] > 0 ? reach : 0;
        if (kind >= 2 && kind <= 3 && array.shape[axis] > 0 && (kind == 2 || source.flag())) {
            array.first += reach;
            array.strides[axis] = -array.strides[axis];
        }
    }
    if (array.count() == 0)
        array.first = 0;  // of no memory
    array.bytes.assign(array.count() == 0 ? 0 : static_cast<std::size_t>(last + item), 0x4D);
    array.given = true;
}

/// Values of a few kinds; the bytes of what is no number of the dtype (a boolean of 7) are avoided.
void fill(Source& source, Array& array, std::size_t labels) {
    const std::size_t kind = source.below(8);
    std::uint64_t state = source.word();
    const auto next = [&] {
        state += 0x9E3779B97F4A7C15u;
        std::uint64_t z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    };
    const std::size_t item = item_size(array.dtype);
    for (std::size_t start = 0; start + item <= array.bytes.size(); start += item) {
        const std::uint64_t word = next();
        const bool special = word % 64 == 7;
        std::uint64_t bits = word >> 8;
        if (array.dtype == DType::boolean)
            bits &= 1;
        else if (is_integer(array.dtype))
            bits = kind == 0 && special ? bits : labels == 0 ? bits % 2 : bits % labels;
        else if (kind < 5) {
            static constexpr double specials[] = {0.0, -0.0, 1.0, -1e9, 3e38, 1e-40};
            double value = static_cast<double>(bits % 2000) / 100.0 - 10.0;
            if (kind == 1)
                value *= 100.0;
            if (kind == 2)
                value = static_cast<double>(bits % 1001) / 1000.0;
            if (special && kind == 3)
                value = bits % 8 < 6 ? specials[bits % 8] : bits % 8 == 6 ? HUGE_VAL : -HUGE_VAL;
            if (special && kind == 4)
                value = std::numeric_limits<double>::quiet_NaN();
            const auto narrow = static_cast<float>(value);
            std::uint32_t word32;
            std::memcpy(&word32, &narrow, sizeof word32);
            std::memcpy(&bits, &value, sizeof bits);
            if (array.dtype == DType::float32)
                bits = word32;
            else if (array.dtype == DType::bfloat16)
                bits = word32 >> 16;
            else if (array.dtype == DType::float16)
                bits = (word32 >> 31) << 15 | ((((word32 >> 23) & 31) + 7) & 31) << 10 | ((word32 >> 13) & 1023);
        }
        std::memcpy(array.bytes.data() + start, &bits, item);
    }
}

Array input(Source& source, std::vector<std::ptrdiff_t> shape, DType dtype, std::size_t labels = 0) {
    Array array;
    array.dtype = dtype;
    array.shape = std::move(shape);
    lay_out(source, array, true);
    fill(source, array, labels);
    array.byteswapped = item_size(dtype) > 1 && source.below(8) == 7;
    return array;
}

Array output(Source& source, std::vector<std::ptrdiff_t> shape, DType dtype) {
    Array array;
    array.dtype = dtype;
    array.shape = std::move(shape);
    lay_out(source, array, false);
    return array;
}

DType floating(Source& source) {
    static constexpr DType all[] = {DType::float32, DType::float64, DType::float16, DType::bfloat16};
    return all[source.below(4)];
}
DType any_dtype(Source& source) { return static_cast<DType>(source.below(13)); }

/// Small sizes mostly, and those around a group and a block.
std::ptrdiff_t length(Source& source) {
    static constexpr std::ptrdiff_t edges[] = {63, 64, 65, 127, 129, 255, 257, 1000, 4095, 4096, 4097, 9000};
    const std::size_t choice = source.byte();
    return choice < 240 ? static_cast<std::ptrdiff_t>(choice % 40) : edges[(choice - 240) % std::size(edges)];
}

/// A shape that broadcasts to `shape`, most of the time.
std::vector<std::ptrdiff_t> broadcasting(Source& source, std::vector<std::ptrdiff_t> shape) {
    for (std::ptrdiff_t& extent : shape)
        if (source.below(4) == 0)
            extent = source.below(16) == 0 ? extent + 1 : 1;
    if (!shape.empty() && source.flag())
        shape.erase(shape.begin());
    return shape;
}

/// One call: its arguments and options, as the bytes decide.
struct Call {
    std::size_t function;
    Array a, b, weight, second_weight, upstream, out, grad;
    CrossEntropyOptions cross_entropy;
    FocalOptions focal;
    BceOptions bce;
    RegressionOptions regression;
    SoftmaxOptions softmax;
    bool in_place = false;

    explicit Call(Source& source) : function(source.below(12)) {
        std::vector<std::ptrdiff_t> shape(1 + source.below(3));
        std::ptrdiff_t room = 20000;
        for (std::ptrdiff_t& extent : shape) {
            extent = std::min(length(source), room);
            room /= std::max<std::ptrdiff_t>(extent, 1);
        }
        const DType dtype = source.below(16) == 0 ? any_dtype(source) : floating(source);
        const int axis = static_cast<int>(source.below(shape.size() + 1)) - (source.flag() ? 1 : 0);
        const auto reduction = static_cast<Reduction>(source.below(3));
        const DType loss_dtype = dtype == DType::float64 ? DType::float64 : DType::float32;
        const std::size_t class_axis = axis < 0 ? shape.size() - 1 : std::min<std::size_t>(axis, shape.size() - 1);
        std::vector<std::ptrdiff_t> rows = shape;
        rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(class_axis));
        const bool rows_family = function < 4 || function >= 7;
        const std::vector<std::ptrdiff_t> losses = rows_family ? rows : shape;
        const bool reduced = function < 7 && reduction != Reduction::none;

        a = input(source, shape, dtype);
        const auto classes = static_cast<std::size_t>(shape[class_axis]);
        if (function < 2)
            b = input(source, rows, source.below(8) == 0 ? any_dtype(source) : DType::int32, classes);
        else if (function < 4)
            b = input(source, shape, any_dtype(source));
        else
            b = input(source, shape, function < 7 ? any_dtype(source) : dtype);
        if (source.below(3) == 0)
            weight = input(source, broadcasting(source, losses), any_dtype(source));
        if (source.below(3) == 0)
            second_weight = input(
                source, rows_family ? std::vector<std::ptrdiff_t>{shape[class_axis]} : broadcasting(source, losses),
                any_dtype(source));
        if (source.below(3) == 0)
            upstream = input(source, reduced ? std::vector<std::ptrdiff_t>{} : broadcasting(source, losses),
                             any_dtype(source));
        out = output(source, reduced ? std::vector<std::ptrdiff_t>{} : losses, loss_dtype);
        grad = output(source, shape, dtype);
        in_place = source.below(4) == 0;

        const double smoothing = source.below(3) == 0 ? source.number() : 0.0;
        std::optional<double> normalizer, number;
        if (source.below(4) == 0)
            normalizer = source.number();
        if (source.below(4) == 0)
            number = source.number();
        cross_entropy.axis = axis;
        cross_entropy.label_smoothing = smoothing;
        cross_entropy.z_loss = source.below(4) == 0 ? source.number() : 0.0;
        cross_entropy.softcap = number;
        cross_entropy.margin = function < 2 && source.below(4) == 0 ? source.number() : 0.0;
        cross_entropy.scale = source.below(4) == 0 ? source.number() : 1.0;
        cross_entropy.reduction = reduction;
        cross_entropy.normalizer = reduced ? normalizer : std::nullopt;
        if (source.flag())
            cross_entropy.ignore_index = static_cast<std::int64_t>(source.below(5)) - 1;
        bce.label_smoothing = smoothing;
        bce.ignore_value = number;
        bce.reduction = reduction;
        bce.normalizer = cross_entropy.normalizer;
        static_cast<BinaryOptions&>(focal) = bce;
        focal.gamma = source.number();
        if (source.flag())
            focal.alpha = source.flag() ? std::optional<double>(source.number()) : std::nullopt;
        regression.reduction = reduction;
        softmax.axes = {axis};
    }

    void make(int num_threads) {
        cross_entropy.num_threads = bce.num_threads = focal.num_threads = regression.num_threads = softmax.num_threads =
            num_threads;
        cross_entropy.sample_weight = bce.weight = focal.weight = regression.weight = weight.view();
        cross_entropy.class_weight = bce.pos_weight = second_weight.view();
        const MutableArrayView gradient = in_place ? a.output() : grad.output();
        switch (function) {
        case 0:
        case 2:
            return logitloss::cross_entropy(a.view(), b.view(), out.output(), cross_entropy);
        case 1:
        case 3:
            return cross_entropy_value_and_grad(a.view(), b.view(), upstream.view(), out.output(), gradient,
                                                cross_entropy);
        case 4:
            return bce_with_logits_value_and_grad(a.view(), b.view(), upstream.view(), out.output(), gradient, bce);
        case 5:
            return sigmoid_focal_loss_value_and_grad(a.view(), b.view(), upstream.view(), out.output(), gradient,
                                                     focal);
        case 6:
            return mean_squared_error_value_and_grad(a.view(), b.view(), upstream.view(), out.output(), gradient,
                                                     regression);
        case 7:
            return logsumexp_value_and_grad(a.view(), upstream.view(), out.output(), gradient, softmax);
        case 8:
            return weighted_logsumexp(a.view(), b.view(), out.output(), {}, softmax);
        case 9:
            logitloss::softmax(a.view(), gradient, softmax);
            return softmax_vjp(gradient, b.view(), gradient, softmax);
        case 10:
            log_softmax(a.view(), gradient, softmax);
            return log_softmax_vjp(gradient, b.view(), gradient, softmax);
        default:
            std::vector<LogSumExpState> states(out.count());
            logsumexp_states(a.view(), states.data(), softmax);
            return logsumexp_of_states(states.data(), out.output());
        }
    }
};

struct Outcome {
    std::string error;
    Bytes inputs, out, grad;

    bool operator==(const Outcome& other) const {
        return error == other.error && inputs == other.inputs && out == other.out && grad == other.grad;
    }
};

Bytes inputs_of(const Call& call) {
    Bytes all;
    for (const Array* array : {&call.a, &call.b, &call.weight, &call.second_weight, &call.upstream})
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
    const bool product = call.function == 9 || call.function == 10;  // two calls, the first may have written
    const bool kept =
        outcome.inputs == inputs_of(before) && outcome.out == before.out.bytes && outcome.grad == before.grad.bytes;
    if (!outcome.error.empty() && !kept && !product)
        outcome.error += " [and something was written]";
    if (outcome.error.empty() && !call.in_place && outcome.inputs != inputs_of(before))
        outcome.error = "[an input was written]";
    return outcome;
}

[[noreturn]] void report(const Call& call, const char* table, int num_threads, const Outcome& want,
                         const Outcome& got) {
    std::fprintf(stderr, "function %zu, %s, %d threads differ from scalar, 1 thread\nwant: %s\ngot:  %s\n",
                 call.function, table, num_threads, want.error.c_str(), got.error.c_str());
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
