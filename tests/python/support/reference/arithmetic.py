"""The arithmetics of the reference, and what they have in common."""

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


def exact(digits: int) -> Arithmetic:
    context = mpmath.mp.clone()
    context.dps = digits

    def elementwise(function: Callable[[Any], Any]) -> Callable[[Array], Array]:
        ufunc = np.frompyfunc(function, 1, 1)

        def quiet(a: Array) -> Array:  # mpmath raises the processor's flags on inf and NaN
            with np.errstate(all="ignore"):
                return ufunc(a)

        return quiet

    def array(a: Any) -> Array:
        a = np.asarray(a)
        return a if a.dtype == object else elementwise(lambda v: context.mpf(float(v)))(a.astype(np.float64))

    # Sums and differences need all the digits; what comes of an exponential is only multiplied and added to its like.
    enough = min(context.prec, 200)

    def exp(v: Any) -> Any:  # mpmath takes a second for exp(-1e308), which is 0 to any number of digits
        return context.mpf(0) if v < -100_000 else context.exp(v, prec=enough)

    def expm1(v: Any) -> Any:
        return exp(v) - 1 if v < -0.01 else context.expm1(v)  # mpmath's is three times as slow

    functions = (exp, expm1, context.log, context.log1p, context.tanh)
    return Arithmetic(array, *(elementwise(f) for f in functions))


FLOAT64 = _binary(np.float64)
EXTENDED = _binary(np.longdouble)
EXACT = exact(50)


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
