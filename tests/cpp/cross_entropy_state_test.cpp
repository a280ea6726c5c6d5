// States of cross-entropy: classes cut into shards give what they give at once.
#include "logitloss/cross_entropy_state.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "logitloss/error.hpp"

namespace logitloss {
namespace {

template <class T>
constexpr DType dtype_of = sizeof(T) == sizeof(double) ? DType::float64 : DType::float32;

/// Rows of logits, C order, whose target leads by more and more.
template <class T>
struct Problem {
    std::ptrdiff_t rows, classes;
    std::vector<T> logits;
    std::vector<int> labels;
    CrossEntropyOptions options;

    Problem(std::ptrdiff_t row_count, std::ptrdiff_t class_count)
        : rows(row_count), classes(class_count), logits(size()), labels(static_cast<std::size_t>(row_count)) {
        for (std::size_t i = 0; i < logits.size(); ++i)
            logits[i] = static_cast<T>(5 * std::sin(0.7 * static_cast<double>(i)));
        for (std::size_t r = 0; r < labels.size(); ++r) {
            labels[r] = static_cast<int>(r * 7 % static_cast<std::size_t>(classes));
            logits[r * static_cast<std::size_t>(classes) + static_cast<std::size_t>(labels[r])] +=
                static_cast<T>(3 * r);
        }
        options.reduction = Reduction::none;
    }
    std::size_t size() const { return static_cast<std::size_t>(rows * classes); }
    ArrayView label_view() const { return {labels.data(), DType::int32, 1, &rows}; }

    /// Classes [first, end) of an array of the logits' shape.
    template <class View, class Data>
    View shard(Data* data, std::ptrdiff_t first, std::ptrdiff_t end) const {
        shape_[0] = rows;
        shape_[1] = end - first;
        strides_[0] = classes * static_cast<std::ptrdiff_t>(sizeof(T));
        strides_[1] = sizeof(T);
        View view;
        view.data = data + first;
        view.dtype = dtype_of<T>;
        view.ndim = 2;
        view.shape = shape_;
        view.strides = strides_;
        return view;
    }
    std::vector<CrossEntropyState> merged(const std::vector<std::ptrdiff_t>& edges) const {
        const std::size_t shards = edges.size() - 1, count = labels.size();
        std::vector<CrossEntropyState> states(count * shards), whole(count);
        for (std::size_t s = 0; s < shards; ++s) {
            std::vector<CrossEntropyState> own(count);
            cross_entropy_states(shard<ArrayView>(logits.data(), edges[s], edges[s + 1]), label_view(),
                                 {edges[s], classes}, own.data(), options);
            for (std::size_t r = 0; r < count; ++r)
                states[r * shards + s] = own[r];
        }
        merge_cross_entropy_states(states.data(), count, shards, false, whole.data(), options);
        return whole;
    }

private:
    mutable std::ptrdiff_t shape_[2], strides_[2];
};

template <class T>
void expect_near(const std::vector<T>& got, const std::vector<T>& want, double tolerance, double floor) {
    for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], want[i], tolerance * std::fabs(static_cast<double>(want[i])) + floor) << i;
}

template <class T>
void expect_one_call(const Problem<T>& problem, const std::vector<std::ptrdiff_t>& edges) {
    const std::size_t count = problem.labels.size();
    const double tolerance = 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
    std::vector<T> loss(count), one_loss(count), grad(problem.size()), one_grad(problem.size());
    const MutableArrayView loss_view{one_loss.data(), dtype_of<T>, 1, &problem.rows};
    cross_entropy_value_and_grad(
        problem.template shard<ArrayView>(problem.logits.data(), 0, problem.classes), problem.label_view(), {},
        loss_view, problem.template shard<MutableArrayView>(one_grad.data(), 0, problem.classes), problem.options);
    const std::vector<CrossEntropyState> states = problem.merged(edges);
    for (std::size_t s = 0; s + 1 < edges.size(); ++s) {
        const ArrayView logits = problem.template shard<ArrayView>(problem.logits.data(), edges[s], edges[s + 1]);
        cross_entropy_of_states(logits, problem.label_view(), {edges[s], problem.classes}, states.data(), {},
                                {loss.data(), dtype_of<T>, 1, &problem.rows},
                                problem.template shard<MutableArrayView>(grad.data(), edges[s], edges[s + 1]),
                                problem.options);
        expect_near(loss, one_loss, tolerance, 0.0);
    }
    expect_near(grad, one_grad, tolerance, tolerance * problem.options.label_smoothing);
}

