"""Every function as a textbook writes it, slow and exact: what the tests compare with.

One text, three arithmetics. `FLOAT64` and `EXTENDED` (NumPy's longdouble) are vectorised; `EXACT` computes with 50
digits of mpmath, element by element. All three keep *relative* accuracy, because everything is written with the gap

    gap_j = -log softmax(z)_j = (max z - z_j) + log1p(sum of exp(z_k - max z) over the classes but the largest),

a sum of two terms that are never negative. Then p_j = exp(-gap_j) and p_j - 1 = expm1(-gap_j).

Each result carries a `magnitude`: the sum of the sizes of the terms that make it up. It equals the size of the
result where the terms have one sign, as in a plain cross-entropy, and is what an error must be measured by where
terms of both signs cancel in the true value, as in the gradient of soft targets.
"""

from .arithmetic import EXACT, EXTENDED, FLOAT64, Arithmetic, to_extended
from .classes import cross_entropy, cross_entropy_from_probs
from .elements import bce_with_logits, binary_cross_entropy, sigmoid_focal_loss
from .information import cross_entropy_of, entropy, entropy_from_logits
from .regression import mean_absolute_error, mean_squared_error, poisson_nll, root_mean_squared_error
from .result import Result
from .softmax import (
    log_softmax,
    log_softmax_vjp,
    log_sum_exp,
    logsumexp_value_and_grad,
    softmax,
    softmax_vjp,
    weighted_log_sum_exp,
)
from .tokens import Tokens, token_logprobs, token_logprobs_vjp

__all__ = [
    "EXACT",
    "EXTENDED",
    "FLOAT64",
    "Arithmetic",
    "Result",
    "Tokens",
    "bce_with_logits",
    "binary_cross_entropy",
    "cross_entropy",
    "cross_entropy_from_probs",
    "cross_entropy_of",
    "entropy",
    "entropy_from_logits",
    "log_softmax",
    "log_softmax_vjp",
    "log_sum_exp",
    "logsumexp_value_and_grad",
    "mean_absolute_error",
    "mean_squared_error",
    "poisson_nll",
    "root_mean_squared_error",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_vjp",
    "to_extended",
    "token_logprobs",
    "token_logprobs_vjp",
    "weighted_log_sum_exp",
]
