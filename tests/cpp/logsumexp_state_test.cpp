// States of log-sum-exps: one piece gives the one-shot bits, and pieces merge to within the last place.
#include "logitloss/logsumexp_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include "logitloss/error.hpp"

namespace logitloss {
namespace {

template <class T>
constexpr DType dtype_of = sizeof(T) == sizeof(double) ? DType::float64 : DType::float32;
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class T>
T one_shot(const std::vector<T>& row) {
    const std::ptrdiff_t shape[] = {static_cast<std::ptrdiff_t>(row.size())};
    T value;
    logsumexp({row.data(), dtype_of<T>, 1, shape}, {&value, dtype_of<T>, 0, shape});
    return value;
}

template <class T>
LogSumExpState state_of(const T* data, std::size_t n) {
    const std::ptrdiff_t shape[] = {static_cast<std::ptrdiff_t>(n)};
    LogSumExpState state;
    logsumexp_states({data, dtype_of<T>, 1, shape}, &state);
    return state;
}

template <class T>
T value_of(const LogSumExpState& state) {
    const std::ptrdiff_t no_shape[] = {0};
    T value;
    logsumexp_of_states(&state, {&value, dtype_of<T>, 0, no_shape});
    return value;
}

template <class T>
std::vector<T> waves(std::size_t n, double height, double middle) {
    std::vector<T> row(n);
    for (std::size_t i = 0; i < n; ++i)
        row[i] = static_cast<T>(middle + height * std::sin(0.7 * static_cast<double>(i)));
    return row;
}

/// Rows of each kind of state: ordinary ones, and those beyond the fast kernels' range.
template <class T>
std::vector<std::vector<T>> rows() {
    return {waves<T>(1, 1, 0),         waves<T>(129, 5, 20),       waves<T>(9001, 30, -7),
            waves<T>(500, 10, 131072), waves<T>(500, 10, -131072), waves<T>(500, 1e30, 0)};
}

template <class T>
void expect_one_piece_is_one_shot() {
    for (const std::vector<T>& row : rows<T>()) {
        const T got = value_of<T>(state_of(row.data(), row.size()));
        const T want = one_shot(row);
        EXPECT_EQ(std::memcmp(&got, &want, sizeof got), 0) << got << " " << want;
    }
}

TEST(LogSumExpState, OfOnePieceHasTheOneShotBits) {
    expect_one_piece_is_one_shot<float>();
    expect_one_piece_is_one_shot<double>();
}

template <class T>
void expect_pieces_merge() {
    for (const std::vector<T>& row : rows<T>())
        for (std::size_t length : {1u, 7u, 1000u}) {
            LogSumExpState all;
            for (std::size_t first = 0; first < row.size(); first += length)
                all = merge(state_of(row.data() + first, std::min(length, row.size() - first)), all);
            const T want = one_shot(row);
            const T ulp = std::nextafter(std::fabs(want), std::numeric_limits<T>::infinity()) - std::fabs(want);
            EXPECT_NEAR(value_of<T>(all), want, ulp) << row.size() << " in pieces of " << length;
        }
}

TEST(LogSumExpState, MergesToWithinTheLastPlace) {
    expect_pieces_merge<float>();
    expect_pieces_merge<double>();
}

TEST(LogSumExpState, OfNothingIsMinusInfinityAndChangesNothing) {
    EXPECT_EQ(value_of<double>(LogSumExpState{}), -infinity);
    EXPECT_EQ(value_of<double>(state_of<double>(nullptr, 0)), -infinity);
    const double x = 0.5;
    const LogSumExpState one = state_of(&x, 1);
    EXPECT_EQ(value_of<double>(merge(one, {})), 0.5);
    EXPECT_EQ(value_of<double>(merge({}, one)), 0.5);
}

TEST(LogSumExpState, MergesInfinitiesAndNaN) {
    const double values[] = {0.0, 1e300, -1e300, -infinity, infinity, std::nan("")};
    for (double first : values)
        for (double second : values) {
            const double want = one_shot(std::vector<double>{first, second});
            const double got = value_of<double>(merge(state_of(&first, 1), state_of(&second, 1)));
            EXPECT_TRUE(got == want || (std::isnan(got) && std::isnan(want)))
                << first << ", " << second << ": " << got << ", expected " << want;
        }
}

TEST(LogSumExpState, HasOneStateARowInCOrder) {
    const float a[2][3][2] = {{{1, 2}, {3, 4}, {5, 6}}, {{7, 8}, {9, 10}, {11, 12}}};
    const std::ptrdiff_t shape[] = {2, 3, 2};
    const ArrayView view{a, DType::float32, 3, shape};
    SoftmaxOptions options;
    options.axes = {1};
    EXPECT_EQ(shape_of_rows(view, options), (std::vector<std::ptrdiff_t>{2, 2}));
    LogSumExpState states[4];
    logsumexp_states(view, states, options);
    const double largest[] = {5, 6, 11, 12};
    for (std::size_t row = 0; row < 4; ++row)
        EXPECT_EQ(states[row].max, largest[row]);
    options.axes = {3};
    EXPECT_THROW(shape_of_rows(view, options), axis_error);
    EXPECT_THROW(logsumexp_states(view, states, options), axis_error);
}

}  // namespace
}  // namespace logitloss
