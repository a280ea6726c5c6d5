# The extension module, which the package's modules call. Every argument is positional; what it may be is checked there,
# so arguments are what the callers promise their users. Parameters stand in filled lines.
# fmt: off
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._types import Array, ArrayOrScalar, Axes, Reduction

# Arguments that may be left out, and then are None.
_Factors: TypeAlias = ArrayLike | None
_Mask: TypeAlias = ArrayLike | None
_Out: TypeAlias = Array | None
_Threads: TypeAlias = int | None

# Of rows: their shape, and some numbers each.
_States: TypeAlias = NDArray[np.float64]

__version__: str

# ------------------------------------------------------------------------------------------------------------- runtime
def isa() -> str: ...
def available_isas() -> list[str]: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...
def threading_backend() -> str: ...
def compiler() -> str: ...

# --------------------------------------------------------------------------------------------------------- log-sum-exp
def logsumexp(
    a: ArrayLike, axis: Axes, b: _Factors, keepdims: bool, return_sign: bool, where: _Mask, out: _Out,
    num_threads: _Threads, /
) -> Any: ...
def logmeanexp(
    a: ArrayLike, axis: Axes, b: _Factors, keepdims: bool, where: _Mask, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def logsumexp_value_and_grad(
    a: ArrayLike, axis: Axes, where: _Mask, upstream: _Factors, grad_out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def softmax(x: ArrayLike, axis: Axes, where: _Mask, out: _Out, num_threads: _Threads, /) -> ArrayOrScalar: ...
def log_softmax(x: ArrayLike, axis: Axes, where: _Mask, out: _Out, num_threads: _Threads, /) -> ArrayOrScalar: ...
def softmax_vjp(y: ArrayLike, dy: ArrayLike, axis: Axes, out: _Out, num_threads: _Threads, /) -> ArrayOrScalar: ...
def log_softmax_vjp(y: ArrayLike, dy: ArrayLike, axis: Axes, out: _Out, num_threads: _Threads, /) -> ArrayOrScalar: ...

# States of rows, which several threads may add to.
class LogSumExpRows:
    def __init__(self) -> None: ...
    def update(self, chunk: ArrayLike, axis: Axes, num_threads: _Threads, /) -> None: ...
    def merge(self, other: LogSumExpRows, /) -> None: ...
    def value(self) -> ArrayOrScalar: ...
    def stored(self) -> tuple[_States | None, np.dtype[Any]]: ...
    def restore(self, states: _States, dtype: np.dtype[Any], /) -> None: ...

# ------------------------------------------------------------------------------------------------------- cross-entropy
def cross_entropy(
    z_loss: float, softcap: float | None, margin: float, scale: float, logits: ArrayLike, target: ArrayLike, axis: int,
    class_weight: _Factors, sample_weight: _Factors, ignore_index: int | None, label_smoothing: float,
    reduction: Reduction, normalizer: float | None, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def cross_entropy_value_and_grad(
    upstream: _Factors, grad_out: _Out, z_loss: float, softcap: float | None, margin: float, scale: float,
    logits: ArrayLike, target: ArrayLike, axis: int, class_weight: _Factors, sample_weight: _Factors,
    ignore_index: int | None, label_smoothing: float, reduction: Reduction, normalizer: float | None, out: _Out,
    num_threads: _Threads, /
) -> tuple[ArrayOrScalar, Array]: ...

# States: the numbers of each row in the last axis. What a state keeps: axis, class_weight, sample_weight, ignore_index,
# label_smoothing, z_loss, softcap, margin, scale, num_classes. What a call adds: first_class, num_threads; and
# reduction, normalizer, whether the loss and whether the gradient are asked for, upstream, grad_out.
_Kept: TypeAlias = tuple[Any, ...]
_Given: TypeAlias = tuple[Any, ...]

cross_entropy_state_numbers: int
def cross_entropy_states(logits_shard: ArrayLike, target: ArrayLike, kept: _Kept, given: _Given, /) -> _States: ...
def merge_cross_entropy_states(states: _States, class_probabilities: bool, kept: _Kept, /) -> _States: ...
def cross_entropy_of_states(
    states: _States | None, logits_shard: ArrayLike, target: ArrayLike | None, kept: _Kept, given: _Given, /
) -> tuple[Any, Any]: ...

# ------------------------------------------------------------------------------- binary cross-entropy, focal loss
def bce_with_logits(
    pos_weight: _Factors, label_smoothing: float, ignore_value: float | None, normalizer: float | None,
    logits: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def bce_with_logits_value_and_grad(
    upstream: _Factors, grad_out: _Out, pos_weight: _Factors, label_smoothing: float, ignore_value: float | None,
    normalizer: float | None, logits: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out,
    num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def sigmoid_focal_loss(
    alpha: float | None, gamma: float, label_smoothing: float, ignore_value: float | None, normalizer: float | None,
    logits: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def sigmoid_focal_loss_value_and_grad(
    upstream: _Factors, grad_out: _Out, alpha: float | None, gamma: float, label_smoothing: float,
    ignore_value: float | None, normalizer: float | None, logits: ArrayLike, target: ArrayLike, weight: _Factors,
    reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...

# ---------------------------------------------------------------------------------------------------------- regression
def mean_squared_error(
    pred: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def mean_squared_error_value_and_grad(
    upstream: _Factors, grad_out: _Out, pred: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction,
    out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def mean_absolute_error(
    pred: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def mean_absolute_error_value_and_grad(
    upstream: _Factors, grad_out: _Out, pred: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction,
    out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def root_mean_squared_error(
    pred: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def root_mean_squared_error_value_and_grad(
    upstream: _Factors, grad_out: _Out, pred: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction,
    out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def poisson_nll(
    full: bool, log_rate: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out,
    num_threads: _Threads, /
) -> ArrayOrScalar: ...
def poisson_nll_value_and_grad(
    upstream: _Factors, grad_out: _Out, full: bool, log_rate: ArrayLike, target: ArrayLike, weight: _Factors,
    reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...

# --------------------------------------------------------------------------------------------------------- information
def self_information(p: ArrayLike, base: float | None, out: _Out, num_threads: _Threads, /) -> ArrayOrScalar: ...
def entropy(p: ArrayLike, axis: int, base: float | None, out: _Out, num_threads: _Threads, /) -> ArrayOrScalar: ...
def entropy_from_logits(
    logits: ArrayLike, axis: int, base: float | None, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def kl_divergence(
    p: ArrayLike, q: ArrayLike, axis: int, base: float | None, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def cross_entropy_of(
    p: ArrayLike, q: ArrayLike, axis: int, base: float | None, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...

# ------------------------------------------------------------------------------------------------------- probabilities
def cross_entropy_from_probs(
    eps: float | None, probs: ArrayLike, target: ArrayLike, axis: int, class_weight: _Factors, sample_weight: _Factors,
    ignore_index: int | None, label_smoothing: float, reduction: Reduction, normalizer: float | None, out: _Out,
    num_threads: _Threads, /
) -> ArrayOrScalar: ...
def cross_entropy_from_probs_value_and_grad(
    upstream: _Factors, grad_out: _Out, eps: float | None, probs: ArrayLike, target: ArrayLike, axis: int,
    class_weight: _Factors, sample_weight: _Factors, ignore_index: int | None, label_smoothing: float,
    reduction: Reduction, normalizer: float | None, out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, Array]: ...
def binary_cross_entropy(
    eps: float | None, label_smoothing: float, ignore_value: float | None, normalizer: float | None, probs: ArrayLike,
    target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out, num_threads: _Threads, /
) -> ArrayOrScalar: ...
def binary_cross_entropy_value_and_grad(
    upstream: _Factors, grad_out: _Out, eps: float | None, label_smoothing: float, ignore_value: float | None,
    normalizer: float | None, probs: ArrayLike, target: ArrayLike, weight: _Factors, reduction: Reduction, out: _Out,
    num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...

# ------------------------------------------------------------------------------------------------------------- metrics
def accuracy(
    logits: ArrayLike, target: ArrayLike, axis: int, top_k: int, ignore_index: int | None, sample_weight: _Factors,
    num_threads: _Threads, /
) -> np.float64: ...
def error_rate(
    logits: ArrayLike, target: ArrayLike, axis: int, top_k: int, ignore_index: int | None, sample_weight: _Factors,
    num_threads: _Threads, /
) -> np.float64: ...
def perplexity(loss: ArrayLike, out: _Out, num_threads: _Threads, /) -> ArrayOrScalar: ...

# ---------------------------------------------------------------------------------------- what is read off logits
def token_logprobs(
    logits: ArrayLike, ids: ArrayLike, axis: int, temperature: float, ignore_index: int | None,
    returns: Sequence[str], k: int | None, num_threads: _Threads, /
) -> tuple[Any, Any, Any, Any, Any, Any, Any]: ...
def token_logprobs_vjp(
    logits: ArrayLike, ids: ArrayLike, d_logprob: ArrayLike, d_entropy: _Factors, axis: int, temperature: float,
    ignore_index: int | None, lse: _Factors, grad_out: _Out, num_threads: _Threads, /
) -> Array: ...

# ---------------------------------------------------------------------------------------------- Hessian diagonals
def cross_entropy_grad_hess(
    logits: ArrayLike, target: ArrayLike, hessian: str, axis: int, class_weight: _Factors, sample_weight: _Factors,
    ignore_index: int | None, label_smoothing: float, scale: float, grad_out: _Out, hess_out: _Out,
    num_threads: _Threads, /
) -> tuple[Array, Array]: ...
def bce_with_logits_grad_hess(
    logits: ArrayLike, target: ArrayLike, hessian: str, weight: _Factors, pos_weight: _Factors, label_smoothing: float,
    ignore_value: float | None, grad_out: _Out, hess_out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def sigmoid_focal_loss_grad_hess(
    logits: ArrayLike, target: ArrayLike, hessian: str, alpha: float | None, gamma: float, weight: _Factors,
    label_smoothing: float, ignore_value: float | None, grad_out: _Out, hess_out: _Out, num_threads: _Threads, /
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...

# -------------------------------------------------------------------------------------------- handlers of logitloss.jax
def jax_handlers() -> dict[str, Any]: ...
