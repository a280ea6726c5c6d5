"""Elements at the ends of the range of their dtype: what a factor brings back from below the normal numbers or from
above the largest, what a factor of 0 removes, and the focal loss at every gamma."""

import mpmath
import numpy as np
import pytest
from checks import DTYPES

import logitloss as ll

INF, NAN = np.inf, np.nan
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
BINARY = [ll.bce_with_logits_value_and_grad, ll.sigmoid_focal_loss_value_and_grad]
every_binary = pytest.mark.parametrize("binary", BINARY, ids=lambda f: f.__name__)
ERRORS = [
    ll.mean_squared_error_value_and_grad,
    ll.mean_absolute_error_value_and_grad,
    ll.root_mean_squared_error_value_and_grad,
]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda f: f.__name__)


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="raise", under="ignore"):
        yield


def exact_focal(x, t, gamma, alpha=None):
    """Loss and gradient in 60 digits; bce_with_logits for a gamma of 0."""
    with mpmath.workdps(60):
        x, t, gamma = mpmath.mpf(float(x)), mpmath.mpf(float(t)), mpmath.mpf(gamma)
        softplus = mpmath.log1p(mpmath.exp(-abs(x)))
        below, above = max(-x, 0) + softplus, max(x, 0) + softplus  # softplus(-x), softplus(x)
        entropy = t * below + (1 - t) * above
        p, q = mpmath.exp(-below), mpmath.exp(-above)
        miss = (1 - t) * p + t * q
        a = mpmath.mpf(1) if alpha is None else mpmath.mpf(alpha) * t + (1 - mpmath.mpf(alpha)) * (1 - t)
        loss = a * miss**gamma * entropy
        slope = (1 - t) * p - t * q - gamma * (2 * t - 1) * entropy * p * q / miss
        return loss, a * miss**gamma * slope


def assert_relative(got, want, rtol, dtype):
    """Relative where the right value is a normal number; within a subnormal elsewhere."""
    for value, right in zip(np.ravel(got), want, strict=True):
        floor = 2 * float(np.finfo(dtype).smallest_subnormal)
        largest = float(np.finfo(dtype).max)
        if abs(right) > largest:
            assert np.isinf(value), (value, right)
        else:
            assert abs(mpmath.mpf(float(value)) - right) <= rtol * abs(right) + floor, (value, right)


# ------------------------------------------------------------------------------------------------------ focal: gammas


def focal_rtol(dtype):
    return 4e-7 if dtype == np.float32 else 1e-14


def test_the_example_of_a_large_gamma():
    loss = ll.sigmoid_focal_loss(np.float32([0.001]), [1], alpha=None, gamma=20.0, reduction="none")
    assert_relative(loss, [exact_focal(np.float32(0.001), 1, 20)[0]], 4e-7, np.float32)


@every_dtype
@pytest.mark.parametrize("gamma", [0, 0.3, 1, 2, 2.5, 4.9, 5.1, 7, 15.7, 16.3, 20, 33.3, 50, 77.7, 100, 1e4, 1e9])
def test_focal_at_every_gamma(gamma, dtype, rng):
    # Confident and wrong ones of every size, and the middle, where log1p(exp(-|x|)) has its largest error.
    ends = np.concatenate([np.linspace(-30, 30, 61), [-800, -100, -88, 88, 100, 800], 10.0 ** rng.uniform(-8, 1, 30)])
    x = np.concatenate([ends, rng.standard_normal(60), -np.log(gamma + 1) - rng.uniform(-3, 6, 40)]).astype(dtype)
    target = (np.arange(x.size) % 3 != 0).astype(np.uint8)
    loss, grad = ll.sigmoid_focal_loss_value_and_grad(x, target, gamma=gamma, alpha=None, reduction="none")
    wants = [exact_focal(a, t, gamma) for a, t in zip(x, target, strict=True)]
    if gamma <= 5 and dtype == np.float32:  # the fast steps flush powers below 2^-126.9
        keep = np.array([abs(w[0]) > 2e-38 and abs(w[1]) > 2e-38 for w in wants])
        loss, grad, wants = loss[keep], grad[keep], [w for w, k in zip(wants, keep, strict=True) if k]
    if gamma <= 16 and dtype == np.float64:
        keep = np.array([abs(w[0]) > 3e-308 and abs(w[1]) > 3e-308 for w in wants])
        loss, grad, wants = loss[keep], grad[keep], [w for w, k in zip(wants, keep, strict=True) if k]
    assert len(wants) > 50
    assert_relative(loss, [w[0] for w in wants], focal_rtol(dtype), dtype)
    assert_relative(grad, [w[1] for w in wants], focal_rtol(dtype), dtype)


