"""What one writes with NumPy alone, with the maximum subtracted. One thread; float32 and float64."""

from __future__ import annotations

import numpy as np
from problems import Problem
from runner import Runner

NAME = "numpy"
VERSION = np.__version__


def prepare(num_threads: int) -> None:
    """NumPy's element-wise functions run on one thread."""


def runners(problem: Problem) -> dict[str, Runner]:
    function = FUNCTIONS.get(problem.operation)
    if function is None or problem.dtype not in ("float32", "float64") or set(problem.options) - {"eps", "top_k"}:
        return {}
    return {NAME: Runner(lambda: function(problem))}


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


def logsumexp(p: Problem) -> np.ndarray:
    maximum = p.logits.max(axis=p.axis, keepdims=True)
    return (np.log(np.exp(p.logits - maximum).sum(axis=p.axis, keepdims=True)) + maximum).squeeze(p.axis)


def softmax_vjp(p: Problem) -> np.ndarray:
    y, dy = p.logits, p.cotangent
    return y * (dy - (y * dy).sum(axis=p.axis, keepdims=True))


def log_softmax_vjp(p: Problem) -> np.ndarray:
    return p.cotangent - np.exp(p.logits) * p.cotangent.sum(axis=p.axis, keepdims=True)


def cross_entropy(p: Problem) -> np.ndarray:
    log_probabilities = log_softmax(p.logits, p.axis)
    if p.target.ndim == p.logits.ndim:
        return -(p.target * log_probabilities).sum(axis=p.axis).mean()
    return -np.take_along_axis(log_probabilities, np.expand_dims(p.target, p.axis), p.axis).mean()


def cross_entropy_value_and_grad(p: Problem) -> tuple[np.ndarray, np.ndarray]:
    log_probabilities = log_softmax(p.logits, p.axis)
    grad = np.exp(log_probabilities)
    if p.target.ndim == p.logits.ndim:
        loss = -(p.target * log_probabilities).sum(axis=p.axis).mean()
        grad -= p.target
    else:
        index = np.expand_dims(p.target, p.axis)
        loss = -np.take_along_axis(log_probabilities, index, p.axis).mean()
        np.put_along_axis(grad, index, np.take_along_axis(grad, index, p.axis) - 1, p.axis)
    grad *= grad.dtype.type(grad.shape[p.axis] / grad.size)
    return loss, grad


def bce_with_logits(p: Problem) -> np.ndarray:
    x, t = p.logits, p.target
    return (np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).mean()


def bce_with_logits_value_and_grad(p: Problem) -> tuple[np.ndarray, np.ndarray]:
    x, t = p.logits, p.target
    e = np.exp(-np.abs(x))
    loss = (np.maximum(x, 0) - x * t + np.log1p(e)).mean()
    return loss, (np.where(x >= 0, 1, e) / (1 + e) - t) / x.dtype.type(x.size)


def cross_entropy_from_probs(p: Problem) -> np.ndarray:
    probabilities = p.logits
    if (eps := p.options.get("eps")) is not None:  # as Keras does it
        probabilities = np.clip(probabilities / probabilities.sum(axis=p.axis, keepdims=True), eps, 1 - eps)
    if p.target.ndim == p.logits.ndim:
        return -(p.target * np.log(probabilities)).sum(axis=p.axis).mean()
    return -np.log(np.take_along_axis(probabilities, np.expand_dims(p.target, p.axis), p.axis)).mean()


def binary_cross_entropy(p: Problem) -> np.ndarray:
    return -(p.target * np.log(p.logits) + (1 - p.target) * np.log1p(-p.logits)).mean()


def binary_cross_entropy_value_and_grad(p: Problem) -> tuple[np.ndarray, np.ndarray]:
    x, t = p.logits, p.target
    return binary_cross_entropy(p), (x - t) / (x * (1 - x)) / x.dtype.type(x.size)


def mean_squared_error(p: Problem) -> np.ndarray:
    return ((p.logits - p.target) ** 2).mean()


def mean_squared_error_value_and_grad(p: Problem) -> tuple[np.ndarray, np.ndarray]:
    difference = p.logits - p.target
    return (difference**2).mean(), difference * difference.dtype.type(2 / difference.size)


def mean_absolute_error_value_and_grad(p: Problem) -> tuple[np.ndarray, np.ndarray]:
    difference = p.logits - p.target
    return np.abs(difference).mean(), np.sign(difference) / difference.dtype.type(difference.size)


def accuracy(p: Problem) -> np.ndarray:
    if (k := p.options.get("top_k")) is None:
        return (p.logits.argmax(axis=p.axis) == p.target).mean()
    return (np.argpartition(p.logits, -k, axis=p.axis)[:, -k:] == p.target[:, None]).any(axis=1).mean()


FUNCTIONS = {
    "logsumexp": logsumexp,
    "softmax": lambda p: softmax(p.logits, p.axis),
    "log_softmax": lambda p: log_softmax(p.logits, p.axis),
    "softmax_vjp": softmax_vjp,
    "log_softmax_vjp": log_softmax_vjp,
    "cross_entropy": cross_entropy,
    "cross_entropy_value_and_grad": cross_entropy_value_and_grad,
    "bce_with_logits": bce_with_logits,
    "bce_with_logits_value_and_grad": bce_with_logits_value_and_grad,
    "cross_entropy_from_probs": cross_entropy_from_probs,
    "binary_cross_entropy": binary_cross_entropy,
    "binary_cross_entropy_value_and_grad": binary_cross_entropy_value_and_grad,
    "self_information": lambda p: -np.log(p.logits),
    "entropy": lambda p: -(p.logits * np.log(p.logits)).sum(axis=p.axis),
    "kl_divergence": lambda p: (p.logits * np.log(p.logits / p.target)).sum(axis=p.axis),
    "cross_entropy_of": lambda p: -(p.logits * np.log(p.target)).sum(axis=p.axis),
    "mean_squared_error": mean_squared_error,
    "mean_squared_error_value_and_grad": mean_squared_error_value_and_grad,
    "mean_absolute_error": lambda p: np.abs(p.logits - p.target).mean(),
    "mean_absolute_error_value_and_grad": mean_absolute_error_value_and_grad,
    "root_mean_squared_error": lambda p: np.sqrt(mean_squared_error(p)),
    "accuracy": accuracy,
}
