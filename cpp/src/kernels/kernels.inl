// Every kernel, in the order in which they build on each other. An isa/*.cpp file includes this below its vector
// layer, inside its target region: nothing here may include a system header.

#if defined(LOGITLOSS_UNROLL)
// the instruction set has said how
#elif defined(__clang__)
#define LOGITLOSS_UNROLL _Pragma("unroll")
#else
#define LOGITLOSS_UNROLL _Pragma("GCC unroll 64")
#endif

#include "kernels/exp_log.inl"

#include "kernels/groups.inl"

#include "kernels/masked.inl"

#include "kernels/row.inl"

#include "kernels/row_ends.inl"

#include "kernels/row_terms.inl"

#include "kernels/softmax.inl"

#include "kernels/columns.inl"

#if !defined(LOGITLOSS_EMULATED)  // where it takes two minutes to compile, and is made of verbs that are tested there
#include "kernels/few_classes.inl"

#include "kernels/few_class_rows.inl"
#endif

#include "kernels/softcap.inl"

#include "kernels/scaled.inl"

#include "kernels/elements.inl"

#include "kernels/bce.inl"

#include "kernels/focal.inl"

#include "kernels/wide.inl"

#include "kernels/paired.inl"

#include "kernels/regression.inl"

#include "kernels/information.inl"

#include "kernels/probabilities.inl"

#include "kernels/metrics.inl"

#include "kernels/token_rows.inl"

#include "kernels/float64_rows.inl"

#include "kernels/curvature.inl"

#include "kernels/half.inl"

template <class T>
constexpr Kernels<T> make_kernels() {
    Kernels<T> k{};
    k.keep = keep<T>;
    k.block_state = block_state<T>;
    k.largest = block_largest<T>;
    k.find = find<T>;
    k.sum_gaps = sum_gaps<T>;
    k.sum = sum<T>;
    k.weighted_exponentials = weighted_exponentials<T>;
    k.log_sum_exp_ends = log_sum_exp_ends<T>;
    k.paired_exponentials = paired_exponentials<T>;
    k.column_paired_exponentials = column_paired_exponentials<T>;
    k.paired_ends = paired_ends<T>;
    k.aside_ends = aside_ends_of<T>;
    k.class_numbers = class_numbers<T>;
    k.index_terms = row_terms<T, IndexTerms<T>>;
    k.soft_terms = row_terms<T, SoftTerms<T>>;
    k.scale_rows = scale_rows<T>;
    k.scaled_exponentials = write_row<T>;
    k.log_softmax = log_softmax<T>;
    k.dot = dot<T>;
    k.softmax_vjp = vjp<T, softmax_vjp_step<T>>;
    k.log_softmax_vjp = vjp<T, log_softmax_vjp_step<T>>;
    k.transpose_rows = transpose_rows<T>;
    k.transpose_columns = transpose_columns<T>;
    k.column_states = column_states<T>;
    k.column_largest = column_largest<T>;
    k.column_gaps = column_gaps<T>;
    k.column_sum = column_sum<T>;
    k.column_dot = column_dot<T>;
    k.write_columns = write_columns<T>;
    k.column_log_softmax = column_log_softmax<T>;
    k.column_softmax_vjp = column_vjp<T, softmax_vjp_step<T>>;
    k.column_log_softmax_vjp = column_vjp<T, log_softmax_vjp_step<T>>;
    k.softcap = softcap<T>;
    k.softcap_pull_back = softcap_pull_back<T>;
    k.bce = bce<T>;
    k.focal = focal<T>;
    k.squared_error = difference_loss<T, SquaredError>;
    k.absolute_error = difference_loss<T, AbsoluteError>;
    k.poisson = poisson<T>;
    k.self_information = self_information<T>;
    k.entropy = entropy<T>;
    k.cross_entropy_of = cross_entropy_of<T>;
    k.divergence = divergence<T>;
    k.exponential_gaps = exponential_gaps<T>;
    k.count_outside_unit = count_outside<T, outside_unit_or_tiny<T>>;
    k.count_no_counts = count_outside<T, outside_counts<T>>;
    k.wide_sum = wide_sum<T>;
    k.probability_terms = probability_terms<T>;
    k.probability_gradient = probability_gradient<T>;
    k.bce_of_probabilities = bce_of_probabilities<T>;
    k.count_beating = count_beating<T>;
    k.is_beaten = is_beaten<T>;
    k.block_gaps = block_gaps<T>;
    k.group_largest = group_largest<T>;
    k.indices_above = indices_above<T>;
    k.column_entropy = column_entropy<T>;
    k.column_cross_entropy_of = column_cross_entropy_of<T>;
    k.column_divergence = column_divergence<T>;
    k.column_exponential_gaps = column_exponential_gaps<T>;
    k.column_outside_unit = column_outside_unit<T>;
    k.column_wide_sum = column_wide_sum<T>;
    k.column_probability_terms = column_probability_terms<T>;
    k.column_probability_gradient = column_probability_gradient<T>;
    k.column_beating = column_beating<T>;
    k.column_references = column_references<T>;
    k.column_exponentials = column_exponentials<T>;
    k.column_curvatures = column_curvatures<T>;
    if constexpr (sizeof(T) == sizeof(double)) {
        k.bce_derivatives = bce_derivatives;
        k.focal_derivatives = focal_derivatives;
    }
#if !defined(LOGITLOSS_EMULATED)
    if constexpr (sizeof(T) == sizeof(float))
        k.few_classes = few_classes;
#endif
    k.canonical_nan = canonical_nan<T>;
    k.float64_max = float64_max<T>;
    k.float64_sum = float64_sum<T>;
    k.float64_write = float64_write<T>;
    k.exp = map_array<T, exp_everywhere<T>>;
    k.log = map_array<T, log_everywhere<T>>;
    k.log1p = map_array<T, log1p_everywhere<T>>;
    return k;
}

constexpr KernelTable make_table(const char* name, bool (*supported_here)()) {
    return {name,
            supported_here,
            make_kernels<float>(),
            make_kernels<double>(),
            {widen_halves<Float16>, narrow_to_halves<Float16>, half_block_state<Float16>, half_block_gaps<Float16>},
            {widen_halves<BFloat16>, narrow_to_halves<BFloat16>, half_block_state<BFloat16>, half_block_gaps<BFloat16>},
            {count_labels, add_strided, weighted_exponent, weighted_pairs}};
}
