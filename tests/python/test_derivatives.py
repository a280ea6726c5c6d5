"""Gradients against differences of the library's own losses, and against each other."""

import numpy as np
import pytest
import reference
from checks import DTYPES, GRADIENT_TOLERANCE, assert_within, floor
from losses import LOSSES

import logitloss as ll

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)


@every_loss
@pytest.mark.parametrize("shape", [(4, 2), (3, 5), (2, 9)])
def test_gradient_is_the_finite_difference(loss, shape, rng):
    given = loss.inputs(rng, shape, np.float64)
    _, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
    assert np.ptp(given.logits) > 0
    step = 2.0**-13  # error of the five-point formula: step^4 and eps / step, both about 1e-12
    for position in np.ndindex(shape):
        losses = []
        for factor in (-2, -1, 1, 2):
            logits = given.logits.copy()
            logits[position] += factor * step
            losses.append(np.sum(loss.value(logits, *given.targets, **given.options)))
        difference = (losses[0] - 8 * losses[1] + 8 * losses[2] - losses[3]) / (12 * step)
        assert abs(difference - grad[position]) < 2e-10 * max(1, *map(abs, losses))


@every_loss
@every_dtype
def test_upstream_multiplies_the_gradient(loss, dtype, rng):
    shape = (6, 5)
    given = loss.inputs(rng, shape, dtype)
    value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
    for upstream in (2.0, -0.5, np.float32(4), 0.0):
        got_value, got = loss.value_and_grad(given.logits, *given.targets, **given.options, upstream=upstream)
        assert got_value.tobytes() == value.tobytes()
        np.testing.assert_array_equal(got, dtype(upstream) * grad)
    if loss.reduction == "none":
        upstream = rng.standard_normal(loss.loss_shape(shape)).astype(dtype)
        want = loss.reference(given.logits, *given.targets, **given.options, upstream=upstream)
        _, got = loss.value_and_grad(given.logits, *given.targets, **given.options, upstream=upstream)
        assert_within(got, want.grad, loss.gradient_tolerance(given), want.grad_magnitude, floor(dtype))


@every_dtype
def test_upstream_broadcasts(dtype, rng):
    logits, target = rng.standard_normal((3, 4, 5)).astype(dtype), rng.integers(0, 5, (3, 4))
    _, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
    for upstream in (rng.standard_normal(4), rng.standard_normal((3, 1)), np.broadcast_to(2.0, (3, 4))):
        _, got = ll.cross_entropy_value_and_grad(logits, target, reduction="none", upstream=upstream)
        want = np.broadcast_to(upstream, (3, 4))[..., None] * grad
        np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)


@every_dtype
@pytest.mark.parametrize("shape", [(5, 2), (4, 7), (3, 64), (2, 200), (2, 5000)])
def test_the_gradient_of_logsumexp_is_the_softmax(shape, dtype, rng):
    a = (4 * rng.standard_normal(shape)).astype(dtype)
    _, grad = ll.logsumexp_value_and_grad(a)
    np.testing.assert_allclose(grad, ll.softmax(a, axis=-1), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(4, 2), (3, 6), (2, 70), (2, 150)])
def test_vjps_are_products_with_the_jacobian(shape, rng):
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    p, log_p = ll.softmax(x, axis=-1), ll.log_softmax(x, axis=-1)
    for row in range(shape[0]):
        jacobian = np.diag(p[row]) - np.outer(p[row], p[row])
        assert_within(ll.softmax_vjp(p, dy)[row], jacobian.T @ dy[row], 1e-13, np.abs(dy).sum())
        jacobian = np.eye(shape[1]) - p[row]
        assert_within(ll.log_softmax_vjp(log_p, dy)[row], jacobian.T @ dy[row], 1e-13, np.abs(dy).sum())


@every_dtype
@pytest.mark.parametrize("target", ["indices", "probabilities"])
def test_reductions_are_sums_of_rows(target, dtype, rng):
    logits = rng.standard_normal((50, 6)).astype(dtype)
    t = rng.integers(0, 6, 50) if target == "indices" else rng.random((50, 6))
    weights = {"class_weight": rng.uniform(0.5, 2, 6), "sample_weight": rng.uniform(0, 2, 50)}
    rows, row_grads = ll.cross_entropy_value_and_grad(logits, t, reduction="none", **weights)
    magnitude = reference.cross_entropy(logits, t, reduction="none", **weights).grad_magnitude
    divisor = np.sum(weights["sample_weight"] * (weights["class_weight"][t] if target == "indices" else 1))
    for options, factor in (
        ({"reduction": "sum"}, 1),
        ({"reduction": "mean"}, 1 / divisor),
        ({"reduction": "mean", "normalizer": 12.5}, 1 / 12.5),
    ):
        loss, grad = ll.cross_entropy_value_and_grad(logits, t, **options, **weights)
        np.testing.assert_allclose(loss, factor * rows.sum(dtype=np.float64), rtol=8 * np.finfo(dtype).eps)
        assert_within(grad, factor * row_grads, 2 * GRADIENT_TOLERANCE[np.dtype(dtype)], factor * magnitude)


@every_dtype
def test_gradients_of_parts_add_up(dtype, rng):
    """Gradient accumulation: a batch in two parts with the same normalizer."""
    logits, target = rng.standard_normal((40, 10)).astype(dtype), rng.integers(0, 10, 40)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target)
    parts = [ll.cross_entropy_value_and_grad(logits[s], target[s], normalizer=40) for s in (np.s_[:15], np.s_[15:])]
    np.testing.assert_allclose(sum(p[0] for p in parts), loss, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(np.concatenate([p[1] for p in parts]), grad, rtol=4 * np.finfo(dtype).eps)
