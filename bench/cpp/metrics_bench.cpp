// Accuracy: the class with the largest logit, and the five with the largest.
#include <memory>

#include "cells.hpp"
#include "logitloss/metrics.hpp"

namespace bench {
namespace {

void add_accuracy(const Shape& shape, std::int64_t top_k) {
    add("accuracy/" + describe(shape) + "/top_" + std::to_string(top_k), [=](int threads) {
        auto logits = std::make_shared<Array>(random_logits(DType::float32, {shape.rows, shape.classes}));
        auto labels = std::make_shared<Array>(random_labels(shape.rows, shape.classes));
        logitloss::AccuracyOptions options;
        options.top_k = top_k;
        options.num_threads = threads;
        const auto call = [=] {
            benchmark::DoNotOptimize(logitloss::accuracy(logits->view(), labels->view(), options));
        };
        return Measured{call, logits->bytes() + labels->bytes(), logits->size()};
    });
}

}  // namespace

void add_metrics() {
    for (const std::int64_t top_k : {1, 5})
        for (const Shape& shape : {Shape{512, 128256}, {4096, 1000}, {1000000, 10}, {1, 10}})
            add_accuracy(shape, top_k);
}

}  // namespace bench
