"""Losses on probabilities, beyond what the shared table runs: Keras's meaning, both ends of [0, 1], what is refused."""

import numpy as np
import pytest
import reference
from checks import DTYPES, HALVES, arithmetic_for, assert_same_bits, assert_within, floor

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
TOLERANCE = {np.dtype(np.float32): 4e-7, np.dtype(np.float64): 1e-14}
CROSS = ll.cross_entropy_from_probs, ll.cross_entropy_from_probs_value_and_grad
BINARY = ll.binary_cross_entropy, ll.binary_cross_entropy_value_and_grad


def near_both_ends(dtype):
    """Probabilities down to the smallest number and up to the last before 1."""
    small = np.geomspace(float(np.finfo(dtype).tiny) * 4, 0.5, 400)
    ulps = np.arange(1, 200) * float(np.finfo(dtype).epsneg)
    return np.concatenate([small, 1 - np.geomspace(float(np.finfo(dtype).epsneg), 0.5, 400), 1 - ulps]).astype(dtype)


# ---------------------------------------------------------------------------------------------------- worked numbers


def test_worked_cross_entropies():
    for probs, want in (([0.7, 0.2, 0.1], 0.3567), ([0.9, 0.05, 0.05], 0.1054), ([0.1, 0.8, 0.1], 2.3026)):
        for target in (0, [1, 0, 0]):
            assert abs(ll.cross_entropy_from_probs(probs, target) - want) < 5e-5
            assert abs(ll.cross_entropy_from_probs(probs, target, eps=1e-7) - want) < 5e-5


@pytest.mark.parametrize("eps", [None, 1e-7])
def test_the_sample_of_keras(eps):
    """One-hot and sparse targets of the same two rows."""
    probs = np.array([[0.05, 0.95, 0], [0.25, 0.75, 0]])
    rows = ll.cross_entropy_from_probs(probs, [1, 1], eps=eps, reduction="none")
    assert abs(rows[1] - 0.2876821) < 5e-8
    one_hot = [[0, 1, 0], [0, 1, 0]]
    np.testing.assert_allclose(ll.cross_entropy_from_probs(probs, one_hot, eps=eps, reduction="none"), rows, rtol=1e-14)
    np.testing.assert_allclose(rows, -np.log([0.95, 0.75]), rtol=1e-14)


@every_dtype
def test_multi_label_element_by_element(dtype):
    probs, target = np.array([0.8, 0.7, 0.1], dtype), [1, 1, 0]
    want = -np.log([0.8, 0.7, 0.9])
    rtol = 1e-6 if dtype == np.float32 else 1e-15
    np.testing.assert_allclose(ll.binary_cross_entropy(probs, target, reduction="none"), want, rtol=rtol)
    np.testing.assert_allclose(ll.binary_cross_entropy(probs, target), want.mean(), rtol=rtol)


# -------------------------------------------------------------------------------------------- accuracy at both ends


@every_dtype
def test_binary_at_both_ends(dtype):
    probs = near_both_ends(dtype)
    for target in (0, 1, 0.25):
        targets = np.full(probs.shape, target)
        want = reference.binary_cross_entropy(probs, targets, reduction="none", arithmetic=arithmetic_for(dtype))
        loss, grad = BINARY[1](probs, targets, reduction="none")
        assert_within(loss, want.loss, TOLERANCE[np.dtype(dtype)], floor=floor(dtype))
        assert_within(grad, want.grad, TOLERANCE[np.dtype(dtype)], want.grad_magnitude)


@every_dtype
def test_categorical_at_both_ends(dtype):
    p = near_both_ends(dtype)
    probs = np.stack([p, dtype(1) - p], axis=-1)
    one_hot = np.broadcast_to([1, 0], probs.shape)
    for target in (np.zeros(p.size, int), one_hot):
        want = reference.cross_entropy_from_probs(probs, target, reduction="none", arithmetic=arithmetic_for(dtype))
        loss, grad = CROSS[1](probs, target, reduction="none")
        assert_within(loss, want.loss, TOLERANCE[np.dtype(dtype)])
        assert_within(grad, want.grad, TOLERANCE[np.dtype(dtype)])


