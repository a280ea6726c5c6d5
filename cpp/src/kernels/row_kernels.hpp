// Kernels on one row, block by block, and on the ends of several rows. kernel_table.hpp says what all kernels promise.
#pragma once

#include <cstddef>
#include <cstdint>

namespace logitloss::detail {

/// Classes of a row that are summed together, counted from the start of the row. Results depend on it.
constexpr std::size_t block_size = 4096;

/// Rows whose ends are computed together, one row in each vector lane.
constexpr std::size_t row_batch = 16;

/// Rows that go side by side through one call of a kernel, at most.
constexpr std::size_t most_lanes = 64;

/// Length of an array of n numbers filled up to whole groups of 256 bytes.
template <class T>
constexpr std::size_t padded_length(std::size_t n) {
    constexpr std::size_t group = 256 / sizeof(T);
    return (n + group - 1) / group * group;
}

/// The index that names no class.
constexpr std::size_t no_index = static_cast<std::size_t>(-1);

/// Largest magnitude of a maximum that the fast kernels take; their reduction of exp is exact up to it.
constexpr double fast_limit = 131072.0;

enum class BlockKind : std::int32_t {
    normal,         ///< |max| is at most fast_limit: sum and exponent hold
    deep,           ///< max < -fast_limit and no NaN: adds nothing to a row that also has a normal block
    needs_float64,  ///< +inf, a huge value, or a NaN that the maximum does not show: the row needs the float64 kernels
};

/// Exponent of a sum of nothing: below every other, and far from overflow when subtracted.
constexpr double no_exponent = -1073741824.0;

/// Some classes of a row:  sum_j exp(x_j) = sum * 2^exponent.
struct BlockState {
    double sum;
    double exponent;  ///< integral
    double max;       ///< NaNs do not show in it; -inf if there is no class
    BlockKind kind;
};

/// Ends of up to most_lanes rows, an array per quantity, so that a vector holds one quantity of several rows.
template <class T>
struct LogSumExpEnds {
    double sum[most_lanes];        ///< in
    double exponent[most_lanes];   ///< in
    T max[most_lanes];             ///< in: |max| at most 2^17
    double above_max[most_lanes];  ///< out: LSE - max = log(sum 2^exponent / exp(max))
    double lse[most_lanes];        ///< out: log-sum-exp
    double scale[most_lanes];      ///< out: 1 / sum
    /// out: 2^512 (sum 2^exponent / exp(max) - 1) in two parts, the first being the whole rounded
    double others[most_lanes];
    double others_rest[most_lanes];
    /// out: not 0 where the value is so near to 0 that the error of `sum` may show: Note [log-sum-exp near 0]
    double near[most_lanes];
    /// in: relative error of `sum` beside that of the exponentials: what additions have rounded away
    double rounding = sizeof(T) == sizeof(float) ? 0x1p-24 : 0x1p-52;
    /// in, for float64: weight of the classes at the maximum in each sum; null: 1. With the error e of exp(max),
    /// sum 2^exponent = own exp(max) (1 + e) + the other classes.
    const double* own = nullptr;
    /// in, for paired_ends: what each sum is divided by before its logarithm is taken; null: 1
    const double* divisor = nullptr;
};

/// Rows with one class set aside: the target, or the largest.
template <class T>
struct AsideEnds {
    double sum[most_lanes];          ///< in: of the other classes, 0 if there is none
    double exponent[most_lanes];     ///< in: of that sum, no_exponent if there is none
    T logit[most_lanes];             ///< in: of the class set aside, |logit| at most 2^17
    const T* max = nullptr;          ///< in, of EndParts::smoothed: the largest logit of all
    double gap[most_lanes];          ///< out: LSE - logit, to relative accuracy
    double base[most_lanes];         ///< out: exponent under which `scale` holds: that of the sum, if there is one
    double scale[most_lanes];        ///< out: 1 / (sum of all exponentials / 2^base)
    double complement[most_lanes];   ///< out: 1 - p of the class set aside, to relative accuracy
    double probability[most_lanes];  ///< out: p of the class set aside
    double lse[most_lanes];          ///< out: log-sum-exp
    double above_max[most_lanes];    ///< out: LSE - max, whatever offset the logits have in common
};

/// How much of AsideEnds is wanted: divisions are what a row's end costs.
enum class EndParts {
    gap,       ///< a loss without options
    gradient,  ///< and base, scale, complement
    all,       ///< and probability, lse
    smoothed,  ///< and above_max
};

/// One element that is written with a value of its own.
template <class T>
struct Patch {
    std::size_t index = no_index;
    T value = T(0);
};

/// out_j = scale exp(x_j) / 2^exponent + linear q_j
template <class T>
struct RowScale {
    T exponent;
    T scale;
    T linear;
};

/// A row on its way to memory, from exponentials that block_state kept: out_j = scale e_j + linear, then the patch.
template <class T>
struct PendingRow {
    const T* exponentials;
    T scale;
    T linear;  ///< -0.0 adds nothing, not even to -0.0
    Patch<T> patch;
    T* out;
    bool fetch;  ///< the lines to be written, ahead of the stores: StoreMode::cached
};

/// RowScale and Patch of rows side by side.
template <class T>
struct ColumnScales {
    T exponent[most_lanes];
    T scale[most_lanes];
    T linear[most_lanes];
    T patched[most_lanes];  ///< number of the class whose value is given, -1 for none
    T value[most_lanes];
};

/// Losses beyond it, and factors that are neither 0 nor moderate, have sums and products that float64 may not hold.
constexpr double large_loss = 0x1p900;
constexpr double most_moderate = 0x1p200;

/// Whether products of a few such factors with each other and with losses neither overflow nor lose digits below the
/// normal numbers.
inline bool is_moderate(double factor) {
    const double size = factor < 0.0 ? -factor : factor;
    return factor == 0.0 || (size >= 1.0 / most_moderate && size <= most_moderate);
}

/// What every row's loss and gradient take.
struct TermOptions {
    double smoothing = 0.0;    ///< e
    double classes = 1.0;      ///< C
    double z_loss = 0.0;       ///< c
    double grad_factor = 1.0;  ///< multiplies every gradient
};

/// Rows from their ends to their losses and what the second sweep takes, an array per quantity of most_lanes rows.
/// Arrays of factors may be null: 1 for every row.
template <class T>
struct TermRows {
    const AsideEnds<T>* ends;    ///< in: gap; `gradient` for a gradient, `all` with z-loss, `smoothed` with smoothing
    const double* gaps;          ///< in: sum_j q_j (max - x_j), q the coefficients of the linear term
    const double* other_mass;    ///< in: sum_j q_j without the class set aside
    const double* aside_mass;    ///< in: q of that class
    const double* class_weight;  ///< in: of the row's target
    const double* weight;        ///< in: multiplies the row's loss and gradient
    const double* upstream;      ///< in: multiplies its gradient
    const T* read;               ///< in: 0 for rows that do not count, else 1; null: all count
    double* loss;                ///< out; 0 of a row that does not count
    double* scale;               ///< out: factor of the exponentials; null: no gradient
    double* linear;              ///< out: factor of the coefficients
    double* value;               ///< out: gradient at the class set aside
    ColumnScales<T>* columns;    ///< out: all of them for write_columns, but `patched`
};

enum class StoreMode : std::int32_t {
    cached,     ///< fetches the lines to be written ahead of the stores
    in_place,   ///< the lines have just been read
    streaming,  ///< past the caches
};

/// How probabilities p are taken: as they are, or as p / total, clipped to [lower, upper].
struct Clipping {
    bool clips = false;
    double lower = 0.0;
    double upper = 1.0;
    double total = 1.0;
};

/// The gradient of a row of probabilities p: factor (linear - raise a_j / p_j). `raise` is a power of two, which keeps
/// small quotients among the normal numbers where the factor is large.
struct ProbabilitySlope {
    double linear = 0.0;
    double raise = 1.0;
    double factor = 0.0;
};

/// What stands for a second derivative c beside a gradient g: max(floor, factor c), or max(floor, factor |g|) if `absolute`.
struct HessianRule {
    double factor = 1.0;
    double floor = -__builtin_inf();
    bool absolute = false;
};

/// Two sums over a block.
struct SumPair {
    double first;
    double second;
};

/// A sum in two parts, the first being the whole rounded, and how many elements are apart from it.
struct SumBelow {
    double met;
    SumPair below;
};

/// What is known of a normal block beside its BlockState, under the same exponent. With `top` the largest logit:
struct BlockGaps {
    double top_exponential;  ///< that of `top`
    double others;           ///< sum of the exponentials without that one
    double gaps;             ///< sum of (top - x_j) times them
    double above;            ///< how many x_j are above a number
};

/// "A block" is at most block_size consecutive classes of a row.
template <class T>
struct RowKernels {
    /// out_j = x_j, or `fill` where where_j is 0; x_j is not read there.
    void (*keep)(const T* x, const unsigned char* where, std::size_t n, T fill, T* out);
    /// Sum of exponentials of a block, and its maximum; the class `aside` counts in neither. With `exponentials`
    /// (padded_length(n) numbers), those of a normal block are kept there, 0 for the class aside and all of a deep
    /// block. `pending`: another row of n classes to write meanwhile, or null; only with `exponentials`, of which its own
    /// are no part.
    void (*block_state)(const T* x, std::size_t n, std::size_t aside, BlockState* state, T* exponentials,
                        const PendingRow<T>* pending);
    /// The largest element; NaNs do not count; -inf of nothing.
    T (*largest)(const T* x, std::size_t n);
    /// Index of the first element equal to `value`, or no_index.
    std::size_t (*find)(const T* x, std::size_t n, T value);
    /// sum_j q_j (reference - x_j); a q of 0 adds 0. Without `q`: all 1.
    double (*sum_gaps)(const T* x, const T* q, std::size_t n, T reference);
    /// sum_j x_j but `aside`.
    double (*sum)(const T* x, std::size_t n, std::size_t aside);