template <class T>
void expect_one_call_for_all_options() {
    for (const std::ptrdiff_t classes : {2, 40, 9001}) {
        Problem<T> problem(21, classes);
        const std::vector<std::vector<std::ptrdiff_t>> cuts = {
            {0, classes}, {0, 1, classes}, {0, 0, classes / 2, classes / 2, classes - 1, classes}};
        for (const auto& edges : cuts) {
            problem.options = {};
            problem.options.reduction = Reduction::none;
            expect_one_call(problem, edges);
            problem.options.label_smoothing = 0.1;
            problem.options.z_loss = 1e-3;
            expect_one_call(problem, edges);
        }
    }
}

TEST(CrossEntropyStates, GiveWhatOneCallGives) {
    expect_one_call_for_all_options<float>();
    expect_one_call_for_all_options<double>();
}

TEST(CrossEntropyStates, OfOneShardAreMergedAsTheyAre) {
    Problem<double> problem(3, 50);
    const std::vector<CrossEntropyState> states = problem.merged({0, 50});
    std::vector<CrossEntropyState> again(3);
    merge_cross_entropy_states(states.data(), 3, 1, false, again.data(), problem.options);
    EXPECT_EQ(std::memcmp(again.data(), states.data(), 3 * sizeof(CrossEntropyState)), 0);
}

/// The message of the value_error that fn throws.
template <class Fn>
std::string why(Fn&& fn) {
    try {
        fn();
    } catch (const value_error& error) {
        return error.what();
    }
    return "no error";
}

TEST(CrossEntropyStates, SayWhatIsWrongAndWriteNothing) {
    Problem<float> problem(3, 6);
    const ArrayView logits = problem.shard<ArrayView>(problem.logits.data(), 0, 3);
    CrossEntropyState states[6];
    const double untouched = states[0].sum = 7.0;
    EXPECT_EQ(why([&] { cross_entropy_states(logits, problem.label_view(), {4, 6}, states, problem.options); }),
              "first_class: got 4 for a shard of 3 classes, expected classes in [0, 6)");
    EXPECT_EQ(why([&] { cross_entropy_states(logits, problem.label_view(), {0, 0}, states, problem.options); }),
              "num_classes: got 0, expected at least 1");
    problem.labels[2] = 6;
    EXPECT_EQ(why([&] { cross_entropy_states(logits, problem.label_view(), {0, 6}, states, problem.options); }),
              "target[2]: got label 6, expected a class in [0, 6) or ignore_index (-100) for 6 classes");
    EXPECT_EQ(states[0].sum, untouched);
    problem.labels[2] = 5;

    cross_entropy_states(logits, problem.label_view(), {0, 6}, states, problem.options);
    float out[18];
    const MutableArrayView loss{out, DType::float32, 1, &problem.rows};
    const auto end = [&] {
        cross_entropy_of_states(logits, problem.label_view(), {0, 6}, states, {}, loss, {}, problem.options);
    };
    EXPECT_EQ(why(end), "states: got classes [0, 3), expected classes [0, 6)");
    for (CrossEntropyState& state : states) {
        state.end_class = 6;
        state.digits = 53;
    }
    EXPECT_EQ(why(end), "logits_shard: got dtype float32 beside states of float64 logits, expected one arithmetic");

    out[0] = 7.0f;
    const auto check = [&](const CrossEntropyOptions& options) {
        cross_entropy_of_states(logits, problem.label_view(), {0, 6}, nullptr, {}, loss, {}, options);
    };
    EXPECT_EQ(why([&] { check(problem.options); }), "no error");
    CrossEntropyOptions wrong = problem.options;
    wrong.label_smoothing = 2.0;
    EXPECT_EQ(why([&] { check(wrong); }).substr(0, 24), "label_smoothing: got 2.0");
    EXPECT_EQ(out[0], 7.0f);

    CrossEntropyState pair[2] = {states[0], states[0]}, merged;
    const auto merge_pair = [&] { merge_cross_entropy_states(pair, 1, 2, false, &merged, problem.options); };
    EXPECT_EQ(
        why(merge_pair),
        "states: got classes [0, 6) and classes [0, 6), expected shards that neither overlap nor leave classes out");
    pair[1].first_class = 6;
    pair[1].digits = 24;
    EXPECT_EQ(why(merge_pair), "states: got some of float64 logits and some of others, expected one arithmetic");
    EXPECT_EQ(why([&] { merge_cross_entropy_states(pair, 1, 0, false, &merged, problem.options); }),
              "states: got no shards, expected at least one");
}

}  // namespace
}  // namespace logitloss
