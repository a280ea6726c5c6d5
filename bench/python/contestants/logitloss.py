"""This library: into fresh arrays, into a given array and, where that is supported, in place."""

from __future__ import annotations

from functools import partial

import numpy as np
from problems import Problem
from runner import Runner

import logitloss as ll

NAME = "logitloss"
VERSION = ll.__version__


def prepare(num_threads: int) -> None:
    ll.set_num_threads(num_threads)


def runners(problem: Problem) -> dict[str, Runner]:
    function = getattr(ll, problem.operation)
    inputs = [array for array in (problem.logits, problem.target, problem.cotangent) if array is not None]
    keywords = dict(problem.options)
    if problem.axis != -1 or problem.operation in ("logsumexp", "softmax", "log_softmax"):
        keywords["axis"] = problem.axis
    fresh = {NAME: Runner(partial(function, *inputs, **keywords))}
    if problem.differentiates:
        return fresh | outputs_given(function, "grad_out", inputs, keywords, in_place=True)
    if "softmax" in problem.operation:
        return fresh | outputs_given(function, "out", inputs, keywords, in_place=not problem.operation.endswith("_vjp"))
    return fresh


def outputs_given(function, argument: str, inputs: list, keywords: dict, in_place: bool) -> dict[str, Runner]:
    logits, *others = inputs
    output = np.zeros_like(logits)
    given = {f"{NAME} {argument}": Runner(partial(function, *inputs, **keywords, **{argument: output}))}
    if not in_place:  # a vjp written over and over into its own input would fade into subnormal numbers
        return given
    overwritten = logits.copy()
    call = partial(function, overwritten, *others, **keywords, **{argument: overwritten})
    restore = partial(np.copyto, overwritten, logits)
    return given | {f"{NAME} in place": Runner(call, restore=restore, in_place=True)}
