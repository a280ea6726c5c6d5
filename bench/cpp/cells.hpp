// What is measured, and how one measurement is taken.
#pragma once

#include <benchmark/benchmark.h>

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "array.hpp"

namespace bench {

struct Cell {
    std::ptrdiff_t rows;
    std::ptrdiff_t classes;
    DType dtype;
};

/// Matrices of logits with the class axis last: vocabularies, image classes, few classes, one long row.
inline std::vector<Cell> matrices() {
    return {
        {512, 128256, DType::float32}, {64, 128256, DType::float32},  {4096, 1000, DType::float32},
        {65536, 64, DType::float32},   {1000000, 10, DType::float32}, {1000000, 3, DType::float32},
        {1, 10000000, DType::float32}, {256, 10, DType::float32},     {1, 10, DType::float32},
        {4096, 1000, DType::float64},  {4096, 1000, DType::bfloat16}, {512, 128256, DType::bfloat16},
    };
}

struct Shape {
    std::ptrdiff_t rows;
    std::ptrdiff_t classes;
};

/// What computes in float64 and reads probabilities, float32: rows in turn, short ones, and the price of a call.
inline const Shape rows_of_probabilities[] = {{4096, 1000}, {1000000, 10}, {1, 10}};

/// A measurement under construction: `call` runs once per iteration and moves `bytes`, on `elements` logits.
struct Measured {
    std::function<void()> call;
    std::size_t bytes;
    std::size_t elements;
};

/// Registers `<isa>/<name>` for one thread and for all. `prepare(threads)` builds the inputs when its turn comes, and
/// owns them through the returned `call`. An exception of the library becomes the benchmark's error.
void add(const std::string& name, std::function<Measured(int threads)> prepare);

inline std::string describe(const Cell& cell) {
    return std::to_string(cell.rows) + "x" + std::to_string(cell.classes) + "/" + logitloss::name(cell.dtype);
}
inline std::string describe(const Shape& shape) { return describe(Cell{shape.rows, shape.classes, DType::float32}); }

// One per family; called by main.
void add_bandwidth();
void add_log_sum_exp();
void add_cross_entropy();
void add_binary_cross_entropy();
void add_probabilities();
void add_information();
void add_regression();
void add_metrics();

}  // namespace bench
