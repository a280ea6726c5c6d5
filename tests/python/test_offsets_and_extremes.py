"""An offset that all logits have in common costs softmax cross-entropy no digit, and logits, weights and options near
the ends of what numbers hold give every loss and gradient that the dtype holds: with every option, against arithmetic
of hundreds of digits on the logits as they are represented."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import reference
from checks import DTYPES, GRADIENT_TOLERANCE, HALVES, LOSS_TOLERANCE, SAMPLE, assert_same_bits, assert_within
from reference import EXACT
from reference.arithmetic import exact

import logitloss as ll

# Digits for the differences of the largest and the smallest number, and for products of a few such.
NO_ENDS = {np.dtype(np.float32): exact(220), np.dtype(np.float64): exact(700)}
OFFSETS = [0.0, 1e3, -1e5, 1e8, -1e12, 1e17]
CLASS_WEIGHT, SAMPLE_WEIGHT = "class_weight", "sample_weight"

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "all-smoothing": {"label_smoothing": 1.0},
    "class-weight": {CLASS_WEIGHT: True},
    "smoothing-class-weight": {"label_smoothing": 0.1, CLASS_WEIGHT: True},
    "sample-weight": {SAMPLE_WEIGHT: True},
    "z-loss": {"z_loss": 1e-3},
    "smoothing-z-loss": {"label_smoothing": 0.1, "z_loss": 1e-3},
    "margin": {"margin": 0.35},
    "smoothing-margin": {"label_smoothing": 0.1, "margin": 0.35},
    "scale": {"scale": 3.3},
    "scale-margin-z-loss": {"scale": 3.3, "margin": -0.7, "z_loss": 1e-3},
    "power-of-two": {"scale": 0.25},
    "softcap": {"softcap": 50.0},
    "everything": {
        "label_smoothing": 0.2,
        "z_loss": 1e-3,
        "softcap": 50.0,
        "margin": 0.35,
        "scale": 1.7,
        CLASS_WEIGHT: True,
        SAMPLE_WEIGHT: True,
    },
}


def value_and_grad_of_both(logits, target, options, arithmetic):
    """What the library gives, and what is right; the loss of a call without a gradient has the same bits."""
    want = reference.cross_entropy(logits, target, arithmetic=arithmetic, **options)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, **options)
    without_upstream = {name: value for name, value in options.items() if name != "upstream"}
    assert_same_bits(ll.cross_entropy(logits, target, **without_upstream), loss)
    return loss, grad, want


def as_float64(numbers: Any) -> np.ndarray:
    with np.errstate(all="ignore"):  # what float64 does not hold is infinite
        return np.vectorize(float, otypes=[float])(numbers)


def widest(logits):
    return float(np.max(np.ptp(logits.astype(np.float64), axis=-1)))


def sensitivity(logits, options, eps):
    """What the transformed logits' own rounding moves a loss by: nothing that grows with a common offset, but for a
    softcap, which is no function of differences."""
    scale = options.get("scale", 1.0)
    total = 0.0
    if "margin" in options or np.frexp(scale)[0] != 0.5:
        total += scale * (widest(logits) + abs(options.get("margin", 0.0)))
    if "softcap" in options:
        total += scale * options["softcap"] + np.max(np.abs(logits.astype(np.float64))) / options["softcap"]
    return 2 * eps * total


def assert_right(logits, target, options, arithmetic=EXACT):
    dtype = logits.dtype
    width = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    loss, grad, want = value_and_grad_of_both(logits, target, options, arithmetic)
    more = sensitivity(logits, options, float(np.finfo(width).eps))
    loss_size, grad_size = as_float64(want.loss_magnitude), as_float64(want.grad_magnitude)
    assert_within(loss, as_float64(want.loss), LOSS_TOLERANCE[width] + more, loss_size, 8 * float(np.finfo(width).tiny))
    own = GRADIENT_TOLERANCE[width] if dtype == width else float(ml_dtypes.finfo(dtype).eps)
    slope = 1 + 2 * options.get("z_loss", 0) * np.max(np.abs(logits.astype(np.float64)))  # of what was flushed to 0
    assert_within(grad, as_float64(want.grad), own + more, grad_size, 8 * slope * float(ml_dtypes.finfo(dtype).tiny))


def arguments(rng, rows, classes, kind, name):
    options = dict(OPTIONS[name])
    if kind == "probabilities":
        options.pop("margin", None)
        target = rng.dirichlet(np.ones(classes), rows)
    else:
        target = rng.integers(0, classes, rows)
    if options.pop(CLASS_WEIGHT, False):
        options[CLASS_WEIGHT] = rng.uniform(0.25, 2, classes)
    if options.pop(SAMPLE_WEIGHT, False):
        options[SAMPLE_WEIGHT] = rng.uniform(0.25, 2, rows)
    return target, options


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize(
    ("rows", "classes", "order"), [(6, 5, "C"), (1, 130, "C"), (16, 3, "F")], ids=["tile", "block", "columns"]
)
def test_a_common_offset_costs_no_digit(rows, classes, order, kind, name, dtype, rng):
    target, options = arguments(rng, rows, classes, kind, name)
    spread = rng.choice([0.1, 3.0, 30.0], (rows, 1))
    offsets = [offset for offset in OFFSETS if abs(offset) < float(ml_dtypes.finfo(dtype).max) / 2]
    for offset in rng.permutation(offsets)[:SAMPLE]:
        logits = (offset + spread * rng.standard_normal((rows, classes))).astype(dtype)
        assert_right(np.asarray(logits, order=order), target, options | {"reduction": "none"})


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", ["smoothing", "smoothing-class-weight", "scale-margin-z-loss"])
@pytest.mark.parametrize("offset", [1e3, 1e8, 1e17])
def test_a_common_offset_costs_no_digit_across_blocks(offset, name, dtype, rng):
    target, options = arguments(rng, 1, 4100, "indices", name)
    logits = (offset + 3 * rng.standard_normal((1, 4100))).astype(dtype)
    assert_right(logits, target, options | {"reduction": "none"})


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [2, 3, 40, 130])
def test_smoothing_is_as_exact_at_every_lead(classes, order, smoothing, dtype, rng):
    """The target leads or trails by up to 1e5, beside an offset that float64 does not show."""
    lead = np.concatenate([np.linspace(-80, 80, 9), [-1e5, -1e4, 1e5]])
    for offset in (0.0, 65536.0, 2.0**40):
        logits = rng.uniform(-2, 0, (lead.size, classes))
        logits[:, 0] = lead
        logits = (logits + offset).astype(dtype)
        options = {"label_smoothing": smoothing, "reduction": "none"}
        assert_right(np.asarray(logits, order=order), np.zeros(lead.size, int), options)


def test_offsets_of_float64_rows_of_many_classes(rng):
    logits = rng.integers(-20, 20, (3, 30000)) / 4.0
    target = rng.integers(0, 30000, 3)
    want = ll.cross_entropy_value_and_grad(logits, target, label_smoothing=0.1)
    for offset in (1e3, 1e5, 2.0**40):
        got = ll.cross_entropy_value_and_grad(logits + offset, target, label_smoothing=0.1)
        np.testing.assert_allclose(got[0], want[0], rtol=2e-14)
        np.testing.assert_allclose(got[1], want[1], rtol=2e-14, atol=2e-14 * 0.1 / 30000)


# ------------------------------------------------------------------------------------------------ the ends of numbers


def near_the_ends(rng, shape, dtype):
    """Logits of every size that the dtype has, and of a few sizes a row."""
    most, least = float(ml_dtypes.finfo(dtype).max), float(ml_dtypes.finfo(dtype).smallest_subnormal)
    sizes = np.array([0.0, least, 1.0, 30.0, np.sqrt(most), most / 4, most])
    size = rng.choice(sizes, (shape[0], 3))
    pick = np.take_along_axis(size, rng.integers(0, 3, shape), -1)
    return (pick * rng.choice([-1.0, 1.0, 0.5], shape)).astype(dtype)


def extreme(rng, least, most):
    return float(10.0 ** rng.uniform(least, most))


def extreme_options(rng, rows, classes, indices, wide):
    """Some options and weights, each ordinary or extreme, and factors that may bring the results back."""
    ends = (-300, 300) if wide else (-60, 60)
    choices = {
        "label_smoothing": lambda: rng.choice([0.1, 1.0, 1e-30, 1e-310]),
        "z_loss": lambda: extreme(rng, *ends),
        "softcap": lambda: extreme(rng, *ends),
        "scale": lambda: extreme(rng, *ends),
        CLASS_WEIGHT: lambda: 10.0 ** rng.uniform(*ends, classes),
        SAMPLE_WEIGHT: lambda: 10.0 ** rng.uniform(*ends, rows),
    }
    if indices:
        choices["margin"] = lambda: rng.choice([-1, 1]) * extreme(rng, *ends)
    names = rng.permutation(list(choices))[: rng.integers(0, 4)]
    options = {str(name): choices[str(name)]() for name in names}
    reduction = rng.choice(["none", "sum", "normalizer"])
    if reduction == "normalizer":
        options["normalizer"] = extreme(rng, *ends)
    options["reduction"] = "none" if reduction == "none" else "sum"
    if rng.random() < 0.5:
        options["upstream"] = 10.0 ** rng.uniform(*ends, () if reduction != "none" else (rows,))
    return options


def assert_held(got: Any, want: Any, magnitude: Any, dtype: Any, tolerance: float) -> None:
    """What `dtype` holds is right, and what is beyond it is infinite."""
    want, magnitude = as_float64(want), as_float64(magnitude)
    most, tiny = float(ml_dtypes.finfo(dtype).max), 8 * float(ml_dtypes.finfo(dtype).tiny)
    held = (np.abs(want) < most / 2) & (magnitude < most / 2)
    got = np.asarray(got).astype(np.float64)
    assert_within(got[held], want[held], tolerance, magnitude[held], tiny)
    beyond = np.abs(want) > 1.01 * most
    np.testing.assert_array_equal(got[beyond], np.copysign(np.inf, want[beyond]))


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize(("rows", "classes", "order"), [(3, 4, "C"), (2, 2, "C"), (16, 3, "F"), (1, 130, "C")])
def test_what_the_dtype_holds_is_there(rows, classes, order, kind, dtype):
    width = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    for seed in range(2 if classes > 100 else 8):
        rng = np.random.default_rng([seed, rows, width.itemsize])
        logits = near_the_ends(rng, (rows, classes), dtype)
        indices = kind == "indices"
        target = rng.integers(0, classes, rows) if indices else rng.dirichlet(np.ones(classes), rows)
        options = extreme_options(rng, rows, classes, indices, dtype == np.float64)
        arithmetic = NO_ENDS[width]
        loss, grad, want = value_and_grad_of_both(np.asarray(logits, order=order), target, options, arithmetic)
        assert_held(loss, want.loss, want.loss_magnitude, width, LOSS_TOLERANCE[width])
        own = GRADIENT_TOLERANCE[width] if dtype == width else float(ml_dtypes.finfo(dtype).eps)
        assert_held(grad, want.grad, want.grad_magnitude, dtype, own)


def blocks_of_extremes(dtype):
    """Rows of several blocks with the ends of the dtype in them."""
    most = float(np.finfo(dtype).max)
    logits = np.zeros((2, 4100), dtype)
    logits[0, 1:] = -0.9 * most
    logits[1, ::3] = -most
    logits[1, 4099] = most
    return logits


@pytest.mark.parametrize("options", [{"scale": 3.3}, {CLASS_WEIGHT: True}], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_extremes_across_blocks(dtype, options, rng):
    logits = blocks_of_extremes(dtype)
    weight = {CLASS_WEIGHT: rng.uniform(0, 1e-3, 4100)} if options.get(CLASS_WEIGHT) else {}
    options = options | weight | {"label_smoothing": 0.01, "reduction": "none", "sample_weight": np.full(2, 1e-40)}
    want = reference.cross_entropy(logits, [0, 4099], arithmetic=NO_ENDS[np.dtype(dtype)], **options)
    for threads in (1, 2):
        loss, grad = ll.cross_entropy_value_and_grad(logits, [0, 4099], num_threads=threads, **options)
        assert_held(loss, want.loss, want.loss_magnitude, dtype, LOSS_TOLERANCE[np.dtype(dtype)])
        assert_held(grad, want.grad, want.grad_magnitude, dtype, GRADIENT_TOLERANCE[np.dtype(dtype)])


def test_extremes_in_a_row_that_threads_share(rng):
    logits = np.full((1, 70000), -3e38, np.float32)
    logits[0, 69999] = 3e38
    for smoothing, share in ((0.0, 0.0), (0.1, 0.1 * 69999 / 70000)):
        loss, grad = ll.cross_entropy_value_and_grad(
            logits, [69999], label_smoothing=smoothing, sample_weight=[0.25], reduction="none"
        )
        np.testing.assert_allclose(loss, [0.25 * share * 6e38], rtol=1e-6)
        np.testing.assert_allclose(grad[0, [0, 69999]], [-0.25 * smoothing / 70000, 0.25 * share], rtol=1e-6)


def test_sums_of_losses_that_float64_holds_after_the_mean():
    logits = np.array([[1.5e308, -1.5e308]] * 7)
    target = np.ones(7, int)
    assert ll.cross_entropy(logits / 2, target) == 1.5e308
    assert ll.cross_entropy(logits, target) == np.inf
    assert ll.cross_entropy(logits, target, reduction="sum", normalizer=70) == pytest.approx(3e307, rel=1e-14)
    assert ll.cross_entropy(logits, target, reduction="sum") == np.inf
    weights = np.array([1e300, -1e300, 1, 0, 0, 0, 0])
    assert ll.cross_entropy(logits / 2, target, sample_weight=weights, reduction="sum") == 1.5e308
    logits[3] = [0, np.inf]
    target[3] = 0
    assert ll.cross_entropy(logits, target, reduction="sum", normalizer=70) == np.inf


@pytest.mark.parametrize("rows", [3, 5000])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_options_that_cancel(dtype, rows):
    """Each is out of float32's range, or float64's, and their product is 1."""
    logits = np.tile(np.array([1, 2, 3], dtype), (rows, 1))
    target = np.full(rows, 2)
    third = np.array([1 / 3, 1 / 3, -2 / 3]) / rows
    tolerance = GRADIENT_TOLERANCE[np.dtype(dtype)]
    for tiny in (1e-40, 1e-300) if dtype == np.float32 else (1e-300, 1e-307):
        _, grad = ll.cross_entropy_value_and_grad(logits, target, scale=tiny, upstream=1 / tiny)
        np.testing.assert_allclose(grad, np.tile(third, (rows, 1)), rtol=tolerance)
    softmax = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    want = np.tile(softmax - [0, 0, 1], (rows, 1))
    for factor in (1e-300, 1e300):
        loss, grad = ll.cross_entropy_value_and_grad(
            logits, target, sample_weight=np.full(rows, factor), normalizer=factor, reduction="sum", upstream=0.5
        )
        np.testing.assert_allclose(loss, -rows * np.log(softmax[2]), rtol=tolerance)
        np.testing.assert_allclose(grad, 0.5 * want, rtol=tolerance)
        half = np.full(rows, 1 / factor)
        _, grad = ll.cross_entropy_value_and_grad(
            logits, target, class_weight=[factor] * 3, upstream=half, reduction="none"
        )
        np.testing.assert_allclose(grad, want, rtol=tolerance)


def test_a_z_loss_of_log_sum_exps_whose_squares_overflow():
    loss, grad = ll.cross_entropy_value_and_grad([[1e200, -1e200]], [0], z_loss=1e-300)
    assert loss == pytest.approx(1e100, rel=1e-14)
    np.testing.assert_allclose(grad, [[2e-100, 0]], rtol=1e-14)
    loss, grad = ll.cross_entropy_value_and_grad(np.float32([[3e38, 0]]), [0], z_loss=1e-60)
    assert loss == pytest.approx(9e16, rel=1e-6)
    np.testing.assert_allclose(grad, [[6e-22, 0]], rtol=1e-6)
