"""What the losses of Dask arrays share: operands with the logits' chunks, and sums in any order."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Iterator
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
Pair: TypeAlias = tuple[float, float]  # a sum, and what rounding took from it

UNKNOWN: str = importlib.import_module("dask.array.core").unknown_chunk_message
FAN_IN = 16  # sums that one task adds up


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
    function: Callable[..., Any], letters: tuple[int, ...], *operands: Any, meta: Array, name: str
) -> DaskArray:
    """An array of one call a block; the operands have their chunks already."""
    return da.blockwise(function, letters, *operands, token=name, dtype=meta.dtype, meta=meta, align_arrays=False)


def flat(nested: Any) -> Iterator[Any]:
    """The blocks of an operand with letters that the result does not have, as Dask nests them."""
    if isinstance(nested, list):
        for each in nested:
            yield from flat(each)
    else:
        yield nested


# ------------------------------------------------------------------------------------------------------------- sums


def folded(
    name: str, leaf: Callable[[list[Any]], Pair], blocks: list[Any], fan_in: int, arrays: list[DaskArray]
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
        leaf, fan_in = added, FAN_IN
    graph[(name,)] = (partial(_rounded, leaf), blocks)
    layers = _graphs.HighLevelGraph.from_collections(name, graph, dependencies=arrays)
    return da.Array(layers, name, chunks=(), dtype=np.float64)


def folded_sums(name: str, call: Callable[..., Pair], letters: tuple[int, ...], *operands: Any) -> DaskArray:
    """The sum of one call a block."""
    sums = blockwise(call, letters, *operands, meta=no_meta(len(letters)), name=f"{name}-part")
    return folded(f"{name}-sum", added, list(flat(sums.__dask_keys__())), FAN_IN, [sums])


def _rounded(leaf: Callable[[list[Any]], Pair], blocks: list[Any]) -> Any:
    return np.float64(leaf(blocks)[0])


def added(sums: list[Pair]) -> Pair:
    return exact_sum([part for pair in sums for part in pair])


def exact_sum(numbers: list[float]) -> Pair:
    """The sum, rounded, and what that took: together so exact that the order of additions decides nothing."""
    try:
        total = math.fsum(numbers)
        return total, math.fsum([*numbers, -total]) if math.isfinite(total) else 0.0
    except (OverflowError, ValueError):  # the latter for infinities of both signs
        with np.errstate(all="ignore"):
            return float(np.sum(numbers)), 0.0


def sum_in_range(loss: Callable[..., Any]) -> float:
    """A sum of losses, also one that float32 does not hold."""
    total = float(loss(reduction="sum"))
    return total if math.isfinite(total) else float(loss(reduction="sum", normalizer=2.0**100)) * 2.0**100


def quotient(total: DaskArray, divisor: Any, meta: Array) -> DaskArray:
    """A sum over its divisor, if there is one, in the dtype of the loss."""
    operands = total, (), divisor, (() if isinstance(divisor, da.Array) else None)
    return blockwise(partial(_divided, dtype=meta.dtype), (), *operands, meta=meta, name="loss")


def _divided(total: Any, divisor: Any, *, dtype: np.dtype[Any]) -> Any:
    with np.errstate(all="ignore"):
        return np.divide(total, 1.0 if divisor is None else divisor if divisor != 0 else np.nan).astype(dtype)
