"""The one table of losses that the shared tests run over: every function with every option, alone and together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import reference
from checks import GRADIENT_TOLERANCE, LOSS_TOLERANCE

import logitloss as ll

Maker = Callable[[np.random.Generator, tuple[int, ...]], Any]


@dataclass(frozen=True)
class Inputs:
    """Arguments of one call: `function(logits, *targets, **options)`."""

    logits: np.ndarray
    targets: tuple[np.ndarray, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class Loss:
    """A loss with some of its options. `logits` have the shape (..., classes), or any shape if elementwise."""

    name: str
    value: Callable[..., Any]
    value_and_grad: Callable[..., Any]
    reference: Callable[..., reference.Result]
    target: Maker | None = None
    options: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Maker] = field(default_factory=dict)
    elementwise: bool = False
    of_probabilities: bool = False  # takes numbers in [0, 1]

    @property
    def refuses_others(self) -> bool:
        return self.of_probabilities and "eps" not in self.options

    def inputs(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64, spread: float = 3.0
    ) -> Inputs:
        logits = (spread * rng.standard_normal(shape)).astype(dtype)
        if self.of_probabilities:
            logits = probabilities(rng, shape, spread).astype(dtype)
        targets = () if self.target is None else (self.target(rng, shape),)
        return Inputs(logits, targets, self.options | {name: make(rng, shape) for name, make in self.arrays.items()})

    def loss_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.reduction != "none":
            return ()
        return shape if self.elementwise else shape[:-1]

    @property
    def reduction(self) -> str:
        return "none" if self.target is None else self.options.get("reduction", "mean")

    def _sensitivity(self, given: Inputs, dtype: Any) -> float:
        """Rounding of the transformed logits themselves moves a loss by this much."""
        if not {"softcap", "scale"} & given.options.keys():
            return 0.0
        scale = given.options.get("scale", 1.0)
        return 4 * float(np.finfo(dtype).eps) * scale * float(np.max(np.abs(given.logits), initial=0))

    def loss_tolerance(self, given: Inputs) -> float:
        dtype = given.logits.dtype
        return LOSS_TOLERANCE[dtype] + self._sensitivity(given, dtype)

    def gradient_tolerance(self, given: Inputs) -> float:
        dtype = given.logits.dtype
        return GRADIENT_TOLERANCE[dtype] + self._sensitivity(given, dtype)

    def __str__(self) -> str:
        return self.name


def probabilities(rng: np.random.Generator, shape: tuple[int, ...], spread: float) -> np.ndarray:
    """Far from 0 and 1 for a small spread, where differences need room; otherwise also near both ends, to where every
    dtype has numbers. Rows do not sum to 1."""
    if spread <= 3:
        return rng.uniform(0.25, 0.75, shape)
    return np.clip(0.5 + 0.5 * np.tanh(0.5 * spread * rng.standard_normal(shape)), 2.0**-10, 1 - 2.0**-7)


# ---------------------------------------------------------------------------------------------------------- targets


def labels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, max(shape[-1], 1), shape[:-1])


def labels_some_ignored(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(rng.random(shape[:-1]) < 0.3, -100, labels(rng, shape))


def soft_classes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    t = rng.random(shape)
    return (t / t.sum(axis=-1, keepdims=True)).astype(np.float32)


def one_hot_classes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (np.arange(shape[-1]) == labels(rng, shape)[..., None]).astype(np.uint8)


def hard(dtype: Any) -> Maker:
    return lambda rng, shape: rng.integers(0, 2, shape).astype(dtype)


hard_bytes = hard(np.uint8)


def soft(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.random(shape).astype(np.float32)


def real(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def counts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 9, shape).astype(np.uint16)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0, 4, shape).astype(np.float32)


def hard_some_ignored(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice([0, 1, -1], shape).astype(np.int8)


# ---------------------------------------------------------------------------------------------------------- weights


def per_class(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.25, 2, shape[-1:]).astype(np.float32)


def per_row(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice([0, 0.5, 1, 2], shape[:-1])


def per_element(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice([0, 0.5, 1, 2], shape).astype(np.float32)


# ------------------------------------------------------------------------------------------------------- the tables


DEFAULT_TARGETS: dict[str, Maker] = {
    "cross_entropy": labels,
    "bce_with_logits": soft,
    "sigmoid_focal_loss": hard_bytes,
    "mean_squared_error": real,
    "mean_absolute_error": real,
    "root_mean_squared_error": real,
    "poisson_nll": counts,
    "cross_entropy_from_probs": labels,
    "binary_cross_entropy": hard_bytes,
}


def _loss(name: str, target: Maker | None = None, arrays: dict[str, Maker] | None = None, **options: Any) -> Loss:
    """`name` is that of the function, or <function>-<variant>."""
    function = name.split("-")[0]
    return Loss(
        name,
        getattr(ll, function),
        getattr(ll, function + "_value_and_grad"),
        getattr(reference, function),
        target or DEFAULT_TARGETS[function],
        options,
        arrays or {},
        elementwise=not function.startswith("cross_entropy"),
        of_probabilities=function in ("cross_entropy_from_probs", "binary_cross_entropy"),
    )


def _log_sum_exp(a: Any, **options: Any) -> Any:
    return ll.logsumexp(a, axis=options.pop("axis", -1), **options)


LOG_SUM_EXP = Loss("logsumexp", _log_sum_exp, ll.logsumexp_value_and_grad, reference.logsumexp_value_and_grad)

PLAIN = [
    LOG_SUM_EXP,
    _loss("cross_entropy-mean"),
    _loss("cross_entropy-sum", reduction="sum"),
    _loss("cross_entropy-none", reduction="none"),
    _loss("cross_entropy-ignored", labels_some_ignored),
    _loss("cross_entropy-nothing-ignored", ignore_index=None),
    _loss("cross_entropy-normalizer", normalizer=37.5),
    _loss("cross_entropy-soft", soft_classes),
    _loss("cross_entropy-soft-none", soft_classes, reduction="none"),
    _loss("cross_entropy-one-hot", one_hot_classes, reduction="none"),
    _loss("bce_with_logits-hard", hard_bytes),
    _loss("bce_with_logits-hard-sum", hard(bool), reduction="sum"),
    _loss("bce_with_logits-hard-none", hard(np.float32), reduction="none"),
    _loss("bce_with_logits-soft"),
    _loss("bce_with_logits-soft-none", reduction="none"),
    _loss("bce_with_logits-normalizer", normalizer=12.5),
]

WITH_OPTIONS = [
    _loss("cross_entropy-smoothing", label_smoothing=0.1),
    _loss("cross_entropy-class-weight", arrays={"class_weight": per_class}),
    _loss(
        "cross_entropy-class-weight-ignored-none", labels_some_ignored, {"class_weight": per_class}, reduction="none"
    ),
    _loss("cross_entropy-sample-weight", arrays={"sample_weight": per_row}),
    _loss("cross_entropy-sample-weight-none", arrays={"sample_weight": per_row}, reduction="none"),
    _loss("cross_entropy-z-loss", z_loss=0.01, reduction="none"),
    _loss("cross_entropy-softcap", softcap=20.0, reduction="none"),
    _loss("cross_entropy-scale", scale=3.5, reduction="none"),
    _loss("cross_entropy-margin", margin=0.35, scale=2.0, reduction="none"),
    _loss(
        "cross_entropy-everything",
        labels_some_ignored,
        {"class_weight": per_class, "sample_weight": per_row},
        label_smoothing=0.2,
        z_loss=0.02,
        softcap=15.0,
        margin=0.2,
        scale=1.5,
    ),
    _loss("cross_entropy-soft-smoothing", soft_classes, label_smoothing=0.1),
    _loss("cross_entropy-one-hot-class-weight", one_hot_classes, {"class_weight": per_class}, reduction="none"),
    _loss(
        "cross_entropy-soft-everything",
        soft_classes,
        {"class_weight": per_class, "sample_weight": per_row},
        label_smoothing=0.2,
        z_loss=0.02,
        softcap=15.0,
        scale=1.5,
    ),
    _loss("bce_with_logits-smoothing", hard_bytes, label_smoothing=0.1),
    _loss("bce_with_logits-weight", arrays={"weight": per_element}),
    _loss("bce_with_logits-weight-per-class", arrays={"weight": per_class}, reduction="none"),
    _loss("bce_with_logits-pos-weight", hard_bytes, {"pos_weight": per_class}),
    _loss("bce_with_logits-ignored", hard_some_ignored, ignore_value=-1.0),
    _loss(
        "bce_with_logits-everything",
        hard_some_ignored,
        {"weight": per_element, "pos_weight": per_class},
        ignore_value=-1.0,
        label_smoothing=0.2,
        normalizer=3.0,
    ),
]

FOCAL = [
    _loss("sigmoid_focal_loss-default"),
    _loss("sigmoid_focal_loss-none", reduction="none"),
    _loss("sigmoid_focal_loss-soft", soft, reduction="none"),
    _loss("sigmoid_focal_loss-no-alpha", alpha=None, gamma=1.0),
    _loss("sigmoid_focal_loss-gamma-0", gamma=0.0, alpha=0.75),
    _loss("sigmoid_focal_loss-gamma-half", gamma=0.5, reduction="sum"),
    _loss(
        "sigmoid_focal_loss-everything",
        hard_some_ignored,
        {"weight": per_element},
        ignore_value=-1.0,
        label_smoothing=0.1,
        gamma=3.0,
    ),
]

REGRESSION = [
    _loss("mean_squared_error"),
    _loss("mean_squared_error-none", reduction="none"),
    _loss("mean_squared_error-weight", arrays={"weight": per_element}),
    _loss("mean_absolute_error"),
    _loss("mean_absolute_error-weight-none", arrays={"weight": per_class}, reduction="none"),
    _loss("mean_absolute_error-weight-sum", hard_bytes, {"weight": per_element}, reduction="sum"),
    _loss("root_mean_squared_error"),
    _loss("root_mean_squared_error-weight", arrays={"weight": per_class}),
    _loss("poisson_nll"),
    _loss("poisson_nll-none", positive, reduction="none"),
    _loss("poisson_nll-full-none", full=True, reduction="none"),
    _loss("poisson_nll-full-weight", positive, {"weight": per_element}, full=True),
]

FROM_PROBABILITIES = [
    _loss("cross_entropy_from_probs-indices", labels_some_ignored, reduction="none"),
    _loss("cross_entropy_from_probs-eps", arrays={"class_weight": per_class, "sample_weight": per_row}, eps=1e-3),
    _loss("cross_entropy_from_probs-smoothing", arrays={"class_weight": per_class}, label_smoothing=0.1),
    _loss("cross_entropy_from_probs-soft", soft_classes, reduction="none"),
    _loss("cross_entropy_from_probs-soft-eps", soft_classes, {"sample_weight": per_row}, eps=1e-3),
    _loss("binary_cross_entropy-hard", hard_bytes, reduction="none"),
    _loss(
        "binary_cross_entropy-everything",
        hard_some_ignored,
        {"weight": per_element},
        eps=1e-3,
        ignore_value=-1.0,
        label_smoothing=0.1,
    ),
    _loss("binary_cross_entropy-soft-eps", soft, eps=1e-3, reduction="sum"),
]

LOSSES = PLAIN + WITH_OPTIONS + FOCAL + REGRESSION + FROM_PROBABILITIES
