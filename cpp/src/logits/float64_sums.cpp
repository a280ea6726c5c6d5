#include "logits/log_sum_exp_rows.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {

template <class T>
Float64Sums float64_sums(std::size_t classes, std::size_t aside, const BlockReader<T>& row) {
    const Kernels<T>& kernels = detail::kernels().of<T>();
    const auto length = [&](std::size_t first) { return std::min(block_size, classes - first); };
    const auto aside_in = [&](std::size_t first) {
        return aside >= first && aside - first < length(first) ? aside - first : no_index;
    };
    double top = -INFINITY;
    for (std::size_t first = 0; first < classes; first += block_size) {
        const std::size_t n = length(first);
        const double block_top = kernels.float64_max(row.read(row.context, first, n), n, aside_in(first));
        top = block_top > top || block_top != block_top ? block_top : top;
    }
    StridedSum sum;
    for (std::size_t first = 0; top - top == 0.0 && first < classes; first += block_size) {
        const std::size_t n = length(first);
        sum.add(first / block_size, kernels.float64_sum(row.read(row.context, first, n), n, aside_in(first), top));
    }
    return {top, sum.total()};
}

template Float64Sums float64_sums(std::size_t, std::size_t, const BlockReader<float>&);
template Float64Sums float64_sums(std::size_t, std::size_t, const BlockReader<double>&);

}  // namespace logitloss::detail
