"""Metrics of classifiers: accuracy, error rate, perplexity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar


def accuracy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    top_k: int = 1,
    ignore_index: int | None = -100,
    sample_weight: ArrayLike | None = None,
    num_threads: int | None = None,
) -> np.float64:
    """Share of rows whose target is among the k classes of the largest logits.

    The target is among them if fewer than k classes beat it: by a larger logit, or by an equal one at a lower index.
    For k = 1 that is ``np.argmax(logits) == target``. One pass over the logits, without sorting.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie. Anything that grows with them, such
        as probabilities, gives the same.
    target : array_like
        Class indices of an integer dtype and of the shape of `logits` without `axis`, or class probabilities of the
        shape of `logits`, of which each row counts as its ``np.argmax``.
    axis : int
        Class axis of `logits`.
    top_k : int
        k >= 1. From the number of classes on, every row without NaN is right.
    ignore_index : int or None
        Class index of rows that are not read and do not count. None: no row is ignored.
    sample_weight : array_like, optional
        What each row counts; broadcasts to the shape of `logits` without `axis`. A row of weight 0 is not read.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    float64
        In [0, 1] unless weights are negative; NaN if nothing counts. A row that holds NaN is wrong.

    Raises
    ------
    TypeError
        For class indices that are no integers, and for masked, complex, longdouble, object and text arrays. For
        predicted labels in place of logits, which is to say integers of the target's own shape: compare labels with
        ``np.mean(pred == target)``.
    ValueError
        For a label outside [0, C) that is not `ignore_index`, naming the first; for shapes and a `top_k` that do not
        fit.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Examples
    --------
    >>> import logitloss as ll
    >>> logits = [[2.0, 1.0, 0.1], [0.3, 0.2, 0.9], [1.0, 1.0, 0.0]]
    >>> print(ll.accuracy(logits, [0, 1, 0]))
    0.6666666666666666
    >>> print(ll.accuracy(logits, [0, 1, 1], top_k=2))
    0.6666666666666666
    """
    return _core.accuracy(logits, target, axis, top_k, ignore_index, sample_weight, num_threads)


def error_rate(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    top_k: int = 1,
    ignore_index: int | None = -100,
    sample_weight: ArrayLike | None = None,
    num_threads: int | None = None,
) -> np.float64:
    """Share of rows whose target is not among the k classes of the largest logits: what `accuracy` leaves.

    Parameters
    ----------
    logits, target, axis, top_k, ignore_index, sample_weight, num_threads
        As for `accuracy`.

    Returns
    -------
    float64
        In [0, 1] unless weights are negative; NaN if nothing counts. Counted, and not taken from 1.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `accuracy`. The share of predicted labels that are wrong is ``np.mean(pred != target)``.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.error_rate([[2.0, 1.0], [0.5, 3.0], [1.0, 0.0], [0.0, 1.0]], [0, 1, 1, 1]))
    0.25
    """
    return _core.error_rate(logits, target, axis, top_k, ignore_index, sample_weight, num_threads)


def perplexity(loss: ArrayLike, *, out: Array | None = None, num_threads: int | None = None) -> ArrayOrScalar:
    """Perplexity of cross-entropies in nats: ``exp(loss)``, the number of classes to guess among evenly.

    Parameters
    ----------
    loss : array_like
        Cross-entropies, any shape: a mean, or one a row. It is the mean of losses whose perplexity is meant, and not
        the mean of perplexities.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        Shape of `loss`, float64 for float64 losses and float32 otherwise; ``+inf`` where it overflows.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        If `out` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> loss = ll.cross_entropy(np.zeros((5, 8)), [0, 1, 2, 3, 4])  # eight classes alike
    >>> print(f"{ll.perplexity(loss):.6f}")
    8.000000
    """
    return _core.perplexity(loss, out, num_threads)