    /// sum_j b_j exp(x_j) / 2^exponent, |x_j| at most 2^17 or -inf; a b of 0 adds 0.
    double (*weighted_exponentials)(const T* x, const T* b, std::size_t n, T exponent);

    /// The first `count` rows; those up to the end of the last vector are computed too and must hold numbers. Returns
    /// whether one of them is near 0.
    bool (*log_sum_exp_ends)(LogSumExpEnds<T>* rows, std::size_t count);
    /// 2^512 sum_j exp(x_j - reference) of the x_j below the reference. None is above it.
    SumBelow (*paired_exponentials)(const T* x, std::size_t n, double reference);
    /// `above_max` and `lse` of rows that are `near`, from `max` and `others`; with `exponent`, these are
    /// sum_j b_j exp(x_j - max) / 2^exponent of all classes.
    void (*paired_ends)(LogSumExpEnds<T>* rows, const double* exponent, std::size_t count);
    void (*aside_ends)(AsideEnds<T>* rows, std::size_t count, EndParts parts);

    /// Labels as class numbers, -1 outside [0, classes). `read` becomes 0 there and at the class `ignored` (-1: none),
    /// else 1. Returns whether all are read. These five work on whole vectors: `count` is a multiple of row_batch.
    bool (*class_numbers)(const std::int64_t* labels, std::size_t count, std::size_t classes, std::int64_t ignored,
                          T* numbers, T* read);
    /// (1-e) w (L - z_y) + (e/C) sum_j (L - z_j) + c w L^2 and its gradient, w = 1 if e > 0. Returns whether all rows
    /// that count are ordinary and write_columns does for them: losses are below large_loss and factors moderate (see
    /// is_moderate), and T holds the factors of the gradient, that of a linear term as a normal number.
    bool (*index_terms)(const TermRows<T>& rows, std::size_t count, const TermOptions& options);
    /// sum_j q_j (L - z_j) + c w L^2 and its gradient, the class set aside being the largest.
    bool (*soft_terms)(const TermRows<T>& rows, std::size_t count, const TermOptions& options);
    /// exponent and scale (times `factor`, unless null) of rows for write_columns; the product is left in `scale` too.
    /// Returns whether all scales are finite.
    bool (*scale_rows)(const double* exponent, double* scale, const double* factor, std::size_t count,
                       ColumnScales<T>* columns);

