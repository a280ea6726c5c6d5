# Type checkers read this in place of the .py beside it, which has the docstrings. Parameters stand in filled lines.
# fmt: off
from typing import Literal, overload

from numpy.typing import ArrayLike

from ._types import Array, ArrayOrScalar, Reduction, Scalar

@overload
def mean_squared_error(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", out: None = None, num_threads: int | None = None,
) -> Scalar: ...
@overload
def mean_squared_error(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Reduction = "mean", out: Array | None = None, num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def mean_squared_error_value_and_grad(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", out: None = None, num_threads: int | None = None,
    upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, ArrayOrScalar]: ...
@overload
def mean_squared_error_value_and_grad(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Reduction = "mean", out: Array | None = None, num_threads: int | None = None,
    upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
@overload
def mean_absolute_error(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", out: None = None, num_threads: int | None = None,
) -> Scalar: ...
@overload
def mean_absolute_error(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Reduction = "mean", out: Array | None = None, num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def mean_absolute_error_value_and_grad(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", out: None = None, num_threads: int | None = None,
    upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, ArrayOrScalar]: ...
@overload
def mean_absolute_error_value_and_grad(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None,
    reduction: Reduction = "mean", out: Array | None = None, num_threads: int | None = None,
    upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
@overload
def root_mean_squared_error(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, out: None = None,
    num_threads: int | None = None,
) -> Scalar: ...
@overload
def root_mean_squared_error(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def root_mean_squared_error_value_and_grad(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, out: None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, ArrayOrScalar]: ...
@overload
def root_mean_squared_error_value_and_grad(
    pred: ArrayLike, target: ArrayLike, *, weight: ArrayLike | None = None, out: Array | None = None,
    num_threads: int | None = None, upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
@overload
def poisson_nll(
    log_rate: ArrayLike, target: ArrayLike, *, full: bool = False, weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", out: None = None, num_threads: int | None = None,
) -> Scalar: ...
@overload
def poisson_nll(
    log_rate: ArrayLike, target: ArrayLike, *, full: bool = False, weight: ArrayLike | None = None,
    reduction: Reduction = "mean", out: Array | None = None, num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def poisson_nll_value_and_grad(
    log_rate: ArrayLike, target: ArrayLike, *, full: bool = False, weight: ArrayLike | None = None,
    reduction: Literal["sum", "mean"] = "mean", out: None = None, num_threads: int | None = None,
    upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[Scalar, ArrayOrScalar]: ...
@overload
def poisson_nll_value_and_grad(
    log_rate: ArrayLike, target: ArrayLike, *, full: bool = False, weight: ArrayLike | None = None,
    reduction: Reduction = "mean", out: Array | None = None, num_threads: int | None = None,
    upstream: ArrayLike | None = None, grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
