"""A factor of 0 removes its row or element from the losses on probabilities, whatever that holds: loss and gradient are
0, nothing of it is checked, and all others have the bits that they have beside ordinary probabilities."""

import numpy as np
import pytest
from checks import DTYPES, HALVES, assert_same_bits

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
every_eps = pytest.mark.parametrize("eps", [None, 1e-7])
SHAPES = [(24, 5, "C"), (3, 60, "C"), (3, 300, "C"), (2, 9000, "C"), (24, 7, "F"), (24, 301, "F"), (4, 1, "C")]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
CONTENTS = [np.nan, np.inf, -np.inf, 7.0, -1.0]
KINDS = ["sample weight", "class weight", "ignored", "target", "target by class weights"]


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="raise"):
        yield


def removing(kind, rng, rows, classes, removed):
    """A target and options by which some rows are removed."""
    labels = rng.integers(0, classes, rows)
    if kind == "sample weight":
        return labels, {"sample_weight": np.where(removed, 0, rng.uniform(0.5, 2, rows))}
    if kind == "class weight":
        labels = np.where(removed, classes - 1, labels % max(classes - 1, 1))
        return labels, {"class_weight": np.where(np.arange(classes) == classes - 1, 0, 1.5)}
    if kind == "ignored":
        return np.where(removed, -100, labels), {}
    soft = rng.uniform(0.1, 1, (rows, classes))
    if kind == "target":
        soft[removed] = 0
        return soft, {}
    weight = np.where(np.arange(classes) % 2 == 0, 0, 2.0)
    soft[removed] *= weight == 0
    return soft, {"class_weight": weight}


@every_dtype
@every_eps
@every_shape
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_factor_0(kind, shape, eps, dtype, rng):
    rows, classes, order = shape
    if classes == 1 and kind in ("class weight", "target by class weights"):
        pytest.skip("no class is left")
    probs = np.array(rng.uniform(0.1, 0.9, (rows, classes)).astype(dtype), order=order)
    removed = np.arange(rows) % 3 != 1
    target, options = removing(kind, rng, rows, classes, removed)
    options["eps"] = eps
    want = ll.cross_entropy_from_probs_value_and_grad(probs, target, reduction="none", **options)
    want_mean = ll.cross_entropy_from_probs(probs, target, **options)
    for content in CONTENTS:
        for where in (slice(None), 0, -1):
            filled = probs.copy(order="K")
            filled[removed, where] = dtype(content)
            loss, grad = ll.cross_entropy_from_probs_value_and_grad(filled, target, reduction="none", **options)
            np.testing.assert_array_equal(loss[removed], 0)
            np.testing.assert_array_equal(grad[removed].astype(np.float64), 0)
            assert_same_bits(loss, want[0])
            assert_same_bits(grad[~removed], want[1][~removed])
            mean, _ = ll.cross_entropy_from_probs_value_and_grad(filled, target, grad_out=filled, **options)
            assert_same_bits(mean, want_mean)
            assert np.all(filled[removed].astype(np.float64) == 0)


@every_dtype
@every_shape
@pytest.mark.parametrize("kind", ["indices", "class probabilities"])
def test_an_upstream_gradient_of_0(kind, shape, dtype, rng):
    rows, classes, order = shape
    probs = np.array(rng.uniform(0.1, 0.9, (rows, classes)).astype(dtype), order=order)
    probs[::2, 0] = np.nan
    probs[1, 0] = np.inf
    target = rng.integers(0, classes, rows)
    if kind == "class probabilities":
        target = rng.uniform(0.1, 1, (rows, classes))
    upstream = np.where(np.arange(rows) % 2 == 0, 0, 1.0)
    upstream[1] = 0
    _, grad = ll.cross_entropy_from_probs_value_and_grad(probs, target, eps=1e-7, upstream=upstream, reduction="none")
    np.testing.assert_array_equal(grad[upstream == 0].astype(np.float64), 0)
    _, grad = ll.cross_entropy_from_probs_value_and_grad(probs, target, eps=1e-7, upstream=0)
    np.testing.assert_array_equal(grad.astype(np.float64), 0)
    at_0 = np.zeros((rows, classes), dtype)
    _, grad = ll.cross_entropy_from_probs_value_and_grad(at_0, target, upstream=0)  # the slopes are infinite
    np.testing.assert_array_equal(grad.astype(np.float64), 0)


