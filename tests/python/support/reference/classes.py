"""Cross-entropies of rows, of logits and of probabilities, against class indices or class probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .arithmetic import FLOAT64, Arithmetic, Array, is_nan, times
from .probabilities import clipping_bounds, log_of_probability, quotient
from .result import Result, finish
from .softmax import rows, rows_of


@dataclass
class _Targets:
    """What target and weights say of the rows."""

    one_hot: Array
    mass: Array  # a_j = w_j ((1-e) t_j + e/C)
    row_factor: Array  # w of a class index
    sample: Array  # weight of the row, 0 if it is ignored
    counts: Array

    @property
    def mean_divisor(self) -> Array:
        return np.where(self.counts, self.sample * self.row_factor, 0 * self.sample).sum()

    def of_rows(self, loss: Array, grad: Array, loss_size: Array, grad_size: Array) -> Result:
        factor = self.sample[..., None]
        return Result(
            times(self.sample, loss),
            times(factor, grad),
            times(abs(self.sample), loss_size),
            times(abs(factor), grad_size),
        )


def _targets(
    target: Any,
    shape: tuple[int, ...],
    axis: int,
    class_weight: Any,
    sample_weight: Any,
    ignore_index: int | None,
    label_smoothing: float,
    arithmetic: Arithmetic,
) -> _Targets:
    """`shape` is that of the rows, the class axis last."""
    array = arithmetic.array
    target = np.asarray(target)
    classes = shape[-1]
    weight = array(np.ones(classes) if class_weight is None else class_weight)
    smoothing = array(label_smoothing)
    if target.ndim < len(shape):  # class indices
        ignored = np.zeros(target.shape, bool) if ignore_index is None else target == ignore_index
        label = np.where(ignored, 0, target).astype(np.intp)
        one_hot = np.arange(classes) == label[..., None]
        row_factor = weight[label]
    else:  # class probabilities
        ignored = np.zeros(shape[:-1], bool)
        one_hot = array(rows_of(target, axis))
        row_factor = array(np.ones(shape[:-1]))
    sample = np.broadcast_to(array(1.0 if sample_weight is None else sample_weight), ignored.shape)
    counts = ~ignored & np.asarray(sample != 0, bool)
    sample = np.where(counts, sample, 0 * sample)
    return _Targets(one_hot, weight * ((1 - smoothing) * one_hot + smoothing / classes), row_factor, sample, counts)


def cross_entropy(
    logits: Any,
    target: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    margin: float = 0.0,
    scale: float = 1.0,
    arithmetic: Arithmetic = FLOAT64,
    **reduction: Any,
) -> Result:
    """sum_j a_j (L - z_j) + c f L^2 per row, with the mass a_j = w_j t_j of each class; its gradient is
    (sum a) p_j - a_j + 2 c f L p_j, written as (sum of the other a) p_j + a_j (p_j - 1) + 2 c f L p_j."""
    array = arithmetic.array
    z = rows_of(array(logits), axis)
    targets = _targets(target, z.shape, axis, class_weight, sample_weight, ignore_index, label_smoothing, arithmetic)
    mass = targets.mass
    z = np.where(targets.counts[..., None], z, 0 * array(1))
    with np.errstate(all="ignore"):
        slope = array(scale) * np.ones_like(z)
        if softcap is not None:
            z, slope = _soft_cap(z, array(softcap), slope, arithmetic)
        z = array(scale) * (z - array(margin) * targets.one_hot)

        of_rows = rows(z, arithmetic)
        gap, p, lse = of_rows.gaps, of_rows.probabilities, of_rows.log_sum_exp
        z_factor = array(z_loss) * targets.row_factor[..., None]
        terms = times(mass, gap)
        loss = terms.sum(axis=-1) + times(z_factor, lse * lse)[..., 0]
        loss_size = abs(terms).sum(axis=-1) + times(abs(z_factor), abs(lse) * np.maximum(abs(lse), 1))[..., 0]

        others = _sum_of_others(mass)
        missing = np.where(is_nan(p), p, arithmetic.expm1(-gap))  # p - 1
        z_slope = 2 * times(z_factor, lse)
        grad = others * p + times(mass, missing) + z_slope * p
        size = abs(others) * p + times(abs(mass), -missing) + 2 * times(abs(z_factor), np.maximum(abs(lse), 1)) * p

        single = targets.of_rows(loss, slope * grad, loss_size, slope * size)
        return finish(single, targets.mean_divisor, arithmetic, class_axis=axis, **reduction)


def _soft_cap(z: Array, cap: Array, slope: Array, arithmetic: Arithmetic) -> tuple[Array, Array]:
    """cap tanh(z / cap), -inf left as it is; its derivative 1 - tanh^2 = 4 q / (1 + q)^2, q = exp(-2 |z / cap|)."""
    q = arithmetic.exp(-2 * abs(z / cap))
    return np.where(z == -np.inf, z, cap * arithmetic.tanh(z / cap)), slope * 4 * q / (1 + q) ** 2


def _sum_of_others(mass: Array) -> Array:
    """For each class the sum of the masses of the other classes, exact where only one of them is not 0."""
    largest = np.argmax(abs(mass), axis=-1)[..., None]
    rest = mass.copy()
    np.put_along_axis(rest, largest, 0 * mass[..., :1], -1)
    total = mass.sum(axis=-1, keepdims=True)
    others = total - mass
    np.put_along_axis(others, largest, rest.sum(axis=-1, keepdims=True), -1)
    return others


def cross_entropy_from_probs(
    probs: Any,
    target: Any,
    *,
    axis: int = -1,
    eps: float | None = None,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    arithmetic: Arithmetic = FLOAT64,
    **reduction: Any,
) -> Result:
    """sum_j a_j (-log q_j) with a_j = w_j t_j; q is p, or p / sum(p) clipped. Its gradient is -a_j / p_j, or, of the
    classes that are not clipped, (sum a) / sum(p) - a_j / p_j."""
    p = rows_of(arithmetic.array(probs), axis)
    targets = _targets(target, p.shape, axis, class_weight, sample_weight, ignore_index, label_smoothing, arithmetic)
    a = targets.mass
    p = np.where(targets.counts[..., None], p, 0 * p + 1)
    lower, upper = clipping_bounds(eps, probs, arithmetic)
    with np.errstate(all="ignore"):
        total = p.sum(axis=-1, keepdims=True) if eps is not None else 0 * p[..., :1] + 1
        q = p / total
        clipped = np.asarray((q < lower) | (q > upper), bool)
        cost = -log_of_probability(np.where(q < lower, lower, np.where(q > upper, upper, q)), arithmetic)
        kept = np.where(clipped, 0 * a, a)
        own = quotient(kept, p)
        linear = kept.sum(axis=-1, keepdims=True) / total if eps is not None else 0 * total
        linear_size = abs(kept).sum(axis=-1, keepdims=True) / total if eps is not None else 0 * total
        slack = 0.02 if eps is not None else 0.0  # what a rounding of q costs a logarithm near 0
        single = targets.of_rows(
            times(a, cost).sum(axis=-1),
            linear - own,
            times(abs(a), cost + slack).sum(axis=-1),
            linear_size + abs(own),
        )
        return finish(single, targets.mean_divisor, arithmetic, class_axis=axis, **reduction)
