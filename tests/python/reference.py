"""Every function as a textbook writes it, slow and exact: what the tests compare with.

One text, three arithmetics. `FLOAT64` and `EXTENDED` (NumPy's longdouble) are vectorised; `EXACT` computes with 50
digits of mpmath, element by element. All three keep *relative* accuracy, because everything is written with the gap

    gap_j = -log softmax(z)_j = (max z - z_j) + log1p(sum of exp(z_k - max z) over the classes but the largest),

a sum of two terms that are never negative. Then p_j = exp(-gap_j) and p_j - 1 = expm1(-gap_j).

Each result carries a `magnitude`: the sum of the sizes of the terms that make it up. It equals the size of the
result where the terms have one sign, as in a plain cross-entropy, and is what an error must be measured by where
terms of both signs cancel in the true value, as in the gradient of soft targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

Array = Any  # np.ndarray of float64, longdouble, or object (mpmath numbers)


@dataclass(frozen=True)
class Arithmetic:
    """The numbers to compute with: how to make an array of them, and their functions."""

    array: Callable[[Any], Array]
    exp: Callable[[Array], Array]
    expm1: Callable[[Array], Array]
    log: Callable[[Array], Array]
    log1p: Callable[[Array], Array]
    tanh: Callable[[Array], Array]


def _binary(dtype: Any) -> Arithmetic:
    return Arithmetic(lambda a: np.asarray(a).astype(dtype), np.exp, np.expm1, np.log, np.log1p, np.tanh)


def _exact() -> Arithmetic:
    context = mpmath.mp.clone()
    context.dps = 50

    def elementwise(function: Callable[[Any], Any]) -> Callable[[Array], Array]:
        ufunc = np.frompyfunc(function, 1, 1)

        def quiet(a: Array) -> Array:  # mpmath raises the processor's flags on inf and NaN
            with np.errstate(all="ignore"):
                return ufunc(a)

        return quiet

    def array(a: Any) -> Array:
        a = np.asarray(a)
        return a if a.dtype == object else elementwise(lambda v: context.mpf(float(v)))(a.astype(np.float64))

    functions = (context.exp, context.expm1, context.log, context.log1p, context.tanh)
    return Arithmetic(array, *(elementwise(f) for f in functions))


FLOAT64 = _binary(np.float64)
EXTENDED = _binary(np.longdouble)
EXACT = _exact()


@dataclass
class Result:
    """A loss and its gradient, and what their errors are measured by."""

    loss: Array
    grad: Array
    loss_magnitude: Array
    grad_magnitude: Array


def to_extended(a: Array) -> np.ndarray:
    """Numbers of any of the arithmetics, rounded to longdouble."""
    a = np.asarray(a)
    return (
        np.vectorize(lambda v: np.longdouble(str(v)), otypes=[np.longdouble])(a)
        if a.dtype == object
        else (a.astype(np.longdouble))
    )


def is_nan(a: Array) -> Array:
    return np.asarray(a != a, bool)


def times(factor: Array, term: Array) -> Array:
    """factor * term, where a factor of 0 wins over everything."""
    return np.where(factor == 0, 0 * factor, factor * np.where(factor == 0, 0 * factor, term))


def _rows(a: Array, axis: int) -> Array:
    return np.moveaxis(a, axis, -1)


# ------------------------------------------------------------------------------------------- log-sum-exp and softmax


@dataclass
class _Top:
    """The largest logit of each row (NaNs aside), and log of the sum of exp(z - largest), to relative accuracy."""

    largest: Array
    excess: Array


def _top(z: Array, arithmetic: Arithmetic) -> _Top:
    zero = 0 * arithmetic.array(1)
    clean = np.where(is_nan(z), zero - np.inf, z)
    first = np.argmax(clean, axis=-1)[..., None]
    largest = np.take_along_axis(clean, first, -1)
    finite = np.where(abs(largest) == np.inf, zero, largest)  # keeps inf - inf out
    terms = arithmetic.exp(np.where(abs(largest) == np.inf, zero - np.inf, clean - finite))
    np.put_along_axis(terms, first, zero, -1)
    return _Top(largest, arithmetic.log1p(terms.sum(axis=-1, keepdims=True)))


def _row_is_nan(z: Array) -> Array:
    return is_nan(z).any(axis=-1, keepdims=True)


def _log_sum_exp(z: Array, arithmetic: Arithmetic) -> Array:
    top = _top(z, arithmetic)
    return np.where(_row_is_nan(z), np.nan, top.largest + top.excess)


def _gap(z: Array, arithmetic: Arithmetic) -> Array:
    """-log softmax(z): inf at a masked class, NaN in a row of only -inf, and at the +inf of a row."""
    top = _top(z, arithmetic)
    return np.where(_row_is_nan(z), np.nan, (top.largest - z) + top.excess)


def _probability(z: Array, arithmetic: Arithmetic) -> Array:
    has_infinity = (z == np.inf).any(axis=-1, keepdims=True)
    return np.where(has_infinity, np.nan, arithmetic.exp(-_gap(z, arithmetic)))


def log_sum_exp(a: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> Array:
    """log sum_j exp(a_j)."""
    z = _rows(arithmetic.array(a), axis)
    if z.shape[-1] == 0:
        return np.full(z.shape[:-1], -np.inf)
    with np.errstate(all="ignore"):
        return _log_sum_exp(z, arithmetic)[..., 0]


def weighted_log_sum_exp(a: Any, b: Any, arithmetic: Arithmetic = FLOAT64) -> tuple[Array, Array]:
    """log |sum_j b_j exp(a_j)| over the last axis, and the sign of the sum; b_j = 0 takes the element out."""
    a, b = np.broadcast_arrays(arithmetic.array(a), arithmetic.array(b))
    zero = 0 * arithmetic.array(1)
    with np.errstate(all="ignore"):
        a = np.where(b == 0, zero - np.inf, a)
        largest = a.max(axis=-1, keepdims=True, initial=-np.inf)
        finite = np.where(abs(largest) == np.inf, zero, largest)
        total = times(b, arithmetic.exp(a - finite)).sum(axis=-1)
        sign = np.where(is_nan(total), total, np.where(total > 0, 1, np.where(total < 0, -1, 0)))
        return finite[..., 0] + arithmetic.log(abs(total)), sign


def softmax(x: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> Array:
    """exp(x_j) / sum_k exp(x_k)."""
    with np.errstate(all="ignore"):
        return np.moveaxis(_probability(_rows(arithmetic.array(x), axis), arithmetic), -1, axis)


def log_softmax(x: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> Array:
    """x_j - log sum_k exp(x_k)."""
    with np.errstate(all="ignore"):
        return np.moveaxis(-_gap(_rows(arithmetic.array(x), axis), arithmetic), -1, axis)


def logsumexp_value_and_grad(a: Any, upstream: Any = 1.0, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> Result:
    """log sum_j exp(a_j), and upstream * softmax(a)."""
    value = log_sum_exp(a, axis, arithmetic)
    upstream = np.broadcast_to(arithmetic.array(upstream), value.shape)
    grad = np.expand_dims(upstream, axis) * softmax(a, axis, arithmetic)
    return Result(value, grad, np.maximum(abs(value), 1), abs(grad))


def softmax_vjp(y: Any, dy: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> tuple[Array, Array]:
    """y_j (dy_j - sum_k y_k dy_k), and its magnitude."""
    y, dy = arithmetic.array(y), arithmetic.array(dy)
    with np.errstate(all="ignore"):
        products = times(y, dy)
        total = products.sum(axis=axis, keepdims=True)
        size = abs(products).sum(axis=axis, keepdims=True)
        return times(y, dy - total), times(abs(y), abs(dy) + size)


def log_softmax_vjp(y: Any, dy: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> tuple[Array, Array]:
    """dy_j - exp(y_j) sum_k dy_k, 0 at a masked class, and its magnitude."""
    y, dy = arithmetic.array(y), arithmetic.array(dy)
    with np.errstate(all="ignore"):
        p = arithmetic.exp(y)
        grad = dy - p * dy.sum(axis=axis, keepdims=True)
        size = abs(dy) + p * abs(dy).sum(axis=axis, keepdims=True)
        return np.where(y == -np.inf, 0, grad), np.where(y == -np.inf, 0, size)


# -------------------------------------------------------------------------------------------- softmax cross-entropy


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
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = None,
    arithmetic: Arithmetic = FLOAT64,
) -> Result:
    """sum_j a_j (L - z_j) + c f L^2 per row, with the mass a_j = w_j t_j of each class; its gradient is
    (sum a) p_j - a_j + 2 c f L p_j, written as (sum of the other a) p_j + a_j (p_j - 1) + 2 c f L p_j."""
    array = arithmetic.array
    z = _rows(array(logits), axis)
    target = np.asarray(target)
    classes = z.shape[-1]
    weight = array(np.ones(classes) if class_weight is None else class_weight)
    smoothing = array(label_smoothing)

    if target.ndim < z.ndim:  # class indices
        ignored = np.zeros(target.shape, bool) if ignore_index is None else target == ignore_index
        label = np.where(ignored, 0, target).astype(np.intp)
        one_hot = np.arange(classes) == label[..., None]
        row_factor = weight[label]
    else:  # class probabilities
        ignored = np.zeros(z.shape[:-1], bool)
        one_hot = array(_rows(target, axis))
        row_factor = array(np.ones(z.shape[:-1]))
    share = (1 - smoothing) * one_hot + smoothing / classes
    mass = weight * share

    sample = np.broadcast_to(array(1.0 if sample_weight is None else sample_weight), ignored.shape)
    counts = ~ignored & np.asarray(sample != 0, bool)
    sample = np.where(counts, sample, 0 * sample)
    z = np.where(counts[..., None], z, 0 * array(1))

    with np.errstate(all="ignore"):
        slope = array(scale) * np.ones_like(z)
        if softcap is not None:
            z, slope = _soft_cap(z, array(softcap), slope, arithmetic)
        z = array(scale) * (z - array(margin) * one_hot)

        gap, p = _gap(z, arithmetic), _probability(z, arithmetic)
        lse = _log_sum_exp(z, arithmetic)
        z_factor = array(z_loss) * row_factor[..., None]
        terms = times(mass, gap)
        row = terms.sum(axis=-1) + times(z_factor, lse * lse)[..., 0]
        row_size = abs(terms).sum(axis=-1) + times(abs(z_factor), abs(lse) * np.maximum(abs(lse), 1))[..., 0]

        others = _sum_of_others(mass)
        missing = np.where(is_nan(p), p, arithmetic.expm1(-gap))  # p - 1
        z_slope = 2 * times(z_factor, lse)
        grad = others * p + times(mass, missing) + z_slope * p
        size = abs(others) * p + times(abs(mass), -missing) + 2 * times(abs(z_factor), np.maximum(abs(lse), 1)) * p

        factor = sample[..., None]
        result = Result(
            times(sample, row),
            times(factor, slope * grad),
            times(abs(sample), row_size),
            times(abs(factor), slope * size),
        )
        divisor = np.where(counts, sample * row_factor, 0 * sample).sum() if reduction == "mean" else None
        result = _reduce(result, reduction, divisor if normalizer is None else array(normalizer))
        return _apply_upstream(result, upstream, reduction, arithmetic, axis)


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


def _reduce(rows: Result, reduction: str, divisor: Array | None) -> Result:
    """Sum over the positions and divide; a divisor of 0 gives a loss of NaN and a gradient of 0."""
    if reduction == "none":
        return rows
    loss, size = rows.loss.sum(), rows.loss_magnitude.sum()
    if reduction == "sum" and divisor is None:
        return Result(loss, rows.grad, size, rows.grad_magnitude)
    if divisor == 0:
        return Result(np.nan, 0 * np.zeros_like(rows.grad), np.nan, np.zeros_like(rows.grad))
    return Result(loss / divisor, rows.grad / divisor, size / abs(divisor), rows.grad_magnitude / abs(divisor))


def _apply_upstream(
    result: Result, upstream: Any, reduction: str, arithmetic: Arithmetic, class_axis: int | None = None
) -> Result:
    """Multiply the gradient, and move its class axis back from the end."""
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


# --------------------------------------------------------------------------------------------- binary cross-entropy


def _softplus(x: Array, arithmetic: Arithmetic) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|))."""
    return np.where(x > 0, x, 0 * arithmetic.array(1)) + arithmetic.log1p(arithmetic.exp(-abs(x)))


