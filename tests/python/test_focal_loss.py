"""What the focal loss has beyond the other losses, which it shares the table of losses.py with."""

import numpy as np
import pytest
import reference
from checks import DTYPES, arithmetic_for, assert_same_bits, assert_within, floor

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)


@every_dtype
@pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0, 2.2, 7.0, 60.0])
def test_hard_targets_keep_relative_accuracy_at_both_ends(gamma, dtype):
    x = np.linspace(-80, 80, 4001).astype(dtype)
    # gamma multiplies the half ulp that log1p(exp(-|x|)) is off by.
    rtol = (4e-7 if dtype == np.float32 else 1e-14) * max(1, gamma / 5)
    for t in (0, 1):
        target = np.full(x.shape, t, np.uint8)
        got = ll.sigmoid_focal_loss_value_and_grad(x, target, gamma=gamma, reduction="none")
        want = reference.sigmoid_focal_loss(x, target, gamma=gamma, reduction="none", arithmetic=arithmetic_for(dtype))
        assert_within(got[0], want.loss, rtol, floor=floor(dtype))
        assert_within(got[1], want.grad, 1.25 * rtol, floor=floor(dtype))


@every_dtype
@pytest.mark.parametrize("smoothing", [0.0, 1e-5, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.3, 4.9, 5.0, 7.0, 60.0])
def test_soft_targets_keep_relative_accuracy(gamma, smoothing, dtype, rng):
    # Targets of every size, and just below 1/2, where what is left of 1 has fewer digits than the target.
    x = np.concatenate([rng.uniform(-80, 80, 4000), 3 * rng.standard_normal(4000)]).astype(dtype)
    small = 10.0 ** rng.uniform(-12, 0, x.shape)
    target = np.choose(np.arange(x.size) % 3, [small, 1 - small, rng.uniform(0.4, 0.6, x.shape)]).astype(dtype)
    target[target == 1] = 0.75  # hard ones have a test of their own
    options = {"gamma": gamma, "label_smoothing": smoothing, "reduction": "none"}
    got = ll.sigmoid_focal_loss_value_and_grad(x, target, **options)
    want = reference.sigmoid_focal_loss(x, target, **options, arithmetic=arithmetic_for(dtype))
    # float32 takes these steps in float64, and rounds once.
    rtol = 1.2e-7 if dtype == np.float32 else 1e-14 * max(1, gamma / 5)
    assert_within(got[0], want.loss, rtol, floor=floor(dtype))
    assert_within(got[1], want.grad, rtol, want.grad_magnitude, floor(dtype))


@every_dtype
def test_confident_closed_form(dtype):
    # log 1-p_t = -20 to nine digits and BCE = exp(-20): alpha exp(-40) exp(-20)
    loss = ll.sigmoid_focal_loss(np.array([20], dtype), [1], alpha=0.25, gamma=2.0)
    p_miss = np.exp(-np.logaddexp(np.longdouble(0), 20))
    np.testing.assert_allclose(loss, 0.25 * p_miss**2 * -np.log1p(-p_miss), rtol=4e-7 if dtype == np.float32 else 1e-14)


@every_dtype
def test_smoothing_keeps_the_digits_of_its_small_half(dtype):
    # t = 1 becomes 1 - e/2; at x = 50 the loss is x (1-p_t)^0 e/2 to twenty digits.
    e = 1e-5
    for call in (ll.sigmoid_focal_loss, ll.bce_with_logits):
        more = {"gamma": 0.0, "alpha": None} if call is ll.sigmoid_focal_loss else {}
        loss = call(np.array([50], dtype), np.array([1], np.uint8), label_smoothing=e, **more)
        np.testing.assert_allclose(loss, 50 * e / 2, rtol=4e-7 if dtype == np.float32 else 1e-14)


@every_dtype
def test_hard_elements_do_not_depend_on_soft_neighbours(dtype, rng):
    x, hard = (5 * rng.standard_normal(200)).astype(dtype), rng.integers(0, 2, 200).astype(dtype)
    mixed = np.where(np.arange(200) % 7 == 0, dtype(0.3), hard)
    for got, want in zip(
        ll.sigmoid_focal_loss_value_and_grad(x, mixed, reduction="none"),
        ll.sigmoid_focal_loss_value_and_grad(x, hard, reduction="none"),
        strict=True,
    ):
        assert_same_bits(got[mixed == hard], want[mixed == hard])


@every_dtype
def test_targets_outside_the_unit_interval_are_nan(dtype):
    target = np.array([-0.5, 1.5, 2, -1, np.inf, np.nan, 0, 1])
    loss, grad = ll.sigmoid_focal_loss_value_and_grad(np.zeros(8, dtype), target, reduction="none")
    np.testing.assert_array_equal(np.isnan(loss), [True] * 6 + [False] * 2)
    np.testing.assert_array_equal(np.isnan(grad), [True] * 6 + [False] * 2)


@every_dtype
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 1e300])
def test_never_nan_from_infinite_logits(gamma, dtype):
    x = np.array([np.inf, -np.inf, 1e30, -1e30], dtype)
    for alpha in (0.0, 0.25, 1.0, None):
        for t in (0.0, 0.25, 1.0):
            loss, grad = ll.sigmoid_focal_loss_value_and_grad(
                x, np.full(4, t), gamma=gamma, alpha=alpha, reduction="none"
            )
            assert not np.isnan(loss).any()
            assert np.isfinite(grad).all()


@pytest.mark.parametrize("call", [ll.sigmoid_focal_loss, ll.sigmoid_focal_loss_value_and_grad])
@pytest.mark.parametrize("gamma", [np.inf, -np.inf, np.nan, -1e-3])
def test_gamma_must_be_finite_and_not_negative(gamma, call):
    with pytest.raises(ValueError, match="gamma"):
        call(np.zeros(3), np.zeros(3), gamma=gamma)
