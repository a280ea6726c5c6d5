# Type checkers read this in place of the .py beside it, which has the docstrings. Parameters stand in filled lines.
# fmt: off
from typing import Literal, overload

from numpy.typing import ArrayLike

from ._types import Array, ArrayOrScalar, Reduction, Scalar

@overload
def sigmoid_focal_loss(
    logits: ArrayLike, target: ArrayLike, *, alpha: float | None = 0.25, gamma: float = 2.0,
    weight: ArrayLike | None = None, label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None,
) -> Scalar: ...
@overload
def sigmoid_focal_loss(
    logits: ArrayLike, target: ArrayLike, *, alpha: float | None = 0.25, gamma: float = 2.0,
    weight: ArrayLike | None = None, label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def sigmoid_focal_loss_value_and_grad(
    logits: ArrayLike, target: ArrayLike, *, alpha: float | None = 0.25, gamma: float = 2.0,
    weight: ArrayLike | None = None, label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, ArrayOrScalar]: ...
@overload
def sigmoid_focal_loss_value_and_grad(
    logits: ArrayLike, target: ArrayLike, *, alpha: float | None = 0.25, gamma: float = 2.0,
    weight: ArrayLike | None = None, label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