@every_dtype
@pytest.mark.parametrize("gamma", [2.0, 10.0, 30.0])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0, None])
def test_focal_targets_outside_the_unit_interval_at_every_gamma(alpha, gamma, dtype):
    target = np.array([-0.5, 1.5, 2.0, -1.0])  # at 1.5 an alpha of 1/4 makes alpha_t 0
    got = ll.sigmoid_focal_loss_value_and_grad(np.ones(4, dtype), target, gamma=gamma, alpha=alpha, reduction="none")
    assert np.isnan(got).all()


# --------------------------------------------------------------------------------------------------- tails and factors


def tails(dtype):
    return [-87, -88, -95, -100, -103, -110] if dtype == np.float32 else [-707, -709, -740, -745, -760]


@every_dtype
@pytest.mark.parametrize("factor", [1.5, 100.0, 1e6, 1e14, 1e30])
@pytest.mark.parametrize("given", ["weight", "pos_weight", "upstream", "upstreams", "both"])
@pytest.mark.parametrize("n", [1, 5, 64, 200])
def test_a_factor_brings_back_a_subnormal_bce(n, given, factor, dtype):
    for x in tails(dtype):
        positive = given in ("pos_weight", "both")
        logits = np.full(n, -x if positive else x, dtype)
        target = np.full(n, positive, np.uint8)
        factors = {
            "weight": {"weight": dtype(factor)},
            "pos_weight": {"pos_weight": factor},
            "upstream": {"upstream": factor},
            "upstreams": {"upstream": np.full(n, factor, dtype)},
            "both": {"pos_weight": dtype(factor), "weight": dtype(2)},
        }[given]
        loss, grad = ll.bce_with_logits_value_and_grad(logits, target, reduction="none", **factors)
        raw = exact_focal(logits[0], target[0], 0)
        of_loss = 1 if given.startswith("upstream") else factor * (2 if given == "both" else 1)
        of_grad = factor if given.startswith("upstream") else of_loss
        exact = [mpmath.mpf(float(dtype(f)) if given != "pos_weight" else f) for f in (of_loss, of_grad)]
        rtol = 5e-7 if dtype == np.float32 else 1e-14
        assert_relative(grad, n * [raw[1] * exact[1]], rtol, dtype)
        if of_loss != 1:
            assert_relative(loss, n * [raw[0] * exact[0]], rtol, dtype)


def test_the_example_of_a_subnormal_loss():
    x = np.float32([-88, -95, -103])
    loss = ll.bce_with_logits(x, np.zeros(3), weight=np.float32(100), reduction="none")
    assert_relative(loss, [100 * mpmath.exp(float(a)) for a in x], 4e-7, np.float32)


@every_dtype
@pytest.mark.parametrize("call", ["sum", "place"])
def test_a_factor_of_the_whole_gradient_brings_back_a_subnormal(call, dtype):
    x = np.array([*tails(dtype), 0.5], dtype)
    out = {"grad_out": x.copy()} if call == "sum" else {"grad_out": x}
    want = [1000 * exact_focal(a, 0, 0)[1] for a in x]
    _, grad = ll.bce_with_logits_value_and_grad(x, np.zeros(x.size, np.uint8), reduction="sum", upstream=1000, **out)
    assert_relative(grad, want, 5e-7 if dtype == np.float32 else 1e-14, dtype)


@every_dtype
@pytest.mark.parametrize("factor", [3.0, 1e20, 1e36])
def test_a_factor_brings_back_a_subnormal_focal_loss(factor, dtype):
    x = np.array([-28, -31, -35, -45, -60] + ([-200, -236, -240] if dtype == np.float64 else []), dtype)
    weight = dtype(factor)
    target = np.zeros(x.size, np.uint8)
    got = ll.sigmoid_focal_loss_value_and_grad(x, target, alpha=None, weight=weight, reduction="none")
    wants = [exact_focal(a, 0, 2) for a in x]
    rtol = 5e-7 if dtype == np.float32 else 2e-14
    for part in (0, 1):
        assert_relative(got[part], [w[part] * mpmath.mpf(float(weight)) for w in wants], rtol, dtype)


