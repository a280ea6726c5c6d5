#include "arguments/labels.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "layout/positions.hpp"
#include "layout/staging.hpp"
#include "layout/strided_sum.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace logitloss::detail {
namespace {

constexpr std::size_t chunk_positions = 32768;
constexpr std::size_t run_positions = 256;
constexpr std::size_t most_gathered = 4096;  ///< class weights

/// The label that is ignored, if the target can hold it: what read_integer gives for what int64 does not hold is not.
std::optional<std::int64_t> label_ignored(const Argument& target, std::optional<std::int64_t> ignore_index) {
    const bool is_stand_in = ignore_index && *ignore_index == std::numeric_limits<std::int64_t>::min();
    const bool out_of_reach = (ignore_index && *ignore_index < 0 && target.view.dtype == DType::uint64) ||
                              (is_stand_in && is_floating(target.view.dtype));
    return out_of_reach ? std::nullopt : ignore_index;
}

/// Calls fn(cursor, n, index_in_chunk) for runs of at most run_positions along the innermost axis of one chunk.
template <class Fn>
void for_runs(const Positions& positions, std::size_t chunk, Fn&& fn) {
    const std::size_t first = chunk * chunk_positions;
    std::size_t left = std::min(chunk_positions, positions.count() - first);
    Positions::Cursor cursor(positions, first);
    for (std::size_t done = 0; left > 0;) {
        const std::size_t n = std::min({left, cursor.inner_left(), run_positions});
        fn(cursor, n, done);
        cursor.advance_inner(n);
        done += n;
        left -= n;
    }
}

/// Adds up chunks in parallel and in a fixed order: sum_chunk(chunk) gives one chunk's part.
template <class Fn>
double sum_chunks(std::size_t positions, int num_threads, Fn&& sum_chunk) {
    std::vector<double> partial((positions + chunk_positions - 1) / chunk_positions);
    parallel_for(partial.size(), 1, plan_threads(positions, num_threads),
                 [&](std::size_t first, std::size_t last, int) {
                     for (std::size_t chunk = first; chunk < last; ++chunk)
                         partial[chunk] = sum_chunk(chunk);
                 });
    StridedSum total;
    for (std::size_t chunk = 0; chunk < partial.size(); ++chunk)
        total.add(chunk, partial[chunk]);
    return total.total();
}

/// n integers where they lie, if they are int64 one behind the other, or in `buffer`.
const std::int64_t* integers(const Line& line, const char* data, std::size_t n, std::int64_t* buffer) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(data) % alignof(std::int64_t) == 0;
    if (aligned && line.dtype == DType::int64 && !line.byteswapped && line.stride == sizeof(std::int64_t))
        return reinterpret_cast<const std::int64_t*>(data);
    gather_integers(line, data, n, buffer);
    return buffer;
}

/// The label as its dtype has it, also where read_integer cannot.
std::string label_text(const Line& line, const char* data) {
    if (is_floating(line.dtype))
        return to_string(read_number(line, data));
    if (line.dtype != DType::uint64)
        return std::to_string(read_integer(line, data));
    unsigned char bytes[8];
    std::copy(data, data + 8, bytes);
    if (line.byteswapped)
        std::reverse(bytes, bytes + 8);
    std::uint64_t value;
    std::memcpy(&value, bytes, sizeof value);
    return std::to_string(value);
}

[[noreturn]] void reject_first_bad_label(const Argument& target, const Line& line, std::size_t classes,
                                         std::optional<std::int64_t> ignore_index) {
    Positions positions(target.shape);  // not simplified: the first in the order of target's own index
    positions.add(target.strides);
    Positions::Cursor cursor(positions, 0);
    for (std::size_t position = 0; position < positions.count(); ++position, cursor.advance()) {
        const char* data = target.bytes() + cursor.offset(0);
        const std::int64_t label = read_integer(line, data);
        if (label == label_ignored(target, ignore_index) || (label >= 0 && static_cast<std::uint64_t>(label) < classes))
            continue;
        std::string expected = "a class in [0, " + std::to_string(classes) + ")";
        if (ignore_index)
            expected += " or ignore_index (" + std::to_string(*ignore_index) + ")";
        throw value_error(std::string(target.name) + index_text(target.shape, position) + ": got label " +
                          label_text(line, data) + ", expected " + expected + " for " + std::to_string(classes) +
                          " classes");
    }
    throw value_error(std::string(target.name) + ": labels changed while they were checked");
}