    /// out_j = scale exp(x_j) / 2^exponent + linear q_j (q null: all 1), then the patch. -inf gives exactly 0 in the
    /// first term. `out` may be `x`. `exponentials`, if not null, is what block_state kept under that exponent.
    void (*scaled_exponentials)(const T* x, const T* exponentials, std::size_t n, const RowScale<T>& row, const T* q,
                                Patch<T> patch, StoreMode mode, T* out);
    /// out_j = (x_j - max) - above_max
    void (*log_softmax)(const T* x, std::size_t n, T max, T above_max, T* out);
    /// sum_j y_j dy_j; a y of 0 adds 0.
    double (*dot)(const T* y, const T* dy, std::size_t n);
    /// out_j = y_j (dy_j - dot), 0 where y_j is 0. `out` may be `y` or `dy`.
    void (*softmax_vjp)(const T* y, const T* dy, std::size_t n, T half_dot, T* out);
    /// out_j = dy_j - exp(y_j) sum, 0 where y_j is -inf. `out` may be `y` or `dy`.
    void (*log_softmax_vjp)(const T* y, const T* dy, std::size_t n, T sum, T* out);

    /// sum_j -p_j log(p_j); a p of 0 adds 0, a negative one NaN.
    double (*entropy)(const T* p, std::size_t n);
    /// sum_j -p_j log(q_j); a p of 0 adds 0 unless q is NaN, and negative numbers add NaN.
    double (*cross_entropy_of)(const T* p, const T* q, std::size_t n);
    /// sum_j (p_j log(p_j / q_j) - p_j + q_j), whose terms are never negative, and sum_j (p_j - q_j). Negative numbers
    /// add NaN.
    SumPair (*divergence)(const T* p, const T* q, std::size_t n);
    /// With d_j = x_j - reference <= 0: 2^64 times sum_j exp(d_j) and sum_j -d_j exp(d_j), but `aside`. An x of -inf
    /// adds 0. The exponentials of float32 data have a relative error of 2^-34.
    SumPair (*exponential_gaps)(const T* x, std::size_t n, std::size_t aside, double reference);

