"""Mean errors and their root; the Poisson loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arithmetic import EXACT, FLOAT64, Arithmetic, Array, is_nan, times
from .result import Result, finish


def _error(
    pred: Any,
    target: Any,
    loss_and_slope: Callable[[Array], tuple[Array, Array]],
    *,
    weight: Any = None,
    arithmetic: Arithmetic = FLOAT64,
    **reduction: Any,
) -> Result:
    """w_i loss(pred_i - target_i); the mean divides by the sum of the weights."""
    with np.errstate(all="ignore"):
        loss, slope = loss_and_slope(arithmetic.array(pred) - arithmetic.array(target))
        return _weighted(Result(loss, slope, abs(loss), abs(slope)), weight, arithmetic, **reduction)


def _weighted(elements: Result, weight: Any, arithmetic: Arithmetic, **reduction: Any) -> Result:
    w = np.broadcast_to(arithmetic.array(1.0 if weight is None else weight), elements.loss.shape)
    parts = (times(w, elements.loss), times(w, elements.grad))
    sizes = (times(abs(w), elements.loss_magnitude), times(abs(w), elements.grad_magnitude))
    return finish(Result(*parts, *sizes), w.sum(), arithmetic, **reduction)


def mean_squared_error(pred: Any, target: Any, **options: Any) -> Result:
    """sum w (pred - target)^2 / sum w, and 2 w (pred - target) / sum w."""
    return _error(pred, target, lambda d: (d * d, 2 * d), **options)


def mean_absolute_error(pred: Any, target: Any, **options: Any) -> Result:
    """sum w |pred - target| / sum w, and w sign(pred - target) / sum w."""

    def loss_and_slope(d: Array) -> tuple[Array, Array]:
        zero = 0 * d
        return abs(d), np.where(is_nan(d), d, np.where(d > 0, zero + 1, np.where(d < 0, zero - 1, zero)))

    return _error(pred, target, loss_and_slope, **options)


def root_mean_squared_error(
    pred: Any, target: Any, *, weight: Any = None, upstream: Any = None, arithmetic: Arithmetic = FLOAT64
) -> Result:
    """The root r of the mean squared error, and w (pred - target) / (r sum w), 0 where r is 0."""
    square = mean_squared_error(pred, target, weight=weight, upstream=upstream, arithmetic=arithmetic)
    half = arithmetic.array(0.5)
    with np.errstate(all="ignore"):
        root = np.sqrt(square.loss) if arithmetic is not EXACT else arithmetic.exp(arithmetic.log(square.loss) * half)
        divide = (lambda grad: 0 * grad) if root == 0 or not np.size(square.grad) else lambda grad: grad * half / root
        return Result(root, divide(square.grad), root, divide(square.grad_magnitude))


def poisson_nll(
    log_rate: Any,
    target: Any,
    *,
    full: bool = False,
    weight: Any = None,
    arithmetic: Arithmetic = FLOAT64,
    **reduction: Any,
) -> Result:
    """sum w (exp(x) - t x) / sum w, and w (exp(x) - t) / sum w; if full, with Stirling's formula where t > 1."""
    x, t = arithmetic.array(log_rate), arithmetic.array(target)
    with np.errstate(all="ignore"):
        rate, product = arithmetic.exp(x), times(t, x)
        loss = np.where(x == np.inf, x, rate - product)
        if full:
            log_t = arithmetic.log(np.where(t > 1, t, 0 * t + 1))
            log_2_pi = sum(
                arithmetic.array(part) for part in (1.8378770664093456, -7.756588316134483e-17, -2.647943193699614e-33)
            )  # to 45 digits
            stirling = t * log_t - t + (log_t + log_2_pi) / 2
            loss = loss + np.where(t > 1, stirling, 0 * t)
        elements = Result(loss, rate - t, np.maximum(rate + abs(product), abs(loss)), rate + t)
        return _weighted(elements, weight, arithmetic, **reduction)
