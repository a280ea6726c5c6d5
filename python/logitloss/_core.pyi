# The extension module, which the package's modules call. Every argument is positional; what it may be is checked there,
# so arguments are what the callers promise their users.
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._types import Array, ArrayOrScalar, Axes, Reduction

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
    a: ArrayLike,
    axis: Axes,
    b: ArrayLike | None,
    keepdims: bool,
    return_sign: bool,
    out: Array | None,
    num_threads: int | None,
    /,
) -> Any: ...
def logsumexp_value_and_grad(
    a: ArrayLike,
    axis: Axes,
    upstream: ArrayLike | None,
    grad_out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def softmax(x: ArrayLike, axis: Axes, out: Array | None, num_threads: int | None, /) -> ArrayOrScalar: ...
def log_softmax(x: ArrayLike, axis: Axes, out: Array | None, num_threads: int | None, /) -> ArrayOrScalar: ...
def softmax_vjp(
    y: ArrayLike, dy: ArrayLike, axis: Axes, out: Array | None, num_threads: int | None, /
) -> ArrayOrScalar: ...
def log_softmax_vjp(
    y: ArrayLike, dy: ArrayLike, axis: Axes, out: Array | None, num_threads: int | None, /
) -> ArrayOrScalar: ...

# States of rows, which several threads may add to.
class LogSumExpRows:
    def __init__(self) -> None: ...
    def update(self, chunk: ArrayLike, axis: Axes, num_threads: int | None, /) -> None: ...
    def merge(self, other: LogSumExpRows, /) -> None: ...
    def value(self) -> ArrayOrScalar: ...
    def stored(self) -> tuple[NDArray[np.float64] | None, np.dtype[Any]]: ...
    def restore(self, states: NDArray[np.float64], dtype: np.dtype[Any], /) -> None: ...

# ------------------------------------------------------------------------------------------------------- cross-entropy
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    axis: int,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    margin: float,
    scale: float,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def cross_entropy_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    logits: ArrayLike,
    target: ArrayLike,
    axis: int,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    margin: float,
    scale: float,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, Array]: ...

# ------------------------------------------------------------------------------- binary cross-entropy, focal loss
def bce_with_logits(
    pos_weight: ArrayLike | None,
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    label_smoothing: float,
    ignore_value: float | None,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def bce_with_logits_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    pos_weight: ArrayLike | None,
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    label_smoothing: float,
    ignore_value: float | None,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def sigmoid_focal_loss(
    alpha: float | None,
    gamma: float,
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    label_smoothing: float,
    ignore_value: float | None,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def sigmoid_focal_loss_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    alpha: float | None,
    gamma: float,
    logits: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    label_smoothing: float,
    ignore_value: float | None,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...

# ---------------------------------------------------------------------------------------------------------- regression
def mean_squared_error(
    pred: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    reduction: Reduction,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def mean_squared_error_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    pred: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    reduction: Reduction,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def mean_absolute_error(
    pred: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    reduction: Reduction,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def mean_absolute_error_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    pred: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    reduction: Reduction,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...
def root_mean_squared_error(
    pred: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    reduction: Reduction,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def root_mean_squared_error_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    pred: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    reduction: Reduction,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...

# --------------------------------------------------------------------------------------------------------- information
def self_information(
    p: ArrayLike, base: float | None, out: Array | None, num_threads: int | None, /
) -> ArrayOrScalar: ...
def entropy(
    p: ArrayLike, axis: int, base: float | None, out: Array | None, num_threads: int | None, /
) -> ArrayOrScalar: ...
def entropy_from_logits(
    logits: ArrayLike, axis: int, base: float | None, out: Array | None, num_threads: int | None, /
) -> ArrayOrScalar: ...
def kl_divergence(
    p: ArrayLike, q: ArrayLike, axis: int, base: float | None, out: Array | None, num_threads: int | None, /
) -> ArrayOrScalar: ...
def cross_entropy_of(
    p: ArrayLike, q: ArrayLike, axis: int, base: float | None, out: Array | None, num_threads: int | None, /
) -> ArrayOrScalar: ...

# ------------------------------------------------------------------------------------------------------- probabilities
def cross_entropy_from_probs(
    probs: ArrayLike,
    target: ArrayLike,
    axis: int,
    eps: float | None,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def cross_entropy_from_probs_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    probs: ArrayLike,
    target: ArrayLike,
    axis: int,
    eps: float | None,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, Array]: ...
def binary_cross_entropy(
    eps: float | None,
    probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    label_smoothing: float,
    ignore_value: float | None,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> ArrayOrScalar: ...
def binary_cross_entropy_value_and_grad(
    upstream: ArrayLike | None,
    grad_out: Array | None,
    eps: float | None,
    probs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    label_smoothing: float,
    ignore_value: float | None,
    reduction: Reduction,
    normalizer: float | None,
    out: Array | None,
    num_threads: int | None,
    /,
) -> tuple[ArrayOrScalar, ArrayOrScalar]: ...

# ------------------------------------------------------------------------------------------------------------- metrics
def accuracy(
    logits: ArrayLike,
    target: ArrayLike,
    axis: int,
    top_k: int,
    ignore_index: int | None,
    sample_weight: ArrayLike | None,
    num_threads: int | None,
    /,
) -> np.float64: ...
def error_rate(
    logits: ArrayLike,
    target: ArrayLike,
    axis: int,
    top_k: int,
    ignore_index: int | None,
    sample_weight: ArrayLike | None,
    num_threads: int | None,
    /,
) -> np.float64: ...
def perplexity(loss: ArrayLike, out: Array | None, num_threads: int | None, /) -> ArrayOrScalar: ...
