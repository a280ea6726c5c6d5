// Losses of regression.
#include "bind.hpp"
#include "logitloss/regression.hpp"
#include "losses.hpp"

namespace logitloss::python {
namespace {

class RegressionArguments : public ElementArguments<RegressionOptions> {
public:
    template <class... Objects>
    explicit RegressionArguments(const Objects&... objects) : ElementArguments("pred", objects...) {}
};

class PoissonArguments : public ElementArguments<PoissonOptions> {
public:
    static constexpr std::size_t count = 1 + ElementArguments::count;

    template <class... Objects>
    explicit PoissonArguments(const py::object& full, const Objects&... objects)
        : ElementArguments("log_rate", objects...) {
        options.full = as_flag(full, "full");
    }
};

}  // namespace

void bind_regression(py::module_& module) {
    using Arguments = RegressionArguments;
    define_loss<Arguments, mean_squared_error, mean_squared_error_value_and_grad>(module, "mean_squared_error");
    define_loss<Arguments, mean_absolute_error, mean_absolute_error_value_and_grad>(module, "mean_absolute_error");
    define_loss<Arguments, root_mean_squared_error, root_mean_squared_error_value_and_grad>(module,
                                                                                            "root_mean_squared_error");
    define_loss<PoissonArguments, poisson_nll, poisson_nll_value_and_grad>(module, "poisson_nll");
}

}  // namespace logitloss::python
