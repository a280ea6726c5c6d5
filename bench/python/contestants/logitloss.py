"""This library: into fresh arrays, into a given array and, where that is supported, in place."""

from __future__ import annotations

from functools import partial

import numpy as np
from problems import PROBABILITIES, Problem
from runner import Runner

import logitloss as ll

NAME = "logitloss"
VERSION = ll.__version__


def prepare(num_threads: int) -> None:
    ll.set_num_threads(num_threads)


def runners(problem: Problem) -> dict[str, Runner]:
    function = getattr(ll, problem.operation)
    keywords = dict(problem.options)
    if problem.axis != -1 or problem.operation in ("logsumexp", "softmax", "log_softmax"):
        keywords["axis"] = problem.axis
    fresh = {NAME: Runner(partial(function, *problem.inputs, **keywords))}
    if problem.differentiates:
        return fresh | outputs_given(problem, function, "grad_out", keywords)
    if "softmax" in problem.operation or problem.operation == "self_information":
        return fresh | outputs_given(problem, function, "out", keywords)
    return fresh


def outputs_given(problem: Problem, function, argument: str, keywords: dict) -> dict[str, Runner]:
    logits, *others = problem.inputs
    output = np.zeros_like(logits)
    given = {f"{NAME} {argument}": Runner(partial(function, *problem.inputs, **keywords, **{argument: output}))}
    if not in_place_is_the_same_work(problem.operation):
        return given
    overwritten = logits.copy()
    call = partial(function, overwritten, *others, **keywords, **{argument: overwritten})
    restore = partial(np.copyto, overwritten, logits)
    return given | {f"{NAME} in place": Runner(call, restore=restore, in_place=True)}


def in_place_is_the_same_work(operation: str) -> bool:
    """Over and over on its own results: a vjp would fade into subnormal numbers, and gradients are no probabilities."""
    return not (operation.endswith("_vjp") or operation.removesuffix("_value_and_grad") in PROBABILITIES)
