"""Every size at which a code path begins or ends: nothing, one, vector lanes and blocks, and one more or less."""

import numpy as np
import pytest
from checks import DTYPES, arithmetic_for, assert_within, floor
from losses import LOSSES

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
LANES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130, 191, 257, 1023, 1024, 1025]
BLOCKS = [4095, 4096, 4097, 8191, 8192, 8193, 12289]
LARGE = [131_073]
ROWS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65]  # rows are batched, in vector lanes or for their ends


def assert_matches_reference(loss, shape, dtype, rng):
    given = loss.inputs(rng, shape, dtype)
    want = loss.reference(given.logits, *given.targets, arithmetic=arithmetic_for(dtype), **given.options)
    value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
    assert np.shape(value) == loss.loss_shape(shape)
    assert grad.shape == shape
    assert np.asarray(value).dtype == grad.dtype == dtype
    assert_within(value, want.loss, loss.loss_tolerance(given), want.loss_magnitude, floor(dtype))
    assert_within(grad, want.grad, loss.gradient_tolerance(given), want.grad_magnitude, floor(dtype))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
def test_classes(loss, dtype, rng):
    for classes in LANES:
        assert_matches_reference(loss, (5, classes), dtype, rng)
    for classes in BLOCKS:
        assert_matches_reference(loss, (2, classes), dtype, rng)


@pytest.mark.parametrize("loss", LOSSES[::3], ids=str)
@every_dtype
def test_many_classes(loss, dtype, rng):
    for classes in LARGE:
        assert_matches_reference(loss, (1, classes), dtype, rng)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
def test_rows(loss, dtype, rng):
    for rows in ROWS:
        for classes in (3, 150):
            assert_matches_reference(loss, (rows, classes), dtype, rng)


@pytest.mark.parametrize("loss", LOSSES[::3], ids=str)
@every_dtype
def test_many_rows(loss, dtype, rng):
    assert_matches_reference(loss, (30_011, 4), dtype, rng)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
@pytest.mark.parametrize("shape", [(6,), (1,), (2, 3, 4), (1, 1, 1), (2, 1, 3, 5)])
def test_dimensions(loss, shape, dtype, rng):
    assert_matches_reference(loss, shape, dtype, rng)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 4), (0, 0, 2)])
def test_no_rows(loss, shape, dtype, rng):
    given = loss.inputs(rng, shape, dtype)
    options = given.options
    value, grad = loss.value_and_grad(given.logits, *given.targets, **options)
    assert grad.shape == shape
    assert grad.dtype == np.asarray(value).dtype == dtype
    if loss.reduction == "none":
        assert value.shape == loss.loss_shape(shape)
    elif loss.reduction == "sum" or "normalizer" in options:
        assert value == 0
    else:
        assert np.isnan(value)


@every_dtype
def test_no_classes(dtype):
    empty = np.empty((3, 0), dtype)
    assert np.all(ll.logsumexp(empty, axis=1) == -np.inf)
    assert ll.logsumexp(empty) == -np.inf
    assert ll.logsumexp(empty, axis=0).shape == (0,)
    assert ll.softmax(empty, axis=1).shape == ll.log_softmax(empty, axis=1).shape == (3, 0)


@every_dtype
def test_softmaxes_of_no_rows(dtype):
    empty = np.empty((0, 4), dtype)
    for result in (ll.softmax(empty, axis=1), ll.log_softmax(empty, axis=1), ll.softmax_vjp(empty, empty)):
        assert result.shape == (0, 4)
        assert result.dtype == dtype


@every_dtype
def test_zero_dimensions(dtype):
    x = np.asarray(dtype(2.5))
    for axis in (None, 0, -1):
        assert ll.logsumexp(x, axis=axis) == 2.5
        assert ll.softmax(x, axis=axis) == 1
        assert ll.log_softmax(x, axis=axis) == 0
    loss, grad = ll.bce_with_logits_value_and_grad(x, 1.0)
    np.testing.assert_allclose(loss, np.log1p(np.exp(-2.5)), rtol=1e-6)
    np.testing.assert_allclose(grad, -1 / (1 + np.exp(2.5)), rtol=1e-6)
    assert np.shape(grad) == ()
