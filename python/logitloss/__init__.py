"""Losses of classifiers and their gradients on NumPy arrays: exact, fast, the same bits on every machine.

>>> import numpy as np
>>> import logitloss as ll
>>> logits = np.array([[2.0, 1.0, 0.1], [20.0, 0.0, 0.0]], dtype=np.float32)
>>> loss, grad = ll.cross_entropy_value_and_grad(logits, np.array([0, 0]))
>>> print(loss)
0.20851502
"""

from ._binary_cross_entropy import bce_with_logits, bce_with_logits_value_and_grad
from ._config import available_isas, get_num_threads, isa, set_num_threads, show_config
from ._core import __version__
from ._cross_entropy import cross_entropy, cross_entropy_value_and_grad
from ._cross_entropy_state import CrossEntropyState
from ._focal_loss import sigmoid_focal_loss, sigmoid_focal_loss_value_and_grad
from ._hessian import bce_with_logits_grad_hess, cross_entropy_grad_hess, sigmoid_focal_loss_grad_hess
from ._information import cross_entropy_of, entropy, entropy_from_logits, kl_divergence, self_information
from ._logsumexp_state import LogSumExp
from ._metrics import accuracy, error_rate, perplexity
from ._probabilities import (
    binary_cross_entropy,
    binary_cross_entropy_value_and_grad,
    cross_entropy_from_probs,
    cross_entropy_from_probs_value_and_grad,
)
from ._regression import (
    mean_absolute_error,
    mean_absolute_error_value_and_grad,
    mean_squared_error,
    mean_squared_error_value_and_grad,
    poisson_nll,
    poisson_nll_value_and_grad,
    root_mean_squared_error,
    root_mean_squared_error_value_and_grad,
)
from ._softmax import (
    log_softmax,
    log_softmax_vjp,
    logmeanexp,
    logsumexp,
    logsumexp_value_and_grad,
    softmax,
    softmax_vjp,
)
from ._token_logprobs import TokenLogProbs, token_logprobs, token_logprobs_vjp

__all__ = [
    "CrossEntropyState",
    "LogSumExp",
    "TokenLogProbs",
    "__version__",
    "accuracy",
    "available_isas",
    "bce_with_logits",
    "bce_with_logits_grad_hess",
    "bce_with_logits_value_and_grad",
    "binary_cross_entropy",
    "binary_cross_entropy_value_and_grad",
    "cross_entropy",
    "cross_entropy_from_probs",
    "cross_entropy_from_probs_value_and_grad",
    "cross_entropy_grad_hess",
    "cross_entropy_of",
    "cross_entropy_value_and_grad",
    "entropy",
    "entropy_from_logits",
    "error_rate",
    "get_num_threads",
    "isa",
    "kl_divergence",
    "log_softmax",
    "log_softmax_vjp",
    "logmeanexp",
    "logsumexp",
    "logsumexp_value_and_grad",
    "mean_absolute_error",
    "mean_absolute_error_value_and_grad",
    "mean_squared_error",
    "mean_squared_error_value_and_grad",
    "perplexity",
    "poisson_nll",
    "poisson_nll_value_and_grad",
    "root_mean_squared_error",
    "root_mean_squared_error_value_and_grad",
    "self_information",
    "set_num_threads",
    "show_config",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_grad_hess",
    "sigmoid_focal_loss_value_and_grad",
    "softmax",
    "softmax_vjp",
    "token_logprobs",
    "token_logprobs_vjp",
]
