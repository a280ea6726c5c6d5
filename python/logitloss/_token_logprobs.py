"""What is read off the logits of a language model: log-probabilities of tokens, entropies, ranks, the best classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar


class TokenLogProbs(NamedTuple):
    """What `token_logprobs` returns: arrays, or NumPy scalars in place of arrays without axes; None if not asked for.

    Floating results are float64 for float64 logits and float32 otherwise, in nats; indices are int64.

    Attributes
    ----------
    logprob : ndarray, optional
        Log-probability of each id; shape of `ids`.
    lse : ndarray, optional
        Log-sum-exp of each row; shape of `logits` without the class axis.
    entropy : ndarray, optional
        Entropy of each row's softmax; the same shape.
    argmax : ndarray, optional
        The first largest class of each row; the same shape.
    rank : ndarray, optional
        How many classes beat each id; shape of `ids`.
    topk_ids : ndarray, optional
        The best k classes of each row, best first; shape of `logits` with length k along the class axis.
    topk_logprobs : ndarray, optional
        Their log-probabilities; the same shape.

    Examples
    --------
    >>> import logitloss as ll
    >>> read = ll.token_logprobs([0.0, 0.0, 1.0], 1, returns=("rank", "argmax"))
    >>> print(read.rank, read.argmax, read.lse)
    2 2 None
    """

    logprob: ArrayOrScalar | None = None
    lse: ArrayOrScalar | None = None
    entropy: ArrayOrScalar | None = None
    argmax: ArrayOrScalar | None = None
    rank: ArrayOrScalar | None = None
    topk_ids: ArrayOrScalar | None = None
    topk_logprobs: ArrayOrScalar | None = None


def token_logprobs(
    logits: ArrayLike,
    ids: ArrayLike,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    ignore_index: int | None = -100,
    returns: Sequence[str] = ("logprob",),
    k: int | None = None,
    num_threads: int | None = None,
) -> TokenLogProbs:
    """Log-probabilities of ids under softmax(logits), and what else one pass over the logits tells.

    With ``x = z / temperature`` of a row of logits z, ``L = log(sum_j exp(x_j))`` and ``p_j = exp(x_j - L)``, the
    results are

    - `logprob`: ``x_i - L`` of each id i;
    - `lse`: L;
    - `entropy`: ``sum_j p_j (L - x_j)``;
    - `argmax`: the class that no other beats, as ``np.argmax``;
    - `rank`: the number of classes that beat the id, by a larger logit or by an equal one at a lower index:
      ``rank < k`` is top-k accuracy as `accuracy` counts it;
    - `topk_ids`, `topk_logprobs`: the `k` classes that no others beat, best first, and their log-probabilities.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie. ``-inf`` masks a class.
    ids : array_like
        Classes, of an integer dtype. With one dimension fewer than `logits`: one a row, of the shape of `logits`
        without `axis`. With as many: any number of them a row, in place of `axis`.
    axis : int
        Class axis of `logits`.
    temperature : float
        Positive. The logits are multiplied by 1 / temperature, rounded to float32 (float64 for float64 logits), as by
        the `scale` of `cross_entropy`. Ranks and orders are those of the logits as given.
    ignore_index : int or None
        Id that stands for none: `logprob` 0 and `rank` -1. A row with ids that are all ignored is not read, whatever is
        asked for: its floating results are 0 and its indices -1, so that padding adds nothing to sums over positions.
        None: every id counts.
    returns : tuple of str
        Names of the results that are wanted. `logprob` alone takes the time of `cross_entropy`.
    k : int, optional
        Number of best classes, between 1 and the number of classes; needed for `topk_ids` and `topk_logprobs`.
    num_threads : int, optional
        At most this many threads. A row is read by one of them.

    Returns
    -------
    TokenLogProbs
        A named tuple. `logprob` and `rank` have the shape of `ids`; `lse`, `entropy` and `argmax` that of `logits`
        without `axis`; `topk_ids` and `topk_logprobs` that of `logits` with length `k` along `axis`. Floating results
        are float64 for float64 logits and float32 otherwise, in nats; indices are int64. What was not asked for is
        None.

    Raises
    ------
    TypeError
        For ids that are no integers, and masked, complex, longdouble, object and text arrays.
    ValueError
        For an id that is neither a class nor `ignore_index` (the first is named), shapes that do not fit, names that
        are no results, a `k` out of range, a temperature that is not positive and finite.
    numpy.exceptions.AxisError
        For an axis out of range.

    Notes
    -----
    Relative accuracy is kept where p is near 1 and `logprob` and `entropy` are tiny. One id a row has the bits of
    ``-cross_entropy(logits, ids, scale=1 / temperature, reduction="none")``, unless scaled logits beyond 2^17 meet a
    temperature that is not 1. Where the temperature is no power of two, rounding costs digits that grow with the spread
    of the logits, as it does with the `scale` of `cross_entropy`.

    A row with NaN: NaN, `argmax` and `topk_ids` -1, `rank` the number of classes. A row with ``+inf``: `lse` ``+inf``,
    `logprob` ``-inf`` but NaN at a ``+inf``, `entropy` NaN. A row of only ``-inf``: `lse` ``-inf``, otherwise
    NaN; `argmax`, `rank` and `topk_ids` are those of equal logits.

    The logits are read once from memory. Rows that lie side by side (up to 256 classes, of float64 up to 64, and
    strided class axes) are read twice for `logprob` beside other results; `logprob` alone is fastest there.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> logits = np.array([[2.0, 1.0, 0.1], [40.0, 0.0, 0.0]])
    >>> read = ll.token_logprobs(logits, [1, 0], returns=("logprob", "entropy", "rank"))
    >>> print(read.logprob.round(4), read.logprob[1])
    [-1.417 -0.   ] -8.496708510583178e-18
    >>> print(read.entropy[0].round(4), read.rank)
    0.8467 [1 0]
    >>> ll.token_logprobs(logits, [1, 0], returns=("topk_ids",), k=2).topk_ids
    array([[0, 1],
           [0, 1]])
    """
    return TokenLogProbs(*_core.token_logprobs(logits, ids, axis, temperature, ignore_index, returns, k, num_threads))


def token_logprobs_vjp(
    logits: ArrayLike,
    ids: ArrayLike,
    d_logprob: ArrayLike,
    d_entropy: ArrayLike | None = None,
    *,
    axis: int = -1,
    temperature: float = 1.0,
    ignore_index: int | None = -100,
    lse: ArrayLike | None = None,
    grad_out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Gradient of ``sum(d_logprob * logprob) + sum(d_entropy * entropy)`` of `token_logprobs` by the logits.

    With ids i of a row, their `d_logprob` d_i, its `d_entropy` e and entropy H, it is at class j

        ``(sum_i d_i ([j = i] - p_j) + e p_j ((L - x_j) - H)) / temperature``

    Parameters
    ----------
    logits, ids, axis, temperature, ignore_index, num_threads
        As for `token_logprobs`.
    d_logprob : array_like
        Broadcasts to the shape of `ids`; any real dtype. What belongs to an ignored id is not read.
    d_entropy : array_like, optional
        Broadcasts to the shape of `logits` without `axis`; any real dtype. None: 0.
    lse : array_like, optional
        The `lse` of `token_logprobs`. Its shape is checked. It is not used, as the digits of 1 - p are not in it.
    grad_out : ndarray, optional
        Where to write the gradient: an array of the shape and dtype of `logits`, or `logits` itself.

    Returns
    -------
    ndarray
        Shape and dtype of `logits`. 0 in rows whose ids are all ignored or whose factors are all 0, which are not read,
        and at masked classes that no id names; NaN in other rows with NaN, with ``+inf`` or of only ``-inf``.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `token_logprobs`.

    Notes
    -----
    For one id a row and no `d_entropy` it is the gradient of `cross_entropy`, at its speed. Otherwise it is computed in
    float64.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> logits = np.array([[2.0, 1.0, 0.1]])
    >>> ll.token_logprobs_vjp(logits, [0], [1.0]).round(4)  # REINFORCE with a reward of 1
    array([[ 0.341 , -0.2424, -0.0986]])
    >>> ll.token_logprobs_vjp(logits, [0], 0.0, [1.0]).round(4)  # an entropy bonus
    array([[-0.2832,  0.1383,  0.1449]])
    """
    return _core.token_logprobs_vjp(
        logits, ids, d_logprob, d_entropy, axis, temperature, ignore_index, lse, grad_out, num_threads
    )
