# Type checkers read this in place of the .py beside it, which has the docstrings. Parameters stand in filled lines.
# fmt: off
from typing import Literal, overload

from numpy.typing import ArrayLike

from ._types import Array, ArrayOrScalar, Reduction, Scalar

@overload
def cross_entropy_from_probs(
    probs: ArrayLike, target: ArrayLike, *, axis: int = -1, eps: float | None = None,
    class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None, ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None,
) -> Scalar: ...
@overload
def cross_entropy_from_probs(
    probs: ArrayLike, target: ArrayLike, *, axis: int = -1, eps: float | None = None,
    class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None, ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def cross_entropy_from_probs_value_and_grad(
    probs: ArrayLike, target: ArrayLike, *, axis: int = -1, eps: float | None = None,
    class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None, ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, Array]: ...
@overload
def cross_entropy_from_probs_value_and_grad(
    probs: ArrayLike, target: ArrayLike, *, axis: int = -1, eps: float | None = None,
    class_weight: ArrayLike | None = None, sample_weight: ArrayLike | None = None, ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, Array]: ...
@overload
def binary_cross_entropy(
    probs: ArrayLike, target: ArrayLike, *, eps: float | None = None, weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None,
) -> Scalar: ...
@overload
def binary_cross_entropy(
    probs: ArrayLike, target: ArrayLike, *, eps: float | None = None, weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def binary_cross_entropy_value_and_grad(
    probs: ArrayLike, target: ArrayLike, *, eps: float | None = None, weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, ArrayOrScalar]: ...
@overload
def binary_cross_entropy_value_and_grad(
    probs: ArrayLike, target: ArrayLike, *, eps: float | None = None, weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