@every_dtype
def test_a_renormalised_row_that_is_all_but_sure_keeps_its_digits(dtype):
    """-log(p / s) and its slope, where the other probabilities are one part in ten thousand million."""
    others = np.geomspace(1e-9, 1e-3, 60).astype(dtype)
    probs = np.stack([np.full_like(others, 1.5), others, others], axis=-1)
    want = np.log1p(2 * others.astype(np.longdouble) / 1.5)
    loss, grad = CROSS[1](probs, np.zeros(60, int), eps=1e-12, reduction="none")  # 1 - eps is 1 in float32
    assert_within(loss, want, TOLERANCE[np.dtype(dtype)])
    slope = -2 * others.astype(np.longdouble) / (1.5 * (1.5 + 2 * others.astype(np.longdouble)))
    assert_within(grad[:, 0], slope, TOLERANCE[np.dtype(dtype)])


# ---------------------------------------------------------------------------------------------------- Keras's meaning


def torch_of_keras(torch, probs, target, eps):
    """What Keras computes from probabilities, in float64, for autograd to differentiate."""
    q = probs / probs.sum(dim=-1, keepdim=True)
    return -(target * torch.clamp(q, eps, 1 - eps).log()).sum(dim=-1)


@pytest.mark.parametrize("eps", [1e-7, 0.05, 0.0])
def test_renormalising_and_clipping_as_keras(eps, rng):
    torch = pytest.importorskip("torch")
    probs = rng.gamma(0.3, size=(200, 6)) + 1e-12
    labels = rng.integers(0, 6, 200)
    one_hot = np.eye(6)[labels]
    soft = rng.dirichlet(np.ones(6), 200)
    for target, dense in ((labels, one_hot), (one_hot, one_hot), (soft, soft)):
        p = torch.tensor(probs, requires_grad=True)
        want = torch_of_keras(torch, p, torch.tensor(dense), eps)
        want.sum().backward()
        loss, grad = CROSS[1](probs, target, eps=eps, reduction="none")
        np.testing.assert_allclose(loss, want.detach(), rtol=1e-12, atol=1e-15)
        size = np.abs(dense / probs) + 1 / probs.sum(axis=-1, keepdims=True)
        assert np.all(np.abs(grad - p.grad.numpy()) <= 1e-12 * size)


@pytest.mark.parametrize("eps", [1e-7, 0.05])
def test_clipping_as_keras(eps, rng):
    torch = pytest.importorskip("torch")
    probs = np.concatenate([rng.random(300), [0, 1, eps, 1 - eps, eps / 2, 1 - eps / 2]])
    for target in (rng.integers(0, 2, probs.size), rng.random(probs.size)):
        p = torch.tensor(probs, requires_grad=True)
        clipped = torch.clamp(p, eps, 1 - eps)
        t = torch.tensor(target)
        want = -(t * clipped.log() + (1 - t) * torch.log1p(-clipped))
        want.sum().backward()
        loss, grad = BINARY[1](probs, target, eps=eps, reduction="none")
        np.testing.assert_allclose(loss, want.detach(), rtol=1e-13)
        np.testing.assert_allclose(grad, p.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, *HALVES], ids=lambda d: np.dtype(d).name)
def test_bounds_are_numbers_of_float32(dtype):
    upper = np.float32(1 - 1e-7)
    assert upper == 1 - 2.0**-23
    loss, grad = CROSS[1](np.array([1, 0], dtype), 0, eps=1e-7)
    np.testing.assert_allclose(loss, -np.log(np.float64(upper)), rtol=1e-7)
    np.testing.assert_array_equal(grad.astype(np.float32), [0, 0])
    loss, grad = BINARY[1](np.array([1, 0], dtype), [1, 1], eps=1e-7, reduction="none")
    np.testing.assert_allclose(loss, [-np.log(np.float64(upper)), -np.log(np.float64(np.float32(1e-7)))], rtol=1e-7)
    np.testing.assert_array_equal(grad.astype(np.float32), [0, 0])


