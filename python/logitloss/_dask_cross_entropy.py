"""Cross-entropy of Dask arrays: which blocks a task takes, and what it does with them."""

from __future__ import annotations

import importlib
import itertools
import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ._cross_entropy import cross_entropy, cross_entropy_value_and_grad
from ._cross_entropy_state import CrossEntropyState
from ._dask_graphs import (
    FAN_IN,
    UNKNOWN,
    DaskArray,
    Pair,
    blockwise,
    da,
    dask_or_numpy,
    empty_like,
    exact_sum,
    folded,
    folded_sums,
    quotient,
    require_dask,
    sum_in_range,
    with_chunks,
)
from ._types import Array, Reduction

_layers: Any = importlib.import_module("dask.layers")

_STATES = 64  # that one task merges, if they are not more for one block of rows


class CrossEntropyRows:
    """A call of cross-entropy: its operands, each followed by its letters for `dask.array.blockwise`.

    The letter of an axis of the logits is its number. Labels, weights and upstream gradients have some of these
    letters, and the chunks of the logits along them.
    """

    def __init__(
        self,
        logits: DaskArray,
        target: Any,
        axis: int,
        class_weight: Any,
        sample_weight: Any,
        reduction: Reduction,
        normalizer: float | None,
        options: dict[str, Any],
    ) -> None:
        require_dask(logits, "logits")
        target, class_weight, sample_weight = (
            dask_or_numpy(value, name)
            for value, name in ((target, "target"), (class_weight, "class_weight"), (sample_weight, "sample_weight"))
        )
        self.logits, self.options = logits, options
        self.reduction: Reduction = reduction
        self.normalizer = normalizer
        self.indices = target.ndim < logits.ndim
        self._check(target, axis, class_weight, sample_weight)
        self.axis = axis % logits.ndim
        self.classes = logits.shape[self.axis]
        self.is_split = logits.numblocks[self.axis] > 1
        self.letters = tuple(range(logits.ndim))
        self.rows = self.letters[: self.axis] + self.letters[self.axis + 1 :]
        if math.isnan(self.classes) and (self.is_split or class_weight is not None):
            raise ValueError(f"logits: Array chunk sizes are unknown along the class axis.{UNKNOWN}")
        self.target = self._aligned(target, self.rows if self.indices else self.letters, "target", broadcast=False)
        self.class_weight: tuple[Any, Any] = None, None
        if class_weight is not None:
            if class_weight.shape != (self.classes,):
                raise ValueError(f"class_weight: got shape {class_weight.shape}, expected ({self.classes},)")
            self.class_weight = da.asarray(class_weight).rechunk(-1), (logits.ndim,)
        self.sample_weight = self._aligned(sample_weight, self.rows, "sample_weight")
        place = _layers.ArraySliceDep(tuple(logits.chunks[letter] for letter in self.rows)), self.rows
        self.operands = logits, self.letters, *self.target, *self.class_weight, *self.sample_weight, *place
        self.divisor = self._divisor()
        if self.is_split:
            self.range_of_classes = _layers.ArraySliceDep((logits.chunks[self.axis],)), (self.axis,)
            self.merging = {"num_classes": self.classes, "axis": self.axis}
            self.states = self._states()

    def _check(self, target: Any, axis: int, class_weight: Any, sample_weight: Any) -> None:
        """Errors that do not depend on values or lengths are those of the function on arrays; so are the dtypes."""
        if target.ndim == self.logits.ndim - 1 and target.dtype.kind not in "iu":
            raise TypeError(
                f"target: got dtype {target.dtype}, expected an integer dtype for class indices "
                f"(or class probabilities of shape {self.logits.shape})"
            )
        if target.ndim not in (self.logits.ndim, self.logits.ndim - 1):
            raise ValueError(
                f"target: got shape {target.shape}, expected that of the logits {self.logits.shape} (class "
                "probabilities) or the same without the class axis (class indices)"
            )
        loss, self.meta_grad = cross_entropy_value_and_grad(
            empty_like(self.logits),
            empty_like(target),
            axis=axis,
            class_weight=None if class_weight is None else np.empty(0, class_weight.dtype),
            sample_weight=None if sample_weight is None else np.empty((), sample_weight.dtype),
            reduction=self.reduction,
            normalizer=self.normalizer,
            **self.options,
        )
        self.meta_loss = np.asarray(loss)

    def _aligned(self, array: Any, letters: tuple[int, ...], name: str, *, broadcast: bool = True) -> tuple[Any, Any]:
        if array is None:
            return None, None
        return with_chunks(array, self.logits, letters, name, broadcast=broadcast)

    def _divisor(self) -> Any:
        """What divides the sum of the losses: None, a number, or a Dask array of no axes.

        The mean's is summed from labels and weights alone, so that no gradient waits for logits of other rows.
        """
        if self.normalizer is not None or self.reduction != "mean":
            return self.normalizer
        operands = self.target, self.class_weight if self.indices else (None, None), self.sample_weight
        leaf = partial(
            _sum_of_row_weights,
            ignore_index=self.options["ignore_index"] if self.indices else None,
            class_axis=None if self.indices else self.axis,
        )
        return folded("row-weights", leaf, *self._blocks_of_rows(operands, FAN_IN))

    def _blocks_of_rows(self, operands: Sequence[tuple[Any, Any]], fan_in: int) -> tuple[Any, ...]:
        """For `folded`: lists of the blocks of each operand, of one block of rows after another."""
        blocks = []
        for rows in itertools.product(*(range(self.logits.numblocks[letter]) for letter in self.rows)):
            block = dict(zip(self.rows, rows, strict=True))
            blocks.append([_keys(array, letters, block) for array, letters in operands])
        return blocks, fan_in, [array for array, _ in operands if array is not None]

    def _states(self) -> DaskArray:
        """The states of all chunks: twelve numbers a row in the place of the classes."""
        call = partial(_state, **self.merging, **self.options)
        return blockwise(
            call,
            self.letters,
            *self.operands,
            *self.range_of_classes,
            meta=np.empty((0,) * self.logits.ndim),
            name="cross-entropy-state",
        )

    def _to_merge(self, class_letter: int) -> list[tuple[Any, Any]]:
        """Operands of a task that takes the states of all classes of its rows: all but the logits."""
        letters = tuple(class_letter if letter == self.axis else letter for letter in self.letters)
        indices = self.target if self.indices else (None, None)
        return [(self.states, letters), indices, self.class_weight, self.sample_weight]

    def loss(self) -> DaskArray:
        if self.reduction == "none":
            if self.is_split:
                call = partial(_losses_of_states, **self.merging, **self.options)
                pairs = tuple(itertools.chain(*self._to_merge(-1)))
            else:
                call, pairs = partial(_losses, axis=self.axis, **self.options), self.operands
            return blockwise(call, self.rows, *pairs, meta=self.meta_loss, name="cross-entropy")
        if self.is_split:
            leaf = partial(_sum_of_states, **self.merging, **self.options)
            fan_in = max(1, _STATES // self.logits.numblocks[self.axis])
            total = folded("cross-entropy-sum", leaf, *self._blocks_of_rows(self._to_merge(self.axis), fan_in))
        else:
            call = partial(_sum_of_losses, axis=self.axis, **self.options)
            total = folded_sums("cross-entropy", call, self.letters, *self.operands)
        return quotient(total, self.divisor, self.meta_loss)

    def grad(self, upstream: Any) -> DaskArray:
        is_reduced = self.reduction != "none"
        upstream = self._aligned(dask_or_numpy(upstream, "upstream"), () if is_reduced else self.rows, "upstream")
        factors = *upstream, self.divisor, (() if isinstance(self.divisor, da.Array) else None), is_reduced, None
        if self.is_split:
            call = partial(_grad_of_shard, **self.merging, **self.options)
            probabilities = (None, None) if self.indices else self.target
            pairs = (self.logits, self.letters, *probabilities, *self.range_of_classes, *factors)
            pairs = (*pairs, *itertools.chain(*self._to_merge(-1)))
        else:
            call, pairs = partial(_grad, axis=self.axis, **self.options), (*self.operands, *factors)
        return blockwise(call, self.letters, *pairs, meta=self.meta_grad, name="cross-entropy-grad")


# ---------------------------------------------------------------------------------------------------- what a task does


class _Located:
    """Positions of labels in messages, which count from the chunk's start, become those of the whole target."""

    def __init__(self, place: tuple[slice, ...]) -> None:
        self._starts = [along.start for along in place]

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        found = re.match(r"target\[([\d, ]+)\](.*)", str(error), re.DOTALL) if isinstance(error, ValueError) else None
        if found and not any(map(math.isnan, self._starts)):
            in_chunk = map(int, found[1].split(","))
            position = ", ".join(str(start + i) for start, i in zip(self._starts, in_chunk, strict=True))
            raise ValueError(f"target[{position}]{found[2]}") from None


def _keys(array: Any, letters: Any, block: dict[int, int]) -> Any:
    """Keys of an operand's blocks where some letters are given; those of one block where it broadcasts."""
    if array is None:
        return None
    places = [
        [block[letter] if count > 1 else 0] if letter in block else range(count)
        for letter, count in zip(letters, array.numblocks, strict=True)
    ]
    return [(array.name, *place) for place in itertools.product(*places)]


def _single(block: Any) -> Any:
    """The block of an operand with a letter that the result does not have: such blocks come as lists, here of one."""
    return block[0] if isinstance(block, list) else block


def _losses(
    logits: Any, target: Any, class_weight: Any, sample_weight: Any, place: Any, *, axis: int, **options: Any
) -> Array:
    options |= {"class_weight": _single(class_weight), "sample_weight": sample_weight, "reduction": "none"}
    with _Located(place):
        return np.asarray(cross_entropy(_single(logits), _single(target), axis=axis, **options))


def _sum_of_losses(
    logits: Array, target: Array, class_weight: Any, sample_weight: Any, place: Any, *, axis: int, **options: Any
) -> Pair:
    options |= {"class_weight": _single(class_weight), "sample_weight": sample_weight}
    with _Located(place):
        return sum_in_range(partial(cross_entropy, logits, target, axis=axis, **options)), 0.0


def _grad(
    logits: Array,
    target: Array,
    class_weight: Any,
    sample_weight: Any,
    place: Any,
    upstream: Any,
    divisor: Any,
    is_reduced: bool,
    **options: Any,
) -> Array:
    options |= {"class_weight": _single(class_weight), "sample_weight": sample_weight}
    with _Located(place):
        _, grad = cross_entropy_value_and_grad(logits, target, **options, **_factors(upstream, divisor, is_reduced))
    return np.asarray(grad)


def _factors(upstream: Any, divisor: Any, is_reduced: bool) -> dict[str, Any]:
    """Of the gradient of a sum: its divisor may have any sign, a normalizer is positive; a mean of nothing has 0."""
    if not is_reduced:
        return {"reduction": "none", "upstream": upstream}
    factor = 1.0 if upstream is None else float(upstream)
    number = 1.0 if divisor is None else float(divisor)
    if number == 0 or not math.isfinite(number):
        return {"reduction": "sum", "upstream": factor / number if number else 0.0}
    return {"reduction": "sum", "upstream": factor if number > 0 else -factor, "normalizer": abs(number)}


def _state(
    logits: Array,
    target: Array,
    class_weight: Any,
    sample_weight: Any,
    place: tuple[slice, ...],
    classes: tuple[slice],
    **options: Any,
) -> Array:
    options |= {"class_weight": _single(class_weight), "sample_weight": sample_weight}
    with _Located(place):
        return CrossEntropyState(logits, target, first_class=classes[0].start, **options).to_array()


def _merged(options: dict[str, Any], states: list[Array], target: Any, class_weight: Any, sample_weight: Any) -> Any:
    """One state of those of all classes, in their order, in one step."""
    options = options | {"class_weight": _single(class_weight), "sample_weight": _single(sample_weight)}
    del options["num_threads"]
    return CrossEntropyState.from_array(np.concatenate(states, axis=-1), _single(target), **options)


def _losses_of_states(states: list[Array], target: Any, class_weight: Any, sample_weight: Any, **options: Any) -> Any:
    state = _merged(options, states, target, class_weight, sample_weight)
    return state.loss(reduction="none", num_threads=options["num_threads"])


def _sum_of_states(blocks: list[list[Any]], **options: Any) -> Pair:
    merged = (_merged(options, *operands) for operands in blocks)
    return exact_sum([sum_in_range(partial(state.loss, num_threads=options["num_threads"])) for state in merged])


def _grad_of_shard(
    logits: Array,
    probabilities: Any,
    classes: tuple[slice],
    upstream: Any,
    divisor: Any,
    is_reduced: bool,
    states: list[Array],
    target: Any,
    class_weight: Any,
    sample_weight: Any,
    **options: Any,
) -> Any:
    state = _merged(options, states, target, class_weight, sample_weight)
    return state.grad(
        logits,
        first_class=classes[0].start,
        target=probabilities,
        num_threads=options["num_threads"],
        **_factors(upstream, divisor, is_reduced),
    )


def _sum_of_row_weights(blocks: list[list[Any]], *, ignore_index: int | None, class_axis: int | None) -> Pair:
    """What the mean divides by. A label out of range has any weight: it is an error of the losses."""
    weights: list[float] = []
    for targets, class_weights, sample_weights in blocks:
        target, class_weight, sample_weight = map(_single, (targets, class_weights, sample_weights))
        rows = target.shape if class_axis is None else target.shape[:class_axis] + target.shape[class_axis + 1 :]
        counts = np.ones(rows, bool) if ignore_index is None else target != ignore_index
        if class_weight is None and sample_weight is None:
            weights.append(float(np.count_nonzero(counts)))
            continue
        of_class = 1.0 if class_weight is None else np.take(class_weight, target, mode="clip").astype(np.float64)
        of_row = 1.0 if sample_weight is None else np.asarray(sample_weight, np.float64)
        with np.errstate(all="ignore"):
            weight = np.where((of_class == 0) | (of_row == 0), 0.0, of_class * of_row)
        weights.extend(np.broadcast_to(weight, rows)[counts].tolist())
    return exact_sum(weights)
