// Calls from many threads at once, each of them on several threads, while the limit changes: everybody gets the bits of a
// call alone. What the library shares between calls is what this is about; ThreadSanitizer runs it too.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "logitloss/logitloss.hpp"

namespace {

using namespace logitloss;

constexpr int callers = 8;
constexpr int workers = 5;

/// Logits whose size is worth all workers, and what the functions make of them.
class Calls {
public:
    Calls(std::ptrdiff_t rows, std::ptrdiff_t classes)
        : shape_{rows, classes}, logits_(static_cast<std::size_t>(rows * classes)) {
        for (std::size_t i = 0; i < logits_.size(); ++i)
            logits_[i] = static_cast<float>(i * 2654435761u % 4096) * 0x1p-8f - 8;
        for (std::ptrdiff_t row = 0; row < rows; ++row)
            labels_.push_back(row % classes);
    }

    /// Log-sum-exps; a mean loss and its gradient; a sum of losses of elements and their gradient.
    std::vector<float> results(int num_threads) const {
        const std::size_t rows = labels_.size(), size = logits_.size();
        std::vector<float> all(rows + 1 + size + 1 + size);
        float* const loss = all.data() + rows;
        float* const sum = loss + 1 + size;
        SoftmaxOptions softmax;
        softmax.num_threads = num_threads;
        logsumexp(logits(), {all.data(), DType::float32, 1, shape_, nullptr}, softmax);
        CrossEntropyOptions entropy;
        entropy.num_threads = num_threads;
        cross_entropy_value_and_grad(logits(), {labels_.data(), DType::int64, 1, shape_, nullptr}, {}, scalar(loss),
                                     gradient(loss + 1), entropy);
        BceOptions binary;
        binary.num_threads = num_threads;
        binary.reduction = Reduction::sum;
        bce_with_logits_value_and_grad(logits(), logits(), {}, scalar(sum), gradient(sum + 1), binary);
        return all;
    }

private:
    ArrayView logits() const { return {logits_.data(), DType::float32, 2, shape_, nullptr}; }
    MutableArrayView gradient(float* data) const { return {data, DType::float32, 2, shape_, nullptr}; }
    static MutableArrayView scalar(float* data) { return {data, DType::float32, 0, nullptr, nullptr}; }

    std::ptrdiff_t shape_[2];
    std::vector<float> logits_;
    std::vector<std::int64_t> labels_;
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void expect_everybody_gets_the_bits_of_a_call_alone(const Calls& calls) {
    const std::vector<float> alone = calls.results(1);
    std::atomic<int> different{0}, working{callers};
    std::vector<std::thread> threads;
    for (int i = 0; i < callers; ++i)
        threads.emplace_back([&] {
            for (int repeat = 0; repeat < 3; ++repeat)
                different += !same(calls.results(workers), alone);
            --working;
        });
    for (int n = 1; working > 0; n = n % workers + 1) {
        set_num_threads(n);
        std::this_thread::yield();
    }
    set_num_threads(std::numeric_limits<int>::max());
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(different, 0);
}

TEST(ConcurrentCalls, ManyRows) { expect_everybody_gets_the_bits_of_a_call_alone({400, 500}); }
TEST(ConcurrentCalls, RowsSideBySide) { expect_everybody_gets_the_bits_of_a_call_alone({20000, 10}); }
TEST(ConcurrentCalls, FewRowsOfManyClasses) { expect_everybody_gets_the_bits_of_a_call_alone({2, 100000}); }

}  // namespace
