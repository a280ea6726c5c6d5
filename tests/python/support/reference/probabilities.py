"""What the losses on probabilities share: clipping, logarithms, quotients."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arithmetic import Arithmetic, Array


def clipping_bounds(eps: float | None, probs: Any, arithmetic: Arithmetic) -> tuple[Array, Array]:
    """[eps, 1-eps] in the dtype that the library computes in, and [0, 1] without eps."""
    dtype = np.float64 if np.asarray(probs).dtype in (np.float64, object) else np.float32
    lower, upper = (0.0, 1.0) if eps is None else (float(dtype(eps)), float(dtype(1 - eps)))
    return arithmetic.array(lower), arithmetic.array(upper)


def log_of_probability(p: Array, arithmetic: Arithmetic) -> Array:
    """log p, to relative accuracy near 1, and -inf at 0."""
    safe = np.where(p == 0, p + 1, p)
    return np.where(p == 0, 0 * p - np.inf, np.where(safe < 0.5, arithmetic.log(safe), arithmetic.log1p(safe - 1)))


def quotient(a: Array, p: Array) -> Array:
    """a / p, but 0 where a is 0."""
    quotient = np.where(p == 0, a * np.inf, a / np.where(p == 0, p + 1, p))
    return np.where(a == 0, 0 * p, quotient)
