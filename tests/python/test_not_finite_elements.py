"""Infinities and NaNs element by element: what binary cross-entropy and the focal loss promise, and that no loss at all
raises a floating-point warning."""

import numpy as np
import pytest
import reference
from checks import DTYPES, assert_same_bits, assert_within, ends_and_borders
from losses import LOSSES

import logitloss as ll

INF, NAN = np.inf, np.nan

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="raise"):
        yield


BCE_LIMITS = [  # logit, target, loss, gradient
    (INF, 1, 0, 0),
    (INF, 0, INF, 1),
    (INF, 0.25, INF, 0.75),
    (-INF, 0, 0, 0),
    (-INF, 1, INF, -1),
    (-INF, 0.25, INF, -0.25),
    (NAN, 0, NAN, NAN),
    (NAN, 1, NAN, NAN),
    (NAN, 0.5, NAN, NAN),
]


@every_dtype
@pytest.mark.parametrize(("logit", "target", "want_loss", "want_grad"), BCE_LIMITS)
@pytest.mark.parametrize("size", [1, 7, 8, 17, 64, 129, 5000])
def test_bce_at_infinity(size, logit, target, want_loss, want_grad, dtype, rng):
    for at in ends_and_borders(size):
        logits, targets = rng.standard_normal(size).astype(dtype), np.full(size, target, np.float32)
        want = ll.bce_with_logits_value_and_grad(logits, targets, reduction="none")
        logits[at] = logit
        loss, grad = ll.bce_with_logits_value_and_grad(logits, targets, reduction="none")
        np.testing.assert_equal(loss[at], np.dtype(dtype).type(want_loss))
        np.testing.assert_equal(grad[at], np.dtype(dtype).type(want_grad))
        others = np.arange(size) != at
        assert_same_bits(loss[others], want[0][others])
        assert_same_bits(grad[others], want[1][others])


@every_dtype
@pytest.mark.parametrize("logit", [INF, -INF])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("options", [{"weight": 0.0}, {"weight": 2.0, "pos_weight": 0.0}, {"pos_weight": 3.0}], ids=str)
def test_a_factor_of_0_makes_its_term_0(options, target, logit, dtype):
    logits, targets = np.full(9, logit, dtype), np.full(9, target)
    want = reference.bce_with_logits(logits, targets, reduction="none", **options)
    loss, grad = ll.bce_with_logits_value_and_grad(logits, targets, reduction="none", **options)
    assert not np.isnan(loss).any()
    assert_within(loss, want.loss, 1e-6)
    assert_within(grad, want.grad, 1e-6)


@every_dtype
@pytest.mark.parametrize("function", [ll.bce_with_logits_value_and_grad, ll.sigmoid_focal_loss_value_and_grad])
@pytest.mark.parametrize("reduction", ["none", "sum"])
@pytest.mark.parametrize("options", [{}, {"weight": np.ones(9)}], ids=["plain", "weight"])
def test_a_factor_of_0_of_the_gradient_makes_it_0(options, reduction, function, dtype):
    # exp(-800) is 0: so are these gradients, whatever comes from above. The others follow the product.
    logits = np.array([INF, -INF, 800, -800, INF, -INF, 2, -3, NAN], dtype)
    target = np.array([1, 0, 1, 0, 0, 1, 1, 0, 1], np.uint8)
    zero = np.arange(9) < 4
    sign = np.where(target, -1.0, 1.0)
    for upstream, want in ((INF, INF * sign), (-INF, -INF * sign), (NAN, np.full(9, NAN)), (0.0, np.zeros(9))):
        for given in (upstream, np.full(9, upstream)):
            if reduction == "sum" and np.ndim(given):
                continue
            _, grad = function(logits, target, reduction=reduction, upstream=given, **options)
            assert np.all(grad[zero] == 0)
            np.testing.assert_array_equal(grad[4:8], want[4:8].astype(dtype))
            np.testing.assert_array_equal(grad[8], 0 if upstream == 0 else NAN)


@every_dtype
@pytest.mark.parametrize("garbage", [NAN, INF, -INF])
def test_ignored_elements_are_not_read(garbage, dtype, rng):
    logits, target = rng.standard_normal(40).astype(dtype), rng.integers(0, 2, 40).astype(np.int8)
    target[::7] = -1
    poisoned = np.where(target == -1, dtype(garbage), logits)
    for reduction in ("none", "sum", "mean"):
        got = ll.bce_with_logits_value_and_grad(poisoned, target, ignore_value=-1, reduction=reduction)
        want = ll.bce_with_logits_value_and_grad(logits, target, ignore_value=-1, reduction=reduction)
        assert_same_bits(got[0], want[0])
        assert_same_bits(got[1], want[1])
        assert np.all(got[1][target == -1] == 0)


@every_dtype
def test_a_bce_mean_over_nothing(dtype):
    empty = np.empty((0, 3), dtype)
    loss, grad = ll.bce_with_logits_value_and_grad(empty, empty)
    assert np.isnan(loss)
    assert grad.shape == (0, 3)
    assert ll.bce_with_logits(empty, empty, reduction="sum") == 0


FOCAL_LIMITS = [(INF, 1, 0, 0), (INF, 0, INF, 0.75), (-INF, 0, 0, 0), (-INF, 1, INF, -0.25), (NAN, 1, NAN, NAN)]


@every_dtype
@pytest.mark.parametrize(("logit", "target", "want_loss", "want_grad"), FOCAL_LIMITS)
def test_focal_loss_at_infinity(logit, target, want_loss, want_grad, dtype):
    logits, targets = np.full(9, logit, dtype), np.full(9, target, np.uint8)
    loss, grad = ll.sigmoid_focal_loss_value_and_grad(logits, targets, reduction="none")
    np.testing.assert_equal(loss, np.full(9, want_loss, dtype))
    np.testing.assert_equal(grad, np.full(9, want_grad, dtype))


# ---------------------------------------------------------------------------------------------------- all the losses


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
def test_no_loss_raises_floating_point_warnings(loss, dtype, rng):
    for spread in (1, 60, 1e4, 1e30):
        given = loss.inputs(rng, (12, 40), dtype, spread)
        if not loss.refuses_others:
            given.logits[0, 3], given.logits[1, 3], given.logits[2, 3] = INF, -INF, NAN
        loss.value_and_grad(given.logits, *given.targets, **given.options)
