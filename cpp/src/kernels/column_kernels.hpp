// Kernels on rows side by side, of which a vector holds one class. kernel_table.hpp says what all kernels promise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/row_kernels.hpp"

namespace logitloss::detail {

/// Rows side by side, and how many numbers each has.
struct TileShape {
    std::size_t lanes;  ///< a multiple of row_batch, at most most_lanes
    std::size_t classes;
};

/// Where the rows after a tile's are: class j of lane r is within a cache line of start + j class_step + r lane_step.
/// Only ever prefetched, and so an integer: there may be no such rows.
struct NextTile {
    std::uintptr_t start = 0;
    std::ptrdiff_t class_step = 0;
    std::ptrdiff_t lane_step = 0;
};

/// Arrays of a quantity of each row side by side.
template <class T>
struct ColumnStates {
    const T* aside;    ///< in: number of the class that does not count, -1 for none; null: all count
    T* logit;          ///< out, beside `aside`: its logit, 0 where there is none
    T* max;            ///< out: largest logit that counts; NaNs do not show in it
    double* sum;       ///< out: sum_j exp(x_j) = sum * 2^exponent where |max| is at most 2^17; else 0 or NaN
    double* exponent;  ///< out: no_exponent where |max| is larger
    NextTile next;
};

template <class T>
struct ColumnInputs {
    const T* x;
    std::ptrdiff_t stride;
    const T* exponentials;  ///< as column_states kept them, under the rows' exponents; or null: computed from x
    const T* coefficients;  ///< as those; null: all 1
};

/// Probabilities and coefficients of rows side by side, and each row's Clipping::total.
template <class T>
struct ProbabilityColumns {
    const T* p;
    std::ptrdiff_t p_stride;
    const T* a;
    std::ptrdiff_t a_stride;
    const double* totals;
};

/// Rows of at most so many classes of float32 are computed in float32: Note [pairs].
constexpr std::size_t most_few_classes = 128;

/// Marks a row of few classes whose result holds, while this arithmetic does not do for its gradient.
constexpr float odd_for_gradient = 0x1p-10f;

enum class FewClassTask : std::int32_t {
    log_sum_exp,
    log_sum_exp_gradient,  ///< both, the softmax times a factor
    softmax,               ///< times a factor
    log_softmax,
    cross_entropy,
    cross_entropy_gradient,
    largest,  ///< the loss `kept` where the first largest class is the target, else `spread`; no row is odd
};

/// Rows of 2 to most_few_classes classes: class j of row r is x[r row_step + j class_step], and one of the steps is 1. If
/// it is row_step, memory up to a whole row_batch of rows is there. Arrays of a number a row have a whole row_batch.
struct FewClasses {
    const float* x;
    std::ptrdiff_t row_step, class_step;
    std::size_t rows, classes;
    const float* target;   ///< of losses: number of each row's class
    const float* read;     ///< 0 for rows that do not count, else 1; null: all count
    const double* weight;  ///< multiplies losses; null: 1
    const double* factor;  ///< multiplies what is written; null: same_factor
    float same_factor;
    float kept, spread;  ///< of a cross-entropy: 1 - e and e / C of a smoothing e; of `largest`: the two losses
    float* lse;          ///< out: log-sum-exps
    double* loss;        ///< out: 0 of a row that does not count
    float* out;          ///< may be `x`; an odd row's logits are copied there
    std::ptrdiff_t out_row_step, out_class_step;
    float* odd;     ///< out: 0; odd_for_gradient where only what is written means nothing; else 1 or more
    NextTile next;  ///< to fetch, beside a row_step of 1
};

/// Rows side by side whose gradients and Hessian diagonals are written, an array a quantity. Exponentials are
/// exp((x - reference) scale) / 2^exponent; the largest class is set aside.
template <class T>
struct CurvatureRows {
    double scale;  ///< multiplies logits and gradients
    double reference[most_lanes];
    double exponent[most_lanes];
    T top[most_lanes];               ///< number of the largest class, -1 for none
    T label[most_lanes];             ///< number of the class of a hard target, -1 for none
    T read[most_lanes];              ///< 0 where both results are 0
    double own[most_lanes];          ///< exponential of the largest class
    double others[most_lanes];       ///< sum of all others
    double mass[most_lanes];         ///< sum of the target's coefficients
    double others_mass[most_lanes];  ///< the same without the largest class; only beside coefficients
    double weight[most_lanes];       ///< multiplies the loss
};

/// Of a tile's classes from `first` on, shape.lanes apart.
struct CurvatureInputs {
    std::size_t first;
    const double* exponentials;
    const double* coefficients;  ///< of the target; null: `mass` at the label and 0 elsewhere
};

template <class T>
struct CurvatureOutputs {
    T* grad;
    std::ptrdiff_t grad_stride;
    T* hess;
    std::ptrdiff_t hess_stride;
};

/// Class j of row r is x[j * stride + r]. What is kept of rows lies shape.lanes apart. Sums run over the classes in an order of
/// their own, so that a row's results do not depend on the rows beside it.
template <class T>
struct ColumnKernels {
    /// columns[j * lanes + r] = rows[r][j], and back. Rows must not overlap when written, unless they hold the same.
    void (*transpose_rows)(const T* const* rows, TileShape shape, T* columns);
    void (*transpose_columns)(const T* columns, TileShape shape, T* const* rows);
    /// block_state of the columns. Returns whether every |max| and every |logit| aside is at most 2^17.
    bool (*column_states)(const T* x, std::ptrdiff_t stride, TileShape shape, const ColumnStates<T>& states,
                          T* exponentials);
    /// `others` and `others_rest` from the classes themselves, of the lanes where `wanted` is not 0; `max` is given.
    void (*column_paired_exponentials)(const T* x, std::ptrdiff_t stride, TileShape shape, LogSumExpEnds<T>* rows,
                                       const double* wanted);
    /// Number of each row's first largest class; -1 where all are -inf or NaN.
    void (*column_largest)(const T* x, std::ptrdiff_t stride, TileShape shape, T* found);
    /// sum_j q_j (reference - x_j); a q of 0 adds 0. Without `q`: all 1.
    void (*column_gaps)(const T* x, std::ptrdiff_t stride, const T* q, TileShape shape, const T* reference,
                        double* gaps);
    /// sum_j x_j but `aside` (null: none).
    void (*column_sum)(const T* x, std::ptrdiff_t stride, TileShape shape, const T* aside, double* sums);
    /// sum_j y_j dy_j; a y of 0 adds 0.
    void (*column_dot)(const T* y, std::ptrdiff_t y_stride, const T* dy, std::ptrdiff_t dy_stride, TileShape shape,
                       double* sums);
    /// scaled_exponentials of the columns; `linear`: whether there is a linear term.
    void (*write_columns)(const ColumnInputs<T>& in, TileShape shape, bool linear, const ColumnScales<T>& rows,
                          std::ptrdiff_t out_stride, T* out);
    void (*column_log_softmax)(const T* x, std::ptrdiff_t stride, TileShape shape, const T* max, const T* above_max,
                               std::ptrdiff_t out_stride, T* out);
    void (*column_softmax_vjp)(const T* y, std::ptrdiff_t y_stride, const T* dy, std::ptrdiff_t dy_stride,
                               TileShape shape, const T* half_dot, std::ptrdiff_t out_stride, T* out);
    void (*column_log_softmax_vjp)(const T* y, std::ptrdiff_t y_stride, const T* dy, std::ptrdiff_t dy_stride,
                                   TileShape shape, const T* sum, std::ptrdiff_t out_stride, T* out);