    /// sum_j p_j but `aside`, added up in float64.
    double (*wide_sum)(const T* p, std::size_t n, std::size_t aside);
    /// sum_j -a_j log c_j with c_j = p_j / total, clipped; and the sum of the a_j whose p_j is not clipped: 0 if
    /// nothing is clipped. An a of 0 adds 0.
    /// Without clipping `total` does not count, and logarithms of float32 data are right to an ulp.
    SumPair (*probability_terms)(const T* p, const T* a, std::size_t n, const Clipping& clipping);
    /// out_j = factor (linear - raise a_j / p_j), without the second term where a_j is 0 or p_j is clipped; a factor of 0
    /// makes it 0, and a difference of 0 stays so. `out` may be `p`. Returns whether all were finite numbers of float64.
    bool (*probability_gradient)(const T* p, const T* a, std::size_t n, const Clipping& clipping,
                                 const ProbabilitySlope& slope, T* out);

    /// How many x_j are above `value`, or equal to it and j < label; NaN if one is NaN.
    double (*count_beating)(const T* x, std::size_t n, T value, std::size_t label);
    /// Whether that is not 0: whether there is such an x_j, or a NaN.
    bool (*is_beaten)(const T* x, std::size_t n, T value, std::size_t label);

    /// As block_state, and of a normal block more: how many x_j are above `value`, and sums beside the largest.
    void (*block_gaps)(const T* x, std::size_t n, std::size_t aside, T value, BlockState* state, BlockGaps* gaps);
    /// The largest of each whole group of 256 bytes; NaNs do not count.
    void (*group_largest)(const T* x, std::size_t n, T* tops);
    /// Indices of the x_j above `value`, in order; returns how many there are.
    std::size_t (*indices_above)(const T* x, std::size_t n, T value, std::uint32_t* indices);

    // For rows that the fast kernels leave alone: float64 throughout, against a reference near the row's maximum.
    /// The largest element but `aside`; NaN if there is one; -inf of nothing.
    double (*float64_max)(const T* x, std::size_t n, std::size_t aside);
    /// sum_j exp(x_j - reference) but `aside`.
    double (*float64_sum)(const T* x, std::size_t n, std::size_t aside, double reference);
    /// out_j = scale exp(x_j - reference) + linear q_j, then the patch.
    void (*float64_write)(const T* x, std::size_t n, double reference, double scale, double linear, const double* q,
                          Patch<T> patch, T* out);
};

}  // namespace logitloss::detail
