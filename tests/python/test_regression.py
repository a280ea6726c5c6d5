"""Losses of regression, beyond what the shared table runs."""

from fractions import Fraction

import numpy as np
import pytest
from checks import DTYPES, HALVES

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
SQUARED = ll.mean_squared_error, ll.mean_squared_error_value_and_grad
ABSOLUTE = ll.mean_absolute_error, ll.mean_absolute_error_value_and_grad
ROOT = ll.root_mean_squared_error, ll.root_mean_squared_error_value_and_grad
every_error = pytest.mark.parametrize("error", [SQUARED, ABSOLUTE, ROOT], ids=["squared", "absolute", "root"])


@every_dtype
def test_the_textbook_sample(dtype):
    pred, target = np.array([1, 0], dtype), np.array([2, 3])
    assert ll.mean_squared_error(pred, target) == 5
    assert ll.mean_absolute_error(pred, target) == 2
    np.testing.assert_allclose(ll.root_mean_squared_error(pred, target), np.sqrt(5), rtol=np.finfo(dtype).eps)


@every_dtype
def test_squares_beyond_the_range_of_the_dtype_have_a_root(dtype, rng):
    largest, smallest = np.finfo(dtype).max, np.finfo(dtype).tiny
    for size in (largest / 2, np.sqrt(largest) * 8, 1, np.sqrt(smallest) / 8, smallest * 8):
        pred = (size * rng.uniform(0.5, 1, 1000)).astype(dtype)
        wide = pred.astype(np.longdouble)
        want = np.sqrt(np.mean((wide / size) ** 2)) * size
        loss, grad = ll.root_mean_squared_error_value_and_grad(pred, np.zeros(1000), upstream=1000)
        np.testing.assert_allclose(loss, want, rtol=2 * np.finfo(dtype).eps)
        np.testing.assert_allclose(grad, wide / want, rtol=4 * np.finfo(dtype).eps)


def test_a_mean_of_float32_squares_may_pass_through_what_float32_cannot_hold():
    pred = np.full(1000, 1.5e19, np.float32)
    with np.errstate(over="ignore"):
        assert np.isinf(np.sum(pred * pred))
    loss, grad = ll.mean_squared_error_value_and_grad(pred, np.zeros(1000))
    np.testing.assert_allclose(loss, 2.25e38, rtol=1e-6)
    np.testing.assert_allclose(grad, 3e16, rtol=1e-6)


def test_a_float64_target_keeps_its_digits_beside_float32_predictions():
    pred = np.float32([1.0, 2.0])
    np.testing.assert_allclose(ll.mean_absolute_error(pred, [1 + 1e-12, 2]), 5e-13, rtol=1e-3)
    assert ll.mean_absolute_error(np.float32([2.0**24]), np.array([2**24 + 1])) == 1
    _, grad = ll.mean_absolute_error_value_and_grad(pred, [1 + 1e-12, 2])
    assert grad.dtype == np.float32
    np.testing.assert_array_equal(grad, [-0.5, 0])


@every_error
@every_dtype
def test_no_error_has_no_gradient(error, dtype, rng):
    pred = rng.standard_normal((5, 7)).astype(dtype)
    loss, grad = error[1](pred, pred)
    assert loss == 0
    np.testing.assert_array_equal(grad, np.zeros_like(pred))


def nearest_float32(number):
    """Of a fraction: numerator and denominator have far more digits than float64, which int / int rounds correctly."""
    with np.errstate(over="ignore"):
        return np.float32(number.numerator / number.denominator)


@pytest.mark.parametrize("n", [63, 4096, 12345])
@pytest.mark.parametrize(("low", "high"), [(-149, -60), (-3, 3), (60, 63), (126, 128)])
def test_float32_errors_are_those_of_exact_arithmetic(n, low, high, rng):
    """Rounded twice: to float64, and to float32. A half-way case of float32 would have to lie within 2^-46 to show."""
    pred, target = (rng.choice([-1, 1], (2, n)) * 2.0 ** rng.uniform(low, high, (2, n))).astype(np.float32)
    pred[::7] = target[::7]
    d = [Fraction(float(p)) - Fraction(float(t)) for p, t in zip(pred, target, strict=True)]
    for (value, value_and_grad), losses, slopes in (
        (SQUARED, [e * e for e in d], [2 * e for e in d]),
        (ABSOLUTE, [abs(e) for e in d], [Fraction((e > 0) - (e < 0)) for e in d]),
    ):
        assert value(pred, target) == nearest_float32(sum(losses) / n)
        loss, grad = value_and_grad(pred, target, upstream=-0.5)
        assert loss == value(pred, target)
        np.testing.assert_array_equal(grad, [nearest_float32(s / (-2 * n)) for s in slopes])
        assert not np.any(np.signbit(grad[::7]))
        each, grads = value_and_grad(pred, target, reduction="none")
        np.testing.assert_array_equal(each, [nearest_float32(e) for e in losses])
        np.testing.assert_array_equal(grads, [nearest_float32(s) for s in slopes])


