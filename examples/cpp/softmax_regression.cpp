// Softmax regression: a linear model of class logits, trained by gradient descent on the mean cross-entropy.
//
//     softmax_regression data.csv [steps]
//
// The file has one example a line, its features and then its class, an integer from 0. Every fifth line is kept to test
// with. The exit code is 0 if at least 90 % of those are classified rightly. The model and its matrix products are
// written out here; loss and gradient, the part that is hard to get right in floating point, are the library's.
#include <logitloss/logitloss.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/// Rows of features, each followed by a 1 that stands for the bias, and the class of each row.
struct Examples {
    std::vector<float> features;  // (rows, columns)
    std::vector<int> labels;      // (rows)
    std::size_t columns = 0;

    std::size_t rows() const { return labels.size(); }
};

struct Data {
    Examples train, test;
    std::size_t classes = 0;
};

/// The numbers of one line; the last one is the class.
std::vector<float> numbers_of(const std::string& line) {
    std::vector<float> numbers;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');)
        numbers.push_back(std::stof(cell));
    return numbers;
}

void append(Examples& examples, const std::vector<float>& numbers) {
    examples.columns = numbers.size();
    examples.features.insert(examples.features.end(), numbers.begin(), numbers.end() - 1);
    examples.features.push_back(1.0f);
    examples.labels.push_back(static_cast<int>(numbers.back()));
}

Data read_csv(const char* path) {
    std::ifstream file(path);
    if (!file)
        throw std::runtime_error(std::string("cannot read ") + path);
    Data data;
    std::size_t columns = 0;
    std::size_t number = 0;
    for (std::string line; std::getline(file, line); ++number) {
        const std::vector<float> numbers = numbers_of(line);
        columns = number == 0 ? numbers.size() : columns;
        if (numbers.size() != columns || columns < 2 || numbers.back() < 0)
            throw std::runtime_error("line " + std::to_string(number + 1) + ": expected features and a class");
        append(number % 5 == 4 ? data.test : data.train, numbers);
        data.classes = std::max(data.classes, static_cast<std::size_t>(numbers.back()) + 1);
    }
    if (data.test.rows() == 0)
        throw std::runtime_error("expected at least five lines");
    return data;
}

/// Features to mean 0 and deviation 1, by the training rows' mean and deviation; constant ones to 0.
void standardise(Data& data) {
    const std::size_t columns = data.train.columns;
    for (std::size_t column = 0; column + 1 < columns; ++column) {
        double sum = 0.0;
        double squares = 0.0;
        for (std::size_t i = column; i < data.train.features.size(); i += columns) {
            sum += data.train.features[i];
            squares += double{data.train.features[i]} * data.train.features[i];
        }
        const double n = static_cast<double>(data.train.rows());
        const double deviation = std::sqrt(std::max(squares / n - sum / n * (sum / n), 0.0));
        const double factor = deviation > 1e-6 ? 1.0 / deviation : 0.0;
        for (Examples* examples : {&data.train, &data.test})
            for (std::size_t i = column; i < examples->features.size(); i += columns)
                examples->features[i] = static_cast<float>((examples->features[i] - sum / n) * factor);
    }
}

class SoftmaxRegression {
public:
    SoftmaxRegression(std::size_t columns, std::size_t classes)
        : columns_(columns), classes_(classes), weights_(columns * classes) {}

    /// logits = features weights, (rows, classes).
    std::vector<float> logits(const Examples& examples) const {
        std::vector<float> out(examples.rows() * classes_);
        for (std::size_t row = 0; row < examples.rows(); ++row)
            for (std::size_t column = 0; column < columns_; ++column) {
                const float x = examples.features[row * columns_ + column];
                for (std::size_t j = 0; j < classes_; ++j)
                    out[row * classes_ + j] += x * weights_[column * classes_ + j];
            }
        return out;
    }

    /// One step of gradient descent; the mean loss before it.
    float step(const Examples& examples, float rate) {
        std::vector<float> z = logits(examples);
        const float loss = loss_with_gradient_over(z, examples.labels);
        for (std::size_t row = 0; row < examples.rows(); ++row)
            for (std::size_t column = 0; column < columns_; ++column) {
                const float x = examples.features[row * columns_ + column];
                for (std::size_t j = 0; j < classes_; ++j)
                    weights_[column * classes_ + j] -= rate * x * z[row * classes_ + j];
            }
        return loss;
    }

private:
    /// The mean cross-entropy of logits z, which its gradient takes the place of.
    float loss_with_gradient_over(std::vector<float>& z, const std::vector<int>& labels) const {
        using logitloss::DType;
        const std::ptrdiff_t shape[] = {static_cast<std::ptrdiff_t>(labels.size()),
                                        static_cast<std::ptrdiff_t>(classes_)};
        const logitloss::MutableArrayView logits{z.data(), DType::float32, 2, shape};
        const logitloss::ArrayView target{labels.data(), DType::int32, 1, shape};
        float loss = 0.0f;
        const logitloss::ArrayView no_upstream;
        logitloss::cross_entropy_value_and_grad(logits, target, no_upstream, {&loss, DType::float32}, logits);
        return loss;
    }

    std::size_t columns_, classes_;
    std::vector<float> weights_;  // (columns, classes)
};

/// Share of the examples whose largest logit is that of their class.
double accuracy(const SoftmaxRegression& model, const Examples& examples, std::size_t classes) {
    const std::vector<float> z = model.logits(examples);
    std::size_t right = 0;
    for (std::size_t row = 0; row < examples.rows(); ++row) {
        const auto first = z.begin() + static_cast<std::ptrdiff_t>(row * classes);
        const auto largest = std::max_element(first, first + static_cast<std::ptrdiff_t>(classes));
        right += largest - first == examples.labels[row];
    }
    return static_cast<double>(right) / static_cast<double>(examples.rows());
}

int run(const char* path, int steps) {
    Data data = read_csv(path);
    standardise(data);
    SoftmaxRegression model(data.train.columns, data.classes);
    for (int step = 0; step < steps; ++step) {
        const float loss = model.step(data.train, 0.5f);
        if (step % 20 == 0 || step + 1 == steps)
            std::printf("step %3d - loss: %.6f\n", step, static_cast<double>(loss));
    }
    const double share = accuracy(model, data.test, data.classes);
    std::printf("test accuracy: %.4f (%s)\n", share, logitloss::isa().c_str());
    return share >= 0.9 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s data.csv [steps]\n", argv[0]);
        return 2;
    }
    try {
        return run(argv[1], argc > 2 ? std::atoi(argv[2]) : 200);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
}
