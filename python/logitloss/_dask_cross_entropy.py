"""Cross-entropy of Dask arrays: which blocks a task takes, and what it does with them."""

from __future__ import annotations

import importlib
import itertools
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ._cross_entropy import cross_entropy, cross_entropy_value_and_grad
from ._cross_entropy_state import CrossEntropyState
from ._dask_graphs import (
    FAN_IN,
    SHARDS,
    UNKNOWN,
    DaskArray,
    Sums,
    added,
    as_sum,
    blockwise,
    da,
    dask_or_numpy,
    empty_like,
    exact_sum,
    folded,
    folded_sums,
    quotient,
    require_dask,
    scaled,
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
        upstream: Any = None,
    ) -> None:
        require_dask(logits, "logits")
        named = {"target": target, "class_weight": class_weight, "sample_weight": sample_weight, "upstream": upstream}
        target, class_weight, sample_weight, upstream = (dask_or_numpy(value, name) for name, value in named.items())
        self.logits, self.options = logits, options
        self.reduction: Reduction = reduction
        self.normalizer = normalizer
        self.indices = target.ndim < logits.ndim
        self._check(target, axis, class_weight, sample_weight, upstream)
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
        self.upstream = self._aligned(upstream, () if reduction != "none" else self.rows, "upstream")
        place = _layers.ArraySliceDep(tuple(logits.chunks[letter] for letter in self.rows)), self.rows
        self.operands = logits, self.letters, *self.target, *self.class_weight, *self.sample_weight, *place
        self.divisor = self._divisor()
        self.task_options = options | {"scales": self.divisor is not None}
        if self.is_split:
            self.range_of_classes = _layers.ArraySliceDep((logits.chunks[self.axis],)), (self.axis,)
            self.merging = {"num_classes": self.classes, "axis": self.axis}
            self.states = self._states()

    def _check(self, target: Any, axis: int, class_weight: Any, sample_weight: Any, upstream: Any) -> None:
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
        # Rows without classes are refused unless there are none, and logits of one axis are a row.
        classes = int(self.logits.ndim == 1)

        def like(array: Any, length: int, ndim: int) -> Array | None:
            return None if array is None else np.zeros((length,) * ndim, array.dtype)

        loss, grad = cross_entropy_value_and_grad(
            np.zeros((classes,) * self.logits.ndim, self.logits.dtype),
            np.zeros((classes,) * target.ndim, target.dtype),
            axis=axis,
            class_weight=like(class_weight, classes, 1),
            sample_weight=like(sample_weight, 0, 0),
            upstream=like(upstream, 0, 0),
            reduction=self.reduction,
            normalizer=self.normalizer,
            **self.options,
        )
        self.meta_loss, self.meta_grad = np.asarray(loss), empty_like(grad)

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
        lengths = [self.logits.shape[letter] for letter in self.rows]
        is_known = not any(map(math.isnan, lengths))
        class_weight = self.class_weight if self.indices else (None, None)
        if is_known and self.sample_weight[0] is None and class_weight[0] is None and not self._ignores():
            return float(math.prod(lengths))
        needs_target = not is_known or class_weight[0] is not None or self._ignores()
        operands = self.target if needs_target else (None, None), class_weight, self.sample_weight
        leaf = partial(
            _sum_of_row_weights,
            ignore_index=self.options["ignore_index"] if self.indices else None,
            class_axis=None if self.indices else self.axis,
        )
        # Class probabilities are as large as the logits, and only their shape is wanted.
        fan_in = 1 if needs_target and not self.indices else FAN_IN
        blocks, *others = self._blocks_of_rows(operands, fan_in, {self.axis: 0})
        chunks = itertools.product(*(self.logits.chunks[letter] for letter in self.rows))
        blocks = [[list(shape) if is_known else None, *block] for shape, block in zip(chunks, blocks, strict=True)]
        return folded("row-weights", leaf, blocks, *others)

    def _ignores(self) -> bool:
        return self.indices and self.options["ignore_index"] is not None

    def _blocks_of_rows(
        self, operands: Sequence[tuple[Any, Any]], fan_in: int, others: dict[int, int] | None = None
    ) -> tuple[Any, ...]:
        """For `folded`: lists of the blocks of each operand, of one block of rows after another."""
        blocks = []
        for rows in itertools.product(*(range(self.logits.numblocks[letter]) for letter in self.rows)):
            block = dict(zip(self.rows, rows, strict=True)) | (others or {})
            blocks.append([_keys(array, letters, block) for array, letters in operands])
        return blocks, fan_in, [array for array, _ in operands if array is not None]

    def _states(self) -> DaskArray:
        """The states of all chunks: twelve numbers a row in the place of the classes; of many chunks, merged ones."""
        meta = np.empty((0,) * self.logits.ndim)
        call = partial(_state, **self.merging, **self.task_options)
        operands = *self.operands, *self.range_of_classes
        states = blockwise(call, self.letters, *operands, meta=meta, name="cross-entropy-state")
        if self.logits.numblocks[self.axis] <= SHARDS:
            return states
        call = partial(_merged_array, **self.merging, **self.task_options)
        pairs = itertools.chain(*self._to_merge(states, -1))
        merged = tuple(self.logits.ndim if letter == self.axis else letter for letter in self.letters)
        return blockwise(call, merged, *pairs, meta=meta, name="merged-state", new_axes={self.logits.ndim: 1})

    def _to_merge(self, states: DaskArray, class_letter: int) -> list[tuple[Any, Any]]:
        """Operands of a task that takes the states of all classes of its rows: all but the logits."""
        letters = tuple(class_letter if letter == self.axis else letter for letter in self.letters)
        indices = self.target if self.indices else (None, None)
        class_weight = self.class_weight[0], None if self.class_weight[0] is None else (-2,)
        return [(states, letters), indices, class_weight, self.sample_weight]

    def loss(self) -> DaskArray:
        if self.reduction == "none":
            if self.is_split:
                call = partial(_losses_of_states, dtype=self.meta_loss.dtype, **self.merging, **self.task_options)
                pairs = tuple(itertools.chain(*self._to_merge(self.states, -1)))
            else:
                call, pairs = partial(_losses, axis=self.axis, **self.task_options), self.operands
            return blockwise(call, self.rows, *pairs, meta=self.meta_loss, name="cross-entropy")
        if self.is_split:
            leaf = partial(_sum_of_states, **self.merging, **self.task_options)
            fan_in = max(1, _STATES // self.states.numblocks[self.axis])
            total = folded(
                "cross-entropy-sum", leaf, *self._blocks_of_rows(self._to_merge(self.states, self.axis), fan_in)
            )
        else:
            sums = partial(_sum_of_losses, axis=self.axis, **self.task_options)
            total = folded_sums("cross-entropy", sums, self.letters, *self.operands)
        return quotient(total, self.divisor, self.meta_loss)

    def grad(self) -> DaskArray:
        is_reduced = self.reduction != "none"
        factors = *self.upstream, self.divisor, (() if isinstance(self.divisor, da.Array) else None), is_reduced, None
        if self.is_split:
            call = partial(_grad_of_shard, **self.merging, **self.task_options)
            probabilities = (None, None) if self.indices else self.target
            pairs = (self.logits, self.letters, *probabilities, *self.range_of_classes, *factors)
            pairs = (*pairs, *itertools.chain(*self._to_merge(self.states, -1)))
        else:
            call, pairs = partial(_grad, axis=self.axis, **self.task_options), (*self.operands, *factors)
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


def _weighted(
    options: dict[str, Any], labels: Any, class_weight: Any, sample_weight: Any, *, scales: bool
) -> tuple[dict[str, Any], int]:
    """The options with the weights, if `scales` times a power of two, and that power's exponent."""
    exponent = 0
    counts: Any = True
    if scales and labels is not None and options["ignore_index"] is not None:
        counts = labels != options["ignore_index"]
    if scales and class_weight is not None:
        used = class_weight if labels is None else np.take(class_weight, labels, mode="clip")
        class_weight, exponent = scaled(class_weight, used, True if labels is None else counts)
    if scales and sample_weight is not None:
        used = np.broadcast_to(sample_weight, np.broadcast_shapes(sample_weight.shape, np.shape(counts)))
        sample_weight, more = scaled(sample_weight, used, counts)
        exponent += more
    return options | {"class_weight": class_weight, "sample_weight": sample_weight}, exponent


def _losses(
    logits: Any,
    target: Any,
    class_weight: Any,
    sample_weight: Any,
    place: Any,
    *,
    axis: int,
    scales: bool,
    **options: Any,
) -> Array:
    options |= {"class_weight": _single(class_weight), "sample_weight": sample_weight, "reduction": "none"}
    with _Located(place):
        return np.asarray(cross_entropy(_single(logits), _single(target), axis=axis, **options))


def _sum_of_losses(
    logits: Array, target: Array, class_weight: Any, sample_weight: Any, place: Any, *, scales: bool, **options: Any
) -> Sums:
    labels = target if target.ndim < logits.ndim else None
    options, exponent = _weighted(options, labels, _single(class_weight), sample_weight, scales=scales)
    with _Located(place):
        return (sum_in_range(partial(cross_entropy, logits, target, **options), exponent),)


def _grad(
    logits: Array,
    target: Array,
    class_weight: Any,
    sample_weight: Any,
    place: Any,
    upstream: Any,
    divisor: Any,
    is_reduced: bool,
    *,
    scales: bool,
    **options: Any,
) -> Array:
    labels = target if target.ndim < logits.ndim else None
    options, exponent = _weighted(options, labels, _single(class_weight), sample_weight, scales=scales)
    call = partial(cross_entropy_value_and_grad, logits, target, **options)
    with _Located(place):
        return _divided_gradient(lambda **factors: call(**factors)[1], upstream, divisor, is_reduced, exponent)


def _divided_gradient(
    gradient: Callable[..., Any], upstream: Any, divisor: Any, is_reduced: bool, exponent: int
) -> Array:
    """Of the sum: its divisor may have any sign, a normalizer is positive; a mean of nothing has gradient 0."""
    if not is_reduced:
        return np.asarray(gradient(reduction="none", upstream=upstream))
    factor = 1.0 if upstream is None else float(upstream)
    number, _, power = as_sum(divisor)
    if math.isinf(number):  # 1 / number is 0, and a weight that is infinite times 0 is NaN
        return np.asarray(gradient(reduction="sum", upstream=factor) * 0.0)
    if number == 0 or math.isnan(number):
        return np.asarray(gradient(reduction="sum", upstream=factor * number))
    number, shift = math.frexp(number)
    with np.errstate(all="ignore"):
        factor = float(np.ldexp(math.copysign(1.0, number) * factor, exponent - power - shift))
    return np.asarray(gradient(reduction="sum", upstream=factor, normalizer=abs(number)))


def _state(
    logits: Array,
    target: Array,
    class_weight: Any,
    sample_weight: Any,
    place: tuple[slice, ...],
    classes: tuple[slice],
    *,
    scales: bool,
    **options: Any,
) -> Array:
    labels = target if target.ndim < logits.ndim else None
    options, _ = _weighted(options, labels, _single(class_weight), sample_weight, scales=scales)
    with _Located(place):
        return CrossEntropyState(logits, target, first_class=classes[0].start, **options).to_array()


def _merged(
    states: list[Array],
    target: Any,
    class_weight: Any,
    sample_weight: Any,
    *,
    scales: bool,
    num_threads: int | None,
    **options: Any,
) -> tuple[CrossEntropyState, int]:
    """One state of those of all classes, in their order, in one step; and the exponent of its weights."""
    labels = _single(target)
    options, exponent = _weighted(options, labels, _single(class_weight), _single(sample_weight), scales=scales)
    return CrossEntropyState.from_array(np.concatenate(states, axis=-1), labels, **options), exponent


def _merged_array(*operands: Any, **options: Any) -> Array:
    return _merged(*operands, **options)[0].to_array()


def _losses_of_states(*operands: Any, dtype: np.dtype[Any], **options: Any) -> Array:
    """A state without rows does not know their dtype."""
    losses = _merged(*operands, **options)[0].loss(reduction="none", num_threads=options["num_threads"])
    return np.asarray(losses, dtype)


def _sum_of_states(blocks: list[list[Any]], **options: Any) -> Sums:
    sums = []
    for operands in blocks:
        state, exponent = _merged(*operands, **options)
        sums.append(sum_in_range(partial(state.loss, num_threads=options["num_threads"]), exponent))
    return (added(sums),)


def _grad_of_shard(
    logits: Array,
    probabilities: Any,
    classes: tuple[slice],
    upstream: Any,
    divisor: Any,
    is_reduced: bool,
    *operands: Any,
    **options: Any,
) -> Array:
    state, exponent = _merged(*operands, **options)
    num_threads = options["num_threads"]
    call = partial(state.grad, logits, first_class=classes[0].start, target=probabilities, num_threads=num_threads)
    return _divided_gradient(call, upstream, divisor, is_reduced, exponent)


def _sum_of_row_weights(blocks: list[list[Any]], *, ignore_index: int | None, class_axis: int | None) -> Sums:
    """What the mean divides by. A label out of range has any weight: it is an error of the losses."""
    sums = []
    for known, targets, class_weights, sample_weights in blocks:
        target, class_weight, sample_weight = map(_single, (targets, class_weights, sample_weights))
        labels: Any = target if class_axis is None else None
        rows = tuple(known) if known is not None else target.shape
        if known is None and class_axis is not None:
            rows = rows[:class_axis] + rows[class_axis + 1 :]
        counts = np.ones(rows, bool) if ignore_index is None else labels != ignore_index
        if class_weight is None and sample_weight is None:
            sums.append((float(np.count_nonzero(counts)), 0.0, 0))
            continue
        options, exponent = _weighted({"ignore_index": ignore_index}, labels, class_weight, sample_weight, scales=True)
        of_class, of_row = options["class_weight"], options["sample_weight"]
        of_class = 1.0 if of_class is None else np.take(of_class, labels, mode="clip").astype(np.float64)
        of_row = 1.0 if of_row is None else np.asarray(of_row, np.float64)
        with np.errstate(all="ignore"):
            weight = np.where((of_class == 0) | (of_row == 0), 0.0, of_class * of_row)
        sums.append(exact_sum(np.broadcast_to(weight, rows)[counts], exponent))
    return (added(sums),)
