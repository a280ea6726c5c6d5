"""The losses of Dask arrays: lazy, chunked along rows, classes or both, each chunk reduced where it lies.

Where the class axis is one chunk, every chunk is a call of the function of `logitloss` that has the same name. Where
classes are split, a state a chunk (`LogSumExp`, `CrossEntropyState`) says what is known of each row, and a row's states
merge. The result depends on the grid of chunks and not on workers, threads or the order in which they finish.

>>> import dask.array as da
>>> import numpy as np
>>> import logitloss.dask
>>> logits = da.from_array(np.array([[40.0, 0.0], [0.0, 0.0]]), chunks=(1, 1))
>>> print(logitloss.dask.cross_entropy(logits, [0, 0], reduction="none").compute())
[4.24835426e-18 6.93147181e-01]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ._binary_cross_entropy import bce_with_logits as _bce_with_logits
from ._dask_cross_entropy import CrossEntropyRows
from ._dask_graphs import (
    SHARDS,
    DaskArray,
    Sums,
    blockwise,
    da,
    dask_or_numpy,
    empty_like,
    flat,
    folded_sums,
    no_meta,
    quotient,
    require_dask,
    scaled,
    sum_in_range,
    with_chunks,
)
from ._logsumexp_state import LogSumExp
from ._softmax import log_softmax as _log_softmax
from ._softmax import logsumexp as _logsumexp
from ._softmax import logsumexp_value_and_grad as _logsumexp_value_and_grad
from ._softmax import softmax as _softmax
from ._types import Array, Axes, Reduction

__all__ = [
    "bce_with_logits",
    "cross_entropy",
    "cross_entropy_value_and_grad",
    "log_softmax",
    "logsumexp",
    "softmax",
]


def logsumexp(
    a: DaskArray,
    axis: Axes = None,
    *,
    keepdims: bool = False,
    split_every: int | dict[int, int] | None = None,
    num_threads: int | None = 1,
) -> DaskArray:
    """Logarithm of a sum of exponentials, ``log(sum_j exp(a_j))``, in nats: a reduction of Dask over `LogSumExp`.

    Parameters
    ----------
    a : dask.array.Array
        Any shape and chunks; dtypes as in `logitloss.logsumexp`. Chunk sizes may be unknown.
    axis : int, tuple of int or None
        Axes to sum over; None, the default, is all of them.
    keepdims : bool
        Keep the reduced axes with length 1.
    split_every : int or dict, optional
        As in `dask.array.reduction`: how many chunks one task merges.
    num_threads : int or None
        At most this many threads a chunk; None: as many as `logitloss.get_num_threads`.

    Returns
    -------
    dask.array.Array
        float64 for float64 and integers, otherwise float32. What `logitloss.logsumexp` gives within 1 ulp where it is
        at least 2 in magnitude, and its bits where no axis that is summed over is split.

    Raises
    ------
    TypeError
        If `a` is no Dask array or its dtype is complex, longdouble, object or text.
    ValueError
        If an axis is named twice.
    numpy.exceptions.AxisError
        If an axis is out of range.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from logitloss.dask import logsumexp
    >>> print(logsumexp(da.log(da.arange(1, 7, chunks=2))).compute())  # log 21
    3.044522437723423
    """
    axes = _class_axes(a, axis, "a")
    meta = np.asarray(_logsumexp(empty_like(a), axes, keepdims=keepdims))
    return da.reduction(
        a,
        chunk=partial(_log_sum_exp_state, num_threads=num_threads),
        combine=_merged_states,
        aggregate=_log_sum_exp_of_states,
        axis=axes,
        keepdims=keepdims,
        split_every=split_every,
        concatenate=False,
        dtype=meta.dtype,
        meta=meta,
        name="logsumexp",
    )


def softmax(x: DaskArray, axis: Axes = None, *, num_threads: int | None = 1) -> DaskArray:
    """Softmax, ``exp(x_j) / sum_k exp(x_k)``.

    Parameters
    ----------
    x : dask.array.Array
        Any shape and chunks; dtypes as in `logitloss.softmax`. Chunk sizes may be unknown.
    axis : int, tuple of int or None
        Class axes; None, the default, is all of them.
    num_threads : int or None
        At most this many threads a chunk.

    Returns
    -------
    dask.array.Array
        Shape, chunks and dtype of `x` (float64 for integers).

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from logitloss.dask import softmax
    >>> print(softmax(da.from_array(np.log([1.0, 1.0, 2.0]), chunks=1)).compute())
    [0.25 0.25 0.5 ]
    """
    return _normalized(x, axis, _softmax, _softmax_of_shard, num_threads)


def log_softmax(x: DaskArray, axis: Axes = None, *, num_threads: int | None = 1) -> DaskArray:
    """Logarithm of softmax, ``x_j - log(sum_k exp(x_k))``, in nats.

    Parameters
    ----------
    x, axis, num_threads
        As for `softmax`.

    Returns
    -------
    dask.array.Array
        Shape, chunks and dtype of `x` (float64 for integers). A class that outweighs all others keeps its relative
        accuracy, also where they lie in other chunks.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`.

    Examples
    --------
    >>> import dask.array as da
    >>> from logitloss.dask import log_softmax
    >>> print(log_softmax(da.from_array([40.0, 0.0], chunks=1)).compute())
    [-4.24835426e-18 -4.00000000e+01]
    """
    return _normalized(x, axis, _log_softmax, _log_softmax_of_shard, num_threads)


def _class_axes(x: DaskArray, axis: Axes, name: str) -> tuple[int, ...]:
    """The axes as numbers from 0, in order; errors are those of the function on arrays."""
    require_dask(x, name)
    _logsumexp(empty_like(x), axis)
    if axis is None or x.ndim == 0:
        return tuple(range(x.ndim))
    return tuple(sorted(each % x.ndim for each in (axis if isinstance(axis, (tuple, list)) else (axis,))))


def _normalized(
    x: DaskArray, axis: Axes, whole: Callable[..., Any], of_shard: Callable[..., Array], num_threads: int | None
) -> DaskArray:
    axes = _class_axes(x, axis, "x")
    letters = tuple(range(x.ndim))
    meta = np.asarray(whole(empty_like(x), axes))
    if all(x.numblocks[each] == 1 for each in axes):
        call = partial(whole, axis=axes, num_threads=num_threads)
        return blockwise(call, letters, x, letters, meta=meta, name=whole.__name__)
    state = partial(_log_sum_exp_state, axis=axes, num_threads=num_threads)
    states = blockwise(state, letters, x, letters, meta=no_meta(x.ndim), name="logsumexp-state")
    of_all_classes = tuple(letter + x.ndim if letter in axes else letter for letter in letters)
    if math.prod(x.numblocks[each] for each in axes) > SHARDS:
        merged = tuple(letter + 2 * x.ndim if letter in axes else letter for letter in letters)
        new_axes = {letter + 2 * x.ndim: 1 for letter in axes}
        all_states = blockwise(
            _merged_block, merged, states, of_all_classes, meta=no_meta(x.ndim), name="merged-state", new_axes=new_axes
        )
    else:
        all_states = states
    call = partial(of_shard, axes=axes, num_threads=num_threads, dtype=meta.dtype)
    operands = x, letters, states, letters, all_states, of_all_classes
    return blockwise(call, letters, *operands, meta=meta, name=whole.__name__)


def _log_sum_exp_state(
    x: Array, axis: Sequence[int], keepdims: bool = True, num_threads: int | None = 1, computing_meta: bool = False
) -> Any:
    if computing_meta:
        return x
    return LogSumExp(tuple(axis)).update(x, num_threads=num_threads)


def _merged(states: Iterable[LogSumExp]) -> LogSumExp:
    merged = LogSumExp()
    for state in states:
        merged.merge(state)
    return merged


def _merged_block(states: Any) -> LogSumExp:
    return _merged(flat(states))


def _merged_states(states: Any, axis: Sequence[int], keepdims: bool, computing_meta: bool = False) -> Any:
    return states if computing_meta else _merged(flat(states))


def _log_sum_exp_of_states(states: Any, axis: Sequence[int], keepdims: bool, computing_meta: bool = False) -> Any:
    if computing_meta:
        return states
    value = _merged(flat(states)).value()
    return np.expand_dims(value, tuple(axis)) if keepdims else value


def _numbers(state: LogSumExp) -> Array:
    return np.asarray(state._rows.stored()[0])


def _largest_and_others(states: Iterable[LogSumExp]) -> tuple[Array, Array]:
    """A row's largest logit m, and ``sum_j exp(x_j - m) - 1``, in float64."""
    stored = _numbers(_merged(states))
    return stored[..., 0], (stored[..., 1] + stored[..., 2]) * 2.0**-512


def _softmax_of_shard(
    x: Array, own: LogSumExp, states: Any, *, axes: tuple[int, ...], num_threads: int | None, dtype: np.dtype[Any]
) -> Array:
    """The shard's own softmax, times its share of the row: ``exp(m - M) (1 + others) / (1 + all others)``."""
    largest, others = _largest_and_others([own])
    largest_of_all, others_of_all = _largest_and_others(flat(states))
    # A quotient of softmaxes is an exponential without a difference that rounds, and the same on every machine.
    pair = np.asarray(_softmax(np.stack([largest, largest_of_all]), 0, num_threads=1))
    share = pair[0] / pair[1] * ((1 + others) / (1 + others_of_all))
    _, result = _logsumexp_value_and_grad(x, axes, upstream=share, num_threads=num_threads)
    return np.asarray(result)


def _log_softmax_of_shard(
    x: Array, own: LogSumExp, states: Any, *, axes: tuple[int, ...], num_threads: int | None, dtype: np.dtype[Any]
) -> Array:
    """``(x - M) - log(1 + all others)`` in float64: two terms that are not positive, so nothing cancels."""
    stored = _numbers(_merged(flat(states)))
    largest = stored[..., 0].copy()
    is_finite = np.isfinite(largest)
    stored[is_finite, 0], stored[is_finite, 3] = 0.0, np.nan  # the value is to be computed again
    shifted = LogSumExp()
    shifted._rows.restore(stored, np.dtype(np.float64))
    rest = np.asarray(shifted.value())
    with np.errstate(invalid="ignore"):
        result = np.subtract(x, np.expand_dims(largest, axes), dtype=np.float64)
        result -= np.expand_dims(rest, axes)
    return np.asarray(result, dtype)


def cross_entropy(
    logits: DaskArray,
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
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    num_threads: int | None = 1,
) -> DaskArray:
    """Softmax cross-entropy between logits and class indices or class probabilities, in nats.

    Formula, options and special values are those of `logitloss.cross_entropy`.

    Parameters
    ----------
    logits : dask.array.Array
        Any shape and chunks. Chunk sizes may be unknown along rows.
    target : dask.array.Array or array_like
        Class indices of the shape of `logits` without `axis`, or class probabilities of the shape of `logits`. It is
        given the chunks of the logits.
    axis : int
        Class axis of `logits`.
    class_weight : dask.array.Array or array_like, optional
        One number per class, which every task gets whole.
    sample_weight : dask.array.Array or array_like, optional
        Broadcasts to the shape of `logits` without `axis`.
    ignore_index, label_smoothing, z_loss, softcap, margin, scale, reduction, normalizer
        As for `logitloss.cross_entropy`.
    num_threads : int or None
        At most this many threads a chunk; None: as many as `logitloss.get_num_threads`.

    Returns
    -------
    dask.array.Array
        The loss, float64 for float64 logits and integers, otherwise float32: a row's own for reduction "none", with the
        bits of `logitloss.cross_entropy` where no row is split. Sums and means of losses that are not negative are
        within 1 ulp (float64: 2) of one call on all rows.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logitloss.cross_entropy`, what values decide when the result is computed: a label outside [0, C) that is not
        `ignore_index`, by its index into `target`. ValueError also for a class axis of unknown chunk sizes.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from logitloss.dask import cross_entropy
    >>> logits = da.from_array(np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]), chunks=(1, 2))
    >>> print(cross_entropy(logits, [0, 1], reduction="none").compute())
    [0.35667494 0.22314355]
    """
    options: dict[str, Any] = {
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
    }
    options |= {"margin": margin, "scale": scale, "num_threads": num_threads}
    return CrossEntropyRows(logits, target, axis, class_weight, sample_weight, reduction, normalizer, options).loss()


def cross_entropy_value_and_grad(
    logits: DaskArray,
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
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    upstream: Any = None,
    num_threads: int | None = 1,
) -> tuple[DaskArray, DaskArray]:
    """Softmax cross-entropy and its gradient with respect to the logits.

    The gradient of a mean needs the sum of the weights of all rows first. That is read off the targets and weights, so
    no chunk of logits waits for other rows.

    Parameters
    ----------
    logits, target, axis, class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, margin, scale, \
