// The arguments of token_logprobs and its vjp, checked: rows of logits, and the ids that are looked up in each.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "arguments/arguments.hpp"
#include "arguments/labels.hpp"
#include "logitloss/token_logprobs.hpp"
#include "losses/cross_entropy/cross_entropy_call.hpp"
#include "traversal/row_operands.hpp"

namespace logitloss::detail {

/// Logits and ids.
struct TokenCall {
    const Argument logits, ids;
    const TokenLogProbsOptions& options;
    int axis = 0;
    std::size_t classes = 0;
    std::size_t ids_per_row = 1;
    bool has_id_axis = false;  ///< whether `ids` has an axis in place of the class axis
    Shape rows;

    TokenCall(const ArrayView& logits_view, const ArrayView& ids_view, const TokenLogProbsOptions& call_options)
        : logits("logits", logits_view), ids("ids", ids_view), options(call_options) {
        require_positive_finite("temperature", options.temperature);
        require_floating(logits);
        axis = normalized_axis(options.axis, logits.shape.size());
        classes = static_cast<std::size_t>(logits.shape[static_cast<std::size_t>(axis)]);
        rows = without_axis(logits.shape, axis);
        if (!is_integer(ids.view.dtype))
            throw type_error(std::string("ids: got dtype ") + name(ids.view.dtype) + ", expected an integer dtype");
        has_id_axis = ids.shape.size() == logits.shape.size();
        if (has_id_axis)
            ids_per_row = static_cast<std::size_t>(ids.shape[static_cast<std::size_t>(axis)]);
        if (ids.shape != (has_id_axis ? with_axis(ids_per_row) : rows))
            throw value_error("ids: got shape " + to_string(ids.shape) + ", expected " + to_string(rows) +
                              " (an id a row), or the shape of logits " + to_string(logits.shape) +
                              " with any length along axis " + std::to_string(axis));
    }

    /// The last of the checks.
    void check_ids() const {
        check_labels(ids, classes, options.ignore_index, Argument("class_weight", {}), Argument("sample_weight", {}),
                     options.num_threads);
    }

    /// Shape of the logits with another length along the class axis.
    Shape with_axis(std::size_t length) const {
        Shape shape = logits.shape;
        shape[static_cast<std::size_t>(axis)] = static_cast<std::ptrdiff_t>(length);
        return shape;
    }
    /// The strides with which an array of the shape of `ids` walks the rows, and from one id of a row to the next.
    Shape row_strides(const Shape& strides) const { return has_id_axis ? without_axis(strides, axis) : strides; }
    std::ptrdiff_t id_stride(const Shape& strides) const {
        return has_id_axis ? strides[static_cast<std::size_t>(axis)] : 0;
    }
    double scale() const { return std::min(1.0 / options.temperature, std::numeric_limits<double>::max()); }

    /// cross_entropy's options for one id a row whose loss, turned round, is its log-probability.
    CrossEntropyOptions turned_round() const {
        static constexpr double minus_one = -1.0;
        CrossEntropyOptions entropy;
        entropy.axis = options.axis;
        entropy.ignore_index = options.ignore_index;
        entropy.sample_weight = {&minus_one, DType::float64};
        entropy.scale = scale();
        entropy.reduction = Reduction::none;
        entropy.num_threads = options.num_threads;
        return entropy;
    }
};

/// An array of the shape of `ids` with one id a row, or of that shape, as an array of one number a row.
template <class View>
struct OfRows {
    Shape shape, strides;
    View view;

    OfRows(const TokenCall& call, const Shape& given_strides, const View& given)
        : shape(call.rows), strides(call.row_strides(given_strides)), view(given) {
        view.ndim = static_cast<int>(shape.size());
        view.shape = shape.data();
        view.strides = strides.data();
    }
    OfRows(const OfRows&) = delete;  // the view points into it
    OfRows& operator=(const OfRows&) = delete;
};

/// The ids of rows, as classes.
class RowIds {
public:
    RowIds() = default;
    RowIds(const TokenCall& call, int operand)
        : line_{call.ids.view.dtype, call.ids.view.byteswapped, call.id_stride(call.ids.strides)},
          data_(call.ids.bytes()),
          operand_(static_cast<std::size_t>(operand)),
          count_(call.ids_per_row),
          classes_(call.classes),
          ignore_index_(call.options.ignore_index) {}

    /// no_index stands for an id that is ignored. They were checked, but another thread of the caller's may be writing
    /// them: one out of range counts as ignored. Returns whether the row is read.
    bool read(const RowPlace& place, std::vector<std::int64_t>& numbers, std::vector<std::size_t>& ids) const {
        gather_integers(line_, data_ + place.offset[operand_], count_, numbers.data());
        bool any = count_ == 0;
        for (std::size_t i = 0; i < count_; ++i) {
            const bool counts = static_cast<std::uint64_t>(numbers[i]) < classes_ && numbers[i] != ignore_index_;
            ids[i] = counts ? static_cast<std::size_t>(numbers[i]) : no_index;
            any |= counts;
        }
        return any;
    }

private:
    Line line_;
    const char* data_ = nullptr;
    std::size_t operand_ = 0, count_ = 0, classes_ = 0;
    std::optional<std::int64_t> ignore_index_;
};

}  // namespace logitloss::detail
