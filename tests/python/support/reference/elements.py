"""Binary cross-entropy, of logits and of probabilities, and the focal loss, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arithmetic import FLOAT64, Arithmetic, Array, times
from .probabilities import clipping_bounds, log_of_probability, quotient
from .result import Result, finish


def _softplus(x: Array, arithmetic: Arithmetic) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return np.where(x > 0, x, 0 * arithmetic.array(1)) + arithmetic.log1p(arithmetic.exp(-abs(x)))


def _smoothed(target: Any, smoothing: float, arithmetic: Arithmetic) -> tuple[Array, Array]:
    """(1-e) t + e/2 and one minus it, neither by a difference that cancels."""
    t, e = arithmetic.array(target), arithmetic.array(smoothing)
    return (1 - e) * t + e / 2, (1 - e) * (1 - t) + e / 2


def _finish(
    elements: Result,
    target: Any,
    arithmetic: Arithmetic,
    *,
    weight: Any = None,
    ignore_value: float | None = None,
    **reduction: Any,
) -> Result:
    """The options that all losses of elements have."""
    shape = elements.loss.shape
    ignored = np.zeros(shape, bool) if ignore_value is None else np.asarray(target) == ignore_value
    factor = np.broadcast_to(arithmetic.array(1.0 if weight is None else weight), shape)
    factor = np.where(ignored, 0 * factor, factor)
    weighed = Result(
        times(factor, elements.loss),
        times(factor, elements.grad),
        times(abs(factor), elements.loss_magnitude),
        times(abs(factor), elements.grad_magnitude),
    )
    return finish(weighed, (~ignored).sum(), arithmetic, **reduction)


def bce_with_logits(
    logits: Any,
    target: Any,
    *,
    pos_weight: Any = None,
    label_smoothing: float = 0.0,
    arithmetic: Arithmetic = FLOAT64,
    **options: Any,
) -> Result:
    """weight [pos_weight t softplus(-x) + (1-t) softplus(x)]; its gradient is
    weight [(1-t) sigmoid(x) - pos_weight t sigmoid(-x)], sigmoid(x) = exp(-softplus(-x))."""
    x = arithmetic.array(logits)
    t, one_minus_t = _smoothed(target, label_smoothing, arithmetic)
    with np.errstate(all="ignore"):
        positive = t * arithmetic.array(1.0 if pos_weight is None else pos_weight)
        cost_if_positive, cost_if_negative = _softplus(-x, arithmetic), _softplus(x, arithmetic)
        p, q = arithmetic.exp(-cost_if_positive), arithmetic.exp(-cost_if_negative)
        loss = times(positive, cost_if_positive), times(one_minus_t, cost_if_negative)
        grad = times(one_minus_t, p), times(positive, q)
        elements = Result(
            loss[0] + loss[1], grad[0] - grad[1], abs(loss[0]) + abs(loss[1]), abs(grad[0]) + abs(grad[1])
        )
        return _finish(elements, target, arithmetic, **options)


def sigmoid_focal_loss(
    logits: Any,
    target: Any,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    arithmetic: Arithmetic = FLOAT64,
    **options: Any,
) -> Result:
    """alpha_t (1 - p_t)^gamma BCE(x, t), with 1 - p_t = p (1-t) + (1-p) t. As dp_t/dx = p (1-p) (2t - 1), its gradient
    is alpha_t (1 - p_t)^gamma [(p - t) - gamma BCE (2t - 1) p (1-p) / (1 - p_t)]."""
    x = arithmetic.array(logits)
    t, one_minus_t = _smoothed(target, label_smoothing, arithmetic)
    with np.errstate(all="ignore"):
        cost_if_positive, cost_if_negative = _softplus(-x, arithmetic), _softplus(x, arithmetic)
        p, q = arithmetic.exp(-cost_if_positive), arithmetic.exp(-cost_if_negative)
        entropy = times(t, cost_if_positive) + times(one_minus_t, cost_if_negative)
        miss = times(one_minus_t, p) + times(t, q)
        a = 1.0 if alpha is None else arithmetic.array(alpha) * t + (1 - arithmetic.array(alpha)) * one_minus_t
        focus = a * miss ** arithmetic.array(gamma)
        # p q / miss, without the underflow of p q
        ratio = np.where(miss == 0, 0 * miss, np.where(p < q, q * (p / miss), p * (q / miss)))
        slope = arithmetic.array(gamma) * times(ratio, entropy)
        pull = times(one_minus_t, p) - times(t, q)
        pull_size = times(one_minus_t, p) + times(t, q)
        loss = times(focus, entropy)
        elements = Result(loss, times(focus, pull - slope * (t - one_minus_t)), loss, times(focus, pull_size + slope))
        return _finish(elements, target, arithmetic, **options)


def binary_cross_entropy(
    probs: Any,
    target: Any,
    *,
    eps: float | None = None,
    label_smoothing: float = 0.0,
    arithmetic: Arithmetic = FLOAT64,
    **options: Any,
) -> Result:
    """weight [-t log p - (1-t) log(1-p)], p clipped; its gradient is weight [(1-t) / (1-p) - t / p], 0 where p is."""
    p = arithmetic.array(probs)
    t, one_minus_t = _smoothed(target, label_smoothing, arithmetic)
    lower, upper = clipping_bounds(eps, probs, arithmetic)
    with np.errstate(all="ignore"):
        clipped = np.asarray((p < lower) | (p > upper), bool)
        c = np.where(p < lower, lower, np.where(p > upper, upper, p))
        log_of_rest = np.where(c == 1, 0 * c - np.inf, arithmetic.log1p(np.where(c == 1, 0 * c, -c)))
        costs = times(t, -log_of_probability(c, arithmetic)), times(one_minus_t, -log_of_rest)
        slopes = quotient(one_minus_t, 1 - c), quotient(t, c)
        elements = Result(
            costs[0] + costs[1],
            np.where(clipped, 0 * p, slopes[0] - slopes[1]),
            abs(costs[0]) + abs(costs[1]),
            np.where(clipped, 0 * p, abs(slopes[0]) + abs(slopes[1])),
        )
        return _finish(elements, target, arithmetic, **options)
