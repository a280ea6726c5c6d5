"""The reference itself: that its arithmetics agree, and that its gradients are derivatives of its losses."""

import numpy as np
import pytest
import reference
from losses import LOSSES
from reference import EXACT, EXTENDED, FLOAT64, to_extended

by_name = pytest.mark.parametrize("loss", LOSSES, ids=str)


@by_name
@pytest.mark.parametrize(("arithmetic", "tolerance"), [(FLOAT64, 4e-14), (EXTENDED, 2e-17)], ids=["f64", "longdouble"])
def test_vectorised_arithmetic_agrees_with_50_digits(loss, arithmetic, tolerance, rng):
    if arithmetic is EXTENDED and np.finfo(np.longdouble).eps > 2e-19:
        pytest.skip("longdouble is float64 here")
    given = loss.inputs(rng, (5, 6), spread=12)
    got = loss.reference(given.logits, *given.targets, arithmetic=arithmetic, **given.options)
    want = loss.reference(given.logits, *given.targets, arithmetic=EXACT, **given.options)
    for name in ("loss", "grad"):
        error = abs(to_extended(getattr(got, name)) - to_extended(getattr(want, name)))
        assert np.all(error <= tolerance * to_extended(getattr(want, f"{name}_magnitude")))


@by_name
def test_gradient_is_the_derivative(loss, rng):
    given = loss.inputs(rng, (3, 4))
    exact = loss.reference(given.logits, *given.targets, arithmetic=EXACT, **given.options)
    step = EXACT.array(2.0**-50)
    logits = EXACT.array(given.logits)
    for position in np.ndindex(logits.shape):
        shift = np.zeros_like(logits)
        shift[position] = step
        above, below = (
            np.sum(loss.reference(logits + sign * shift, *given.targets, arithmetic=EXACT, **given.options).loss)
            for sign in (1, -1)
        )
        assert abs((above - below) / (2 * step) - exact.grad[position]) < 1e-25


def test_cross_entropy_is_the_textbook_formula(rng):
    z, y = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    want = np.log(np.exp(z).sum(axis=1)) - z[np.arange(6), y]
    np.testing.assert_allclose(reference.cross_entropy(z, y, reduction="none").loss, want, rtol=1e-13)


def test_focal_loss_is_the_textbook_formula(rng):
    x, t = rng.standard_normal(50), rng.integers(0, 2, 50)
    p = 1 / (1 + np.exp(-x))
    p_t = p * t + (1 - p) * (1 - t)
    want = (0.3 * t + 0.7 * (1 - t)) * (1 - p_t) ** 1.5 * -np.log(p_t)
    got = reference.sigmoid_focal_loss(x, t, alpha=0.3, gamma=1.5, reduction="none").loss
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_confident_row_keeps_its_digits():
    got = reference.cross_entropy(np.array([[80.0, 0.0, 0.0]]), [0]).loss
    assert abs(got / (2 * np.exp(-80.0)) - 1) < 1e-15