reduction, normalizer, num_threads
        As for `cross_entropy`.
    upstream : dask.array.Array or array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the loss's shape.

    Returns
    -------
    loss : dask.array.Array
        As from `cross_entropy`.
    grad : dask.array.Array
        d loss / d logits, shape, chunks and dtype of `logits` (float64 for integers).

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import numpy as np
    >>> from logitloss.dask import cross_entropy_value_and_grad
    >>> logits = da.from_array(np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]), chunks=(1, 2))
    >>> loss, grad = dask.compute(*cross_entropy_value_and_grad(logits, [0, 1], reduction="sum"))
    >>> print(grad)
    [[-0.3  0.2  0.1]
     [ 0.1 -0.2  0.1]]
    """
    options: dict[str, Any] = {
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
    }
    options |= {"margin": margin, "scale": scale, "num_threads": num_threads}
    weights = class_weight, sample_weight
    rows = CrossEntropyRows(logits, target, axis, *weights, reduction, normalizer, options, upstream)
    return rows.loss(), rows.grad()


def bce_with_logits(
    logits: DaskArray,
    target: Any,
    *,
    weight: Any = None,
    pos_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    num_threads: int | None = 1,
) -> DaskArray:
    """Binary cross-entropy of logits against targets, element by element, in nats.

    Formula, options and special values are those of `logitloss.bce_with_logits`.

    Parameters
    ----------
    logits : dask.array.Array
        Any shape and chunks. Chunk sizes may be unknown.
    target : dask.array.Array or array_like
        Shape of `logits`. It is given the chunks of the logits.
    weight, pos_weight : dask.array.Array or array_like, optional
        Broadcast to `logits`.
    label_smoothing, ignore_value, reduction, normalizer
        As for `logitloss.bce_with_logits`.
    num_threads : int or None
        At most this many threads a chunk; None: as many as `logitloss.get_num_threads`.

    Returns
    -------
    dask.array.Array
        The loss, float64 for float64 logits and integers, otherwise float32: an element's own for reduction "none",
        with the bits of `logitloss.bce_with_logits`. Sums and means of losses that are not negative are within 1 ulp of
        one call.

    Raises
    ------
    TypeError, ValueError
        As `logitloss.bce_with_logits`.

    Examples
    --------
    >>> import dask.array as da
    >>> from logitloss.dask import bce_with_logits
    >>> logits = da.from_array([0.0, 2.0, -40.0], chunks=2)
    >>> print(bce_with_logits(logits, [1, 1, 0], reduction="none").compute())
    [6.93147181e-01 1.26928011e-01 4.24835426e-18]
    """
    require_dask(logits, "logits")
    target, weight, pos_weight = (
        dask_or_numpy(value, name)
        for value, name in ((target, "target"), (weight, "weight"), (pos_weight, "pos_weight"))
    )
    options: dict[str, Any] = {
        "label_smoothing": label_smoothing,
        "ignore_value": ignore_value,
        "num_threads": num_threads,
    }
    meta = np.asarray(
        _bce_with_logits(
            empty_like(logits),
            np.empty((0,) * logits.ndim, target.dtype),
            weight=None if weight is None else np.empty((), weight.dtype),
            pos_weight=None if pos_weight is None else np.empty((), pos_weight.dtype),
            reduction=reduction,
            normalizer=normalizer,
            **options,
        )
    )
    letters = tuple(range(logits.ndim))
    target, _ = with_chunks(target, logits, letters, "target", broadcast=False)
    operands: list[Any] = [logits, letters, target, letters]
    for value, name in ((weight, "weight"), (pos_weight, "pos_weight")):
        operands += (None, None) if value is None else with_chunks(value, logits, letters, name, broadcast=True)
    if reduction == "none":
        return blockwise(partial(_bce_of_chunk, **options), letters, *operands, meta=meta, name="bce-with-logits")
    call = partial(_sum_of_bce, is_mean=reduction == "mean" and normalizer is None, **options)
    return quotient(folded_sums("bce-with-logits", call, letters, *operands), normalizer, meta)


def _bce_of_chunk(
    logits: Array, target: Array, weight: Any, pos_weight: Any, *, reduction: Any = "none", **options: Any
) -> Any:
    return _bce_with_logits(logits, target, weight=weight, pos_weight=pos_weight, reduction=reduction, **options)


def _sum_of_bce(logits: Array, target: Array, weight: Any, pos_weight: Any, *, is_mean: bool, **options: Any) -> Sums:
    """The sum of the losses and, for a mean, how many there are."""
    exponent = 0
    if weight is not None:
        weight, exponent = scaled(weight, weight)
    total = sum_in_range(partial(_bce_of_chunk, logits, target, weight, pos_weight, **options), exponent)
    if not is_mean:
        return (total,)
    ignored: Any = options["ignore_value"]
    if ignored is None:
        return total, (float(target.size), 0.0, 0)
    if target.dtype.kind not in "biu":  # a floating dtype is compared with the value that it has for this one
        ignored = np.asarray(ignored, target.dtype)
    return total, (float(np.count_nonzero(target != ignored)), 0.0, 0)
