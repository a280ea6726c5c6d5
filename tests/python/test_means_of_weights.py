"""Means whose weights sum to a subnormal number, or to more than the largest: in every loss with weights. What the
weights have in common cancels, so the results are those of ordinary weights."""

import numpy as np
import pytest
from checks import DTYPES

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)

# Of 1, 2 and 3 times each, the exact quotients are those of ordinary weights; 2^-1074 is the least number of all.
SIZES = [2.0**-1074, 2.0**-1030, 2.0**-1022, 2.0**-600, 2.0**-140, 2.0**140, 2.0**600, 2.0**1022]
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s:.0e}")
ERRORS = [
    ll.mean_squared_error_value_and_grad,
    ll.mean_absolute_error_value_and_grad,
    ll.root_mean_squared_error_value_and_grad,
]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda f: f.__name__)


def weights_of(size, n):
    return size * (1 + np.arange(n) % 3)


def assert_equal_to_rounding(got, want, dtype):
    # Powers of two cancel exactly; a kernel that takes other steps for such numbers may round once more, also in a
    # gradient whose terms cancel.
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(got[0], want[0], rtol=rtol)
    np.testing.assert_allclose(got[1], want[1], rtol=rtol, atol=rtol * np.max(np.abs(want[1]), initial=0))


def test_the_example_that_was_seen():
    loss, grad = ll.mean_squared_error_value_and_grad([1.0, 2.0], [0.0, 0.0], weight=[1e-310, 3e-310])
    np.testing.assert_allclose(loss, 3.25, rtol=1e-13)  # 1e-310 has 44 bits
    np.testing.assert_allclose(grad, [0.5, 3.0], rtol=1e-12)


@every_size
@every_dtype
@every_error
@pytest.mark.parametrize("n", [1, 3, 40, 9000])
def test_regression(n, error, dtype, size, rng):
    pred, target = rng.standard_normal((2, n)).astype(dtype)
    want = error(pred, target, weight=weights_of(1.0, n), upstream=float(n))
    assert_equal_to_rounding(error(pred, target, weight=weights_of(size, n), upstream=float(n)), want, dtype)


@pytest.mark.parametrize("size", [2.0**-149, 2.0**-126, 2.0**125])
@every_dtype
@every_error
def test_regression_with_float32_weights(error, dtype, size, rng):
    pred, target = rng.standard_normal((2, 50)).astype(dtype)
    want = error(pred, target, weight=weights_of(1.0, 50))
    assert_equal_to_rounding(error(pred, target, weight=np.float32(weights_of(size, 50))), want, dtype)


@every_size
@every_dtype
@every_error
def test_regression_in_place(error, dtype, size, rng):
    pred, target = rng.standard_normal((2, 100)).astype(dtype)
    want = error(pred, target, weight=weights_of(1.0, 100))
    given = pred.copy()
    got = error(given, target, weight=weights_of(size, 100), grad_out=given)
    assert got[1] is given
    assert_equal_to_rounding(got, want, dtype)


@every_error
def test_a_subnormal_divisor_beside_a_cancelling_sum(error):
    # 1e308 + 1e308 - 1e308 leaves the range on its way.
    got = error([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], weight=[1e308, 1e308, -1e308])
    want = error([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], weight=[1.0, 1.0, -1.0])
    np.testing.assert_allclose(got[0], want[0], rtol=1e-15)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-15)


LAYOUTS = {"few classes": (300, 5), "one block": (7, 500), "blocks": (3, 9000), "strided": (200, 6)}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
ENTROPIES = {
    "indices": {},
    "smoothed": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 0.25},
    "probabilities": {},
}


def entropy_inputs(rng, layout, kind, dtype):
    rows, classes = LAYOUTS[layout]
    logits = 3 * rng.standard_normal((rows, classes)).astype(dtype)
    if layout == "strided":
        logits = np.asfortranarray(logits)
    if kind == "probabilities":
        return logits, rng.dirichlet(np.ones(classes), rows).astype(dtype)
    return logits, rng.integers(0, classes, rows)


@every_size
@every_dtype
@every_layout
@pytest.mark.parametrize("kind", ENTROPIES)
def test_cross_entropy_with_sample_weights(kind, layout, dtype, size, rng):
    logits, target = entropy_inputs(rng, layout, kind, dtype)
    n = len(logits)
    call = ll.cross_entropy_value_and_grad
    want = call(logits, target, sample_weight=weights_of(1.0, n), **ENTROPIES[kind])
    assert_equal_to_rounding(call(logits, target, sample_weight=weights_of(size, n), **ENTROPIES[kind]), want, dtype)


