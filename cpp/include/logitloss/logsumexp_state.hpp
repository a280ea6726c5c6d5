// Log-sum-exp of data that comes in pieces: mergeable states, one a row.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "logitloss/array.hpp"
#include "logitloss/logsumexp.hpp"

namespace logitloss {

/// What is known of sum_j exp(a_j) over the classes of one row seen so far. By default of no class.
///
/// With `max` the largest class, sum_j exp(a_j - max) = 1 + (others + rest) 2^-512. The 1 is the maximum's own: what stands
/// beside it keeps its digits however small it is.
struct LogSumExpState {
    double max = -std::numeric_limits<double>::infinity();  ///< NaN or +inf decides the value
    double others = 0.0;
    double rest = 0.0;                                        ///< what rounding took from `others`
    double value = -std::numeric_limits<double>::infinity();  ///< of one piece: what logsumexp gives; NaN after merging
};

/// The shape of `a` without its class axes. Throws axis_error, value_error (an axis named twice).
std::vector<std::ptrdiff_t> shape_of_rows(const ArrayView& a, const SoftmaxOptions& options = {});

/// The states of the rows of `a`, in C order of `shape_of_rows`; `states` has room for as many.
/// Throws as logsumexp does, before anything is written.
void logsumexp_states(const ArrayView& a, LogSumExpState* states, const SoftmaxOptions& options = {});

/// The state of the classes of both. Sums keep what rounding takes from them, so that the order of merging decides
/// nothing beyond the last place of the value.
LogSumExpState merge(const LogSumExpState& left, const LogSumExpState& right);

/// The log-sum-exps of states, one for each element of `out` in C order. `out` is float64 for float64 data and float32
/// for the other dtypes; a state of one piece then gives the bits that logsumexp gives. -inf for a state of no class.
/// Throws value_error for an `out` of another dtype.
void logsumexp_of_states(const LogSumExpState* states, const MutableArrayView& out);

}  // namespace logitloss
