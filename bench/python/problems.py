"""The inputs of a cell, drawn at random and checked to vary."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from cells import OPERATIONS, Cell

try:
    import ml_dtypes
except ImportError:
    HAVE_BFLOAT16 = False
else:
    HAVE_BFLOAT16 = True


NUMBER_PER_ROW = ("logsumexp", "entropy", "entropy_from_logits", "kl_divergence", "cross_entropy_of")
PROBABILITIES = (  # the operations whose first argument is not logits but probabilities
    "cross_entropy_from_probs",
    "binary_cross_entropy",
    "self_information",
    "entropy",
    "kl_divergence",
    "cross_entropy_of",
)


@dataclass
class Problem:
    """Arrays that all contestants of a cell share. Those that an operation does not use are None."""

    operation: str
    axis: int
    logits: np.ndarray  # or what the operation has in their place: probabilities, predictions, a forward result
    target: np.ndarray | None
    cotangent: np.ndarray | None  # for a vjp: the gradient that arrives at the forward function's result
    options: dict  # keyword arguments of the logitloss function

    @property
    def differentiates(self) -> bool:
        return self.operation.endswith("_value_and_grad")

    @property
    def dtype(self) -> str:
        return self.logits.dtype.name

    @property
    def inputs(self) -> list[np.ndarray]:
        return [array for array in (self.logits, self.target, self.cotangent) if array is not None]

    def traffic(self) -> tuple[int, int]:
        """Bytes that must at least be read and written."""
        read = sum(array.nbytes for array in self.inputs)
        write = 0
        if self.differentiates or "softmax" in self.operation or self.operation == "self_information":
            write += self.logits.nbytes
        if self.operation.removesuffix("_value_and_grad") in NUMBER_PER_ROW:
            write += self.logits.size // self.logits.shape[self.axis] * max(4, self.logits.itemsize)
        return read, write


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
    elif cell.operation.removesuffix("_value_and_grad") in PROBABILITIES:
        problem.logits = draw_probabilities(cell, rng)
    elif cell.operation == "accuracy":  # of random labels it would be all but 0, whatever was computed
        found = rng.random(problem.target.shape) < 0.5
        problem.target[found] = logits.argmax(axis=cell.axis)[found]
    for array in problem.inputs:
        if array.size > 1:
            require_varied(array, cell.name)
    return problem


def draw_target(cell: Cell, rng: np.random.Generator) -> np.ndarray | None:
    positions = tuple(np.delete(cell.shape, cell.axis))
    if cell.target == "index":
        return rng.integers(cell.shape[cell.axis], size=positions)
    if cell.target == "soft":
        weights = rng.random(cell.shape, dtype=np.float32) + np.float32(2**-24)  # a divergence wants no zeros
        return weights / weights.sum(axis=cell.axis, keepdims=True)
    if cell.target == "real":
        return rng.standard_normal(cell.shape, dtype=np.float32)
    if cell.target:
        return (rng.random(cell.shape, dtype=np.float32) < 0.3).astype(cell.target)
    return None


def draw_options(cell: Cell, rng: np.random.Generator) -> dict:
    options = dict(cell.options)
    for weight in ("class_weight", "pos_weight"):
        if weight in options:
            classes = cell.shape[cell.axis] if len(cell.shape) > 1 else 1
            options[weight] = rng.uniform(0.5, 2.0, classes).astype(np.float32)
    return options


def draw_probabilities(cell: Cell, rng: np.random.Generator) -> np.ndarray:
    """None so near 0 or 1 that a peer's clipping would show."""
    odds = np.exp(rng.standard_normal(cell.shape, dtype=np.float32))
    total = 1 + odds if OPERATIONS[cell.operation].elementwise else odds.sum(axis=cell.axis, keepdims=True)
    return (odds / total).astype(numpy_dtype(cell.dtype), copy=False)


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
