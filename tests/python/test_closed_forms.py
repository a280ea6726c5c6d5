"""Results that a pencil gives."""

import numpy as np
import pytest
from checks import DTYPES, assert_same_bits

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
CLASSES = [1, 2, 3, 8, 10, 17, 64, 100, 128, 129, 1000, 4096, 4097, 131_073]


@every_dtype
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("level", [0.0, 2.5, -3.0, 1024.0])
def test_equal_logits(level, classes, dtype):
    logits = np.full((3, classes), level, dtype)
    want = np.longdouble(level) + np.log(np.longdouble(classes))
    got = ll.logsumexp(logits, axis=-1)
    assert got.dtype == dtype
    allowed = 1 if dtype == np.float32 else 1.5
    assert np.all(np.abs(got - want) <= allowed * np.spacing(np.maximum(np.abs(want), 1).astype(dtype)))
    np.testing.assert_allclose(ll.softmax(logits, axis=-1), 1 / classes, rtol=2 * np.finfo(dtype).eps)
    loss, grad = ll.cross_entropy_value_and_grad(logits, np.zeros(3, int), reduction="sum")
    np.testing.assert_allclose(loss, 3 * np.log(classes), rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad[:, 1:], 1 / classes, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(grad[:, 0], 1 / classes - 1, rtol=4 * np.finfo(dtype).eps)


@every_dtype
def test_a_dominated_row_is_its_largest_logit_exactly(dtype, rng):
    for classes in (2, 10, 64, 129, 1000, 5000):
        logits = rng.uniform(-1, 1, (20, classes)).astype(dtype)
        where = rng.integers(0, classes, 20)
        logits[np.arange(20), where] = 200 + rng.standard_normal(20)
        assert_same_bits(ll.logsumexp(logits, axis=-1), logits[np.arange(20), where])


@every_dtype
def test_two_classes_are_a_softplus(dtype):
    x = np.linspace(-30, 30, 601).astype(dtype)
    logits = np.stack([x, np.zeros_like(x)], axis=-1)
    wide = x.astype(np.longdouble)
    want = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
    # The loss of class 1 is softplus(x), as is the binary loss of a negative.
    loss = ll.cross_entropy(logits, np.ones(601, int), reduction="none")
    rtol = 4e-7 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(loss, want, rtol=rtol)
    np.testing.assert_allclose(ll.bce_with_logits(x, np.zeros(601), reduction="none"), want, rtol=rtol)


@every_dtype
@pytest.mark.parametrize("lead", [20, 40, 80])
def test_confident_rows_have_a_loss_and_a_gradient(lead, dtype):
    logits = np.array([[lead, 0, 0]], dtype)
    loss, grad = ll.cross_entropy_value_and_grad(logits, [0])
    want = np.log1p(2 * np.exp(-float(lead)))
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(loss, want, rtol=rtol)
    np.testing.assert_allclose(grad[0, 0], np.expm1(-want), rtol=rtol)
    loss, grad = ll.bce_with_logits_value_and_grad(np.array([-lead, lead], dtype), [0, 1], reduction="none")
    np.testing.assert_allclose(loss, np.log1p(np.exp(-float(lead))), rtol=rtol)
    np.testing.assert_allclose(grad, np.array([1, -1]) / (1 + np.exp(float(lead))), rtol=rtol)


@every_dtype
def test_bce_at_0(dtype):
    for target in (0.0, 0.25, 1.0):
        loss, grad = ll.bce_with_logits_value_and_grad(np.zeros(5, dtype), np.full(5, target), reduction="none")
        np.testing.assert_allclose(loss, np.log(2), rtol=np.finfo(dtype).eps)
        assert np.all(grad == dtype(0.5 - target))


@every_dtype
def test_a_gradient_of_a_row_sums_to_0(dtype, rng):
    for classes in (2, 10, 64, 129, 5000):
        logits = (3 * rng.standard_normal((8, classes))).astype(dtype)
        _, grad = ll.cross_entropy_value_and_grad(logits, rng.integers(0, classes, 8), reduction="none")
        assert np.all(np.abs(grad.sum(axis=-1, dtype=np.float64)) < 4 * np.finfo(dtype).eps)


@every_dtype
def test_smoothing_of_1_is_the_uniform_target(dtype, rng):
    logits, target = rng.standard_normal((6, 5)).astype(dtype), rng.integers(0, 5, 6)
    uniform = np.full((6, 5), 0.2)
    smoothed = ll.cross_entropy_value_and_grad(logits, target, label_smoothing=1.0)
    soft = ll.cross_entropy_value_and_grad(logits, uniform)
    for got, want in zip(smoothed, soft, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=np.finfo(dtype).eps)


@every_dtype
def test_one_hot_targets_are_class_indices(dtype, rng):
    logits, target = (9 * rng.standard_normal((40, 7))).astype(dtype), rng.integers(0, 7, 40)
    for one_hot_dtype in (bool, np.uint8, np.int64, np.float32, np.float64):
        one_hot = (np.arange(7) == target[:, None]).astype(one_hot_dtype)
        for got, want in zip(
            ll.cross_entropy_value_and_grad(logits, one_hot, reduction="none"),
            ll.cross_entropy_value_and_grad(logits, target, reduction="none"),
            strict=True,
        ):
            np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == np.float32 else 1e-14)