@every_dtype
def test_with_eps_everything_outside_is_clipped(dtype):
    probs = np.array([-0.5, 1.5, np.inf, -np.inf, np.nan], dtype)
    loss, grad = BINARY[1](probs, np.ones(5), eps=0.125, reduction="none")
    np.testing.assert_allclose(loss, -np.log([0.125, 0.875, 0.875, 0.125, np.nan]), rtol=1e-6)
    np.testing.assert_array_equal(grad, [0, 0, 0, 0, np.nan])
    rows = np.array([[-1, 3], [3, -1], [0, 0], [np.nan, 1], [np.inf, 1], [0.25, 0.25]], dtype)
    loss, grad = CROSS[1](rows, np.zeros(6, int), eps=0.125, reduction="none")
    np.testing.assert_allclose(loss[[0, 1, 5]], -np.log([0.125, 0.875, 0.5]), rtol=1e-6)
    assert np.isnan(loss[2:5]).all()
    np.testing.assert_array_equal(grad[:2], 0)
    np.testing.assert_array_equal(grad[5], [-2, 2])


# ---------------------------------------------------------------------------------------------------- without eps


@every_dtype
def test_true_values_infinities_included(dtype):
    probs = np.array([[0, 1], [0, 1], [1, 0], [0, 0]], dtype)
    loss, grad = CROSS[1](probs, [0, 1, 0, 1], reduction="none")
    np.testing.assert_array_equal(loss, [np.inf, 0, 0, np.inf])
    np.testing.assert_array_equal(grad, [[-np.inf, 0], [0, -1], [-1, 0], [0, -np.inf]])
    loss, grad = CROSS[1](probs, [[1, 0], [0, 1], [0.5, 0.5], [0, 0]], reduction="none")
    np.testing.assert_array_equal(loss, [np.inf, 0, np.inf, 0])
    np.testing.assert_array_equal(grad, [[-np.inf, 0], [0, -1], [-0.5, -np.inf], [0, 0]])
    loss, grad = BINARY[1](np.array([0, 1, 0, 1, 0], dtype), [0, 1, 1, 0, 0.5], reduction="none")
    np.testing.assert_array_equal(loss, [0, 0, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(grad, [1, -1, -np.inf, np.inf, -np.inf])
    assert not np.signbit(loss).any()


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("eps", [None, 0.0])
@pytest.mark.parametrize("classes", [2, 10, 300])
def test_minus_0_is_the_probability_0(classes, eps, dtype):
    probs = np.zeros((3, classes), dtype)
    probs[:, 1] = 1
    labels = np.array([0, 1, classes - 1])
    for target in (labels, np.eye(classes)[labels], np.eye(classes)[labels] / 2 + 0.5):
        of_0 = CROSS[1](probs, target, eps=eps, reduction="none")
        negative = np.where(probs == 0, dtype(-0.0), probs)
        assert np.signbit(negative).sum() == 3 * (classes - 1)
        for got, want in zip(CROSS[1](negative, target, eps=eps, reduction="none"), of_0, strict=True):
            np.testing.assert_array_equal(got, want)
        assert of_0[1][0, 0] == -np.inf
    for t, slope in ((0, 1), (0.5, -np.inf), (1, -np.inf)):
        loss, grad = BINARY[1](np.full(classes, -0.0, dtype), np.full(classes, t), eps=eps, reduction="none")
        np.testing.assert_array_equal(loss, 0 if t == 0 else np.inf)
        np.testing.assert_array_equal(grad, slope)


@pytest.mark.parametrize("bad", [-0.25, 1.0625, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [CROSS, BINARY], ids=["cross", "binary"])
@every_dtype
def test_what_is_no_probability_is_refused_and_named(function, bad, dtype, rng):
    for shape, where in (
        ((3, 4), (1, 2)),
        ((2, 3, 70), (1, 0, 69)),
        ((3, 5000), (2, 4099)),
        ((40_000, 3), (39_999, 1)),
    ):
        probs = rng.uniform(0.1, 0.9, shape).astype(dtype)
        probs[where] = probs[(*where[:-1], 0)] = bad
        first = (*where[:-1], 0)
        target = rng.integers(0, 2, shape) if function is BINARY else np.zeros(shape[:-1], int)
        grad, out = np.full_like(probs, 77), np.full((), 77, dtype)
        message = rf"probs\[{', '.join(map(str, first))}\]: got .*expected a probability in \[0, 1\]"
        with pytest.raises(ValueError, match=message):
            function[1](probs, target, out=out, grad_out=grad)
        assert np.all(grad == 77)
        assert out == 77
        with pytest.raises(ValueError, match=message):
            function[0](probs, target)
        in_place = probs.copy()
        with pytest.raises(ValueError, match=message):
            function[1](in_place, target, grad_out=in_place)
        np.testing.assert_array_equal(in_place, probs)
    with pytest.raises(ValueError, match=r"probs\[1, 1\]"):
        function[0](np.array([[0.5, 0.5], [0.5, bad]], dtype).T.copy().T, np.eye(2))


@every_dtype
def test_a_row_that_is_not_read_may_hold_anything(dtype, rng):
    probs = rng.uniform(0.1, 0.9, (5, 3)).astype(dtype)
    probs[1], probs[3, 0] = np.nan, 7
    target = np.array([0, -100, 2, 1, 1])
    weight = np.array([1, 1, 1, 0, 2.0])
    kept = [0, 2, 4]
    for eps in (None, 1e-3):
        loss, grad = CROSS[1](probs, target, sample_weight=weight, eps=eps)
        want, want_grad = CROSS[1](probs[kept], target[kept], sample_weight=weight[kept], eps=eps)
        np.testing.assert_allclose(loss, want, rtol=4 * np.finfo(dtype).eps)
        np.testing.assert_allclose(grad[kept], want_grad, rtol=4 * np.finfo(dtype).eps)
        assert np.all(grad[[1, 3]] == 0)
    flat, tags = probs[:, 0].copy(), np.array([1, 0, 1, 0, 1])
    flat[1], weight[1] = np.nan, 0
    for given in ({"weight": weight}, {"ignore_value": 0}):
        loss, grad = BINARY[1](flat, tags, reduction="none", **given)
        assert np.all(grad[[1, 3]] == 0)
        assert np.all(loss[[1, 3]] == 0)
        assert np.isfinite(loss).all()
    with pytest.raises(ValueError, match=r"probs\[3\]: got 7"):
        BINARY[0](np.array([0.5, 0.5, np.nan, 7], dtype), [1, 1, 0, 1], ignore_value=0)


# ---------------------------------------------------------------------------------------------------- identities


@every_dtype
def test_of_a_softmax_it_is_the_cross_entropy(dtype, rng):
    logits = (2 * rng.standard_normal((60, 9))).astype(dtype)
    probs = ll.softmax(logits, axis=-1)
    target = rng.integers(0, 9, 60)
    options = {"class_weight": rng.uniform(0.5, 2, 9), "sample_weight": rng.uniform(0.5, 2, 60), "label_smoothing": 0.2}
    rtol = 2e-6 if dtype == np.float32 else 1e-13
    for eps in (None, 1e-7):
        got = ll.cross_entropy_from_probs(probs, target, eps=eps, **options)
        np.testing.assert_allclose(got, ll.cross_entropy(logits, target, **options), rtol=rtol)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    tags = rng.random((60, 9))
    got = ll.binary_cross_entropy(p, tags, label_smoothing=0.1)
    np.testing.assert_allclose(got, ll.bce_with_logits(logits, tags, label_smoothing=0.1), rtol=1e-6)


@every_dtype
def test_the_gradient_through_a_softmax_is_p_minus_y(dtype, rng):
    logits = rng.standard_normal((30, 5)).astype(dtype)
    target = rng.integers(0, 5, 30)
    probs = ll.softmax(logits, axis=-1)
    _, slope = CROSS[1](probs, target, reduction="none")
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(ll.softmax_vjp(probs, slope), probs - np.eye(5)[target], rtol=rtol, atol=rtol)


@every_dtype
def test_any_target_dtype_and_threads(dtype, rng):
    probs = rng.uniform(0.1, 0.9, (700, 300)).astype(dtype)
    labels = rng.integers(0, 200, 700)
    for eps in (None, 0.01):
        want = CROSS[1](probs, labels, eps=eps, num_threads=1)
        for label_dtype in (np.uint8, np.int16, np.uint64):
            got = CROSS[1](probs, labels.astype(label_dtype), eps=eps)
            assert_same_bits(got[0], want[0])
            assert_same_bits(got[1], want[1])
    long_rows = rng.uniform(0, 1, (2, 100_000)).astype(dtype)
    target = rng.random((2, 100_000)).astype(dtype)
    want = CROSS[1](long_rows, target, eps=1e-9, num_threads=1)
    got = CROSS[1](long_rows, target, eps=1e-9)
    assert_same_bits(got[0], want[0])
    assert_same_bits(got[1], want[1])
