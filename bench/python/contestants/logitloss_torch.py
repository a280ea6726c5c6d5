"""This library inside PyTorch's autograd: forward and backward through logitloss.torch, where its own functions stand
for PyTorch's. The rows are named after it, as "torch"."""

from __future__ import annotations

from collections.abc import Callable

import torch
from problems import Problem
from runner import Runner

import logitloss.torch as lt
from contestants import torch as eager

NAME = "logitloss torch"
VERSION = torch.__version__


def prepare(num_threads: int) -> None:
    torch.set_num_threads(num_threads)


def runners(problem: Problem) -> dict[str, Runner]:
    operation = problem.operation.removesuffix("_value_and_grad")
    if not problem.differentiates or operation not in FORWARD:
        return {}
    return eager.make_runners(problem, NAME, transform=lambda theirs: FORWARD[operation](problem))


def cross_entropy(problem: Problem) -> Callable[[torch.Tensor], torch.Tensor]:
    target, weight = eager.as_tensor(problem.target), problem.options.get("class_weight")
    weight = None if weight is None else torch.from_numpy(weight)
    smoothing = problem.options.get("label_smoothing", 0.0)
    return lambda x: lt.cross_entropy(x.movedim(problem.axis, 1), target, weight=weight, label_smoothing=smoothing)


def bce_with_logits(problem: Problem) -> Callable[[torch.Tensor], torch.Tensor]:
    target, pos_weight = eager.as_tensor(problem.target), problem.options.get("pos_weight")
    pos_weight = None if pos_weight is None else torch.from_numpy(pos_weight)
    return lambda x: lt.binary_cross_entropy_with_logits(x, target.to(x.dtype), pos_weight=pos_weight)


def sigmoid_focal_loss(problem: Problem) -> Callable[[torch.Tensor], torch.Tensor]:
    target = eager.as_tensor(problem.target)
    return lambda x: lt.sigmoid_focal_loss(x, target.to(x.dtype), reduction="mean")


FORWARD = {
    "logsumexp": lambda problem: lambda x: lt.logsumexp(x, problem.axis),
    "cross_entropy": cross_entropy,
    "bce_with_logits": bce_with_logits,
    "sigmoid_focal_loss": sigmoid_focal_loss,
}
