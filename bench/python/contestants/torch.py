"""PyTorch in eager mode. Its tensors share the memory of the NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from problems import Problem
from runner import Runner
from torch.nn import functional as F

NAME = "torch"
VERSION = torch.__version__


def prepare(num_threads: int) -> None:
    torch.set_num_threads(num_threads)


def runners(problem: Problem) -> dict[str, Runner]:
    return make_runners(problem, NAME, transform=lambda function: function)


def make_runners(problem: Problem, name: str, transform: Callable) -> dict[str, Runner]:
    forward = transform(forward_function(problem))
    logits = as_tensor(problem.logits)
    if not problem.differentiates:

        def call():
            with torch.no_grad():
                return forward(logits)
    else:
        logits = logits.detach().requires_grad_()

        def call():
            loss = forward(logits)
            return loss, *torch.autograd.grad(loss, logits, torch.ones_like(loss))

    return {name: Runner(call, result=as_arrays)}


def forward_function(problem: Problem) -> Callable[[torch.Tensor], torch.Tensor]:
    """The operation as a function of the logits (for a vjp: of the forward result)."""
    axis, options = problem.axis, problem.options
    target = None if problem.target is None else as_tensor(problem.target)
    match problem.operation.removesuffix("_value_and_grad"):
        case "logsumexp":
            return lambda x: torch.logsumexp(x, axis)
        case "softmax":
            return lambda x: torch.softmax(x, axis)
        case "log_softmax":
            return lambda x: torch.log_softmax(x, axis)
        case "softmax_vjp":
            dy = as_tensor(problem.cotangent)
            return lambda y: torch.ops.aten._softmax_backward_data(dy, y, axis, y.dtype)
        case "log_softmax_vjp":
            dy = as_tensor(problem.cotangent)
            return lambda y: torch.ops.aten._log_softmax_backward_data(dy, y, axis, y.dtype)
        case "cross_entropy":
            weight = options.get("class_weight")
            weight = None if weight is None else torch.from_numpy(weight)
            smoothing = options.get("label_smoothing", 0.0)
            return lambda x: F.cross_entropy(x.movedim(axis, 1), target, weight=weight, label_smoothing=smoothing)
        case "bce_with_logits":
            pos_weight = options.get("pos_weight")
            pos_weight = None if pos_weight is None else torch.from_numpy(pos_weight)
            # Targets must have the dtype of the logits: for others the conversion is part of the call.
            return lambda x: F.binary_cross_entropy_with_logits(x, target.to(x.dtype), pos_weight=pos_weight)
        case "sigmoid_focal_loss":
            return lambda x: focal_loss(x, target.to(x.dtype))
        case "cross_entropy_from_probs":
            return lambda p: cross_entropy_from_probs(p, target, axis, options.get("eps"))
        case "binary_cross_entropy":
            return lambda p: F.binary_cross_entropy(p, target.to(p.dtype))
        case "self_information":
            return lambda p: -torch.log(p)
        case "entropy":
            return lambda p: torch.special.entr(p).sum(axis)
        case "entropy_from_logits":
            return lambda x: torch.distributions.Categorical(logits=x, validate_args=False).entropy()
        case "kl_divergence":
            return lambda p: F.kl_div(target.log(), p, reduction="none").sum(axis)
        case "cross_entropy_of":
            return lambda p: -(p * target.log()).sum(axis)
        case "mean_squared_error":
            return lambda x: F.mse_loss(x, target)
        case "mean_absolute_error":
            return lambda x: F.l1_loss(x, target)
        case "root_mean_squared_error":
            return lambda x: F.mse_loss(x, target).sqrt()
        case "accuracy":
            k = options.get("top_k")
            if k is None:
                return lambda x: (x.argmax(axis) == target).float().mean()
            return lambda x: (x.topk(k, axis).indices == target.unsqueeze(axis)).any(axis).float().mean()
    raise ValueError(problem.operation)


def cross_entropy_from_probs(p: torch.Tensor, target: torch.Tensor, axis: int, eps: float | None) -> torch.Tensor:
    """With `eps` as Keras does it: the rows divided by their sums, and clipped."""
    if eps is not None:
        p = (p / p.sum(axis, keepdim=True)).clamp(eps, 1 - eps)
    if target.ndim == p.ndim:
        return -(target * p.log()).sum(axis).mean()
    return F.nll_loss(p.log(), target)


def focal_loss(x: torch.Tensor, t: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0) -> torch.Tensor:
    """Lin et al. (2017), the usual way: BCE times the modulating factor."""
    p = torch.sigmoid(x)
    p_t = p * t + (1 - p) * (1 - t)
    alpha_t = alpha * t + (1 - alpha) * (1 - t)
    return (alpha_t * (1 - p_t) ** gamma * F.binary_cross_entropy_with_logits(x, t, reduction="none")).mean()


def as_tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype.name == "bfloat16":  # which from_numpy does not know
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_arrays(result) -> tuple[np.ndarray, ...]:
    parts = result if isinstance(result, tuple) else (result,)
    return tuple((p.float() if p.dtype == torch.bfloat16 else p).detach().numpy() for p in parts)
