"""What is read off rows of logits, and its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arithmetic import FLOAT64, Arithmetic, Array, times
from .softmax import row_is_nan, rows, rows_of


class Tokens(NamedTuple):
    """Of rows whose class axis is the last, with ids of shape rows + (ids a row,)."""

    logprob: Array
    lse: Array
    entropy: Array
    argmax: Array
    rank: Array
    topk_ids: Array
    topk_logprobs: Array


def token_logprobs(
    logits: Any, ids: Any, k: int = 1, temperature: float = 1.0, arithmetic: Arithmetic = FLOAT64
) -> Tokens:
    """No id is ignored."""
    ids = np.asarray(ids)
    given = np.asarray(logits).astype(np.float64)
    with np.errstate(all="ignore"):
        z = arithmetic.array(logits) / arithmetic.array(temperature)
        of_rows = rows(z, arithmetic)
        entropy = times(of_rows.probabilities, of_rows.gaps).sum(axis=-1)
    classes = z.shape[-1]
    order = np.argsort(-given, axis=-1, kind="stable")
    place = np.empty_like(order)  # of each class in that order
    np.put_along_axis(place, order, np.broadcast_to(np.arange(classes), order.shape), -1)
    nan = row_is_nan(z)
    best = np.where(nan, -1, order)[..., :k]
    return Tokens(
        -np.take_along_axis(of_rows.gaps, ids, -1),
        of_rows.log_sum_exp[..., 0],
        np.where(nan[..., 0], np.nan, entropy),
        best[..., 0],
        np.where(nan, classes, np.take_along_axis(place, ids, -1)),
        best,
        -np.take_along_axis(of_rows.gaps, order[..., :k], -1),
    )


def token_logprobs_vjp(
    logits: Any, ids: Any, d_logprob: Any, d_entropy: Any, temperature: float = 1.0, arithmetic: Arithmetic = FLOAT64
) -> tuple[Array, Array]:
    """Gradient and its magnitude, of rows without infinities, shaped as above."""
    array = arithmetic.array
    temperature = array(temperature)
    z = rows_of(array(logits), -1) / temperature
    of_rows = rows(z, arithmetic)
    p = of_rows.probabilities
    one_hot = np.asarray(ids)[..., None] == np.arange(z.shape[-1])
    d, e = array(d_logprob)[..., None], array(d_entropy)[..., None]
    others = times(one_hot * array(1), -arithmetic.expm1(-of_rows.gaps)[..., None, :])  # 1 - p at the id
    parts = times(d, np.where(one_hot, others, -p[..., None, :]))
    entropy = times(p, of_rows.gaps).sum(axis=-1)[..., None]
    bonus = e * p * (of_rows.gaps - entropy)
    size = abs(parts).sum(axis=-2) + abs(e) * p * (of_rows.gaps + entropy)
    return (parts.sum(axis=-2) + bonus) / temperature, size / temperature
