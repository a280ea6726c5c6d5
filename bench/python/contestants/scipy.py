"""scipy.special: log-sum-exp and softmax. One thread; float32 and float64."""

from __future__ import annotations

from functools import partial

import scipy
from problems import Problem
from runner import Runner
from scipy import special

NAME = "scipy"
VERSION = scipy.__version__


def prepare(num_threads: int) -> None:
    """These functions run on one thread."""


def runners(problem: Problem) -> dict[str, Runner]:
    if problem.operation not in ("logsumexp", "softmax", "log_softmax"):
        return {}
    if problem.dtype not in ("float32", "float64"):
        return {}
    return {NAME: Runner(partial(getattr(special, problem.operation), problem.logits, axis=problem.axis))}
