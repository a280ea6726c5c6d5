"""logitloss.jax, jitted: a row of its own beside JAX's, value and gradient as JAX's users ask for them."""

from __future__ import annotations

from jax import numpy as jnp
from problems import Problem
from runner import Runner

from contestants import jax as peer
from logitloss import jax as ours

NAME = "logitloss in JAX"
VERSION = peer.VERSION
prepare = peer.prepare


def runners(problem: Problem) -> dict[str, Runner]:
    function = forward_function(problem)
    if function is None:
        return {}
    (runner,) = peer.runners(problem, function).values()
    return {NAME: runner}


def forward_function(problem: Problem):
    """The operation, if there is one with its options; losses of halves have fewer digits here."""
    if problem.logits.itemsize == 2 or problem.options.keys() - {"label_smoothing"}:
        return None
    match problem.operation.removesuffix("_value_and_grad"):
        case "logsumexp":
            return lambda x: ours.logsumexp(x, problem.axis)
        case "cross_entropy":
            return lambda x, t: jnp.mean(ours.cross_entropy(x, t, axis=problem.axis, **problem.options))
        case "bce_with_logits":
            return lambda x, t: jnp.mean(ours.binary_cross_entropy(x, t))
    return None
