# Type checkers read this in place of the .py beside it, which has the docstrings. Parameters stand in filled lines.
# fmt: off
from typing import Any, Literal, overload

from numpy.typing import ArrayLike

from ._types import Array, ArrayOrScalar, Axes, Scalar

@overload
def logsumexp(
    a: ArrayLike, axis: None = None, b: ArrayLike | None = None, keepdims: Literal[False] = False,
    return_sign: Literal[False] = False, *, where: ArrayLike | None = None, out: None = None,
    num_threads: int | None = None,
) -> Scalar: ...
@overload
def logsumexp(
    a: ArrayLike, axis: Axes = None, b: ArrayLike | None = None, keepdims: bool = False,
    return_sign: Literal[False] = False, *, where: ArrayLike | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
@overload
def logsumexp(
    a: ArrayLike, axis: Axes = None, b: ArrayLike | None = None, keepdims: bool = False, *, return_sign: Literal[True],
    where: ArrayLike | None = None, out: Array | None = None, num_threads: int | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
@overload
def logsumexp(
    a: ArrayLike, axis: Axes = None, b: ArrayLike | None = None, keepdims: bool = False, return_sign: bool = False, *,
    where: ArrayLike | None = None, out: Array | None = None, num_threads: int | None = None,
) -> Any: ...
@overload
def logmeanexp(
    a: ArrayLike, axis: None = None, b: ArrayLike | None = None, keepdims: Literal[False] = False, *,
    where: ArrayLike | None = None, out: None = None, num_threads: int | None = None,
) -> Scalar: ...
@overload
def logmeanexp(
    a: ArrayLike, axis: Axes = None, b: ArrayLike | None = None, keepdims: bool = False, *,
    where: ArrayLike | None = None, out: Array | None = None, num_threads: int | None = None,
) -> ArrayOrScalar: ...
def logsumexp_value_and_grad(
    a: ArrayLike, axis: Axes = -1, *, where: ArrayLike | None = None, upstream: ArrayLike | None = None,
    grad_out: Array | None = None, num_threads: int | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def softmax(
    x: ArrayLike, axis: Axes = None, *, where: ArrayLike | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
def log_softmax(
    x: ArrayLike, axis: Axes = None, *, where: ArrayLike | None = None, out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar: ...
def softmax_vjp(
    y: ArrayLike, dy: ArrayLike, axis: Axes = -1, *, out: Array | None = None, num_threads: int | None = None,
) -> ArrayOrScalar: ...
def log_softmax_vjp(
    y: ArrayLike, dy: ArrayLike, axis: Axes = -1, *, out: Array | None = None, num_threads: int | None = None,
) -> ArrayOrScalar: ...
