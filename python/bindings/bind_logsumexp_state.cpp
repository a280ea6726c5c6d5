// Log-sum-exps of data that comes in pieces: the states of all rows, which several threads may add to.
#include <algorithm>
#include <limits>
#include <mutex>
#include <utility>

#include "arrays.hpp"
#include "bind.hpp"
#include "logitloss/error.hpp"
#include "logitloss/logsumexp_state.hpp"

namespace logitloss::python {
namespace {

constexpr py::ssize_t numbers = sizeof(LogSumExpState) / sizeof(double);
static_assert(sizeof(LogSumExpState) == numbers * sizeof(double));

using StateArray = py::array_t<double, py::array::c_style | py::array::forcecast>;

/// The states of some rows.
struct Piece {
    Shape rows;
    std::vector<LogSumExpState> states;
    DType dtype;  ///< of their values
};

/// All pieces so far.
///
/// What `mutex_` guards is read or changed in one go and without a call of Python, which might run other code of this
/// thread. So nobody waits for two objects at once, a signal handler or a fork never finds the lock taken, and with a
/// GIL there is nobody to wait for.
class LogSumExpRows {
public:
    void update(const py::object& chunk_object, const py::object& axis, const py::object& num_threads) {
        const py::array chunk = as_logits(chunk_object, "chunk");
        SoftmaxOptions options;
        options.axes = as_axes(axis, chunk.ndim());
        options.num_threads = as_num_threads(num_threads);
        const ArrayView view = view_of(chunk, "chunk");
        Piece piece{shape_of_rows(view, options), {}, loss_dtype(chunk)};
        py::ssize_t count = 1;
        for (const py::ssize_t length : piece.rows)
            count *= length;
        piece.states.resize(static_cast<std::size_t>(count));
        without_gil(chunk.size(), [&] { logsumexp_states(view, piece.states.data(), options); });
        add(std::move(piece), "chunk");
    }

    void merge(const LogSumExpRows& other) {
        if (std::optional<Piece> piece = other.all())
            add(std::move(*piece), "other");
    }

    py::object value() const {
        const std::optional<Piece> piece = all();
        if (!piece)
            return scalar(-std::numeric_limits<double>::infinity(), DType::float64);
        Result result(py::none(), "out", piece->rows, piece->dtype);
        logsumexp_of_states(piece->states.data(), result.view("out"));
        return result.value();
    }

    /// For pickling: a float64 array with a last axis of four numbers a state, or None, and the dtype of the values.
    py::tuple stored() const {
        const std::optional<Piece> piece = all();
        if (!piece)
            return py::make_tuple(py::none(), numpy_dtype(DType::float64));
        Shape shape = piece->rows;
        shape.push_back(numbers);
        return py::make_tuple(StateArray(shape, reinterpret_cast<const double*>(piece->states.data())),
                              numpy_dtype(piece->dtype));
    }

    void restore(const StateArray& states, const py::dtype& dtype) {
        Piece piece{shape_of(states), {}, dtype.itemsize() == 8 ? DType::float64 : DType::float32};
        if (piece.rows.empty() || piece.rows.back() != numbers)
            throw value_error("states: got shape " + shape_text(piece.rows) + ", expected four numbers a row");
        piece.rows.pop_back();
        const auto* first = reinterpret_cast<const LogSumExpState*>(states.data());
        piece.states.assign(first, first + states.size() / numbers);
        add(std::move(piece), "states");
    }

private:
    std::optional<Piece> all() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return all_;
    }

    void add(Piece&& piece, const char* name) {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!all_) {
            all_ = std::move(piece);
            return;
        }
        if (piece.rows != all_->rows) {
            const Shape expected = all_->rows;
            lock.unlock();
            throw value_error(std::string(name) + ": got rows of shape " + shape_text(piece.rows) + ", expected " +
                              shape_text(expected));
        }
        std::transform(all_->states.begin(), all_->states.end(), piece.states.begin(), all_->states.begin(),
                       logitloss::merge);
        if (piece.dtype == DType::float64)
            all_->dtype = DType::float64;
    }

    mutable std::mutex mutex_;
    std::optional<Piece> all_;
};

}  // namespace

void bind_logsumexp_state(py::module_& module) {
    py::class_<LogSumExpRows>(module, "LogSumExpRows")
        .def(py::init())
        .def("update", &LogSumExpRows::update)
        .def("merge", &LogSumExpRows::merge)
        .def("value", &LogSumExpRows::value)
        .def("stored", &LogSumExpRows::stored)
        .def("restore", &LogSumExpRows::restore);
}

}  // namespace logitloss::python
