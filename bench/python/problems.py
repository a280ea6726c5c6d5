"""The inputs of a cell, drawn at random and checked to vary."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from cells import Cell

try:
    import ml_dtypes
except ImportError:
    HAVE_BFLOAT16 = False
else:
    HAVE_BFLOAT16 = True


@dataclass
class Problem:
    """Arrays that all contestants of a cell share. Those that an operation does not use are None."""

    operation: str
    axis: int
    logits: np.ndarray  # for a vjp: the result of the forward function
    target: np.ndarray | None
    cotangent: np.ndarray | None  # for a vjp: the gradient that arrives at the forward function's result
    options: dict  # keyword arguments of the logitloss function

    @property
    def differentiates(self) -> bool:
        return self.operation.endswith("_value_and_grad")

    @property
    def dtype(self) -> str:
        return self.logits.dtype.name

    def traffic(self) -> tuple[int, int]:
        """Bytes that must at least be read and written."""
        read = sum(array.nbytes for array in (self.logits, self.target, self.cotangent) if array is not None)
        if self.differentiates or "softmax" in self.operation:
            return read, self.logits.nbytes
        if self.operation == "logsumexp":
            return read, self.logits.size // self.logits.shape[self.axis] * max(4, self.logits.itemsize)
        return read, 0


def build(cell: Cell) -> Problem:
    rng = np.random.default_rng(zlib.crc32(cell.name.encode()))
    logits = 3 * rng.standard_normal(cell.shape, dtype=np.float64 if cell.dtype == "float64" else np.float32)
    problem = Problem(
        operation=cell.operation,
        axis=cell.axis,
        logits=logits.astype(numpy_dtype(cell.dtype), copy=False),
        target=draw_target(cell, rng),
        cotangent=None,
        options=draw_options(cell, rng),
    )
    if cell.operation.endswith("_vjp"):
        problem.cotangent = rng.standard_normal(cell.shape, dtype=logits.dtype)
        problem.logits = forward_of_vjp(cell.operation, logits, cell.axis)
    for array in (problem.logits, problem.target, problem.cotangent):
        if array is not None and array.size > 1:
            require_varied(array, cell.name)
    return problem


def draw_target(cell: Cell, rng: np.random.Generator) -> np.ndarray | None:
    positions = tuple(np.delete(cell.shape, cell.axis))
    if cell.target == "index":
        return rng.integers(cell.shape[cell.axis], size=positions)
    if cell.target == "soft":
        weights = rng.random(cell.shape, dtype=np.float32)
        return weights / weights.sum(axis=cell.axis, keepdims=True)
    if cell.target:
        return (rng.random(cell.shape, dtype=np.float32) < 0.3).astype(cell.target)
    return None


def draw_options(cell: Cell, rng: np.random.Generator) -> dict:
    options = dict(cell.options)
    for weight in ("class_weight", "pos_weight"):
        if weight in options:
            options[weight] = rng.uniform(0.5, 2.0, cell.shape[cell.axis]).astype(np.float32)
    return options


def forward_of_vjp(operation: str, logits: np.ndarray, axis: int) -> np.ndarray:
    shifted = logits - logits.max(axis=axis, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=axis, keepdims=True)
    return exponentials / total if operation == "softmax_vjp" else shifted - np.log(total)


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def require_varied(array: np.ndarray, name: str) -> None:
    """A generator that returns a constant makes branches and caches look better than they are."""
    flat = array.reshape(-1)
    half = min(flat.size // 2, 4096)
    sample = np.concatenate([flat[:half], flat[-half:]]).astype(np.float64)
    if not np.all(np.isfinite(sample)) or sample.min() == sample.max():
        raise AssertionError(f"{name}: inputs do not vary")
    if half >= 64 and np.array_equal(sample[:half], sample[half:]):
        raise AssertionError(f"{name}: inputs repeat")