@every_dtype
def test_rows_that_are_not_removed_are_checked(dtype):
    """Smoothing gives every class a target, an upstream gradient of 0 leaves the loss, and one target is enough."""
    probs = np.array([[0.5, 0.5], [np.nan, 0.5]], dtype)
    zero = np.zeros((2, 2))
    cases = [
        (zero, {"label_smoothing": 0.1}),
        (np.array([[0, 0], [0, 1]]), {}),
        ([0, 1], {"class_weight": [0, 1.0]}),
        ([0, 0], {"class_weight": [0, 1.0], "label_smoothing": 0.5}),
        ([0, 1], {"sample_weight": [0, 1e-310]}),
    ]
    for target, options in cases:
        for given in (probs, np.asfortranarray(probs), np.repeat(probs, 200, axis=1)):
            if given.shape != (2, 2) and ("class_weight" in options or np.ndim(target) == 2):
                continue
            with pytest.raises(ValueError, match=r"probs\[1, 0\]: got nan"):
                ll.cross_entropy_from_probs(given, target, **options)
    with pytest.raises(ValueError, match=r"probs\[1, 0\]: got nan"):
        ll.cross_entropy_from_probs_value_and_grad(probs, [0, 1], upstream=0)
    removed_first = np.array([[np.nan, 2], [np.nan, 0.5]], dtype)
    with pytest.raises(ValueError, match=r"probs\[1, 0\]: got nan"):
        ll.cross_entropy_from_probs(removed_first, [[0, 0], [1, 0]])


@every_dtype
@every_eps
@pytest.mark.parametrize("size", [1, 7, 33, 700, 5000])
def test_elements_of_factor_0(size, eps, dtype, rng):
    probs = rng.uniform(0.1, 0.9, size).astype(dtype)
    removed = np.arange(size) % 3 != 1
    target = rng.choice([0.0, 0.25, 1.0], size)
    for options in (
        {"weight": np.where(removed, 0, 1.5)},
        {"weight": np.where(removed, 0, 1e-300)},
        {"weight": np.where(removed, 0, 1.5).astype(np.float32), "upstream": np.full(size, 0.5)},
        {"ignore_value": 3.0},
    ):
        given = np.where(removed, 3.0, target) if "ignore_value" in options else target
        want = ll.binary_cross_entropy_value_and_grad(probs, given, eps=eps, reduction="none", **options)
        for content in CONTENTS:
            filled = np.where(removed, dtype(content), probs)
            loss, grad = ll.binary_cross_entropy_value_and_grad(filled, given, eps=eps, reduction="none", **options)
            np.testing.assert_array_equal(loss[removed], 0)
            np.testing.assert_array_equal(grad[removed].astype(np.float64), 0)
            assert_same_bits(loss, want[0])
            assert_same_bits(grad[~removed], want[1][~removed])
    upstream = np.where(removed, 0, 2.0)
    for filled in (probs * dtype(0), np.where(removed, dtype(np.nan), probs)):
        _, grad = ll.binary_cross_entropy_value_and_grad(filled, target, eps=1e-7, reduction="none", upstream=upstream)
        np.testing.assert_array_equal(grad[removed].astype(np.float64), 0)
        _, grad = ll.binary_cross_entropy_value_and_grad(filled, target, eps=1e-7, upstream=0)
        np.testing.assert_array_equal(grad.astype(np.float64), 0)
    _, grad = ll.binary_cross_entropy_value_and_grad(probs * dtype(0), target, upstream=0)
    np.testing.assert_array_equal(grad.astype(np.float64), 0)