@every_error
@every_dtype
def test_weights_of_1_change_nothing(error, dtype, rng):
    """The step for errors without weights gives what the one for weights does."""
    pred, target = rng.standard_normal((2, 5001)).astype(dtype)
    loss, grad = error[1](pred, target)
    weighted_loss, weighted_grad = error[1](pred, target, weight=1)
    np.testing.assert_allclose(loss, weighted_loss, rtol=np.finfo(dtype).eps)
    np.testing.assert_allclose(grad, weighted_grad, rtol=np.finfo(dtype).eps)


@every_error
@every_dtype
def test_an_element_of_weight_0_is_not_there(error, dtype, rng):
    pred = rng.standard_normal((4, 6)).astype(dtype)
    target = rng.standard_normal((4, 6))
    weight = rng.uniform(0.5, 2, (4, 6))
    pred[1, 2], pred[2, 0], target[3, 3] = np.nan, np.inf, -np.inf
    weight[1, 2] = weight[2, 0] = weight[3, 3] = 0
    kept = weight != 0
    loss, grad = error[1](pred, target, weight=weight)
    want_loss, want_grad = error[1](pred[kept], target[kept], weight=weight[kept])
    np.testing.assert_allclose(loss, want_loss, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad[kept], want_grad, rtol=8 * np.finfo(dtype).eps)
    assert np.all(grad[~kept] == 0)


@every_error
@every_dtype
def test_weights_that_sum_to_0(error, dtype):
    for weight in ([0, 0, 0], [1, -2, 1]):
        loss, grad = error[1](np.arange(3, dtype=dtype), np.array([7, 7, np.inf]), weight=weight)
        assert np.isnan(loss)
        np.testing.assert_array_equal(grad, np.zeros(3))


@every_error
@every_dtype
def test_a_factor_of_0_of_the_gradient_makes_it_0(error, dtype):
    pred, target = np.array([1, 3, -5, 7], dtype), np.array([1, 2, -2, 7])
    for upstream in (np.inf, -np.inf, np.nan, 0):
        _, grad = error[1](pred, target, upstream=upstream)
        with np.errstate(invalid="ignore"):
            want = upstream * np.sign(pred - target) if upstream else np.zeros(4)
        np.testing.assert_array_equal(grad, np.where(pred == target, 0, want))


@every_dtype
def test_not_finite(dtype):
    pred = np.array([np.nan, np.inf, -np.inf, np.inf, 1], dtype)
    target = np.array([0, 0, 0, np.inf, 0])
    for (_, function), losses, grads in (
        (SQUARED, [np.nan, np.inf, np.inf, np.nan, 1], [np.nan, np.inf, -np.inf, np.nan, 2]),
        (ABSOLUTE, [np.nan, np.inf, np.inf, np.nan, 1], [np.nan, 1, -1, np.nan, 1]),
    ):
        loss, grad = function(pred, target, reduction="none")
        np.testing.assert_array_equal(loss, losses)
        np.testing.assert_array_equal(grad, grads)


@pytest.mark.parametrize("half", HALVES, ids=lambda d: np.dtype(d).name)
def test_half_precision(half, rng):
    pred, target = rng.standard_normal((2, 50)).astype(half)
    loss, grad = ll.mean_squared_error_value_and_grad(pred, target)
    difference = pred.astype(np.float64) - target.astype(np.float64)
    np.testing.assert_allclose(loss, np.mean(difference**2), rtol=1e-7)
    assert grad.dtype == half
    np.testing.assert_array_equal(grad, (difference / 25).astype(half))


@every_dtype
def test_sklearn_agrees(dtype, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    pred, target = rng.standard_normal((2, 300)).astype(dtype)
    weight = rng.uniform(0, 2, 300)
    rtol = 4 * np.finfo(dtype).eps
    for name in ("mean_squared_error", "mean_absolute_error"):
        want = getattr(metrics, name)(target, pred, sample_weight=weight)
        np.testing.assert_allclose(getattr(ll, name)(pred, target, weight=weight), want, rtol=rtol)


@every_error
def test_no_elements(error):
    loss, grad = error[1](np.empty((0, 3)), np.empty((0, 3)))
    assert np.isnan(loss)
    assert grad.shape == (0, 3)
