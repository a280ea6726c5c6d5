# Type checkers read this in place of the .py beside it, which has the docstrings. Parameters stand in filled lines.
# fmt: off
from typing import Literal, overload

from numpy.typing import ArrayLike

from ._types import Array, ArrayOrScalar, Reduction, Scalar

@overload
def bce_with_logits(
    logits: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None,
) -> Scalar: ...
@overload
def bce_with_logits(
    logits: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def bce_with_logits_value_and_grad(
    logits: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Literal["sum", "mean"] = "mean", normalizer: float | None = None, out: None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, ArrayOrScalar]: ...
@overload
def bce_with_logits_value_and_grad(
    logits: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0, ignore_value: float | None = None,
    reduction: Reduction = "mean", normalizer: float | None = None, out: Array | None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
