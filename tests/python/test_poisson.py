"""The Poisson loss, beyond what the shared table runs."""

import mpmath
import numpy as np
import pytest
import reference
from checks import DTYPES, HALVES, assert_within
from reference import EXACT

import logitloss as ll

INF, NAN = np.inf, np.nan
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
with_and_without_full = pytest.mark.parametrize("full", [False, True], ids=["plain", "full"])


def test_the_likelihood_of_poisson_distributions():
    """exp(-loss) with `full` is the probability, to the error of Stirling's formula: 1 / (12 t)."""
    t = np.array([2, 3, 10, 100, 10_000])
    x = np.log([1.5, 4.0, 9.0, 120.0, 9_900.0])
    losses = ll.poisson_nll(x, t, full=True, reduction="none")
    with mpmath.workdps(40):
        for log_rate, count, loss in zip(map(mpmath.mpf, x), map(int, t), losses, strict=True):
            exact = mpmath.exp(log_rate) - count * log_rate + mpmath.loggamma(count + 1)
            assert 0 < exact - loss < 1 / mpmath.mpf(12 * count)


def where_terms_cancel(rng, dtype, n=400):
    """Targets near the rate, near where the plain loss is 0, whole ones, and small and huge ones."""
    top = 80
    x = rng.uniform(-20, top, n)
    nearly = 1 + rng.standard_normal(n) * 10.0 ** rng.uniform(-17, -1, n)
    targets = [np.exp(x) * nearly, np.exp(x) / np.abs(x) * nearly, rng.poisson(np.exp(np.minimum(x, 12))), 10 * nearly]
    x = np.concatenate([x, x, x, np.log(10 * nearly)]).astype(dtype)
    return x, np.maximum(np.concatenate(targets), 0).astype(dtype)


@with_and_without_full
@every_dtype
def test_accuracy_where_the_terms_cancel(dtype, full, rng):
    x, t = where_terms_cancel(rng, dtype)
    want = reference.poisson_nll(x, t, full=full, reduction="none", arithmetic=EXACT)
    loss, grad = ll.poisson_nll_value_and_grad(x, t, full=full, reduction="none")
    rate = EXACT.exp(EXACT.array(x))
    plain = 4e-16 * (rate + abs(want.loss))
    # With `full` the terms of exp(x) - t x + ... cancel, and what is lost follows the slope.
    bound = np.where(t > 1, 2e-15 * abs(want.loss) + 5e-16 * abs(want.grad), plain) if full else plain
    rounding = float(np.finfo(dtype).eps) / 2 if dtype == np.float32 else 0
    assert_within(loss, want.loss, 1, bound + rounding * abs(want.loss), np.finfo(dtype).tiny)
    assert_within(grad, want.grad, 1, 4e-16 * (rate + abs(want.grad)) + rounding * abs(want.grad), np.finfo(dtype).tiny)


@every_dtype
def test_float32_is_rounded_once_but_for_the_deepest_cancellation(dtype, rng):
    x = rng.uniform(-8, 8, 1000).astype(dtype)
    t = np.rint(np.exp(x.astype(np.float64)) * rng.uniform(0.5, 2, 1000))
    want = reference.poisson_nll(x, t, full=True, reduction="none", arithmetic=EXACT)
    loss, grad = ll.poisson_nll_value_and_grad(x, t, full=True, reduction="none")
    assert_within(loss, want.loss, 0.51 * np.finfo(dtype).eps if dtype == np.float32 else 1e-12)
    assert_within(grad, want.grad, 0.51 * np.finfo(dtype).eps if dtype == np.float32 else 1e-12)


