// Log-sum-exp, softmax and log-softmax over rows, and their gradients.
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

void add_value_and_grad(const Cell& cell) {
    add("logsumexp_value_and_grad/" + describe(cell), [cell](int threads) {
        auto logits = std::make_shared<Array>(random_logits(cell.dtype, {cell.rows, cell.classes}));
        auto out = std::make_shared<Array>(loss_dtype(cell.dtype), std::vector<std::ptrdiff_t>{cell.rows});
        auto grad = std::make_shared<Array>(cell.dtype, std::vector<std::ptrdiff_t>{cell.rows, cell.classes});
        const auto call = [=] {
            logitloss::logsumexp_value_and_grad(logits->view(), {}, out->view_mutable(), grad->view_mutable(),
                                                SoftmaxOptions{{-1}, threads});
        };
        return Measured{call, logits->bytes() + out->bytes() + grad->bytes(), logits->size()};
    });
}

using Vjp = void (*)(const logitloss::ArrayView&, const logitloss::ArrayView&, const logitloss::MutableArrayView&,
                     const SoftmaxOptions&);

void add_vjp(const std::string& name, Map forward, Vjp vjp, const Cell& cell) {
    add(name + "/" + describe(cell), [=](int threads) {
        const std::vector<std::ptrdiff_t> shape{cell.rows, cell.classes};
        auto y = std::make_shared<Array>(random_logits(cell.dtype, shape));
        auto dy = std::make_shared<Array>(random_logits(cell.dtype, shape, 1));
        auto out = std::make_shared<Array>(cell.dtype, shape);
        const SoftmaxOptions options{{-1}, threads};
        forward(y->view(), y->view_mutable(), options);
        const auto call = [=] { vjp(y->view(), dy->view(), out->view_mutable(), options); };
        return Measured{call, y->bytes() + dy->bytes() + out->bytes(), y->size()};
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
    for (const Cell& cell : matrices())
        add_value_and_grad(cell);
    for (const Cell& cell : matrices())
        add_vjp("softmax_vjp", logitloss::softmax, logitloss::softmax_vjp, cell);
    for (const Cell& cell : matrices())
        add_vjp("log_softmax_vjp", logitloss::log_softmax, logitloss::log_softmax_vjp, cell);
}

}  // namespace bench
