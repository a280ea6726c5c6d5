"""Accuracy against sorting and counting in NumPy, and perplexity."""

import numpy as np
import pytest
from checks import DTYPES, HALVES, assert_same_bits, ulps
from test_layouts import LAYOUTS

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES + HALVES, ids=lambda d: np.dtype(d).name)


def is_right(logits, target, top_k=1):
    """Whether fewer than k classes come before the target in the order of falling logits, of equal ones by index."""
    logits = np.asarray(logits, np.float64)
    order = np.argsort(-logits, axis=-1, kind="stable")  # NaNs come last
    rank = np.argmax(order == np.asarray(target)[..., None], axis=-1)
    return (rank < top_k) & ~np.isnan(logits).any(axis=-1)


@every_dtype
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 63, 64, 65, 1000, 4096, 4097, 9000])
def test_against_sorting(classes, dtype, rng):
    """Many equal logits, so that ties decide."""
    rows = max(30, min(400, 40_000 // classes))
    logits = rng.integers(-3, 4, (rows, classes)).astype(dtype)
    logits[0, 0], logits[1, -1], logits[2], logits[3, classes // 2] = -np.inf, np.nan, -np.inf, np.inf
    target = rng.integers(0, classes, rows)
    for top_k in (1, 2, 5, classes // 2 + 1, classes, 3 * classes):
        want = is_right(logits, target, top_k)
        assert ll.accuracy(logits, target, top_k=top_k) == want.mean()
        np.testing.assert_allclose(ll.error_rate(logits, target, top_k=top_k), 1 - want.mean(), atol=1e-15)
        for row in range(12):
            assert ll.accuracy(logits[row], target[row], top_k=top_k) == want[row]


@every_dtype
def test_top_1_is_argmax(dtype, rng):
    logits = rng.integers(0, 4, (500, 6)).astype(dtype)
    target = rng.integers(0, 6, 500)
    assert ll.accuracy(logits, target) == np.mean(np.argmax(logits, axis=-1) == target)


@every_dtype
@pytest.mark.parametrize("classes", [2, 7, 64, 4100, 9000])
def test_class_probabilities_count_as_their_argmax(classes, dtype, rng):
    logits = rng.standard_normal((40, classes)).astype(dtype)
    for target_dtype in (np.uint8, bool, np.float32, np.float64):
        target = rng.integers(0, 3, (40, classes)).astype(target_dtype)
        target[0] = 0
        want = is_right(logits, np.argmax(target, axis=-1), 2)
        assert ll.accuracy(logits, target, top_k=2) == want.mean()
    target = target.astype(np.float64)
    target[5, 1] = np.nan
    want[5] = False
    assert ll.accuracy(logits, target, top_k=2) == want.mean()


def test_a_float64_target_keeps_its_digits_beside_float32_logits():
    assert ll.accuracy(np.float32([0, 1]), [0.5, 0.5 + 1e-12]) == 1


@every_dtype
def test_weights_and_ignored_rows(dtype, rng):
    logits = rng.standard_normal((300, 5)).astype(dtype)
    target = np.where(rng.random(300) < 0.3, -100, rng.integers(0, 5, 300))
    weight = rng.choice([0, 0.5, 1, 3], 300)
    logits[target == -100] = np.nan
    logits[weight == 0] = np.nan
    counts = (target != -100) & (weight != 0)
    want = np.average(is_right(logits, target)[counts], weights=weight[counts])
    np.testing.assert_allclose(ll.accuracy(logits, target, sample_weight=weight), want, rtol=1e-14)
    np.testing.assert_allclose(ll.error_rate(logits, target, sample_weight=weight), 1 - want, rtol=1e-13)
    got = ll.accuracy(np.where(np.isnan(logits), 0, logits), np.where(target < 0, 4, target), ignore_index=4)
    kept = (target != -100) & (target != 4)
    np.testing.assert_allclose(got, is_right(np.where(np.isnan(logits), 0, logits), target)[kept].mean(), rtol=1e-14)


@pytest.mark.parametrize("top_k", [3, 4, 2**31, 2**63 - 1, 2**63, 2**70])
def test_any_row_is_right_among_all_classes(top_k):
    logits = np.array([[0, 1, 2], [2, 1, 0], [np.nan, 1, 2]])
    assert ll.accuracy(logits, [0, 2, 2], top_k=top_k) == 2 / 3
    assert ll.error_rate(logits, [0, 2, 2], top_k=top_k) == 1 / 3


def test_nothing_counts():
    for function in (ll.accuracy, ll.error_rate):
        assert np.isnan(function(np.zeros((3, 2)), [-100, -100, -100]))
        assert np.isnan(function(np.zeros((0, 2)), np.zeros(0, int)))
        assert np.isnan(function(np.zeros((2, 2)), [0, 1], sample_weight=[0, 0]))
        assert type(function(np.float32([[1, 2]]), [1])) is np.float64
    with pytest.raises(ValueError, match=r"target: got 0 classes"):
        ll.accuracy(np.zeros((3, 0)), np.zeros((3, 0)))


@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_axis_layout_and_number_of_threads(layout, dtype, rng):
    if layout.startswith("byteswapped") and np.dtype(dtype).name == "bfloat16":
        pytest.skip("bfloat16 has no other byte order")
    for shape in ((6, 5, 7), (3, 4, 70), (2, 3, 4100)):
        logits = rng.integers(-9, 9, shape).astype(dtype)
        target = rng.integers(0, shape[-1], shape[:-1])
        want = is_right(logits, target, 2).mean()
        for axis in range(-3, 3):
            moved = LAYOUTS[layout](np.moveaxis(logits, -1, axis))
            assert ll.accuracy(moved, target, axis=axis, top_k=2) == want
            one_hot = np.moveaxis(np.arange(shape[-1]) == target[..., None], -1, axis)
            assert ll.accuracy(moved, one_hot, axis=axis, top_k=2) == want
    wide = rng.standard_normal((2, 150_000)).astype(dtype)
    target = np.argmax(wide, axis=-1)
    for threads in (1, 2, None):
        assert ll.accuracy(wide, target, num_threads=threads) == 1
        assert ll.error_rate(wide, (target + 1) % 150_000, num_threads=threads) == 1


def test_sklearn_agrees(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, target = rng.standard_normal((200, 8)), rng.integers(0, 8, 200)
    weight = rng.uniform(0, 2, 200)
    for top_k in (1, 3):
        want = metrics.top_k_accuracy_score(target, scores, k=top_k, sample_weight=weight, labels=range(8))
        np.testing.assert_allclose(ll.accuracy(scores, target, top_k=top_k, sample_weight=weight), want, rtol=1e-14)


@pytest.mark.parametrize("function", [ll.accuracy, ll.error_rate])
@pytest.mark.parametrize("dtype", [int, np.uint8, np.int32, bool])
def test_predicted_labels_are_an_error(dtype, function):
    """They would count as logits, and the target as class probabilities: 1.0, whatever they are."""
    labels = np.array([1, 0, 1, 1], dtype)
    for predicted, target in ((labels, [1, 0, 1, 0]), (labels.tolist(), labels), (labels[:, None], labels[:, None])):
        with pytest.raises(
            TypeError, match=r"logits: got integers of .* not predicted labels; .*np\.mean\(pred == target"
        ):
            function(predicted, target)
    assert function(labels[:, None], np.zeros(4, int)) in (0, 1)  # logits of one class
    assert ll.accuracy(np.arange(6).reshape(2, 3), [2, 0]) == 0.5  # integers may be logits of class indices
    assert ll.accuracy(np.array([2.0, 0, 1]), [1, 0, 0]) == 1  # and floats those of class probabilities


# ---------------------------------------------------------------------------------------------------------- perplexity


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_perplexity(dtype, rng):
    loss = np.concatenate([rng.uniform(0, 80, 3000), [0, np.inf, np.nan, -1]]).astype(dtype)
    got = ll.perplexity(loss)
    assert got.dtype == dtype
    exact = np.exp(loss.astype(np.longdouble))
    finite = np.isfinite(exact)
    assert np.all(ulps(got[finite], exact[finite]) <= 1)
    np.testing.assert_array_equal(got[~finite], exact[~finite])
    assert type(ll.perplexity(dtype(1))) is dtype
    into = np.zeros_like(loss)
    assert ll.perplexity(loss, out=into) is into
    assert_same_bits(into, got)
    for half in HALVES:
        assert_same_bits(ll.perplexity(loss.astype(half)), ll.perplexity(loss.astype(half).astype(np.float32)))


@pytest.mark.parametrize("classes", [2, 3, 10, 40, 200])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_first_class_of_a_row_of_masked_logits_is_predicted(classes, dtype):
    logits = np.full((35, classes), -np.inf, dtype)
    for label in (0, 1):
        assert ll.accuracy(logits, np.full(35, label)) == (label == 0)
        assert ll.error_rate(logits, np.full(35, label)) == (label == 1)
