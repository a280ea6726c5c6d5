"""scipy.special: log-sum-exp, softmax and the terms of information measures. One thread; float32 and float64."""

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
    function = FUNCTIONS.get(problem.operation)
    if function is None or problem.dtype not in ("float32", "float64"):
        return {}
    return {NAME: Runner(partial(function, *problem.inputs, axis=problem.axis))}


FUNCTIONS = {
    "logsumexp": special.logsumexp,
    "softmax": special.softmax,
    "log_softmax": special.log_softmax,
    "entropy": lambda p, axis: special.entr(p).sum(axis=axis),
    "kl_divergence": lambda p, q, axis: special.rel_entr(p, q).sum(axis=axis),
    "cross_entropy_of": lambda p, q, axis: -special.xlogy(p, q).sum(axis=axis),
}