@every_dtype
@every_binary
def test_two_factors_whose_product_is_ordinary(binary, dtype):
    small, large = (1e-30, 1e30) if dtype == np.float32 else (1e-300, 1e300)
    x = np.array([-40, -3, 0.5, 2, 30], dtype)
    target = np.array([1, 0, 1, 1, 0], np.uint8)
    want = binary(x, target, reduction="none")
    small, large = dtype(small), dtype(large)
    ratio = float(small) * float(large)
    for weight, upstream in ((small, large), (large, small)):
        _, grad = binary(x, target, weight=weight, upstream=np.full(5, upstream), reduction="none")
        np.testing.assert_allclose(grad, want[1] * ratio, rtol=6e-7 if dtype == np.float32 else 1e-14)
        if binary is ll.bce_with_logits_value_and_grad:
            loss, _ = binary(x, target * 0 + 1, weight=weight, pos_weight=upstream, reduction="none")
            right = ll.bce_with_logits(x, target * 0 + 1, reduction="none")
            np.testing.assert_allclose(loss, right * ratio, rtol=6e-7 if dtype == np.float32 else 1e-14)


@every_dtype
def test_the_loss_does_not_depend_on_what_the_gradient_takes(dtype, rng):
    x = rng.uniform(-110, 110, 5000).astype(dtype)
    target = rng.integers(0, 2, 5000).astype(np.uint8)
    options = {"weight": rng.uniform(0.1, 1000, 5000).astype(dtype), "reduction": "none"}
    for one, both in (
        (ll.bce_with_logits, ll.bce_with_logits_value_and_grad),
        (ll.sigmoid_focal_loss, ll.sigmoid_focal_loss_value_and_grad),
    ):
        want = one(x, target, **options)
        for upstream in (1e-30, 1, 1e30):
            np.testing.assert_array_equal(both(x, target, upstream=upstream, **options)[0], want)


@every_dtype
@every_binary
def test_an_element_does_not_depend_on_the_factors_of_others(binary, dtype, rng):
    x = rng.uniform(-110, 110, 300).astype(dtype)
    target = rng.integers(0, 2, 300).astype(np.uint8)
    weight = (10.0 ** rng.uniform(-30, 30, 300)).astype(dtype)
    together = binary(x, target, weight=weight, reduction="none")
    for i in range(0, 300, 7):
        alone = binary(x[i : i + 1], target[i : i + 1], weight=weight[i : i + 1], reduction="none")
        np.testing.assert_array_equal(alone[0][0], together[0][i])
        np.testing.assert_array_equal(alone[1][0], together[1][i])


# ---------------------------------------------------------------------------------------------------- sums and squares