/// Whether none of the class weights that are not 0 takes a product with a sample weight far away.
bool are_safe(const Argument& class_weight) {
    if (!class_weight.given())
        return true;
    const Line line = class_weight.line();
    double largest = 0.0;
    for (std::ptrdiff_t j = 0; j < class_weight.shape[0]; ++j)
        largest = std::max(largest, std::fabs(read_number(line, class_weight.bytes() + j * class_weight.strides[0])));
    return largest == 0.0 || is_safe_divisor(largest);
}

/// The weights of a run of positions, 0 of those that do not count.
struct WeightRun {
    double sample[run_positions], of_class[run_positions];

    /// Adds them to a sum.
    void add_to(StridedSum& sum, std::size_t first, std::size_t n, double sample_scale, double class_scale) const {
        double product[run_positions];
        for (std::size_t i = 0; i < n; ++i)
            product[i] = (sample[i] * sample_scale) * (of_class[i] * class_scale);
        sum.add(kernels().numbers, first, n, product);
    }
};

/// Note [means of tiny and huge weights]: `total` is what sum_weights(sample scale, class scale) gives without scales.
/// for_weights(chunk, use) is as in check_labels.
template <class ForWeights, class SumWeights>
WeightSum with_scales(double total, std::size_t positions, const ForWeights& for_weights,
                      const SumWeights& sum_weights) {
    double sample = 0.0, of_class = 0.0;
    bool finite = true;
    for (std::size_t chunk = 0; chunk * chunk_positions < positions; ++chunk)
        for_weights(chunk, [&](std::size_t, std::size_t n, const WeightRun& run) {
            for (std::size_t i = 0; i < n; ++i) {
                finite = finite && std::isfinite(run.sample[i]) && std::isfinite(run.of_class[i]);
                sample = std::max(sample, std::fabs(run.sample[i]));
                of_class = std::max(of_class, std::fabs(run.of_class[i]));
            }
        });
    if (!finite || sample == 0.0 || of_class == 0.0)
        return {total};
    WeightSum scaled{0.0, scale_to_1(sample), scale_to_1(of_class)};
    scaled.sum = sum_weights(scaled.sample_scale, scaled.class_scale);
    return scaled;
}

}  // namespace

bool holds_class_indices(const Argument& target, const Shape& all, const Shape& rows, LabelDTypes dtypes) {
    if (target.shape.size() + 1 == all.size()) {
        const bool floats = dtypes == LabelDTypes::real;
        if (!is_integer(target.view.dtype) && !(floats && is_floating(target.view.dtype)))
            throw type_error(std::string(target.name) + ": got dtype " + name(target.view.dtype) +
                             ", expected an integer " + (floats ? "or floating " : "") +
                             "dtype for class indices (or class probabilities of shape " + to_string(all) + ")");
        require_shape(target, rows);
        return true;
    }
    if (target.shape != all)
        throw value_error(std::string(target.name) + ": got shape " + to_string(target.shape) + ", expected " +
                          to_string(rows) + " (class indices) or " + to_string(all) + " (class probabilities)");
    return false;
}

