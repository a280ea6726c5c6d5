// What the public functions say of arguments that they refuse. The Python tests refuse many more, but the bindings stop
// some of them before the library sees them.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
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