@every_size
@every_dtype
@every_layout
@pytest.mark.parametrize("kind", ["indices", "smoothed", "z_loss"])
def test_cross_entropy_with_class_weights(kind, layout, dtype, size, rng):
    logits, target = entropy_inputs(rng, layout, kind, dtype)
    n, classes = logits.shape
    call = ll.cross_entropy_value_and_grad
    want = call(logits, target, class_weight=weights_of(1.0, classes), **ENTROPIES[kind])
    assert_equal_to_rounding(
        call(logits, target, class_weight=weights_of(size, classes), **ENTROPIES[kind]), want, dtype
    )
    # Products of two sizes that are far from 1, in one direction or in two.
    for other in (size, 1 / size if size > 1e-300 else 1e300):
        got = call(
            logits,
            target,
            class_weight=weights_of(size, classes),
            sample_weight=weights_of(other, n),
            **ENTROPIES[kind],
        )
        want = call(
            logits,
            target,
            class_weight=weights_of(1.0, classes),
            sample_weight=weights_of(1.0, n),
            **ENTROPIES[kind],
        )
        if np.isfinite(weights_of(other, n)).all():
            assert_equal_to_rounding(got, want, dtype)


@every_size
@every_dtype
@every_layout
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize("eps", [None, 1e-3])
def test_cross_entropy_from_probs(eps, kind, layout, dtype, size, rng):
    logits, target = entropy_inputs(rng, layout, kind, dtype)
    n, classes = logits.shape
    probs = ll.softmax(logits, axis=1)
    call = ll.cross_entropy_from_probs_value_and_grad
    want = call(probs, target, sample_weight=weights_of(1.0, n), eps=eps)
    assert_equal_to_rounding(call(probs, target, sample_weight=weights_of(size, n), eps=eps), want, dtype)
    if kind == "indices":
        want = call(probs, target, class_weight=weights_of(1.0, classes), eps=eps)
        assert_equal_to_rounding(call(probs, target, class_weight=weights_of(size, classes), eps=eps), want, dtype)


@every_size
@every_dtype
def test_accuracy(dtype, size, rng):
    logits, target = rng.standard_normal((200, 4)).astype(dtype), rng.integers(0, 4, 200)
    for function in (ll.accuracy, ll.error_rate):
        want = function(logits, target, sample_weight=weights_of(1.0, 200))
        assert 0 < want < 1
        np.testing.assert_allclose(function(logits, target, sample_weight=weights_of(size, 200)), want, rtol=1e-15)


@every_dtype
def test_other_losses_keep_their_bits(dtype, rng):
    # Far from both ends nothing is scaled: weights that are powers of two times others give the same bits.
    pred, target = rng.standard_normal((2, 300)).astype(dtype)
    weight = rng.uniform(0.5, 2, 300)
    for error in ERRORS:
        want = error(pred, target, weight=weight)
        for scale in (2.0**-20, 2.0**30):
            got = error(pred, target, weight=weight * scale)
            np.testing.assert_array_equal(got[0], want[0])
            np.testing.assert_array_equal(got[1], want[1])


@every_dtype
@pytest.mark.parametrize("weight", [0.0, np.nan, np.inf])
def test_weights_that_are_0_or_not_finite_are_as_ever(weight, dtype):
    pred, weights = np.ones(3, dtype), np.full(3, weight)
    loss, grad = ll.mean_squared_error_value_and_grad(pred, np.zeros(3), weight=weights)
    assert np.isnan(loss)
    np.testing.assert_array_equal(grad, np.full(3, np.nan if np.isnan(weight) else 0))


@pytest.mark.parametrize("normalizer", [1e-310, 1e-300, 1e300, 1.7e308])
def test_a_normalizer_of_any_size(normalizer):
    rtol = 1e-12 if normalizer < 1e-307 else 1e-15  # a subnormal number has 44 bits
    logits, target = np.array([[1.0, 2.0, 3.0]]), np.array([2])
    want = ll.cross_entropy_value_and_grad(logits, target)
    got = ll.cross_entropy_value_and_grad(logits, target, sample_weight=normalizer, normalizer=normalizer)
    np.testing.assert_allclose(got[0], want[0], rtol=rtol)
    np.testing.assert_allclose(got[1], want[1], rtol=rtol)
    x, t = np.array([-1.0, 2.0]), np.array([1, 0])
    for call in (ll.bce_with_logits_value_and_grad, ll.sigmoid_focal_loss_value_and_grad):
        want = call(x, t, reduction="sum")
        got = call(x, t, weight=normalizer, normalizer=normalizer)
        np.testing.assert_allclose(got[0], want[0], rtol=rtol)
        np.testing.assert_allclose(got[1], want[1], rtol=rtol)
        got = call(x, t, upstream=normalizer, normalizer=normalizer)
        np.testing.assert_allclose(got[1], want[1], rtol=rtol)
