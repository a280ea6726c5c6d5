"""Log-sum-exp, softmax, log-softmax and their products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .arithmetic import FLOAT64, Arithmetic, Array, is_nan, times
from .result import Result


def rows_of(a: Array, axis: int) -> Array:
    """The same numbers with `axis`, that of the classes, last."""
    return np.moveaxis(a, axis, -1)


def row_is_nan(z: Array) -> Array:
    return is_nan(z).any(axis=-1, keepdims=True)


@dataclass
class Rows:
    """What there is to know of rows of logits, the class axis last.

    gaps: -log softmax(z): inf at a masked class, NaN in a row of only -inf, and at the +inf of a row.
    """

    gaps: Array
    probabilities: Array
    log_sum_exp: Array


def rows(z: Array, arithmetic: Arithmetic) -> Rows:
    zero = 0 * arithmetic.array(1)
    clean = np.where(is_nan(z), zero - np.inf, z)
    first = np.argmax(clean, axis=-1)[..., None]
    largest = np.take_along_axis(clean, first, -1)
    finite = np.where(abs(largest) == np.inf, zero, largest)  # keeps inf - inf out
    terms = arithmetic.exp(np.where(abs(largest) == np.inf, zero - np.inf, clean - finite))
    np.put_along_axis(terms, first, zero, -1)
    excess = arithmetic.log1p(terms.sum(axis=-1, keepdims=True))  # log of the sum of exp(z - largest)
    poisoned = row_is_nan(z)
    gaps = np.where(poisoned, np.nan, (largest - z) + excess)
    has_infinity = (z == np.inf).any(axis=-1, keepdims=True)
    p = np.where(has_infinity, np.nan, arithmetic.exp(-gaps))
    return Rows(gaps, p, np.where(poisoned, np.nan, largest + excess))


def log_sum_exp(a: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> Array:
    """log sum_j exp(a_j)."""
    z = rows_of(arithmetic.array(a), axis)
    if z.shape[-1] == 0:
        return np.full(z.shape[:-1], -np.inf)
    with np.errstate(all="ignore"):
        return rows(z, arithmetic).log_sum_exp[..., 0]


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
        return np.moveaxis(rows(rows_of(arithmetic.array(x), axis), arithmetic).probabilities, -1, axis)


def log_softmax(x: Any, axis: int = -1, arithmetic: Arithmetic = FLOAT64) -> Array:
    """x_j - log sum_k exp(x_k)."""
    with np.errstate(all="ignore"):
        return np.moveaxis(-rows(rows_of(arithmetic.array(x), axis), arithmetic).gaps, -1, axis)


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
