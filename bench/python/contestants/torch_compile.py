"""torch.compile over the same functions as eager PyTorch. The first call compiles and takes seconds."""

from __future__ import annotations

import torch
from problems import Problem
from runner import Runner

from contestants import torch as eager

NAME = "torch.compile"
VERSION = torch.__version__


def prepare(num_threads: int) -> None:
    torch.set_num_threads(num_threads)


def runners(problem: Problem) -> dict[str, Runner]:
    torch.compiler.reset()  # else the limit of recompilations is reached, and what runs is eager
    return eager.make_runners(problem, NAME, transform=lambda function: torch.compile(function, dynamic=False))