@every_dtype
def test_a_scale_is_a_temperature(dtype, rng):
    logits, target = rng.integers(-8, 8, (20, 6)).astype(dtype), rng.integers(0, 6, 20)
    got = ll.cross_entropy_value_and_grad(logits, target, scale=0.5, reduction="none")
    want = ll.cross_entropy_value_and_grad(logits * dtype(0.5), target, reduction="none")
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(got[0], want[0], rtol=rtol)
    np.testing.assert_allclose(got[1], 0.5 * want[1], rtol=rtol)


@every_dtype
def test_a_margin_lowers_the_targets_logit(dtype, rng):
    logits, target = rng.integers(-8, 8, (20, 6)).astype(dtype), rng.integers(0, 6, 20)
    lowered = logits.copy()
    lowered[np.arange(20), target] -= dtype(0.5)
    got = ll.cross_entropy_value_and_grad(logits, target, margin=0.5, reduction="none")
    want = ll.cross_entropy_value_and_grad(lowered, target, reduction="none")
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(got[0], want[0], rtol=rtol)
    np.testing.assert_allclose(got[1], want[1], rtol=rtol)


@every_dtype
def test_focal_loss_without_focus_is_bce(dtype, rng):
    logits, target = (5 * rng.standard_normal(100)).astype(dtype), rng.integers(0, 2, 100)
    got = ll.sigmoid_focal_loss_value_and_grad(logits, target, gamma=0.0, alpha=None)
    want = ll.bce_with_logits_value_and_grad(logits, target)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-6 if dtype == np.float32 else 1e-14)


@every_dtype
@pytest.mark.parametrize("mask", [-1e4, -1e5, -1e30, -np.inf])
def test_a_trailing_target_leaves_the_other_terms_their_digits(mask, dtype):
    """z-loss and smoothing take L, which must not be formed from the target's logit."""
    logits = np.array([[1, 2, mask]], dtype)
    loss, grad = ll.cross_entropy_value_and_grad(logits, [2], z_loss=0.1)
    level = 2 + np.log1p(np.exp(-1.0))
    p = np.exp([1 - level, 2 - level, -np.inf])
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(grad, [p * (1 + 0.2 * level) - [0, 0, 1]], rtol=rtol)
    np.testing.assert_allclose(loss, level - float(logits[0, 2]) + 0.1 * level**2, rtol=rtol)


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_the_gradient_of_softmax_cross_entropy_is_p_minus_y(classes, rng):
    logits = rng.standard_normal((20, classes))
    target = rng.integers(0, classes, 20)
    _, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
    np.testing.assert_allclose(grad, ll.softmax(logits, -1) - np.eye(classes)[target], rtol=0, atol=4e-16)


def test_the_gradient_of_binary_cross_entropy_is_that_of_two_classes(rng):
    logit = rng.standard_normal(50) * 4
    label = rng.integers(0, 2, 50)
    _, binary = ll.bce_with_logits_value_and_grad(logit, label, reduction="none")
    pair = np.stack([np.zeros(50), logit], axis=-1)
    _, grad = ll.cross_entropy_value_and_grad(pair, label, reduction="none")
    np.testing.assert_allclose(binary, grad[:, 1], rtol=1e-14)
    np.testing.assert_allclose(binary, -grad[:, 0], rtol=1e-14)