@with_and_without_full
@every_dtype
@pytest.mark.parametrize("size", [1, 7, 33, 5000])
def test_not_finite(size, dtype, full, rng):
    for x, t, want_loss, want_grad in (
        (-INF, 0, 0, 0),
        (-INF, 2, INF, -2),
        (INF, 0, INF, INF),
        (INF, 2, INF, INF),
        (NAN, 0, NAN, NAN),
        (NAN, 2, NAN, NAN),
        (1e30, 3, INF, INF),
        (-1e30, 0, 0, 0),
    ):
        log_rate, target = rng.standard_normal(size).astype(dtype), np.ones(size)
        log_rate[size // 2], target[size // 2] = x, t
        loss, grad = ll.poisson_nll_value_and_grad(log_rate, target, full=full, reduction="none")
        np.testing.assert_equal(loss[size // 2], dtype(want_loss))
        np.testing.assert_equal(grad[size // 2], dtype(want_grad))
        assert np.isfinite(loss[np.arange(size) != size // 2]).all()


@with_and_without_full
@pytest.mark.parametrize(
    ("x", "t", "weight"),
    [
        (709.8, 1e305, 1.0),  # exp(x) leaves float64, and t x brings the loss back
        (710.5, 4e305, 1.0),
        (710.1, 1.7e308, 1.0),
        (709.0, 1.5e308, 1.0),
        (720.0, 3.0, 1e-30),
        (-700.0, 1e308, 1e-20),
        (-740.0, 0.0, 1e300),  # exp(x) is subnormal
        (-1000.0, 0.0, 1e300),
        (0.5, 1.6487212707001282, 1e300),
        (-300.0, 1e-200, 1e300),
    ],
)
def test_intermediate_results_may_leave_float64(x, t, weight, full):
    want = reference.poisson_nll([x], [t], full=full, weight=[weight], reduction="none", arithmetic=EXACT)
    largest = float(np.finfo(np.float64).max)
    want_loss, want_grad = (
        float(v[0]) if abs(v[0]) <= largest else np.copysign(INF, float(mpmath.sign(v[0])))
        for v in (want.loss, want.grad)
    )
    sizes = [float(min(v[0], largest)) for v in (want.loss_magnitude, want.grad_magnitude)]
    for n in (1, 40):
        arrays = np.full(n, x), np.full(n, t)
        loss, grad = ll.poisson_nll_value_and_grad(*arrays, full=full, weight=np.full(n, weight), reduction="none")
        np.testing.assert_allclose(loss, np.full(n, want_loss), rtol=1e-14, atol=1e-15 * sizes[0])
        np.testing.assert_allclose(grad, np.full(n, want_grad), rtol=1e-14, atol=1e-15 * sizes[1])
        mean, mean_grad = ll.poisson_nll_value_and_grad(*arrays, full=full, weight=np.full(n, weight))
        if abs(want.loss[0] / weight) <= largest:
            np.testing.assert_allclose(mean, float(want.loss[0] / weight), rtol=1e-14, atol=1e-15 * sizes[0] / weight)
        assert np.isfinite(mean_grad).all() or abs(want.grad[0] / weight) > largest / 40


@every_dtype
@pytest.mark.parametrize("bad", [-1.0, -1e-30, -INF, INF, NAN])
def test_what_is_no_count_is_refused_by_its_index(bad, dtype):
    for position in (0, 5, 4999):
        log_rate, target = np.full(5000, 0.5, dtype), np.ones(5000)
        target[position] = bad
        before, out = log_rate.copy(), np.full((), 7, dtype)
        with pytest.raises(ValueError, match=rf"target\[{position}\]: got .*, expected a finite count of at least 0"):
            ll.poisson_nll_value_and_grad(log_rate, target, grad_out=log_rate, out=out)
        np.testing.assert_array_equal(log_rate, before)
        assert out == 7
        weight = np.ones(5000)
        weight[position] = 0
        loss, grad = ll.poisson_nll_value_and_grad(log_rate, target, weight=weight)
        np.testing.assert_allclose(loss, np.exp(0.5) - 0.5, rtol=1e-6)
        assert grad[position] == 0
    with pytest.raises(ValueError, match=r"target\[1, 2\]: got -3.0"):
        ll.poisson_nll(np.zeros((2, 3), dtype), np.array([[0, 0, 0], [0, 0, -3]], np.int8))


def test_targets_keep_their_digits():
    t = np.array([2**53 + 2, 2**31 + 1], np.int64)
    x = np.log(t.astype(float)).astype(np.float32)
    _, grad = ll.poisson_nll_value_and_grad(x, t, reduction="none")
    want = reference.poisson_nll(x, t.astype(float), reduction="none", arithmetic=EXACT).grad
    assert_within(grad, want, 1e-7)


@every_dtype
def test_an_element_of_weight_0_is_not_there(dtype, rng):
    x, t, weight = rng.standard_normal((4, 6)).astype(dtype), rng.integers(0, 5, (4, 6)), rng.uniform(0.5, 2, (4, 6))
    x[1, 2], x[2, 0], x[3, 3] = NAN, INF, -INF
    weight[1, 2] = weight[2, 0] = weight[3, 3] = 0
    kept = weight != 0
    loss, grad = ll.poisson_nll_value_and_grad(x, t, weight=weight)
    want_loss, want_grad = ll.poisson_nll_value_and_grad(x[kept], t[kept], weight=weight[kept])
    np.testing.assert_allclose(loss, want_loss, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad[kept], want_grad, rtol=8 * np.finfo(dtype).eps)
    assert np.all(grad[~kept] == 0)


@pytest.mark.parametrize("half", HALVES, ids=lambda d: np.dtype(d).name)
def test_half_precision(half, rng):
    x, t = rng.standard_normal(50).astype(half), rng.integers(0, 5, 50)
    loss, grad = ll.poisson_nll_value_and_grad(x, t, reduction="sum")
    rate = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(loss, np.sum(rate - t * x.astype(np.float64)), rtol=1e-7)
    assert grad.dtype == half
    np.testing.assert_array_equal(grad, (rate - t).astype(half))


def test_no_elements():
    loss, grad = ll.poisson_nll_value_and_grad(np.empty((0, 3)), np.empty((0, 3)))
    assert np.isnan(loss)
    assert grad.shape == (0, 3)


@pytest.mark.parametrize("full", ["yes", 1.5, None])
def test_full_is_a_flag(full):
    with pytest.raises(TypeError, match="full"):
        ll.poisson_nll([0.0], [1], full=full)
