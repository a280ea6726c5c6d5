// Rows of few float32 classes: the same bits on every instruction set and in every layout, odd rows left alone.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernel_fixture.hpp"

namespace logitloss::detail {
namespace {

class FewClassKernels : public KernelTest {
protected:
    void SetUp() override {
        if (kernels<float>().few_classes == nullptr)
            GTEST_SKIP() << "not in the emulation";
    }
};
INSTANTIATE_TEST_SUITE_P(Isa, FewClassKernels, testing::ValuesIn(tables_that_run_here()),
                         [](const auto& info) { return table_name(info.param); });

enum class Layout { rows, rows_with_gaps, columns };

/// Logits of some rows, the other arguments of a call, and room for its results: whole batches of everything.
struct Call {
    std::size_t rows, classes, lanes;
    Layout layout;
    std::vector<float> logits, out, target, read, lse, odd;
    std::vector<double> weight, factor, loss;

    Call(std::size_t row_count, std::size_t class_count, Layout laid_out)
        : rows(row_count),
          classes(class_count),
          lanes((row_count + row_batch - 1) / row_batch * row_batch),
          layout(laid_out),
          logits(size()),
          out(size(), -7.0f),
          target(lanes),
          read(lanes, 1.0f),
          lse(lanes),
          odd(lanes),
          weight(lanes, 1.0),
          factor(lanes, 1.0),
          loss(lanes) {}
    std::size_t at(std::size_t row, std::size_t j) const {
        return static_cast<std::size_t>(row_step()) * row + static_cast<std::size_t>(class_step()) * j;
    }
    bool run(const Kernels<float>& kernels, FewClassTask task, float spread, bool in_place) {
        FewClasses in{};
        in.x = in_place ? out.data() : logits.data();
        in.row_step = in.out_row_step = row_step();
        in.class_step = in.out_class_step = class_step();
        in.rows = rows;
        in.classes = classes;
        in.target = target.data();
        in.read = read.data();
        in.weight = weight.data();
        in.factor = factor.data();
        in.kept = 1.0f - spread * static_cast<float>(classes);
        in.spread = spread;
        in.lse = lse.data();
        in.loss = loss.data();
        in.odd = odd.data();
        in.out = out.data();
        if (in_place)
            out = logits;
        return kernels.few_classes(in, task);
    }

private:
    std::size_t size() const { return layout == Layout::columns ? lanes * classes : rows * (classes + 3); }
    std::ptrdiff_t row_step() const {
        return layout == Layout::columns ? 1 : static_cast<std::ptrdiff_t>(classes + (layout == Layout::rows ? 0 : 3));
    }
    std::ptrdiff_t class_step() const { return layout == Layout::columns ? static_cast<std::ptrdiff_t>(lanes) : 1; }
};

/// One row in five is not read, one in seven has a factor of 0, one in eleven a factor that is too large.
Call call_of(std::size_t rows, std::size_t classes, Layout layout) {
    Call call(rows, classes, layout);
    Random random(classes);
    const std::vector<RowKind<float>> kinds = all_rows<float>();
    std::vector<float> row(classes);
    for (std::size_t r = 0; r < rows; ++r) {
        kinds[r % kinds.size()].fill(random, row);
        for (std::size_t j = 0; j < classes; ++j)
            call.logits[call.at(r, j)] = row[j];
        call.target[r] = static_cast<float>(random.below(classes));
        call.read[r] = r % 5 == 4 ? 0.0f : 1.0f;
        call.weight[r] = random.normal();
        call.factor[r] = r % 7 == 6 ? 0.0 : r % 11 == 10 ? 0x1p21 : random.normal();
    }
    return call;
}

constexpr FewClassTask tasks[] = {
    FewClassTask::log_sum_exp, FewClassTask::softmax,       FewClassTask::log_sum_exp_gradient,
    FewClassTask::log_softmax, FewClassTask::cross_entropy, FewClassTask::cross_entropy_gradient,
    FewClassTask::largest};

/// What a call leaves of each row, whatever the layout.
Outcome outcome_of(const Kernels<float>& kernels, FewClassTask task, float spread, Call call, bool in_place) {
    Outcome outcome;
    outcome.add(static_cast<std::int32_t>(call.run(kernels, task, spread, in_place)));
    const bool largest = task == FewClassTask::largest;
    const bool of_loss = largest || task == FewClassTask::cross_entropy || task == FewClassTask::cross_entropy_gradient;
    const bool of_lse = task == FewClassTask::log_sum_exp || task == FewClassTask::log_sum_exp_gradient;
    const bool writes = !largest && task != FewClassTask::log_sum_exp && task != FewClassTask::cross_entropy;
    for (std::size_t r = 0; r < call.rows; ++r) {
        outcome.add(call.odd[r]);
        if (of_loss && call.odd[r] < 1.0f)
            outcome.add(call.loss[r]);
        if (of_lse && call.odd[r] < 1.0f)
            outcome.add(call.lse[r]);
        for (std::size_t j = 0; writes && j < call.classes; ++j)
            outcome.add(call.out[call.at(r, j)]);
    }
    return outcome;
}

TEST_P(FewClassKernels, GiveTheScalarBitsInEveryLayout) {
    for (std::size_t classes : {2, 3, 4, 5, 7, 8, 10, 16, 17, 33, 128})
        for (std::size_t rows : {1, 3, 16, 61})
            for (FewClassTask task : tasks)
                for (float spread : {0.0f, 0.01f / static_cast<float>(classes)}) {
                    const Outcome expected =
                        outcome_of(scalar<float>(), task, spread, call_of(rows, classes, Layout::rows), false);
                    for (Layout layout : {Layout::rows, Layout::rows_with_gaps, Layout::columns})
                        for (bool in_place : {false, true}) {
                            const Outcome got =
                                outcome_of(kernels<float>(), task, spread, call_of(rows, classes, layout), in_place);
                            ASSERT_TRUE(got == expected)
                                << rows << " rows of " << classes << ", task " << static_cast<int>(task) << ", layout "
                                << static_cast<int>(layout) << (in_place ? ", in place" : "");
                        }
                }
}

TEST_P(FewClassKernels, TheLargestIsTheClassThatNoneBeats) {
    for (std::size_t classes : {2, 3, 5, 16, 40}) {
        Call call = call_of(61, classes, Layout::columns);
        for (std::size_t r = 0; r < call.rows; ++r) {
            call.weight[r] = 1.0;
            call.logits[call.at(r, r % classes)] = call.logits[call.at(r, 0)];  // ties
        }
        std::vector<float> beating(call.lanes);
        kernels<float>().column_beating(call.logits.data(), static_cast<std::ptrdiff_t>(call.lanes),
                                        {call.lanes, classes}, call.target.data(), beating.data());
        EXPECT_FALSE(call.run(kernels<float>(), FewClassTask::largest, 0.0f, false));
        std::size_t largest = 0;
        for (std::size_t r = 0; r < call.rows; ++r) {
            ASSERT_EQ(call.loss[r], call.read[r] != 0.0f && beating[r] == 0.0f ? 1.0 : 0.0) << classes << ", row " << r;
            largest += beating[r] == 0.0f ? 1 : 0;
        }
        EXPECT_GT(largest, 0u);
    }
}

TEST_P(FewClassKernels, OddRowsKeepTheirLogits) {
    for (std::size_t classes : {2, 3, 5, 16, 40})
        for (Layout layout : {Layout::rows, Layout::rows_with_gaps, Layout::columns})
            for (FewClassTask task : {FewClassTask::softmax, FewClassTask::log_sum_exp_gradient,
                                      FewClassTask::log_softmax, FewClassTask::cross_entropy_gradient}) {
                Call call = call_of(61, classes, layout);
                const std::vector<float> logits = call.logits;
                call.run(kernels<float>(), task, 0.0f, true);
                std::size_t odd = 0;
                for (std::size_t r = 0; r < call.rows; ++r)
                    for (std::size_t j = 0; call.odd[r] != 0.0f && j < classes; ++j, ++odd) {
                        const float was = logits[call.at(r, j)], is = call.out[call.at(r, j)];
                        ASSERT_TRUE(is == was || (is != is && was != was)) << "row " << r << ", class " << j;
                    }
                EXPECT_GT(odd, 0u);
            }
}

TEST_P(FewClassKernels, WriteNothingBeyondTheirRows) {
    for (std::size_t classes : {2, 3, 5, 16, 40})
        for (std::size_t rows : {1, 7, 17}) {
            Call call = call_of(rows, classes, Layout::rows_with_gaps);
            call.run(kernels<float>(), FewClassTask::cross_entropy_gradient, 0.0f, false);
            for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t gap = classes; gap < classes + 3; ++gap)
                    ASSERT_EQ(call.out[call.at(r, gap)], -7.0f);
        }
}

}  // namespace
}  // namespace logitloss::detail