def _smoothed(target: Any, smoothing: float, arithmetic: Arithmetic) -> tuple[Array, Array]:
    """(1-e) t + e/2 and one minus it, neither by a difference that cancels."""
    t, e = arithmetic.array(target), arithmetic.array(smoothing)
    return (1 - e) * t + e / 2, (1 - e) * (1 - t) + e / 2


def _finish_elementwise(
    loss: Array,
    grad: Array,
    loss_size: Array,
    grad_size: Array,
    target: Array,
    weight: Any,
    ignore_value: float | None,
    reduction: str,
    normalizer: float | None,
    upstream: Any,
    arithmetic: Arithmetic,
) -> Result:
    ignored = np.zeros(loss.shape, bool) if ignore_value is None else np.asarray(target) == ignore_value
    factor = np.broadcast_to(arithmetic.array(1.0 if weight is None else weight), loss.shape)
    factor = np.where(ignored, 0 * factor, factor)
    elements = Result(
        times(factor, loss), times(factor, grad), times(abs(factor), loss_size), times(abs(factor), grad_size)
    )
    divisor = (~ignored).sum() if reduction == "mean" else None
    result = _reduce(elements, reduction, divisor if normalizer is None else arithmetic.array(normalizer))
    return _apply_upstream(result, upstream, reduction, arithmetic)


