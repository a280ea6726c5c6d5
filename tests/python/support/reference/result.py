"""What a reference gives, and the way to it from the losses of single rows or elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .arithmetic import Arithmetic, Array


@dataclass
class Result:
    """A loss and its gradient, and what their errors are measured by."""

    loss: Array
    grad: Array
    loss_magnitude: Array
    grad_magnitude: Array


def finish(
    single: Result,
    mean_divisor: Array,
    arithmetic: Arithmetic,
    *,
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = None,
    class_axis: int | None = None,
) -> Result:
    """Reduces the losses of single positions. Their gradients have the class axis last; it goes where it belongs."""
    divisor = mean_divisor if reduction == "mean" else None
    if normalizer is not None:
        divisor = arithmetic.array(normalizer)
    result = _reduce(single, reduction, divisor)
    if upstream is not None:
        factor = arithmetic.array(upstream)
        if reduction == "none":
            factor = np.broadcast_to(factor, result.loss.shape)
            factor = factor if class_axis is None else factor[..., None]
        result.grad = result.grad * factor
        result.grad_magnitude = result.grad_magnitude * abs(factor)
    if class_axis is not None:
        result.grad = np.moveaxis(result.grad, -1, class_axis)
        result.grad_magnitude = np.moveaxis(result.grad_magnitude, -1, class_axis)
    return result


def _reduce(single: Result, reduction: str, divisor: Array | None) -> Result:
    """Sum over the positions and divide; a divisor of 0 gives a loss of NaN and a gradient of 0."""
    if reduction == "none":
        return single
    loss, size = single.loss.sum(), single.loss_magnitude.sum()
    if reduction == "sum" and divisor is None:
        return Result(loss, single.grad, size, single.grad_magnitude)
    if divisor == 0:
        return Result(np.nan, 0 * np.zeros_like(single.grad), np.nan, np.zeros_like(single.grad))
    return Result(loss / divisor, single.grad / divisor, size / abs(divisor), single.grad_magnitude / abs(divisor))
