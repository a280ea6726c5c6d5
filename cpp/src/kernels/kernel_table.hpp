// The seam between the losses and an instruction set: the table of kernels that each isa/*.cpp file exports.
//
// Every kernel is single-threaded, reads and writes contiguous memory (at any alignment), allocates nothing and throws
// nothing, and gives the same bits on every instruction set. "A block" is at most block_size consecutive classes of a
// row, or elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/column_kernels.hpp"
#include "kernels/element_kernels.hpp"
#include "kernels/row_kernels.hpp"

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)
#error "logitloss: remove -ffast-math and its parts from the compiler's flags, they change results"
#elif __FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2 || __FLT_EVAL_METHOD__ == -1  // a wider type, or who knows
#error "logitloss: remove the flags that let arithmetic keep excess precision (-mfpmath=387), they change results"
#endif

namespace logitloss::detail {

/// The kernels on arrays of T.
template <class T>
struct Kernels : RowKernels<T>, ColumnKernels<T>, ElementKernels<T> {};

/// Halves as they are stored: the bytes of a 16-bit word, so that they may lie at any address.
struct Float16 {
    unsigned char bytes[2];
};
struct BFloat16 {
    unsigned char bytes[2];
};

/// Halves are stored and never computed with: a block of them becomes floats, and floats become a block of them. Only
/// the sums of a row, which read it twice and write nothing there, widen a vector at a time.
template <class Half>
struct HalfKernels {
    /// Exact; NaNs stay NaN.
    void (*widen)(const Half* in, std::size_t n, float* out);
    /// Rounded to nearest even: beyond the largest number infinity, subnormals kept, every NaN the positive quiet one.
    void (*narrow)(const float* in, std::size_t n, StoreMode mode, Half* out);
    /// As Kernels<float>::block_state of the widened block.
    void (*block_state)(const Half* x, std::size_t n, std::size_t aside, BlockState* state, float* exponentials,
                        const PendingRow<float>* pending);
    /// As Kernels<float>::block_gaps of the widened block.
    void (*block_gaps)(const Half* x, std::size_t n, std::size_t aside, float value, BlockState* state,
                       BlockGaps* gaps);
};

/// What arrays of numbers need whose type is not that of the logits.
struct NumberKernels {
    /// How many labels are neither in [0, classes) nor, if `ignores`, equal to `ignored`; and how many are not ignored.
    SumPair (*count_labels)(const std::int64_t* labels, std::size_t n, std::size_t classes, bool ignores,
                            std::int64_t ignored);
    /// Adds value i to sum i mod 8, and what that addition rounds away to lost i mod 8; n is a multiple of 8.
    void (*add_strided)(const double* values, std::size_t n, double* sums, double* lost);
    /// The largest power of two in the terms b_j exp(x_j - reference), no_exponent if there is none; and their sum under
    /// a power of two, in two parts, the first being the whole rounded. An x of -inf or a b of 0 adds nothing; no x_j is
    /// above the reference; weights are of any size.
    double (*weighted_exponent)(const double* x, const double* b, std::size_t n, double reference);
    SumPair (*weighted_pairs)(const double* x, const double* b, std::size_t n, double reference, double exponent);
};

struct KernelTable {
    const char* name;
    bool (*supported)();
    Kernels<float> float32;
    Kernels<double> float64;
    HalfKernels<Float16> float16;
    HalfKernels<BFloat16> bfloat16;
    NumberKernels numbers;

    template <class T>
    const Kernels<T>& of() const;
    template <class Half>
    const HalfKernels<Half>& halves() const;
};

template <>
inline const Kernels<float>& KernelTable::of<float>() const {
    return float32;
}
template <>
inline const Kernels<double>& KernelTable::of<double>() const {
    return float64;
}
template <>
inline const HalfKernels<Float16>& KernelTable::halves<Float16>() const {
    return float16;
}
template <>
inline const HalfKernels<BFloat16>& KernelTable::halves<BFloat16>() const {
    return bfloat16;
}

}  // namespace logitloss::detail