    /// Log-sum-exps, losses and gradients of rows of few float32 classes. Returns whether a row is odd.
    bool (*few_classes)(const FewClasses& rows, FewClassTask task);

    // As the RowKernels of those names; `aside`, `label`: a number of a class, -1 for none.
    void (*column_entropy)(const T* p, std::ptrdiff_t stride, TileShape shape, double* sums);
    void (*column_cross_entropy_of)(const T* p, std::ptrdiff_t p_stride, const T* q, std::ptrdiff_t q_stride,
                                    TileShape shape, double* sums);
    void (*column_divergence)(const T* p, std::ptrdiff_t p_stride, const T* q, std::ptrdiff_t q_stride, TileShape shape,
                              double* terms, double* differences);
    void (*column_exponential_gaps)(const T* x, std::ptrdiff_t stride, TileShape shape, const T* aside,
                                    const double* minus_reference, double* sums, double* gaps);
    void (*column_outside_unit)(const T* p, std::ptrdiff_t stride, TileShape shape, T* counts);
    void (*column_wide_sum)(const T* p, std::ptrdiff_t stride, TileShape shape, const T* aside, double* sums);
    void (*column_probability_terms)(const ProbabilityColumns<T>& in, TileShape shape, const Clipping& clipping,
                                     double* losses, double* kept);
    bool (*column_probability_gradient)(const ProbabilityColumns<T>& in, TileShape shape, const Clipping& clipping,
                                        const double* linear, const double* raise, const double* factor,
                                        std::ptrdiff_t out_stride, T* out);
    /// Sets `top`, and `reference` and `exponent` such that exponentials neither overflow nor lose digits far below the
    /// largest. With no class above -inf, or one of +inf, they will be NaN.
    void (*column_references)(const T* x, std::ptrdiff_t stride, TileShape shape, CurvatureRows<T>* rows);
    /// The exponentials of shape.classes classes from number `first` on, to `kept`, and their sums but the largest class,
    /// whose exponential becomes `own` if it is among them. A NaN gives NaN.
    void (*column_exponentials)(const T* x, std::ptrdiff_t stride, TileShape shape, std::size_t first,
                                CurvatureRows<T>* rows, double* kept, double* sums);
    /// scale weight (mass p_j - q_j), and what the rule makes of scale weight mass p_j (1 - p_j).
    void (*column_curvatures)(const CurvatureInputs& in, TileShape shape, const CurvatureRows<T>& rows,
                              const HessianRule& rule, const CurvatureOutputs<T>& out);
    /// count_beating of the value that each row has at its label; -1: -inf.
    void (*column_beating)(const T* x, std::ptrdiff_t stride, TileShape shape, const T* label, T* counts);
};

}  // namespace logitloss::detail
