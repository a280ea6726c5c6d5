"""Softmax cross-entropy of logits whose classes lie on several MPI ranks. One collective a call.

It asks nothing of MPI but a communicator's ``allgather``, so mpi4py is the caller's to import.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from . import _arrays
from ._cross_entropy_state import CrossEntropyState
from ._types import Array, ArrayOrScalar, Reduction

__all__ = ["Communicator", "cross_entropy_value_and_grad"]

_UNKNOWN = 2**53  # classes of a state before the collective, if nobody says how many there are


class Communicator(Protocol):
    """What is asked of a communicator: ``mpi4py.MPI.COMM_WORLD`` and its kind have it."""

    def allgather(self, sendobj: Any, /) -> list[Any]:
        """The objects of all ranks, in the order of ranks, on every rank."""
        ...


def cross_entropy_value_and_grad(
    shard: ArrayLike,
    target: ArrayLike,
    comm: Communicator,
    *,
    first_class: int,
    num_classes: int | None = None,
    axis: int = -1,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    margin: float = 0.0,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, Array]:
    """Softmax cross-entropy of all rows on every rank, and the gradient of the rank's own classes.

    Every rank calls it, with some neighbouring classes of all rows and with the same options. `CrossEntropyState` of
    the ranks are gathered and merged by each, in the order of their classes: bits depend on where the classes are cut
    and not on which rank has which.

    Parameters
    ----------
    shard : array_like
        The rank's logits; the rows are those of all ranks, the classes its own, and may be none.
    target : array_like
        Class indices of all rows, numbered among all classes, the same on every rank; or class probabilities of the
        shape of `shard`.
    comm : communicator
        Its ``allgather`` is called once: ``MPI.COMM_WORLD`` of mpi4py, or another.
    first_class : int
        Number of the shard's first class.
    num_classes : int, optional
        Number of all classes. By default the shards tell.
    axis, class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, margin, scale
        As for `CrossEntropyState`, `axis` being that of `shard`.
    reduction, normalizer, num_threads, upstream, grad_out
        As for `cross_entropy_value_and_grad`. `grad_out` may be `shard`.

    Returns
    -------
    loss : NumPy scalar or ndarray
        The same on every rank.
    grad : ndarray
        Of the shape and dtype of `shard`; `grad_out` if given.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy_value_and_grad` does; ValueError also if shards overlap or leave classes out, or if ranks
        differ in anything that they should agree on. If one rank raises, all do, and nothing is written.

    Examples
    --------
    On every rank of ``comm = mpi4py.MPI.COMM_WORLD``, `columns` being the slice of its classes, it is called so. Here
    one that is alone stands for the communicator.

    >>> import numpy as np
    >>> from logitloss.mpi import cross_entropy_value_and_grad
    >>> class Alone:
    ...     def allgather(self, sendobj):
    ...         return [sendobj]
    >>> comm, columns = Alone(), slice(0, 3)
    >>> logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    >>> loss, grad = cross_entropy_value_and_grad(logits[:, columns], [0, 1], comm, first_class=columns.start)
    >>> print(grad)
    [[-0.15  0.1   0.05]
     [ 0.05 -0.1   0.05]]
    """
    options = {
        "class_weight": class_weight,
        "sample_weight": sample_weight,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "margin": margin,
        "scale": scale,
    }
    state: CrossEntropyState | None = None
    failure: Exception | None = None
    message: tuple[Any, ...]
    try:
        state = CrossEntropyState(
            shard,
            target,
            first_class=first_class,
            num_classes=_classes_known(num_classes, target, shard, class_weight, label_smoothing),
            axis=axis,
            num_threads=num_threads,
            **options,  # type: ignore[arg-type]
        )
        state._check_end(shard, target, reduction, normalizer, upstream, grad_out)
        of_end = {"num_classes": num_classes, "reduction": reduction, "normalizer": normalizer, "upstream": upstream}
        message = (None, _shared(state, options | of_end), state._pieces)
    except Exception as error:  # which the other ranks are to know
        failure = _said_of_classes(error)
        message = ((isinstance(error, TypeError), str(failure)), None, None)
    received = comm.allgather(message)
    if failure is not None:
        raise failure
    assert state is not None
    _check_agreement(received)
    merged = _merged(state, received)
    probabilities = target if state._target is None else None
    return merged._loss_and_grad(
        shard, None, probabilities, True, reduction, normalizer, upstream, grad_out, num_threads
    )


def _said_of_classes(error: Exception) -> Exception:
    """The error, in which no number stands for one that nobody knows yet."""
    text = str(error)
    unknown = str(_UNKNOWN)
    return ValueError(text.replace(unknown, "num_classes")) if unknown in text else error


def _shared(state: CrossEntropyState, options: dict[str, Any]) -> dict[str, Any]:
    """What ranks must agree on, so that it can be compared."""
    return {
        "rows": state._rows,
        "arithmetic": "float64" if state._digits == 53 else "float32",
        "target": _fingerprint(state._target, np.int64),
        **{name: _fingerprint(value) for name, value in options.items()},
    }


def _merged(state: CrossEntropyState, received: list[Any]) -> CrossEntropyState:
    pieces = [piece for _, _, pieces in received for piece in pieces]
    classes = state._num_classes
    if classes == _UNKNOWN:
        classes = max((piece.end for piece in pieces), default=1)
    merged = state._over(classes)
    merged._add(pieces, "shards")
    return merged


def _classes_known(
    num_classes: int | None, target: ArrayLike, shard: ArrayLike, class_weight: ArrayLike | None, smoothing: float
) -> int:
    """Number of all classes, as far as this rank knows."""
    if num_classes is not None:
        return _arrays.as_integer(num_classes, "num_classes")
    if class_weight is not None:
        return _arrays.as_array(class_weight, "class_weight").size
    if smoothing and np.ndim(target) == np.ndim(shard):
        raise ValueError("num_classes: got None, expected their number beside smoothed class probabilities")
    return _UNKNOWN


class _Digest(NamedTuple):
    """Of an array, whatever its dtype."""

    shape: tuple[int, ...]
    numbers: bytes


def _fingerprint(value: Any, kind: type = np.float64) -> Any:
    """A number as it is, but NaN, which is not equal to itself, as text; an array by its digest."""
    if value is None or isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.ndim == 0:
        number = array.item()
        return number if number == number else "nan"
    wide: Array = array.astype(kind)
    return _Digest(array.shape, hashlib.blake2b(wide.tobytes(), digest_size=16).digest())


def _check_agreement(received: list[Any]) -> None:
    for rank, (failure, *_) in enumerate(received):
        if failure is not None:
            wrong_kind, why = failure
            raise (TypeError if wrong_kind else ValueError)(f"rank {rank}: {why}")
    first = received[0][1]
    for rank, (_, shared, *_) in enumerate(received):
        for name, value in shared.items():
            if value == first[name]:
                continue
            if isinstance(value, _Digest) or isinstance(first[name], _Digest):
                raise ValueError(f"{name}: got other values on rank {rank} than on rank 0, expected the same")
            raise ValueError(f"{name}: got {value} on rank {rank} and {first[name]} on rank 0, expected one")
