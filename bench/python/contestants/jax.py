"""JAX, jitted. XLA takes its number of threads from the CPUs that the process may use."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp
from problems import Problem
from runner import Runner

NAME = "jax"
VERSION = jax.__version__


def prepare(num_threads: int) -> None:
    jax.config.update("jax_enable_x64", True)  # otherwise float64 arrays become float32; float32 ones stay


def runners(problem: Problem, function: Callable | None = None) -> dict[str, Runner]:
    """Of the operation, or of another function in its place."""
    function = function or forward_function(problem)
    if problem.differentiates:
        function = value_and_grad(function)
    function = jax.jit(function)
    second = problem.cotangent if problem.target is None else problem.target
    if second is not None and second.dtype == np.int64:
        second = second.astype(np.int32)  # JAX's own integers
    inputs = [jax.device_put(array) for array in (problem.logits, second) if array is not None]
    return {NAME: Runner(lambda: jax.block_until_ready(function(*inputs)))}


def value_and_grad(function: Callable) -> Callable:
    """As jax.value_and_grad, and of a function with a value per row too."""

    def both(x, *others):
        value, pull_back = jax.vjp(lambda x: function(x, *others), x)
        return value, *pull_back(jnp.ones_like(value))

    return both


def forward_function(problem: Problem) -> Callable:
    """The operation as a function of the logits and of the target or cotangent."""
    axis = problem.axis
    match problem.operation.removesuffix("_value_and_grad"):
        case "logsumexp":
            return lambda x: jax.nn.logsumexp(as_f32(x), axis=axis)
        case "softmax":
            return lambda x: jax.nn.softmax(x, axis=axis)
        case "log_softmax":
            return lambda x: jax.nn.log_softmax(x, axis=axis)
        case "softmax_vjp":
            return lambda y, dy: y * (dy - jnp.sum(y * dy, axis=axis, keepdims=True))
        case "log_softmax_vjp":
            return lambda y, dy: dy - jnp.exp(y) * jnp.sum(dy, axis=axis, keepdims=True)
        case "cross_entropy":
            return cross_entropy_function(problem)
        case "bce_with_logits":
            pos_weight = problem.options.get("pos_weight", 1.0)

            def bce(x, t):
                x = as_f32(x)
                t = t.astype(x.dtype)
                return -jnp.mean(pos_weight * t * jax.nn.log_sigmoid(x) + (1 - t) * jax.nn.log_sigmoid(-x))

            return bce
        case "sigmoid_focal_loss":
            return focal_loss
        case "cross_entropy_from_probs":
            return cross_entropy_from_probs_function(problem)
        case "binary_cross_entropy":
            return lambda p, t: -jnp.mean(t * jnp.log(p) + (1 - t) * jnp.log1p(-p))
        case "self_information":
            return lambda p: -jnp.log(p)
        case "entropy":
            return lambda p: jnp.sum(jax.scipy.special.entr(p), axis=axis)
        case "entropy_from_logits":
            return entropy_from_logits_function(axis)
        case "kl_divergence":
            return lambda p, q: jnp.sum(jax.scipy.special.rel_entr(p, q), axis=axis)
        case "cross_entropy_of":
            return lambda p, q: -jnp.sum(p * jnp.log(q), axis=axis)
        case "mean_squared_error":
            return lambda x, t: jnp.mean((x - t) ** 2)
        case "mean_absolute_error":
            return lambda x, t: jnp.mean(jnp.abs(x - t))
        case "root_mean_squared_error":
            return lambda x, t: jnp.sqrt(jnp.mean((x - t) ** 2))
        case "accuracy":
            return accuracy_function(axis, problem.options.get("top_k"))
    raise ValueError(problem.operation)


def cross_entropy_function(problem: Problem) -> Callable:
    """As optax writes it: the log-sum-exp minus the label's logit."""
    axis, options = problem.axis, problem.options
    smoothing, weight = options.get("label_smoothing", 0.0), options.get("class_weight")

    def with_probabilities(x, t):
        x = as_f32(x)
        return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(x, axis=axis), axis=axis))

    def with_indices(x, t):
        x = as_f32(x)
        log_normalizers = jax.nn.logsumexp(x, axis=axis)
        losses = log_normalizers - jnp.take_along_axis(x, jnp.expand_dims(t, axis), axis).squeeze(axis)
        if smoothing:
            losses = (1 - smoothing) * losses + smoothing * (log_normalizers - jnp.mean(x, axis=axis))
        if weight is not None:
            row_weights = jnp.asarray(weight)[t]
            return jnp.sum(row_weights * losses) / jnp.sum(row_weights)
        return jnp.mean(losses)

    return with_probabilities if problem.target.ndim == problem.logits.ndim else with_indices


def focal_loss(x, t, alpha=0.25, gamma=2.0):
    """Lin et al. (2017), the usual way: BCE times the modulating factor."""
    p = jax.nn.sigmoid(x)
    p_t = p * t + (1 - p) * (1 - t)
    alpha_t = alpha * t + (1 - alpha) * (1 - t)
    bce = -(t * jax.nn.log_sigmoid(x) + (1 - t) * jax.nn.log_sigmoid(-x))
    return jnp.mean(alpha_t * (1 - p_t) ** gamma * bce)


def cross_entropy_from_probs_function(problem: Problem) -> Callable:
    """With `eps` as Keras does it: the rows divided by their sums, and clipped."""
    axis, eps = problem.axis, problem.options.get("eps")

    def picked(p, t):
        return jnp.take_along_axis(p, jnp.expand_dims(t, axis), axis)

    def cross_entropy(p, t):
        if eps is not None:
            p = jnp.clip(p / jnp.sum(p, axis=axis, keepdims=True), eps, 1 - eps)
        return -jnp.mean(jnp.sum(t * jnp.log(p), axis=axis) if t.ndim == p.ndim else jnp.log(picked(p, t)))

    return cross_entropy


def entropy_from_logits_function(axis: int) -> Callable:
    def entropy(x):
        log_p = jax.nn.log_softmax(x, axis=axis)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=axis)

    return entropy


def accuracy_function(axis: int, k: int | None) -> Callable:
    if k is None:
        return lambda x, t: jnp.mean(jnp.argmax(x, axis=axis) == t)
    return lambda x, t: jnp.mean(jnp.any(jax.lax.top_k(x, k)[1] == t[:, None], axis=1))


def as_f32(x):
    """Half-precision logits are summed in float32; the conversion is fused into the kernel."""
    return x.astype(jnp.float32) if x.dtype.itemsize == 2 else x
