"""Information measures of probabilities: self-information, entropy, divergence, cross-entropy."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar


def self_information(
    p: ArrayLike,
    *,
    base: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Self-information of probabilities, element by element: ``-log(p)``, the surprise at what happens.

    Parameters
    ----------
    p : array_like
        Probabilities, any shape; float16, bfloat16, float32 and float64 are read where they lie, other real dtypes
        become float64.
    base : float, optional
        Base of the logarithm: 2 for bits; None, the default, for nats. Positive and not 1.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray or NumPy scalar
        Shape of `p`, float64 for float64 input and float32 otherwise. ``+inf`` at 0, NaN below. Within 1 ulp in
        float32 and 2.5 in float64, near p = 1 too; a power of two has a whole number of bits.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        If `base` is no base of a logarithm, or `out` does not fit.

    Notes
    -----
    Shannon, A Mathematical Theory of Communication, 1948.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.self_information([1, 0.5, 0.125], base=2))
    [0. 1. 3.]
    >>> print(ll.self_information(0.775, base=2))
    0.36773178...
    """
    return _core.self_information(p, base, out, num_threads)


def entropy(
    p: ArrayLike,
    axis: int = -1,
    *,
    base: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Shannon entropy of rows of probabilities: ``-sum_j p_j log(p_j)``, the self-information to be expected.

    Parameters
    ----------
    p : array_like
        Probabilities, used as given: a row need not sum to 1. ``0 log 0`` is 0.
    axis : int
        Axis of the classes.
    base : float, optional
        Base of the logarithm: 2 for bits; None, the default, for nats. Positive and not 1.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray or NumPy scalar
        Shape of `p` without `axis`, float64 for float64 input and float32 otherwise. NaN in rows that hold NaN or a
        negative number. Of probabilities (all terms >= 0) within 1 ulp in float32 and a relative 1e-14 in float64.

    Raises
    ------
    TypeError, ValueError
        As `self_information`.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    `scipy.stats.entropy` divides each row by its sum first; this function does not.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.entropy([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0], [1, 0, 0, 0]], base=2))
    [2. 1. 0.]
    """
    return _core.entropy(p, axis, base, out, num_threads)


def entropy_from_logits(
    logits: ArrayLike,
    axis: int = -1,
    *,
    base: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Shannon entropy of ``softmax(logits)``: ``sum_j p_j (L - z_j)``, with L the log-sum-exp, in one pass over memory.

    It keeps its relative accuracy for confident rows: a class that leads by 40 leaves an entropy of 1.7e-16 and not 0.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie.
    axis : int
        Axis of the classes.
    base : float, optional
        Base of the logarithm: 2 for bits; None, the default, for nats. Positive and not 1.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray or NumPy scalar
        Shape of `logits` without `axis`, float64 for float64 input and float32 otherwise. A logit of ``-inf`` is a
        class of probability 0; rows with ``+inf`` or NaN, or of only ``-inf``, are NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> print(ll.entropy_from_logits([0.0, 0.0], base=2))
    1.0
    >>> print(ll.entropy_from_logits(np.float32([40, 0])))
    1.7418252e-16
    """
    return _core.entropy_from_logits(logits, axis, base, out, num_threads)


def kl_divergence(
    p: ArrayLike,
    q: ArrayLike,
    axis: int = -1,
    *,
    base: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Kullback-Leibler divergence of rows: ``sum_j p_j log(p_j / q_j)``, what it costs to take q for p.

    Parameters
    ----------
    p : array_like
        Probabilities, used as given: a row need not sum to 1. ``0 log 0`` is 0.
    q : array_like
        Probabilities of any real dtype, used as given. `p` and `q` broadcast against each other without a copy.
    axis : int
        Axis of the classes, of the shape that `p` and `q` broadcast to.
    base : float, optional
        Base of the logarithm: 2 for bits; None, the default, for nats. Positive and not 1.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray or NumPy scalar
        Shape of `p` without `axis`, float64 for float64 `p` and float32 otherwise. ``+inf`` where a `q` is 0 and its
        `p` is not; NaN in rows that hold NaN or a negative number.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entropy`.

    Notes
    -----
    Computed as ``sum_j (p_j log(p_j / q_j) - p_j + q_j) + (sum p - sum q)``: the terms of the first sum are never
    negative and keep their relative accuracy where q is near p. A divergence that is 0 or positive is never negative
    by rounding. Rows that do not sum alike may have one that is truly negative, and it is returned.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.kl_divergence([1, 0, 0], [0.7, 0.2, 0.1]))
    0.35667494393873245
    >>> print(ll.kl_divergence([0.5, 0.5], [0.5 + 2**-30, 0.5 - 2**-30]))  # 2**-59
    1.734723475976807e-18
    """
    return _core.kl_divergence(p, q, axis, base, out, num_threads)


def cross_entropy_of(
    p: ArrayLike,
    q: ArrayLike,
    axis: int = -1,
    *,
    base: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Cross-entropy of rows of probabilities: ``-sum_j p_j log(q_j)``, the length of messages from p coded for q.

    It is ``entropy(p) + kl_divergence(p, q)``. For losses with weights and gradients see `cross_entropy`, of logits.

    Parameters
    ----------
    p : array_like
        Probabilities, used as given: a row need not sum to 1. A p of 0 adds 0, also where q is 0.
    q : array_like
        Probabilities of any real dtype, used as given. `p` and `q` broadcast against each other without a copy.
    axis : int
        Axis of the classes, of the shape that `p` and `q` broadcast to.
    base : float, optional
        Base of the logarithm: 2 for bits; None, the default, for nats. Positive and not 1.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray or NumPy scalar
        Shape of `p` without `axis`, float64 for float64 `p` and float32 otherwise. ``+inf`` where a `q` is 0 and its
        `p` is not; NaN in rows that hold NaN or a negative number.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> p, q = [[0.5, 0.5], [1, 0]], [0.25, 0.75]
    >>> print(ll.cross_entropy_of(p, q, base=2))
    [1.20751875 2.        ]
    >>> np.allclose(ll.cross_entropy_of(p, q), ll.entropy(p) + ll.kl_divergence(p, q))
    True
    """
    return _core.cross_entropy_of(p, q, axis, base, out, num_threads)
