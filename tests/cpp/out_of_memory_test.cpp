// Every allocation of every public function fails once: the function then throws std::bad_alloc and has written nothing,
// or needed that memory only to be faster and gives its result.

// Clang's sanitizers are linked statically and have operators new of their own.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define LOGITLOSS_TEST_WITHOUT_NEW
#endif
#endif

#ifndef LOGITLOSS_TEST_WITHOUT_NEW
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <new>
#include <vector>

#include "logitloss/logitloss.hpp"

namespace {

constexpr long never = std::numeric_limits<long>::max();

/// Allocations of this program that still succeed.
std::atomic<long> allowed{never};

void* allocate(std::size_t bytes) {
    if (allowed.load() != never && allowed.fetch_sub(1) <= 0)
        return nullptr;
    return std::malloc(bytes == 0 ? 1 : bytes);
}

}  // namespace

void* operator new(std::size_t bytes) {
    if (void* memory = allocate(bytes))
        return memory;
    throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace logitloss {
namespace {

constexpr std::size_t rows = 300, classes = 1000;  // enough for several threads
constexpr float untouched = 77.0f;

struct Arrays {
    std::vector<float> logits = std::vector<float>(rows * classes), other = logits, weights = logits;
    std::vector<std::int32_t> labels = std::vector<std::int32_t>(rows);
    std::vector<float> loss = std::vector<float>(rows, untouched), grad = std::vector<float>(rows * classes, untouched);
    std::ptrdiff_t shape[2] = {rows, classes};
    std::ptrdiff_t transposed[2] = {sizeof(float), rows * sizeof(float)};

    Arrays() {
        for (std::size_t i = 0; i < logits.size(); ++i) {
            logits[i] = static_cast<float>(i * 2654435761u % 1000) / 200.0f;
            other[i] = static_cast<float>(i * 40503u % 2);
            weights[i] = static_cast<float>(i % 5) / 4.0f;
        }
        for (std::size_t i = 0; i < rows; ++i)
            labels[i] = static_cast<std::int32_t>(i);
    }
    ArrayView view(const std::vector<float>& values, bool turned = false) const {
        return {values.data(), DType::float32, 2, shape, turned ? transposed : nullptr};
    }
    ArrayView target() const { return {labels.data(), DType::int32, 1, shape}; }
    MutableArrayView loss_view(int dimensions) { return {loss.data(), DType::float32, dimensions, shape}; }
    MutableArrayView grad_view() { return {grad.data(), DType::float32, 2, shape}; }

    bool written() const {
        for (const std::vector<float>* output : {&loss, &grad})
            for (float value : *output)
                if (value != untouched)
                    return true;
        return false;
    }
};

/// Lets the first, second, ... allocation of `call` fail, until one call needs no more than are allowed.
void starve(const char* what, const std::function<void(Arrays&)>& call) {
    SCOPED_TRACE(what);
    Arrays expected;
    call(expected);
    int failures = 0;
    for (long n = 0; n < 10000; ++n) {
        Arrays arrays;
        bool failed = false;
        allowed = n;
        try {
            call(arrays);
        } catch (const std::bad_alloc&) {
            failed = true;
        }
        const bool reached = allowed.exchange(never) <= 0;
        failures += failed;
        if (failed)
            ASSERT_FALSE(arrays.written()) << "after allocation " << n << " failed";
        else
            ASSERT_TRUE(arrays.loss == expected.loss && arrays.grad == expected.grad) << "allocation " << n;
        if (!reached)
            break;
    }
    EXPECT_GT(failures, 0);
}

TEST(OutOfMemory, CrossEntropy) {
    starve("loss", [](Arrays& a) { cross_entropy(a.view(a.logits), a.target(), a.loss_view(0)); });
    starve("gradient", [](Arrays& a) {
        cross_entropy_value_and_grad(a.view(a.logits), a.target(), {}, a.loss_view(0), a.grad_view());
    });
    starve("everything, staged", [](Arrays& a) {
        CrossEntropyOptions options;
        options.class_weight = {a.weights.data(), DType::float32, 1, a.shape + 1};
        options.label_smoothing = 0.1;
        options.softcap = 3.0;
        options.scale = 2.0;
        options.reduction = Reduction::none;
        cross_entropy_value_and_grad(a.view(a.logits, true), a.target(), {}, a.loss_view(1), a.grad_view(), options);
    });
    starve("probabilities", [](Arrays& a) {
        cross_entropy_value_and_grad(a.view(a.logits), a.view(a.weights), {}, a.loss_view(0), a.grad_view());
    });
}

TEST(OutOfMemory, BinaryLosses) {
    BceOptions options;
    options.label_smoothing = 0.1;
    options.ignore_value = 2.0;
    starve("bce", [&](Arrays& a) {
        bce_with_logits_value_and_grad(a.view(a.logits, true), a.view(a.other), {}, a.loss_view(0), a.grad_view(),
                                       options);
    });
    starve("focal", [&](Arrays& a) {
        sigmoid_focal_loss_value_and_grad(a.view(a.logits), a.view(a.other), {}, a.loss_view(0), a.grad_view());
    });
    starve("mean squared error", [&](Arrays& a) {
        mean_squared_error_value_and_grad(a.view(a.logits), a.view(a.other), {}, a.loss_view(0), a.grad_view());
    });
}

TEST(OutOfMemory, RegressionAndProbabilities) {
    starve("root mean squared error", [](Arrays& a) {
        root_mean_squared_error_value_and_grad(a.view(a.logits, true), a.view(a.other), {}, a.loss_view(0),
                                               a.grad_view());
    });
    ProbabilityEntropyOptions options;
    options.eps = 0.01;
    starve("from probabilities", [&](Arrays& a) {
        cross_entropy_from_probs_value_and_grad(a.view(a.weights), a.view(a.other), {}, a.loss_view(0), a.grad_view(),
                                                options);
    });
    starve("entropy", [](Arrays& a) { entropy(a.view(a.weights, true), a.loss_view(1)); });
    starve("divergence", [](Arrays& a) { kl_divergence(a.view(a.weights), a.view(a.weights), a.loss_view(1)); });
    starve("self-information", [](Arrays& a) { self_information(a.view(a.weights), a.grad_view()); });
}

TEST(OutOfMemory, LogSumExpAndSoftmaxes) {
    starve("logsumexp", [](Arrays& a) { logsumexp(a.view(a.logits), a.loss_view(1)); });
    starve("gradient",
           [](Arrays& a) { logsumexp_value_and_grad(a.view(a.logits, true), {}, a.loss_view(1), a.grad_view()); });
    starve("softmax", [](Arrays& a) { softmax(a.view(a.logits), a.grad_view()); });
    starve("log-softmax", [](Arrays& a) { log_softmax(a.view(a.logits, true), a.grad_view()); });
    starve("products", [](Arrays& a) { softmax_vjp(a.view(a.weights), a.view(a.logits), a.grad_view()); });
    starve("states of shards", [](Arrays& a) {
        std::vector<CrossEntropyState> states(rows);
        const ClassRange all{0, classes};
        cross_entropy_states(a.view(a.logits), a.target(), all, states.data());
        cross_entropy_of_states(a.view(a.logits), a.target(), all, states.data(), {}, a.loss_view(0), a.grad_view());
    });
    starve("states", [](Arrays& a) {
        std::vector<LogSumExpState> states(rows);
        logsumexp_states(a.view(a.logits), states.data());
        logsumexp_of_states(states.data(), a.loss_view(1));
    });
}

}  // namespace
}  // namespace logitloss

#endif
