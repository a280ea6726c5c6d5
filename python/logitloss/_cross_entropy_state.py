"""Softmax cross-entropy of logits whose classes lie in several places."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _arrays, _core
from ._types import Array, ArrayOrScalar, Reduction

# Numbers of one shard, of which these come first.
_NUMBERS = _core.cross_entropy_state_numbers
_FIRST, _END, _DIGITS = range(3)


class _Piece(NamedTuple):
    """Some classes, and what is known of each row from them: rows x numbers."""

    first: int
    end: int
    states: NDArray[np.float64]


class CrossEntropyState:
    """What is known of each row of a softmax cross-entropy from some of its classes: mergeable, small, picklable.

    Logits that do not fit one memory are reduced where they lie: a vocabulary split over processes, chunks of a file.
    Each place makes the state of its shard; the states travel and merge; of the merged state comes the loss, and in
    each place the gradient of its shard. A target that leads by 40 in another place has loss 4e-18 and not 0, as in
    one call of `cross_entropy`.

    Parameters
    ----------
    logits_shard : array_like
        Some neighbouring classes of all rows, none included, as `cross_entropy` takes logits.
    target : array_like
        Class indices, numbered among all classes; or the shard's part of class probabilities, of the shape of
        `logits_shard`.
    first_class : int
        Number of the shard's first class.
    num_classes : int
        Number of all classes, C; it is what smoothing divides by.
    axis : int
        Class axis of `logits_shard`.
    class_weight : array_like, optional
        w, one for each of all classes.
    sample_weight, ignore_index, label_smoothing, z_loss, softcap, margin, scale
        As for `cross_entropy`.
    num_threads : int, optional
        At most this many threads.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy` does, for a label outside [0, C) too; ValueError also for a shard that does not lie within
        [0, C).

    Notes
    -----
    A state has twelve float64 a row and shard, and once it holds all classes twelve a row: the sum of the exponentials
    but the target's with its power of two, the largest logit, the target's, the sum of differences that smoothing
    weighs, and which classes these are. Shards merge in one step, in the order of their classes, as the blocks of a row
    do in one call. So the bits depend on where the classes are cut, and not on the order of merging, on the number of
    workers or on their schedule.

    Losses are within 1 ulp of one call's and gradients within 2 (float64: 2 and 4). With smoothing, `softcap`, `scale`
    and `margin` both are as near to the exact ones. Logits times `scale` must be numbers of their dtype, and a row's
    products with weights numbers of float64; one call knows a way around that.

    The state keeps class indices and weights, not logits and not class probabilities. It may be read by several
    threads at once, but not while one merges into it.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> logits = np.array([[40.0, 0.0, 0.0, 1.0], [0.0, 1.0, 2.0, 3.0]])
    >>> target = np.array([0, 2])
    >>> left, right = logits[:, :2], logits[:, 2:]
    >>> state = ll.CrossEntropyState(left, target, first_class=0, num_classes=4)
    >>> other = ll.CrossEntropyState(right, target, first_class=2, num_classes=4)
    >>> print(state.merge(other).loss(reduction="none"))
    [2.00449327e-17 1.44018970e+00]
    >>> print(state.grad(left, reduction="sum"))
    [[-2.00449327e-17  4.24835426e-18]
     [ 3.20586033e-02  8.71443187e-02]]
    """

    def __init__(
        self,
        logits_shard: ArrayLike,
        target: ArrayLike,
        *,
        first_class: int,
        num_classes: int,
        axis: int = -1,
        class_weight: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        ignore_index: int | None = -100,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        softcap: float | None = None,
        margin: float = 0.0,
        scale: float = 1.0,
        num_threads: int | None = None,
    ) -> None:
        shard = _arrays.as_array(logits_shard, "logits_shard")
        labels = _arrays.as_array(target, "target")
        self._set_options(
            num_classes,
            (axis, class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, margin, scale),
        )
        self._first_class = _arrays.as_integer(first_class, "first_class")
        states = _core.cross_entropy_states(shard, labels, self._options, (self._first_class, num_threads))
        self._target = labels.copy() if labels.ndim == shard.ndim - 1 else None
        self._rows = states.shape[:-1]
        self._digits: int | None = 53 if shard.dtype.kind in "biu" or shard.dtype.itemsize == 8 else 24
        end = self._first_class + shard.shape[self._options[0]]
        self._set_pieces([_Piece(self._first_class, end, states)] if end > self._first_class else [])

    def _set_options(self, num_classes: int, options: tuple[Any, ...]) -> None:
        """Kept as they are handed to the extension; arrays are the state's own."""
        axis, class_weight, sample_weight, *others = options
        self._num_classes = _arrays.as_integer(num_classes, "num_classes")
        self._options = (
            _arrays.as_integer(axis, "axis"),
            _copied(class_weight, "class_weight"),
            _copied(sample_weight, "sample_weight"),
            *others,
            self._num_classes,
        )

    def _set_pieces(self, pieces: list[_Piece]) -> None:
        """Takes shards in the order of their classes; those of all classes become one."""
        self._pieces = pieces
        if self._missing() is None:
            merged = _core.merge_cross_entropy_states(self._side_by_side(), self._target is None, self._options)
            self._pieces = [_Piece(0, self._num_classes, merged)]

    def _side_by_side(self) -> NDArray[np.float64]:
        """Rows x shards x numbers."""
        if not self._pieces:
            return np.empty((*self._rows, 0, _NUMBERS))
        return np.stack([piece.states for piece in self._pieces], axis=-2)

    def _missing(self) -> tuple[int, int] | None:
        """The first classes that no shard has."""
        reached = 0
        for first, end in [*((p.first, p.end) for p in self._pieces), (self._num_classes, self._num_classes)]:
            if first > reached:
                return reached, first
            reached = end
        return None

    @classmethod
    def from_array(
        cls,
        array: ArrayLike,
        target: ArrayLike | None,
        *,
        num_classes: int,
        axis: int = -1,
        class_weight: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        ignore_index: int | None = -100,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        softcap: float | None = None,
        margin: float = 0.0,
        scale: float = 1.0,
    ) -> CrossEntropyState:
        """The state that `to_array` gave.

        Parameters
        ----------
        array : array_like
            What `to_array` gave.
        target : array_like or None
            The class indices; None if the target was class probabilities.
        num_classes, axis, class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, margin, scale
            As the state was made with.

        Returns
        -------
        CrossEntropyState

        Raises
        ------
        TypeError
            For arrays that hold no numbers.
        ValueError
            If the array is none that `to_array` gives for such a target and number of classes.
        """
        state = cls.__new__(cls)
        state._set_options(
            num_classes,
            (axis, class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, margin, scale),
        )
        numbers = np.array(_arrays.as_array(array, "array"), dtype=np.float64)
        if numbers.ndim == 0 or numbers.shape[-1] % _NUMBERS:
            raise ValueError(f"array: got shape {numbers.shape}, expected {_NUMBERS} numbers a shard in the last axis")
        states = numbers.reshape(*numbers.shape[:-1], numbers.shape[-1] // _NUMBERS, _NUMBERS)
        state._target = None if target is None else _arrays.as_array(target, "target").copy()
        if state._target is not None and state._target.shape != numbers.shape[:-1]:
            raise ValueError(f"target: got shape {state._target.shape}, expected {numbers.shape[:-1]}")
        ranges = _ranges_of(states, state._num_classes)
        state._first_class = ranges[0][0] if ranges else 0
        state._rows = numbers.shape[:-1]
        state._digits = int(states[..., _DIGITS].flat[0]) if ranges else None
        state._set_pieces([_Piece(*limits, states[..., s, :]) for s, limits in enumerate(ranges)])
        return state

    def to_array(self) -> NDArray[np.float64]:
        """The state as numbers, for any transport.

        Returns
        -------
        ndarray of float64
            Of the shape of the per-row loss, and a last axis of 12 numbers a shard, 12 in all if the state has all
            classes. The first two are the first class of a shard and the one behind its last.
        """
        return self._side_by_side().reshape(*self._rows, len(self._pieces) * _NUMBERS)

    def merge(self, other: CrossEntropyState) -> CrossEntropyState:
        """Add the classes that another state has seen and return the state itself; the other one stays as it is.

        Parameters
        ----------
        other : CrossEntropyState
            A state of other classes of the same rows, made with the same target and options.

        Returns
        -------
        CrossEntropyState
            This state.

        Raises
        ------
        TypeError
            If `other` is no CrossEntropyState.
        ValueError
            If it differs in rows, target, options, number of classes or arithmetic (float64 or not), or if both have
            seen a class. The state is as before then.
        """
        if not isinstance(other, CrossEntropyState):
            raise TypeError(f"other: got {type(other).__name__}, expected a CrossEntropyState")
        self._check_same(other)
        self._add(other._pieces, "other")
        if self._digits is None:
            self._digits = other._digits
        return self

    def _add(self, pieces: Iterable[_Piece], name: str) -> None:
        every = sorted([*self._pieces, *pieces], key=lambda piece: (piece.first, piece.end))
        for left, right in itertools.pairwise(every):
            if right.first < left.end:
                raise ValueError(f"{name}: got class {right.first} twice, expected shards that do not overlap")
        self._set_pieces(every)

    def _over(self, num_classes: int) -> CrossEntropyState:
        """A state of the same rows that has seen no class, of so many."""
        state = copy.copy(self)
        state._num_classes = num_classes
        state._options = (*self._options[:-1], num_classes)
        state._pieces = []
        return state

    def _check_same(self, other: CrossEntropyState) -> None:
        if self._rows != other._rows:
            raise ValueError(f"other: got rows of shape {other._rows}, expected {self._rows}")
        for name, ours, theirs in zip(_OPTION_NAMES, self._options, other._options, strict=True):
            if name != "axis" and not _same(ours, theirs):
                raise ValueError(f"other: got another {name}, expected that of this state")
        if not _same(self._target, other._target):
            raise ValueError("other: got another target, expected that of this state")
        if len({self._digits, other._digits} - {None}) > 1:
            raise ValueError("other: got a state of float64 logits beside one of others, expected one arithmetic")

    def loss(
        self, *, reduction: Reduction = "mean", normalizer: float | None = None, num_threads: int | None = None
    ) -> ArrayOrScalar:
        """The loss over all classes.

        Parameters
        ----------
        reduction, normalizer, num_threads
            As for `cross_entropy`.

        Returns
        -------
        NumPy scalar or ndarray
            As `cross_entropy` gives it.

        Raises
        ------
        ValueError
            If a class is missing, and for options that do not fit.
        """
        shape = list(self._rows)
        axis = self._options[0]
        shape.insert(axis if axis >= 0 else axis + len(shape) + 1, 0)
        nothing = np.empty(shape, np.float64 if self._digits == 53 else np.float32)
        loss, _ = self._end(nothing, nothing, 0, num_threads, reduction, normalizer, True, False, None, None)
        return loss

    def grad(
        self,
        logits_shard: ArrayLike,
        *,
        first_class: int | None = None,
        target: ArrayLike | None = None,
        reduction: Reduction = "mean",
        normalizer: float | None = None,
        upstream: ArrayLike | None = None,
        grad_out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """The gradient of the loss with respect to one shard of the logits.

        Parameters
        ----------
        logits_shard : array_like
            The logits of some neighbouring classes, as they were when their state was made.
        first_class : int, optional
            Number of the first one. By default that of the shard that this state was made of.
        target : array_like, optional
            The shard's part of class probabilities, if the target is that; class indices are known.
        reduction, normalizer, upstream, grad_out, num_threads
            As for `cross_entropy_value_and_grad`. `grad_out` may be `logits_shard`.

        Returns
        -------
        ndarray
            Of the shape and dtype of `logits_shard`; `grad_out` if given.

        Raises
        ------
        TypeError
            For masked, complex, longdouble, object and text arrays, and if class probabilities are missing or too
            many.
        ValueError
            If a class is missing in the state, for a shard that does not lie within the classes, and for shapes and
            options that do not fit.
        """
        return self._loss_and_grad(
            logits_shard, first_class, target, False, reduction, normalizer, upstream, grad_out, num_threads
        )[1]

    def _loss_and_grad(
        self,
        logits_shard: ArrayLike,
        first_class: int | None,
        target: ArrayLike | None,
        wants_loss: bool,
        reduction: Reduction,
        normalizer: float | None,
        upstream: ArrayLike | None,
        grad_out: Array | None,
        num_threads: int | None,
    ) -> tuple[ArrayOrScalar, Array]:
        if (target is None) == (self._target is None):
            wanted = "class probabilities of the shard" if target is None else "none beside class indices"
            raise TypeError(f"target: got {'None' if target is None else type(target).__name__}, expected {wanted}")
        first = self._first_class if first_class is None else _arrays.as_integer(first_class, "first_class")
        return self._end(
            logits_shard, target, first, num_threads, reduction, normalizer, wants_loss, True, upstream, grad_out
        )

    def _end(self, logits: ArrayLike, probabilities: ArrayLike | None, *arguments: Any) -> tuple[Any, Any]:
        missing = self._missing()
        if missing is not None and math.prod(self._rows):
            raise ValueError(
                f"state: got no classes [{missing[0]}, {missing[1]}), expected shards that cover all "
                f"{self._num_classes}"
            )
        states = self._pieces[0].states if missing is None else np.empty((*self._rows, _NUMBERS))
        return _core.cross_entropy_of_states(states, logits, self._labels(probabilities), self._options, arguments)

    def _check_end(
        self,
        logits_shard: ArrayLike,
        target: ArrayLike | None,
        reduction: Reduction,
        normalizer: float | None,
        upstream: ArrayLike | None,
        grad_out: Array | None,
    ) -> None:
        """Raises for what `loss` and `grad` would raise for, but missing classes."""
        arguments = (self._first_class, None, reduction, normalizer, True, grad_out is not None, upstream, grad_out)
        _core.cross_entropy_of_states(None, logits_shard, self._labels(target), self._options, arguments)

    def _labels(self, probabilities: ArrayLike | None) -> ArrayLike | None:
        return probabilities if self._target is None else self._target


_OPTION_NAMES = (
    "axis",
    "class_weight",
    "sample_weight",
    "ignore_index",
    "label_smoothing",
    "z_loss",
    "softcap",
    "margin",
    "scale",
    "num_classes",
)


def _copied(value: ArrayLike | None, name: str) -> Array | None:
    return None if value is None else _arrays.as_array(value, name).copy()


def _same(a: Any, b: Any) -> bool:
    """Whether both are None, or equal numbers or arrays, in which NaN is equal to itself."""
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))


def _ranges_of(states: NDArray[np.float64], num_classes: int) -> list[tuple[int, int]]:
    """First class and end of each shard, which all rows have alike; rows x shards x numbers."""
    rows = states.reshape(math.prod(states.shape[:-2]), *states.shape[-2:])
    if not rows.shape[0]:
        return []
    firsts, ends, digits = rows[0, :, _FIRST], rows[0, :, _END], rows[:, :, _DIGITS]
    alike = np.array_equal(rows[:, :, : _DIGITS + 1], np.broadcast_to(rows[0, :, : _DIGITS + 1], (*rows.shape[:2], 3)))
    limits = [0, *np.stack([firsts, ends], axis=-1).ravel().tolist(), num_classes]
    whole = all(limit == int(limit) for limit in limits if math.isfinite(limit))
    if not (alike and np.isin(digits, (24, 53)).all() and whole and limits == sorted(limits) and (firsts < ends).all()):
        raise ValueError(
            "array: got numbers that to_array does not give, expected classes and arithmetic of each shard"
        )
    return [(int(first), int(end)) for first, end in zip(firsts, ends, strict=True)]
