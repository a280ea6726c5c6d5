// Softmax cross-entropy: class indices and class probabilities, with every option, on the row traversal.
//
// Note [row factors]: the options do not multiply kernels. Each is one of
//   - a change of the logits of a block (softcap, margin, scale: LogitTransform),
//   - the coefficients q_j of a linear term sum_j q_j (L - z_j): probabilities, smoothing, class weights,
//   - a few scalars per row (class weight of the target, sample weight, z-loss, upstream, normalizer), which `end`
//     combines in float64 into the row's loss and the three numbers that the gradient sweep takes:
//     grad_j = scale exp(z_j) + linear q_j, and the value at the class set aside.
#include "logitloss/cross_entropy.hpp"

#include "arguments/dtype_switch.hpp"
#include "losses/cross_entropy/cross_entropy_call.hpp"
#include "losses/cross_entropy/cross_entropy_rows.hpp"
#include "runtime/entry.hpp"

namespace logitloss {
namespace detail {

template CrossEntropyRows<float>::CrossEntropyRows(const LogitCall&);
template CrossEntropyRows<double>::CrossEntropyRows(const LogitCall&);
template void CrossEntropyRows<float>::read_rows(const RowTile&, RowLanes<float>&) const;
template void CrossEntropyRows<double>::read_rows(const RowTile&, RowLanes<double>&) const;
template const float* CrossEntropyRows<float>::logits(const RowPlace&, std::size_t, std::size_t, float,
                                                      Scratch<float>&) const;
template const double* CrossEntropyRows<double>::logits(const RowPlace&, std::size_t, std::size_t, double,
                                                        Scratch<double>&) const;
template CrossEntropyRows<float>::Coefficients CrossEntropyRows<float>::coefficients(const RowPlace&, std::size_t,
                                                                                     std::size_t,
                                                                                     Scratch<float>&) const;
template CrossEntropyRows<double>::Coefficients CrossEntropyRows<double>::coefficients(const RowPlace&, std::size_t,
                                                                                       std::size_t,
                                                                                       Scratch<double>&) const;
template void CrossEntropyRows<float>::finish_rows(const RowTile&, RowLanes<float>&) const;
template void CrossEntropyRows<double>::finish_rows(const RowTile&, RowLanes<double>&) const;
template void CrossEntropyRows<float>::write(const RowPlace&, const Write&, std::size_t, std::size_t, const float*,
                                             Scratch<float>&) const;
template void CrossEntropyRows<double>::write(const RowPlace&, const Write&, std::size_t, std::size_t, const double*,
                                              Scratch<double>&) const;

void run_cross_entropy(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                       const MutableArrayView& loss, const MutableArrayView& grad, const CrossEntropyOptions& options) {
    const LogitCall call("logits", logits, target, upstream, loss, grad, options);
    with_arithmetic_type(call.input.view.dtype, [&](auto number) {
        CrossEntropyRows<decltype(number)> rows(call);
        rows.run();
    });
}

}  // namespace detail

void cross_entropy(const ArrayView& logits, const ArrayView& target, const MutableArrayView& loss,
                   const CrossEntropyOptions& options) {
    detail::enter([&] { detail::run_cross_entropy(logits, target, {}, loss, {}, options); });
}

void cross_entropy_value_and_grad(const ArrayView& logits, const ArrayView& target, const ArrayView& upstream,
                                  const MutableArrayView& loss, const MutableArrayView& grad,
                                  const CrossEntropyOptions& options) {
    detail::enter([&] { detail::run_cross_entropy(logits, target, upstream, loss, grad, options); });
}

}  // namespace logitloss
