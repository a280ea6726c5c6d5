"""Entropies of rows: each with its magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arithmetic import FLOAT64, Arithmetic, Array, times
from .softmax import row_is_nan, rows, rows_of


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
        z = rows_of(arithmetic.array(logits), axis)
        of_rows = rows(z, arithmetic)
        terms = times(of_rows.probabilities, of_rows.gaps)
        return np.where(row_is_nan(z)[..., 0], np.nan, terms.sum(axis=-1))
