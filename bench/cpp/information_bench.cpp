// Information measures: of an element, of a row, of two rows.
#include <memory>

#include "cells.hpp"
#include "logitloss/information.hpp"

namespace bench {
namespace {

using logitloss::ArrayView;
using logitloss::InformationOptions;
using logitloss::MutableArrayView;

InformationOptions options_for(int threads) {
    InformationOptions options;
    options.num_threads = threads;
    return options;
}

void add_self_information(std::ptrdiff_t size) {
    add("self_information/" + std::to_string(size) + "/float32", [size](int threads) {
        auto p = std::make_shared<Array>(random_fractions(size));
        auto out = std::make_shared<Array>(DType::float32, std::vector<std::ptrdiff_t>{size});
        const auto call = [=] { logitloss::self_information(p->view(), out->view_mutable(), options_for(threads)); };
        return Measured{call, p->bytes() + out->bytes(), p->size()};
    });
}

using OfOne = void (*)(const ArrayView&, const MutableArrayView&, const InformationOptions&);
using OfTwo = void (*)(const ArrayView&, const ArrayView&, const MutableArrayView&, const InformationOptions&);

void add_measure(const std::string& name, OfOne measure, bool of_logits, const Shape& shape) {
    add(name + "/" + describe(shape), [=](int threads) {
        auto p = std::make_shared<Array>(of_logits ? random_logits(DType::float32, {shape.rows, shape.classes})
                                                   : random_probabilities(shape.rows, shape.classes, 0));
        auto out = std::make_shared<Array>(DType::float32, std::vector<std::ptrdiff_t>{shape.rows});
        const auto call = [=] { measure(p->view(), out->view_mutable(), options_for(threads)); };
        return Measured{call, p->bytes() + out->bytes(), p->size()};
    });
}

void add_measure(const std::string& name, OfTwo measure, const Shape& shape) {
    add(name + "/" + describe(shape), [=](int threads) {
        auto p = std::make_shared<Array>(random_probabilities(shape.rows, shape.classes, 0));
        auto q = std::make_shared<Array>(random_probabilities(shape.rows, shape.classes, 1));
        auto out = std::make_shared<Array>(DType::float32, std::vector<std::ptrdiff_t>{shape.rows});
        const auto call = [=] { measure(p->view(), q->view(), out->view_mutable(), options_for(threads)); };
        return Measured{call, p->bytes() + q->bytes() + out->bytes(), p->size()};
    });
}

}  // namespace

void add_information() {
    for (const std::ptrdiff_t size : {10000000, 10})
        add_self_information(size);
    for (const Shape& shape : rows_of_probabilities) {
        add_measure("entropy", logitloss::entropy, false, shape);
        add_measure("entropy_from_logits", logitloss::entropy_from_logits, true, shape);
        add_measure("kl_divergence", logitloss::kl_divergence, shape);
        add_measure("cross_entropy_of", logitloss::cross_entropy_of, shape);
    }
}

}  // namespace bench
