// Log-sum-exp, softmax and log-softmax over rows.
#include <memory>

#include "cells.hpp"
#include "logitloss/logsumexp.hpp"

namespace bench {
namespace {

using logitloss::SoftmaxOptions;

void add_value(const Cell& cell) {
    add("logsumexp/" + describe(cell), [cell](int threads) {
        auto logits = std::make_shared<Array>(random_logits(cell.dtype, {cell.rows, cell.classes}));
        auto out = std::make_shared<Array>(loss_dtype(cell.dtype), std::vector<std::ptrdiff_t>{cell.rows});
        const auto call = [=] {
            logitloss::logsumexp(logits->view(), out->view_mutable(), SoftmaxOptions{{-1}, threads});
        };
        return Measured{call, logits->bytes() + out->bytes(), logits->size()};
    });
}

using Map = void (*)(const logitloss::ArrayView&, const logitloss::MutableArrayView&, const SoftmaxOptions&);

void add_map(const std::string& name, Map map, const Cell& cell) {
    add(name + "/" + describe(cell), [map, cell](int threads) {
        auto logits = std::make_shared<Array>(random_logits(cell.dtype, {cell.rows, cell.classes}));
        auto out = std::make_shared<Array>(cell.dtype, std::vector<std::ptrdiff_t>{cell.rows, cell.classes});
        const auto call = [=] { map(logits->view(), out->view_mutable(), SoftmaxOptions{{-1}, threads}); };
        return Measured{call, logits->bytes() + out->bytes(), logits->size()};
    });
}

}  // namespace

void add_log_sum_exp() {
    for (const Cell& cell : matrices())
        add_value(cell);
    for (const Cell& cell : matrices())
        add_map("softmax", logitloss::softmax, cell);
    for (const Cell& cell : matrices())
        add_map("log_softmax", logitloss::log_softmax, cell);
}

}  // namespace bench