WeightSum check_labels(const Argument& target, std::size_t classes, std::optional<std::int64_t> ignore_index,
                       const Argument& class_weight, const Argument& sample_weight, int num_threads) {
    Positions positions(target.shape);
    positions.add(target.strides);
    if (sample_weight.given())
        positions.add(broadcast_strides(sample_weight, target.shape));
    positions.simplify(true);
    const Line labels{target.view.dtype, target.view.byteswapped, positions.inner_stride(0)};
    const Line per_sample{sample_weight.view.dtype, sample_weight.view.byteswapped,
                          sample_weight.given() ? positions.inner_stride(1) : 0};
    // Of few classes all weights are read at once; rows of many may be few.
    std::vector<double> per_class(class_weight.given() && classes <= most_gathered ? classes : 0);
    const Line class_line = class_weight.line();
    const std::ptrdiff_t class_stride = class_weight.given() ? class_weight.strides[0] : 0;
    if (!per_class.empty())
        gather({class_line.dtype, class_line.byteswapped, class_stride}, class_weight.bytes(), classes,
               per_class.data());
    // Labels were checked, but another thread of the caller's may be writing them.
    const auto weight_of = [&](std::int64_t label) {
        if (!class_weight.given() || static_cast<std::uint64_t>(label) >= classes)
            return 1.0;
        return per_class.empty() ? read_number(class_line, class_weight.bytes() + label * class_stride)
                                 : per_class[static_cast<std::size_t>(label)];
    };
    const NumberKernels& numbers = kernels().numbers;
    const bool ignores = label_ignored(target, ignore_index).has_value();
    const std::int64_t ignored = ignore_index.value_or(-1);
    const bool weighted = sample_weight.given() || class_weight.given();
    std::atomic<bool> bad{false};

    // Calls use(index, n, weights) for runs of a chunk's positions, if there are weights, and returns how many count.
    const auto for_weights = [&](std::size_t chunk, const auto& use) {
        double counted = 0.0;
        for_runs(positions, chunk, [&](const Positions::Cursor& cursor, std::size_t n, std::size_t done) {
            std::int64_t buffer[run_positions];
            const char* data = target.bytes() + cursor.offset(0);
            const std::int64_t* label = integers(labels, data, n, buffer);
            const SumPair counts = numbers.count_labels(label, n, classes, ignores, ignored);
            counted += counts.second;
            if (counts.first != 0.0)
                bad.store(true, std::memory_order_relaxed);
            if (counts.first != 0.0 || !weighted)
                return;
            WeightRun run;
            if (sample_weight.given())
                gather(per_sample, sample_weight.bytes() + cursor.offset(1), n, run.sample);
            else
                std::fill(run.sample, run.sample + n, 1.0);
            for (std::size_t i = 0; i < n; ++i)
                run.of_class[i] = weight_of(label[i]);
            for (std::size_t i = 0; ignores && i < n; ++i)
                if (label[i] == ignored)
                    run.sample[i] = run.of_class[i] = 0.0;
            use(done, n, run);
        });
        return counted;
    };
    const auto sum_weights = [&](double sample_scale, double class_scale) {
        return sum_chunks(positions.count(), num_threads, [&](std::size_t chunk) {
            StridedSum sum;
            const double counted = for_weights(chunk, [&](std::size_t index, std::size_t n, const WeightRun& run) {
                run.add_to(sum, index, n, sample_scale, class_scale);
            });
            return weighted ? sum.total() : counted;
        });
    };
    const double total = sum_weights(1.0, 1.0);
    if (bad)
        reject_first_bad_label(target, labels, classes, ignore_index);
    if (!weighted || (is_safe_divisor(total) && are_safe(class_weight)))
        return {total};
    return with_scales(total, positions.count(), for_weights, sum_weights);
}

WeightSum sum_sample_weights(const Argument& sample_weight, const Shape& shape, int num_threads) {
    Positions positions(shape);
    if (!sample_weight.given())
        return {static_cast<double>(positions.count())};
    positions.add(broadcast_strides(sample_weight, shape));
    positions.simplify(true);
    const Line line{sample_weight.view.dtype, sample_weight.view.byteswapped, positions.inner_stride(0)};
    const auto for_weights = [&](std::size_t chunk, const auto& use) {
        WeightRun run;
        std::fill_n(run.of_class, run_positions, 1.0);
        for_runs(positions, chunk, [&](const Positions::Cursor& cursor, std::size_t n, std::size_t done) {
            gather(line, sample_weight.bytes() + cursor.offset(0), n, run.sample);
            use(done, n, run);
        });
    };
    const auto sum_weights = [&](double sample_scale, double) {
        return sum_chunks(positions.count(), num_threads, [&](std::size_t chunk) {
            StridedSum sum;
            for_weights(chunk, [&](std::size_t index, std::size_t n, const WeightRun& run) {
                run.add_to(sum, index, n, sample_scale, 1.0);
            });
            return sum.total();
        });
    };
    const double total = sum_weights(1.0, 1.0);
    return is_safe_divisor(total) ? WeightSum{total} : with_scales(total, positions.count(), for_weights, sum_weights);
}

bool any_far(const Argument& factors, int num_threads) {
    const Argument own(factors.name, factors.view);
    Positions positions(own.shape);
    positions.add(own.strides);
    positions.simplify(true);
    const Line line{own.view.dtype, own.view.byteswapped, positions.inner_stride(0)};
    return sum_chunks(positions.count(), num_threads, [&](std::size_t chunk) {
               std::size_t far = 0;
               for_runs(positions, chunk, [&](const Positions::Cursor& cursor, std::size_t n, std::size_t) {
                   double factor[run_positions];
                   gather(line, own.bytes() + cursor.offset(0), n, factor);
                   for (std::size_t i = 0; i < n; ++i)
                       far += factor[i] != 0.0 && std::isfinite(factor[i]) && !is_safe_divisor(factor[i]);
               });
               return static_cast<double>(far);
           }) > 0.0;
}

}  // namespace logitloss::detail