def bce_with_logits(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    pos_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = None,
    arithmetic: Arithmetic = FLOAT64,
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
        return _finish_elementwise(
            loss[0] + loss[1],
            grad[0] - grad[1],
            abs(loss[0]) + abs(loss[1]),
            abs(grad[0]) + abs(grad[1]),
            target,
            weight,
            ignore_value,
            reduction,
            normalizer,
            upstream,
            arithmetic,
        )


def sigmoid_focal_loss(
    logits: Any,
    target: Any,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = None,
    arithmetic: Arithmetic = FLOAT64,
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
        return _finish_elementwise(
            times(focus, entropy),
            times(focus, pull - slope * (t - one_minus_t)),
            times(focus, entropy),
            times(focus, pull_size + slope),
            target,
            weight,
            ignore_value,
            reduction,
            normalizer,
            upstream,
            arithmetic,
        )


# ------------------------------------------------------------------------------------------------------- regression


def _error(
    pred: Any,
    target: Any,
    loss_and_slope: Callable[[Array], tuple[Array, Array]],
    weight: Any,
    reduction: str,
    upstream: Any,
    arithmetic: Arithmetic,
) -> Result:
    """w_i loss(pred_i - target_i); the mean divides by the sum of the weights."""
    difference = arithmetic.array(pred) - arithmetic.array(target)
    w = np.broadcast_to(arithmetic.array(1.0 if weight is None else weight), difference.shape)
    with np.errstate(all="ignore"):
        loss, slope = loss_and_slope(difference)
        elements = Result(times(w, loss), times(w, slope), times(abs(w), abs(loss)), times(abs(w), abs(slope)))
        result = _reduce(elements, reduction, w.sum() if reduction == "mean" else None)
        return _apply_upstream(result, upstream, reduction, arithmetic)


def mean_squared_error(
    pred: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    upstream: Any = None,
    arithmetic: Arithmetic = FLOAT64,
) -> Result:
    """sum w (pred - target)^2 / sum w, and 2 w (pred - target) / sum w."""
    return _error(pred, target, lambda d: (d * d, 2 * d), weight, reduction, upstream, arithmetic)


def mean_absolute_error(
    pred: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    upstream: Any = None,
    arithmetic: Arithmetic = FLOAT64,
) -> Result:
    """sum w |pred - target| / sum w, and w sign(pred - target) / sum w."""

    def loss_and_slope(d: Array) -> tuple[Array, Array]:
        zero = 0 * d
        return abs(d), np.where(is_nan(d), d, np.where(d > 0, zero + 1, np.where(d < 0, zero - 1, zero)))

    return _error(pred, target, loss_and_slope, weight, reduction, upstream, arithmetic)


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


# ------------------------------------------------------------------------------------------------------ information


def entropy(p: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> tuple[Array, Array]:
    """-sum_j p_j log p_j, and its magnitude."""
    p = arithmetic.array(p)
    with np.errstate(all="ignore"):
        terms = -times(p, arithmetic.log(np.where(p == 0, p + 1, p)))
        return terms.sum(axis=axis), abs(terms).sum(axis=axis)


def cross_entropy_of(p: Any, q: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> tuple[Array, Array]:
    """-sum_j p_j log q_j, and its magnitude."""
    p, q = np.broadcast_arrays(arithmetic.array(p), arithmetic.array(q))
    with np.errstate(all="ignore"):
        logs = np.where(q == 0, q - np.inf, arithmetic.log(np.where(q == 0, q + 1, q)))
        terms = -times(p, logs)
        return terms.sum(axis=axis), abs(terms).sum(axis=axis)


def entropy_from_logits(logits: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> Array:
    """sum_j p_j (L - z_j)."""
    with np.errstate(all="ignore"):
        z = _rows(arithmetic.array(logits), axis)
        p = _probability(z, arithmetic)
        return np.where(_row_is_nan(z)[..., 0], np.nan, times(p, _gap(z, arithmetic)).sum(axis=-1))


# ---------------------------------------------------------------------------------------------------- probabilities


def _bounds(eps: float | None, probs: Any, arithmetic: Arithmetic) -> tuple[Array, Array]:
    """[eps, 1-eps] in the dtype that the library computes in, and [0, 1] without eps."""
    dtype = np.float64 if np.asarray(probs).dtype in (np.float64, object) else np.float32
    lower, upper = (0.0, 1.0) if eps is None else (float(dtype(eps)), float(dtype(1 - eps)))
    return arithmetic.array(lower), arithmetic.array(upper)


def _log(p: Array, arithmetic: Arithmetic) -> Array:
    """log p, to relative accuracy near 1, and -inf at 0."""
    safe = np.where(p == 0, p + 1, p)
    return np.where(p == 0, 0 * p - np.inf, np.where(safe < 0.5, arithmetic.log(safe), arithmetic.log1p(safe - 1)))


def _quotient(a: Array, p: Array) -> Array:
    """a / p, but 0 where a is 0."""
    quotient = np.where(p == 0, a * np.inf, a / np.where(p == 0, p + 1, p))
    return np.where(a == 0, 0 * p, quotient)


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
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = None,
    arithmetic: Arithmetic = FLOAT64,
) -> Result:
    """sum_j a_j (-log q_j) with a_j = w_j t_j; q is p, or p / sum(p) clipped. Its gradient is -a_j / p_j, or, of the
    classes that are not clipped, (sum a) / sum(p) - a_j / p_j."""
    array = arithmetic.array
    p = _rows(array(probs), axis)
    target = np.asarray(target)
    classes = p.shape[-1]
    weight = array(np.ones(classes) if class_weight is None else class_weight)
    smoothing = array(label_smoothing)
    if target.ndim < p.ndim:
        ignored = np.zeros(target.shape, bool) if ignore_index is None else target == ignore_index
        label = np.where(ignored, 0, target).astype(np.intp)
        one_hot = np.arange(classes) == label[..., None]
        row_factor = weight[label]
    else:
        ignored = np.zeros(p.shape[:-1], bool)
        one_hot = array(_rows(target, axis))
        row_factor = array(np.ones(p.shape[:-1]))
    a = weight * ((1 - smoothing) * one_hot + smoothing / classes)
    sample = np.broadcast_to(array(1.0 if sample_weight is None else sample_weight), ignored.shape)
    counts = ~ignored & np.asarray(sample != 0, bool)
    sample = np.where(counts, sample, 0 * sample)
    p = np.where(counts[..., None], p, 0 * p + 1)
    lower, upper = _bounds(eps, probs, arithmetic)
    with np.errstate(all="ignore"):
        total = p.sum(axis=-1, keepdims=True) if eps is not None else 0 * p[..., :1] + 1
        q = p / total
        clipped = np.asarray((q < lower) | (q > upper), bool)
        cost = -_log(np.where(q < lower, lower, np.where(q > upper, upper, q)), arithmetic)
        kept = np.where(clipped, 0 * a, a)
        own = _quotient(kept, p)
        linear = kept.sum(axis=-1, keepdims=True) / total if eps is not None else 0 * total
        linear_size = abs(kept).sum(axis=-1, keepdims=True) / total if eps is not None else 0 * total
        factor = sample[..., None]
        slack = 0.02 if eps is not None else 0.0  # what a rounding of q costs a logarithm near 0
        result = Result(
            times(sample, times(a, cost).sum(axis=-1)),
            times(factor, linear - own),
            times(abs(sample), times(abs(a), cost + slack).sum(axis=-1)),
            times(abs(factor), linear_size + abs(own)),
        )
        divisor = np.where(counts, sample * row_factor, 0 * sample).sum() if reduction == "mean" else None
        result = _reduce(result, reduction, divisor if normalizer is None else array(normalizer))
        return _apply_upstream(result, upstream, reduction, arithmetic, axis)


def binary_cross_entropy(
    probs: Any,
    target: Any,
    *,
    eps: float | None = None,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: str = "mean",
    normalizer: float | None = None,
    upstream: Any = None,
    arithmetic: Arithmetic = FLOAT64,
) -> Result:
    """weight [-t log p - (1-t) log(1-p)], p clipped; its gradient is weight [(1-t) / (1-p) - t / p], 0 where p is."""
    p = arithmetic.array(probs)
    t, one_minus_t = _smoothed(target, label_smoothing, arithmetic)
    lower, upper = _bounds(eps, probs, arithmetic)
    with np.errstate(all="ignore"):
        clipped = np.asarray((p < lower) | (p > upper), bool)
        c = np.where(p < lower, lower, np.where(p > upper, upper, p))
        log_of_rest = np.where(c == 1, 0 * c - np.inf, arithmetic.log1p(np.where(c == 1, 0 * c, -c)))
        costs = times(t, -_log(c, arithmetic)), times(one_minus_t, -log_of_rest)
        slopes = _quotient(one_minus_t, 1 - c), _quotient(t, c)
        return _finish_elementwise(
            costs[0] + costs[1],
            np.where(clipped, 0 * p, slopes[0] - slopes[1]),
            abs(costs[0]) + abs(costs[1]),
            np.where(clipped, 0 * p, abs(slopes[0]) + abs(slopes[1])),
            target,
            weight,
            ignore_value,
            reduction,
            normalizer,
            upstream,
            arithmetic,
        )
