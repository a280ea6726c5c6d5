// What the public functions say of arguments that they refuse. The Python tests refuse many more, but the bindings stop
// some of them before the library sees them.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "logitloss/logitloss.hpp"

namespace logitloss {
namespace {

const std::ptrdiff_t shape[] = {2, 3};
const float logits[6] = {};
const std::int32_t target[2] = {};
float losses[2];

const ArrayView logits_view{logits, DType::float32, 2, shape};
const ArrayView target_view{target, DType::int32, 1, shape};
const MutableArrayView one_loss{losses, DType::float32, 0};
const MutableArrayView each_loss{losses, DType::float32, 1, shape};

template <class Error, class Call>
std::string message(Call call) {
    try {
        call();
    } catch (const Error& error) {
        return error.what();
    }
    return "nothing was thrown";
}

TEST(Arguments, DtypesHaveTheNamesOfNumPy) {
    const std::pair<DType, std::pair<const char*, std::size_t>> all[] = {
        {DType::boolean, {"bool", 1}},    {DType::int8, {"int8", 1}},         {DType::uint8, {"uint8", 1}},
        {DType::int16, {"int16", 2}},     {DType::uint16, {"uint16", 2}},     {DType::int32, {"int32", 4}},
        {DType::uint32, {"uint32", 4}},   {DType::int64, {"int64", 8}},       {DType::uint64, {"uint64", 8}},
        {DType::float16, {"float16", 2}}, {DType::bfloat16, {"bfloat16", 2}}, {DType::float32, {"float32", 4}},
        {DType::float64, {"float64", 8}}};
    for (const auto& [dtype, expected] : all) {
        EXPECT_STREQ(name(dtype), expected.first);
        EXPECT_EQ(item_size(dtype), expected.second) << expected.first;
    }
    EXPECT_STREQ(name(static_cast<DType>(200)), "unknown");
    EXPECT_EQ(item_size(static_cast<DType>(200)), 0u);
}

TEST(Arguments, LogitsAreFloating) {
    const ArrayView integers{target, DType::int32, 1, shape};
    EXPECT_EQ(message<type_error>([&] { logsumexp(integers, one_loss); }),
              "a: got dtype int32, expected float16, bfloat16, float32 or float64");
}

TEST(Arguments, HaveAtMost64Dimensions) {
    const std::vector<std::ptrdiff_t> ones(65, 1);
    const ArrayView deep{logits, DType::float32, 65, ones.data()};
    EXPECT_EQ(message<value_error>([&] { logsumexp(deep, one_loss); }), "a: got 65 dimensions, expected at most 64");
    const ArrayView negative{logits, DType::float32, -1, ones.data()};
    EXPECT_EQ(message<value_error>([&] { logsumexp(negative, one_loss); }),
              "a: got -1 dimensions, expected at most 64");
}

TEST(Arguments, LengthsAreNotNegative) {
    for (const std::ptrdiff_t length : {std::ptrdiff_t{-1}, std::numeric_limits<std::ptrdiff_t>::min()}) {
        const std::ptrdiff_t lengths[] = {3, length};
        const ArrayView view{logits, DType::float32, 2, lengths};
        EXPECT_EQ(message<value_error>([&] { logsumexp(view, one_loss); }),
                  "a: got shape (3, " + std::to_string(length) + "), expected lengths of at least 0");
    }
}

TEST(Arguments, AreNotLargerThanMemory) {
    constexpr std::ptrdiff_t most = std::numeric_limits<std::ptrdiff_t>::max();
    constexpr std::ptrdiff_t least = std::numeric_limits<std::ptrdiff_t>::min();
    constexpr std::ptrdiff_t root = std::ptrdiff_t{1} << 32;
    const std::pair<std::vector<std::ptrdiff_t>, std::vector<std::ptrdiff_t>> wrong[] = {
        {{root, root}, {}},          // 2^64 elements
        {{most}, {}},                // too many bytes
        {{most, 0}, {}},             // no element, but no array either
        {{root, root}, {0, 0}},      // none of them anywhere else
        {{2, 3}, {most, 4}},         // the second row is not in memory
        {{2, 3}, {least, 4}},        // nor is it here
        {{3, 3}, {most / 3, 4}},     // twice the stride is, and the address beyond it is not
        {{3, 3}, {4, -(most / 4)}},  // and so downwards
    };
    for (const auto& [lengths, strides] : wrong) {
        const ArrayView view{logits, DType::float32, static_cast<int>(lengths.size()), lengths.data(),
                             strides.empty() ? nullptr : strides.data()};
        const std::string said = message<value_error>([&] { logsumexp(view, one_loss); });
        EXPECT_EQ(said.substr(0, 14), "a: got shape (") << lengths[0];
        EXPECT_NE(said.find("expected an array that fits into memory"), std::string::npos) << said;
        EXPECT_NE(message<value_error>(
                      [&] { softmax(logits_view, {losses, DType::float32, view.ndim, view.shape, view.strides}); }),
                  "nothing was thrown");
    }
}

TEST(Arguments, AnAxisOfOneElementHasAnyStride) {
    constexpr std::ptrdiff_t most = std::numeric_limits<std::ptrdiff_t>::max();
    const float numbers[] = {1, 2, 3, 4, 5, 6};
    const std::ptrdiff_t lengths[] = {1, 2, 1, 3, 1};
    const std::ptrdiff_t rows_apart[] = {1, 2, 1, 1};
    SoftmaxOptions options;
    options.axes = {3};
    float want[2];
    logsumexp({numbers, DType::float32, 5, lengths}, {want, DType::float32, 4, rows_apart}, options);
    for (const std::ptrdiff_t stride : {most, -most - 1, -most, most / 2, std::ptrdiff_t{0}}) {
        const std::ptrdiff_t strides[] = {stride, 12, stride, 4, stride};
        float got[2] = {};
        logsumexp({numbers, DType::float32, 5, lengths, strides}, {got, DType::float32, 4, rows_apart}, options);
        EXPECT_EQ(got[0], want[0]) << stride;
        EXPECT_EQ(got[1], want[1]) << stride;
    }
}

TEST(Arguments, NormalizerNeedsASumToDivide) {
    CrossEntropyOptions options;
    options.normalizer = 2.0;
    options.reduction = Reduction::none;
    EXPECT_EQ(message<value_error>([&] { cross_entropy(logits_view, target_view, each_loss, options); }),
              "normalizer: got 2.0 with reduction 'none', expected reduction 'mean' or 'sum'");
}

TEST(Arguments, AxisErrorsSayWhichAxisOfWhat) {
    CrossEntropyOptions options;
    options.axis = 2;
    try {
        cross_entropy(logits_view, target_view, one_loss, options);
        FAIL() << "nothing was thrown";
    } catch (const axis_error& error) {
        EXPECT_EQ(error.axis, 2);
        EXPECT_EQ(error.ndim, 2);
    }
}

}  // namespace
}  // namespace logitloss