@every_dtype
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("n", [2, 3, 70, 5000])
def test_a_mean_of_the_largest_losses(n, in_place, dtype):
    largest = np.finfo(dtype).max
    x = np.full(n, largest)
    loss, grad = ll.bce_with_logits_value_and_grad(x, np.zeros(n), grad_out=x if in_place else None)
    np.testing.assert_allclose(loss, largest, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad, np.full(n, 1 / n), rtol=2 * np.finfo(dtype).eps)
    x = np.full(n, largest)
    loss = ll.sigmoid_focal_loss(x, np.zeros(n), alpha=None, weight=np.ones(n))
    np.testing.assert_allclose(loss, largest, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("n", [4, 9, 100, 10000])
def test_differences_beyond_the_largest_number(n, in_place):
    far, near = 1.7e308, np.zeros(n)
    pred, target = np.zeros(n), np.zeros(n)
    pred[1], target[1], pred[3] = far, -far, 1.0

    def given():
        p = pred.copy()
        return p, {"grad_out": p} if in_place else {}

    p, out = given()
    loss, grad = ll.mean_absolute_error_value_and_grad(p, target, **out)
    np.testing.assert_allclose(loss, 2 * (far / n), rtol=1e-15)
    near[[1, 3]] = 1 / n
    np.testing.assert_array_equal(grad, near)
    p, out = given()
    loss, grad = ll.root_mean_squared_error_value_and_grad(p, target, **out)
    np.testing.assert_allclose(loss, 2 * (far / np.sqrt(n)), rtol=1e-15)
    np.testing.assert_allclose(grad[[1, 3]], [1 / np.sqrt(n), 1 / far / 2 / np.sqrt(n)], rtol=1e-14)
    p, out = given()
    _, grad = ll.mean_squared_error_value_and_grad(p, target, **out)
    np.testing.assert_allclose(grad[[1, 3]], [4 * (far / n), 2 / n], rtol=1e-15)


@pytest.mark.parametrize("size", [1e154, 5e154, 1e155])
def test_squares_whose_sum_overflows_and_whose_mean_does_not(size):
    n = 1000
    pred = np.zeros(n)
    pred[:9] = size
    loss, grad = ll.mean_squared_error_value_and_grad(pred, np.zeros(n))
    np.testing.assert_allclose(loss, float(9 * mpmath.mpf(size) ** 2 / n), rtol=1e-15)
    np.testing.assert_allclose(grad[:9], np.full(9, 2 * size / n), rtol=1e-15)
    loss = ll.mean_squared_error(np.full(5, 1.2e154), np.zeros(5), weight=np.full(5, 1e3))
    np.testing.assert_allclose(loss, 1.44e308, rtol=1e-15)


@pytest.mark.parametrize(
    ("d", "weight", "squared"),
    [(1e200, 1e-310, 1e90), (1e-200, 1e300, 1e-100), (1e-170, 1e308, 1e-32), (1e300, 1e-300, 1e300), (3e7, 5e-324, 0)],
)
def test_weights_bring_squares_back(d, weight, squared):
    for scalar in (False, True):
        w = weight if scalar else np.full(3, weight)
        loss, grad = ll.mean_squared_error_value_and_grad(np.full(3, d), np.zeros(3), weight=w, reduction="none")
        want = mpmath.mpf(weight) * mpmath.mpf(d) ** 2
        assert_relative(loss, 3 * [want], 1e-15, np.float64)
        assert_relative(grad, 3 * [2 * mpmath.mpf(weight) * mpmath.mpf(d)], 1e-15, np.float64)
        if squared:
            np.testing.assert_allclose(loss, squared, rtol=1e-12)


@every_error
def test_float64_weights_beside_float32_predictions(error):
    pred = np.float32([1, 2, 3])
    want = error(pred, np.zeros(3, np.float32), weight=np.array([1.0, 2, 3]))
    for scale in (1e-300, 1e-60, 1e60, 1e300):
        got = error(pred, np.zeros(3, np.float32), weight=scale * np.array([1.0, 2, 3]))
        np.testing.assert_allclose(got[0], want[0], rtol=2e-7)
        np.testing.assert_allclose(got[1], want[1], rtol=2e-7)
    if error is not ERRORS[2]:
        _, grad = error(np.float32([1e-10]), np.float32([0]), weight=[1e60], upstream=[1e-60], reduction="none")
        np.testing.assert_allclose(grad, 2e-10 if error is ERRORS[0] else 1, rtol=1e-6)


@every_error
@pytest.mark.parametrize("upstream", [1e-310, 1e-200, 1e200, 1e307])
def test_upstream_gradients_of_any_size(error, upstream):
    pred, target = np.array([1.0, 2.0, 4.0]), np.zeros(3)
    want = error(pred, target)[1]
    weight = 1 / upstream if upstream > 1e-308 else 1e308
    np.testing.assert_allclose(error(pred, target, upstream=upstream)[1], want * upstream, rtol=1e-12)
    if error is not ERRORS[2]:
        got = error(pred, target, weight=weight, upstream=upstream, reduction="sum")[1]
        np.testing.assert_allclose(got, 3 * want * (weight * upstream), rtol=1e-12)


# ------------------------------------------------------------------------------------------------------- factors of 0


@every_dtype
@pytest.mark.parametrize("garbage", [NAN, INF, -INF])
@pytest.mark.parametrize("n", [1, 8, 33, 300])
class TestFactorsOf0:
    def check(self, call, logits, target, options, dtype):
        loss, grad = call(logits, target, reduction="none", **options)
        assert np.all(loss == 0) or "upstream" in options
        assert np.all(grad == 0)
        for reduction in ("sum", "mean"):
            upstream = options.get("upstream")
            rest = {k: v for k, v in options.items() if k != "upstream"}
            scalar = {} if upstream is None else {"upstream": 0.0}
            loss, grad = call(logits, target, reduction=reduction, **rest, **scalar)
            assert loss == 0 or upstream is not None
            assert np.all(grad == 0)

    @every_binary
    def test_binary(self, n, garbage, dtype, binary):
        logits, ones = np.full(n, garbage, dtype), np.ones(n)
        for target in (ones, ones.astype(np.uint8), 0 * ones, 0.3 * ones):
            for weight in (0.0, np.zeros(n), np.zeros(n, dtype)):
                self.check(binary, logits, target, {"weight": weight}, dtype)
            for upstream in (np.zeros(n), np.zeros(n, dtype)):
                self.check(binary, logits, target, {"upstream": upstream}, dtype)
        for weight in (0.0, np.zeros(n)):
            self.check(binary, np.ones(n, dtype), np.full(n, garbage), {"weight": weight}, dtype)

    def test_pos_weight(self, n, garbage, dtype):
        for pos_weight in (0.0, np.zeros(n), np.zeros(n, dtype)):
            logits = np.full(n, garbage, dtype)
            self.check(ll.bce_with_logits_value_and_grad, logits, np.ones(n), {"pos_weight": pos_weight}, dtype)

    def test_alpha(self, n, garbage, dtype):
        logits = np.full(n, garbage, dtype)
        call = ll.sigmoid_focal_loss_value_and_grad
        self.check(call, logits, np.ones(n), {"alpha": 0.0}, dtype)
        self.check(call, logits, np.zeros(n), {"alpha": 1.0}, dtype)
        self.check(call, logits, np.zeros(n), {"alpha": 1.0, "gamma": 30.0}, dtype)

    def test_probabilities(self, n, garbage, dtype):
        call = ll.binary_cross_entropy_value_and_grad
        for eps in (None, 1e-3):
            for weight in (0.0, np.zeros(n), np.zeros(n, dtype)):
                self.check(call, np.full(n, garbage, dtype), np.ones(n), {"weight": weight, "eps": eps}, dtype)
                self.check(call, np.full(n, 0.5, dtype), np.full(n, garbage), {"weight": weight, "eps": eps}, dtype)
        self.check(call, np.zeros(n, dtype), np.ones(n), {"upstream": np.zeros(n)}, dtype)

    @every_error
    def test_regression(self, n, garbage, dtype, error):
        pred, target = np.full(n, garbage, dtype), np.ones(n)
        for p, t in ((pred, target), (target.astype(dtype), pred.astype(np.float64))):
            loss, grad = error(p, t, upstream=0.0)
            assert not np.isfinite(loss)
            assert np.all(grad == 0)
            if error is ERRORS[2]:
                continue
            for weight in (0.0, np.zeros(n), np.zeros(n, dtype)):
                loss, grad = error(p, t, weight=weight, reduction="none")
                assert np.all(loss == 0)
                assert np.all(grad == 0)
            _, grad = error(p, t, upstream=np.zeros(n), reduction="none")
            assert np.all(grad == 0)


@pytest.mark.parametrize(
    ("dtype", "weight", "p", "upstream"),
    [(np.float32, 1e-43, 0.07, 1e20), (np.float32, 1.3e-42, 0.063, 1e10), (np.float64, 1e-320, 0.07, 1e20)],
)
def test_binary_gradients_of_subnormal_weights_do_not_depend_on_their_neighbours(dtype, weight, p, upstream):
    probs, weights, upstreams = (np.full(67, value, dtype) for value in (p, weight, upstream))
    probs[0] = 0.9
    _, grad = ll.binary_cross_entropy_value_and_grad(
        probs, np.ones_like(probs), weight=weights, upstream=upstreams, reduction="none"
    )
    exact = -mpmath.mpf(float(weights[1])) * float(upstreams[1]) / float(probs[1])
    assert len(set(grad[1:].tolist())) == 1
    assert abs(float(grad[1]) / exact - 1) < np.finfo(dtype).eps


def test_a_binary_gradient_beyond_all_numbers_is_infinite():
    _, grad = ll.binary_cross_entropy_value_and_grad(
        np.array([1e-310]), np.ones(1), weight=np.array([1e-300]), upstream=1e300, normalizer=1e-300, reduction="sum"
    )
    assert grad[0] == -np.inf
