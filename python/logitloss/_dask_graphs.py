"""What the losses of Dask arrays share: operands with the logits' chunks, and sums in any order."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ._arrays import as_array
from ._types import Array

# Not by name: type checkers may not have the package.
da: Any = importlib.import_module("dask.array")
_base: Any = importlib.import_module("dask.base")
_graphs: Any = importlib.import_module("dask.highlevelgraph")

DaskArray: TypeAlias = Any
Sum: TypeAlias = tuple[float, float, int]  # a sum and what rounding took from it, both times two to this power
Sums: TypeAlias = tuple[Sum, ...]

UNKNOWN: str = importlib.import_module("dask.array.core").unknown_chunk_message
FAN_IN = 16  # sums that one task adds up
SHARDS = 3  # of a row, whose states each task merges for itself; more are merged once


def require_dask(value: Any, name: str) -> None:
    if not isinstance(value, da.Array):
        raise TypeError(f"{name}: got {type(value).__name__}, expected a Dask array, which logitloss.dask is for")


def dask_or_numpy(value: Any, name: str) -> Any:
    return value if value is None or isinstance(value, da.Array) else as_array(value, name)


def empty_like(array: Any) -> Array:
    """Of the same dtype and number of axes, without elements: functions refuse the one as they do the other."""
    return np.empty((0,) * array.ndim, array.dtype)


def no_meta(ndim: int) -> Array:
    """Of arrays whose blocks are states or sums, which nobody else sees."""
    return np.empty((0,) * ndim, object)


def with_chunks(
    array: Any, logits: DaskArray, letters: tuple[int, ...], name: str, *, broadcast: bool
) -> tuple[DaskArray, tuple[int, ...]]:
    """An operand with the chunks of the logits along these axes of them, or the last of these if it broadcasts."""
    shape = tuple(logits.shape[letter] for letter in letters)
    own = letters[len(letters) - array.ndim :] if broadcast and array.ndim < len(letters) else letters
    fits = array.ndim == len(own)
    chunks = []
    for length, letter in zip(array.shape, own, strict=False):
        fits = fits and (
            length == logits.shape[letter] or (broadcast and length == 1) or _is_unknown(length, letter, logits)
        )
        chunks.append((1,) if broadcast and length == 1 else logits.chunks[letter])
    if not fits:
        expected = f"one that broadcasts to {shape}" if broadcast else f"{shape}"
        raise ValueError(f"{name}: got shape {array.shape}, expected {expected}")
    is_lazy = isinstance(array, da.Array)
    known = [*chunks, *(array.chunks if is_lazy else ())]
    if not any(math.isnan(sum(along)) for along in known):
        return (array.rechunk(tuple(chunks)) if is_lazy else da.from_array(array, chunks=tuple(chunks))), own
    if not is_lazy or array.numblocks != tuple(map(len, chunks)):
        raise ValueError(f"{name}: Arrays' chunk sizes ({known}) are unknown.{UNKNOWN}")
    return array, own


def _is_unknown(length: float, letter: int, logits: DaskArray) -> bool:
    return math.isnan(length) or math.isnan(logits.shape[letter])


def blockwise(
    function: Callable[..., Any], letters: tuple[int, ...], *operands: Any, meta: Array, name: str, **options: Any
) -> DaskArray:
    """An array of one call a block; the operands have their chunks already."""
    return da.blockwise(
        function, letters, *operands, token=name, dtype=meta.dtype, meta=meta, align_arrays=False, **options
    )


def flat(nested: Any) -> Iterator[Any]:
    """The blocks of an operand with letters that the result does not have, as Dask nests them."""
    if isinstance(nested, list):
        for each in nested:
            yield from flat(each)
    else:
        yield nested


# ------------------------------------------------------------------------------------------------------------- sums


def folded(
    name: str, leaf: Callable[[list[Any]], Sums], blocks: list[Any], fan_in: int, arrays: list[DaskArray]
) -> DaskArray:
    """A tree of sums as an array of no axes: a leaf takes `fan_in` of the blocks, which are keys of `arrays`."""
    name = f"{name}-{_base.tokenize(leaf, blocks)}"
    graph: dict[Any, Any] = {}
    levels = itertools.count()
    while len(blocks) > fan_in:
        groups = [blocks[i : i + fan_in] for i in range(0, len(blocks), fan_in)]
        level = next(levels)
        blocks = [(f"{name}-part", level, i) for i in range(len(groups))]
        graph |= {key: (leaf, group) for key, group in zip(blocks, groups, strict=True)}
        leaf, fan_in = added_blocks, FAN_IN
    graph[(name,)] = (leaf, blocks)
    layers = _graphs.HighLevelGraph.from_collections(name, graph, dependencies=arrays)
    return da.Array(layers, name, chunks=(), meta=no_meta(0))


def folded_sums(name: str, call: Callable[..., Sums], letters: tuple[int, ...], *operands: Any) -> DaskArray:
    """The sums of one call a block."""
    sums = blockwise(call, letters, *operands, meta=no_meta(len(letters)), name=f"{name}-part")
    return folded(f"{name}-sum", added_blocks, list(flat(sums.__dask_keys__())), FAN_IN, [sums])


def added_blocks(blocks: list[Sums]) -> Sums:
    return tuple(map(added, zip(*blocks, strict=True)))


def added(sums: Iterable[Sum]) -> Sum:
    sums = list(sums)
    exponent = max((power for total, _, power in sums if total != 0), default=0)
    return exact_sum(
        [math.ldexp(part, power - exponent) for *pair, power in sums if pair[0] != 0 for part in pair], exponent
    )


def exact_sum(numbers: Any, exponent: int = 0) -> Sum:
    """The sum, rounded, and what that took: together so exact that the order of additions decides nothing."""
    try:
        total = math.fsum(numbers)
        rest = math.fsum(itertools.chain(numbers, (-total,))) if math.isfinite(total) else 0.0
        return total, rest, exponent
    except (OverflowError, ValueError):  # the latter for infinities of both signs
        with np.errstate(all="ignore"):
            return float(np.sum(numbers)), 0.0, exponent


def sum_in_range(loss: Callable[..., Any], exponent: int = 0) -> Sum:
    """A sum of losses, also one that float32 does not hold."""
    total, power = float(loss(reduction="sum")), 0
    if not 2.0**-100 <= abs(total) < math.inf:
        power = -100 if abs(total) < 1 else 100
        total = float(loss(reduction="sum", normalizer=2.0**power))
    return total, 0.0, exponent + power


def scaled(weights: Array, used: Any, where: Any = True) -> tuple[Array, int]:
    """Weights and a power of two, which were multiplied: the largest of those used is of a size that float32 holds.

    Most weights stay as they are. The power cancels in a mean, or else what a block adds to it might be rounded to 0 or
    infinity, though the mean is an ordinary number.
    """
    largest = float(np.max(np.abs(np.asarray(used, np.float64)), initial=0.0, where=where))
    if largest == 0 or not math.isfinite(largest) or 2.0**-60 <= largest <= 2.0**60:
        return weights, 0
    exponent = math.frexp(largest)[1]
    with np.errstate(all="ignore"):
        return np.ldexp(np.asarray(weights, np.float64), -exponent), exponent


def as_sum(divisor: Any) -> Sum:
    """What divides a sum: None, a number, or a block of `folded`."""
    return divisor[0] if isinstance(divisor, tuple) else (1.0 if divisor is None else float(divisor), 0.0, 0)


def quotient(total: DaskArray, divisor: Any, meta: Array) -> DaskArray:
    """A sum over its divisor in the dtype of the loss. Blocks of two sums bring their own."""
    operands = total, (), divisor, (() if isinstance(divisor, da.Array) else None)
    return blockwise(partial(_divided, dtype=meta.dtype), (), *operands, meta=meta, name="loss")


def _divided(total: Sums, divisor: Any, *, dtype: np.dtype[Any]) -> Any:
    (above, _, power), (below, _, power_below) = total[0], as_sum(total[1:] or divisor)
    (above, shift), (below, shift_below) = math.frexp(above), math.frexp(below)
    with np.errstate(all="ignore"):
        ratio = np.divide(above, below if below != 0 else math.nan)
        return np.ldexp(ratio, power - power_below + shift - shift_below).astype(dtype)
