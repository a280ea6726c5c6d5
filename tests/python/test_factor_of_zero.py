"""A factor of 0 removes what it multiplies, whatever that is: nothing but rows and elements that hold NaN or infinities
is lost. A row of the table is a function with one of its factors at 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from checks import DTYPES, HALVES, assert_same_bits

import logitloss as ll

NAN, INF = float("nan"), float("inf")
ROWS, REMOVED = 37, 5  # the row whose factor is 0


@dataclass(frozen=True)
class Case:
    """`arguments(rng, rows, classes)` are the target and the options of a call, row REMOVED having a factor of 0."""

    name: str
    value: Callable[..., Any]
    value_and_grad: Callable[..., Any]
    arguments: Callable[[np.random.Generator, int, int], tuple[np.ndarray, dict[str, Any]]]
    keeps_loss: bool = False  # the factor is the gradient's alone
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def _labels(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    labels = rng.integers(0, classes - 1, rows)  # the last class is that of row REMOVED alone
    labels[REMOVED] = classes - 1
    return labels


def _distributions(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    return rng.dirichlet(np.ones(classes), rows)


def _zero_of_rows(rng: np.random.Generator, rows: int) -> np.ndarray:
    factors = rng.uniform(0.5, 2, rows)
    factors[REMOVED] = 0
    return factors


def _with_rows_of(name: str, target: Callable[..., np.ndarray]) -> Callable[..., Any]:
    return lambda rng, rows, classes: (target(rng, rows, classes), {name: _zero_of_rows(rng, rows)})


def _class_weight(rng: np.random.Generator, rows: int, classes: int) -> Any:
    weight = rng.uniform(0.5, 2, classes)
    weight[-1] = 0
    return _labels(rng, rows, classes), {"class_weight": weight}


def _no_target(rng: np.random.Generator, rows: int, classes: int) -> Any:
    target = _distributions(rng, rows, classes)
    target[REMOVED] = 0
    return target, {}


def _weightless_target(rng: np.random.Generator, rows: int, classes: int) -> Any:
    """All classes of the row's distribution have a weight of 0."""
    target = _distributions(rng, rows, classes)
    target[REMOVED, : classes // 2] = 0
    weight = rng.uniform(0.5, 2, classes)
    weight[classes // 2 :] = 0
    return target, {"class_weight": weight}


def _cross_entropy(name: str, arguments: Callable[..., Any], keeps_loss: bool = False, **options: Any) -> Case:
    return Case(
        f"cross_entropy-{name}", ll.cross_entropy, ll.cross_entropy_value_and_grad, arguments, keeps_loss, options
    )


EVERYTHING = {"z_loss": 0.01, "softcap": 20.0, "scale": 1.5, "margin": 0.2}
CHANGED = {"softcap": 20.0, "scale": 1.5, "margin": 0.2, "label_smoothing": 0.1}  # what rows of few classes go with
SOFT_EVERYTHING = {"softcap": 20.0, "scale": 1.5}
CASES = [
    _cross_entropy("sample-weight", _with_rows_of("sample_weight", _labels)),
    _cross_entropy("sample-weight-smoothing", _with_rows_of("sample_weight", _labels), label_smoothing=0.1),
    _cross_entropy("sample-weight-everything", _with_rows_of("sample_weight", _labels), **EVERYTHING),
    _cross_entropy("sample-weight-changed", _with_rows_of("sample_weight", _labels), **CHANGED),
    _cross_entropy("sample-weight-soft", _with_rows_of("sample_weight", _distributions), z_loss=0.01),
    _cross_entropy("class-weight", _class_weight),
    _cross_entropy("class-weight-z-loss", _class_weight, z_loss=0.01),
    _cross_entropy("class-weight-everything", _class_weight, **EVERYTHING),
    _cross_entropy("class-weight-changed", _class_weight, **(CHANGED | {"label_smoothing": 0.0})),
    _cross_entropy("no-target", _no_target),
    _cross_entropy("no-target-everything", _no_target, **SOFT_EVERYTHING),
    _cross_entropy("weightless-target", _weightless_target),
    _cross_entropy("upstream", _with_rows_of("upstream", _labels), keeps_loss=True),
    _cross_entropy("upstream-smoothing", _with_rows_of("upstream", _labels), keeps_loss=True, label_smoothing=0.1),
    _cross_entropy("upstream-everything", _with_rows_of("upstream", _labels), keeps_loss=True, **EVERYTHING),
    _cross_entropy("upstream-changed", _with_rows_of("upstream", _labels), keeps_loss=True, **CHANGED),
    _cross_entropy("upstream-soft", _with_rows_of("upstream", _distributions), keeps_loss=True, z_loss=0.01),
]


def spoiled_rows(rng: np.random.Generator, classes: int, dtype: Any, what: str) -> np.ndarray:
    """Logits of which row REMOVED holds something that spoils it."""
    logits = rng.standard_normal((ROWS, classes)).astype(dtype)
    row = logits[REMOVED]
    if what == "all":
        row[:] = [NAN, INF, -INF][rng.integers(3)]
    elif what == "infinite target":
        row[-1] = INF
    elif what == "infinities":
        row[[0, classes // 2]] = INF
        row[1] = -INF
    else:
        row[classes // 2] = NAN
    return logits


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(("classes", "order"), [(2, "C"), (7, "C"), (7, "F"), (150, "C"), (150, "F"), (5000, "C")])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_factor_of_0_removes_its_row(case, classes, order, dtype, rng):
    for what in ("nan", "infinities", "infinite target", "all"):
        logits = np.asarray(spoiled_rows(rng, classes, dtype, what), order=order)
        target, factors = case.arguments(rng, ROWS, classes)
        clean = logits.copy(order="K")
        clean[REMOVED] = 0
        options = case.options | factors | {"reduction": "none"}
        loss, grad = case.value_and_grad(logits, target, **options)
        want_loss, want_grad = case.value_and_grad(clean, target, **options)
        others = np.arange(ROWS) != REMOVED
        assert np.all(grad[REMOVED] == 0)
        assert_same_bits(grad[others].astype(np.float64), want_grad[others].astype(np.float64))
        assert_same_bits(loss[others], want_loss[others])
        if not case.keeps_loss:
            assert loss[REMOVED] == 0
            assert_same_bits(case.value(logits, target, **options), loss)
        in_place = logits.copy(order="K")
        case.value_and_grad(in_place, target, **options, grad_out=in_place)
        assert_same_bits(in_place.astype(np.float64), grad.astype(np.float64))


@pytest.mark.parametrize("case", [case for case in CASES if not case.keeps_loss], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_factor_of_0_removes_its_row_from_a_sum(case, reduction, rng):
    logits = spoiled_rows(rng, 9, np.float64, "nan")
    target, factors = case.arguments(rng, ROWS, 9)
    clean = logits.copy()
    clean[REMOVED] = 0
    options = case.options | factors | {"reduction": reduction}
    got, want = (case.value_and_grad(x, target, **options) for x in (logits, clean))
    assert np.isfinite(got[0])
    assert_same_bits(got[0], want[0])
    assert np.all(got[1][REMOVED] == 0)
    others = np.arange(ROWS) != REMOVED
    assert_same_bits(got[1][others], want[1][others])


@pytest.mark.parametrize("classes", [3, 150, 5000])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, EVERYTHING], ids=["plain", "smoothing", "everything"]
)
def test_an_upstream_gradient_of_0_of_a_sum(options, reduction, classes, rng):
    logits = spoiled_rows(rng, classes, np.float32, "infinities")
    target = _labels(rng, ROWS, classes)
    options = options | {"reduction": reduction}
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, upstream=0.0, **options)
    assert_same_bits(loss, ll.cross_entropy(logits, target, **options))
    assert np.all(grad == 0)


def test_smoothing_and_z_loss_are_not_multiplied_by_a_target_of_0():
    logits = np.array([[0.5, 1.0, -2.0]])
    nothing = np.zeros((1, 3))
    lse = np.log(np.exp(logits).sum())
    assert ll.cross_entropy(logits, nothing, z_loss=0.5) == pytest.approx(0.5 * lse**2, rel=1e-14)
    smoothed = ll.cross_entropy(logits, nothing, label_smoothing=0.3)
    assert smoothed == pytest.approx(0.1 * (3 * lse - logits.sum()), rel=1e-14)
    weighted = ll.cross_entropy(logits, [0], class_weight=[0, 1, 1], label_smoothing=0.3, reduction="none")
    assert weighted[0] == pytest.approx(0.1 * (2 * lse - logits[0, 1:].sum()), rel=1e-14)


def test_a_row_that_is_not_read_has_a_gradient_of_0_under_every_change_of_the_logits():
    for dtype in (np.float32, np.float64, np.float16):
        for change in ({"softcap": 30.0}, {"scale": 2.0}, {"softcap": 30.0, "margin": 0.5}, {"label_smoothing": 0.1}):
            for classes in (3, 17, 200):
                logits = np.ones((40, classes), dtype)
                logits[::3, 0] = NAN
                labels = np.where(np.arange(40) % 3 == 0, -100, 1)
                for given in (logits, np.asfortranarray(logits)):
                    loss, grad = ll.cross_entropy_value_and_grad(given, labels, **change)
                    assert np.isfinite(loss)
                    assert np.all(grad[::3] == 0)
                    assert not np.signbit(grad[::3]).any()
                    in_place = given.copy(order="K")
                    ll.cross_entropy_value_and_grad(in_place, labels, grad_out=in_place, **change)
                    assert_same_bits(in_place, grad)


def test_a_gradient_of_0_has_one_sign_whatever_stands_beside_it():
    logits = np.zeros((66, 4), np.float32)
    logits[63, 1] = 2e5
    logits[64, 2] = 1e5
    target = np.full(66, 2)
    grads = [
        ll.cross_entropy_value_and_grad(x, target, reduction="sum")[1] for x in (logits, np.asfortranarray(logits))
    ]
    alone = ll.cross_entropy_value_and_grad(logits[64:65], target[64:65], reduction="sum")[1]
    assert_same_bits(grads[0], grads[1])
    assert_same_bits(grads[0][64:65], alone)


def test_a_factor_of_the_gradient_leaves_the_loss(rng):
    logits = rng.standard_normal((40, 10)).astype(np.float32)
    logits[0] *= np.float32(1e38)
    target = rng.integers(0, 10, 40)
    for options in ({"scale": 2.0}, {}, {"label_smoothing": 0.9}):
        want = ll.cross_entropy(logits, target, reduction="none", **options)
        for upstream in (NAN, INF, 0.0, 2.0, 1e-40, 1e30):
            loss, _ = ll.cross_entropy_value_and_grad(logits, target, reduction="none", upstream=upstream, **options)
            assert_same_bits(loss, want)
    want = ll.logsumexp(logits, axis=-1)
    for upstream in (NAN, INF, 0.0, 2.0, 1e-40, 1e30):
        assert_same_bits(ll.logsumexp_value_and_grad(logits, upstream=upstream)[0], want)
