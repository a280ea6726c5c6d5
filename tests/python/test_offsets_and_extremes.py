"""An offset that all logits have in common costs softmax cross-entropy no digit, and logits, weights and options near
the ends of what numbers hold give every loss and gradient that the dtype holds: with every option, against arithmetic of
hundreds of digits on the logits as they are represented."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import reference
from checks import DTYPES, GRADIENT_TOLERANCE, HALVES, LOSS_TOLERANCE, assert_same_bits, assert_within
from reference import EXACT
from reference.arithmetic import exact

import logitloss as ll

NO_ENDS = exact(700)  # the differences of 1.7e308 and 5e-324, and products of a few such numbers
OFFSETS = [0.0, 1e3, 1e5, 1e8, 1e12, 1e17]
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
    assert_within(loss, want.loss, LOSS_TOLERANCE[width] + more, want.loss_magnitude)
    own = GRADIENT_TOLERANCE[width] if dtype == width else float(ml_dtypes.finfo(dtype).eps)
    assert_within(grad, want.grad, own + more, want.grad_magnitude, 8 * float(ml_dtypes.finfo(dtype).tiny))


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
    ("rows", "classes", "order"), [(9, 5, "C"), (3, 150, "C"), (17, 9, "F")], ids=["tile", "block", "strided"]
)
def test_a_common_offset_costs_no_digit(rows, classes, order, kind, name, dtype, rng):
    target, options = arguments(rng, rows, classes, kind, name)
    spread = rng.choice([0.1, 3.0, 30.0], (rows, 1))
    for offset in OFFSETS:
        if offset > float(ml_dtypes.finfo(dtype).max) / 2:
            continue
        for signed in (offset, -offset):
            logits = (signed + spread * rng.standard_normal((rows, classes))).astype(dtype)
            assert_right(np.asarray(logits, order=order), target, options | {"reduction": "none"})


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", ["smoothing", "smoothing-class-weight", "scale-margin-z-loss"])
@pytest.mark.parametrize("offset", [1e3, 1e8, 1e17])
def test_a_common_offset_costs_no_digit_across_blocks(offset, name, dtype, rng):
    target, options = arguments(rng, 2, 4100, "indices", name)
    logits = (offset + 3 * rng.standard_normal((2, 4100))).astype(dtype)
    assert_right(logits, target, options | {"reduction": "none"})


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [2, 40, 300])
def test_smoothing_is_as_exact_at_every_lead(classes, order, smoothing, dtype, rng):
    """The target leads or trails by up to 1e5, beside an offset that float64 does not show."""
    lead = np.concatenate([np.linspace(-100, 100, 41), [-1e5, -1e4, 1e4, 1e5]])
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
        np.testing.assert_allclose(got[1], want[1], rtol=2e-14)


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


def fits(want: Any, dtype: Any) -> np.ndarray:
    """Which numbers the dtype holds, with room for a rounding."""
    most = float(ml_dtypes.finfo(dtype).max)
    return np.vectorize(lambda v: bool(abs(v) <= most / 2), otypes=[bool])(want)


def as_float64(numbers: Any) -> np.ndarray:
    return np.vectorize(float, otypes=[float])(numbers)


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
@pytest.mark.parametrize(("rows", "classes", "order"), [(3, 4, "C"), (2, 140, "C"), (17, 3, "F")])
@pytest.mark.parametrize("seed", range(12))
def test_what_the_dtype_holds_is_there(seed, rows, classes, order, kind, dtype):
    rng = np.random.default_rng([seed, rows])
    logits = near_the_ends(rng, (rows, classes), dtype)
    indices = kind == "indices"
    target = rng.integers(0, classes, rows) if indices else rng.dirichlet(np.ones(classes), rows)
    options = extreme_options(rng, rows, classes, indices, dtype == np.float64)
    loss, grad, want = value_and_grad_of_both(np.asarray(logits, order=order), target, options, NO_ENDS)
    width = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    tiny = 8 * float(np.finfo(width).tiny)
    with np.errstate(over="ignore"):
        held = fits(want.loss, width) & fits(want.loss_magnitude, width)
        more = 0.0
        if not {"softcap", "scale", "margin"}.isdisjoint(options):
            more = 1e-4 if width == np.float32 else 1e-11
        assert np.isfinite(loss[held]).all()
        assert_within(
            loss[held],
            as_float64(want.loss)[held],
            LOSS_TOLERANCE[width] + more,
            as_float64(want.loss_magnitude)[held],
            tiny,
        )
        held = fits(want.grad, dtype) & fits(want.grad_magnitude, dtype)
        assert np.isfinite(grad.astype(np.float64)[held]).all()
