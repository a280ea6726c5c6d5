// Losses on probabilities: labels and class probabilities, with and without eps; binary.
#include "elements.hpp"
#include "logitloss/probabilities.hpp"

namespace bench {
namespace {

using logitloss::ProbabilityEntropyOptions;

struct Case {
    std::string about;
    bool labels;
    std::optional<double> eps;
};

void add_rows(const Shape& shape, const Case& which, bool with_gradient) {
    const std::string name = with_gradient ? "cross_entropy_from_probs_value_and_grad/" : "cross_entropy_from_probs/";
    add(name + describe(shape) + which.about, [=](int threads) {
        auto arrays = std::make_shared<ElementArrays>(ElementArrays{
            random_probabilities(shape.rows, shape.classes, 0),
            which.labels ? random_labels(shape.rows, shape.classes)
                         : random_probabilities(shape.rows, shape.classes, 1),
            Array(DType::float32, {}),
            with_gradient ? Array(DType::float32, {shape.rows, shape.classes}) : Array(DType::float32, {1}),
        });
        ProbabilityEntropyOptions options;
        options.eps = which.eps;
        options.num_threads = threads;
        const auto call = [=] {
            const auto& [probs, target, loss, grad] = *arrays;
            if (with_gradient)
                logitloss::cross_entropy_from_probs_value_and_grad(probs.view(), target.view(), {}, loss.view_mutable(),
                                                                   grad.view_mutable(), options);
            else
                logitloss::cross_entropy_from_probs(probs.view(), target.view(), loss.view_mutable(), options);
        };
        const std::size_t passes = with_gradient ? 2 : 1;
        return Measured{call, passes * arrays->input.bytes() + arrays->target.bytes(), arrays->input.size()};
    });
}

Array draw_targets(std::ptrdiff_t size) { return random_targets(DType::float32, size); }

}  // namespace

void add_probabilities() {
    const Case cases[] = {{"/labels", true, {}}, {"/labels/eps", true, 1e-7}, {"/soft_targets", false, {}}};
    for (const bool with_gradient : {false, true})
        for (const Case& which : cases)
            for (const Shape& shape : rows_of_probabilities)
                add_rows(shape, which, with_gradient);
    add_element_losses(ElementLoss<logitloss::ProbabilityBceOptions>{
        "binary_cross_entropy", logitloss::binary_cross_entropy, logitloss::binary_cross_entropy_value_and_grad,
        random_fractions, draw_targets});
}

}  // namespace bench
