"""The losses inside scikit-learn (sklearn._loss): compiled, threaded, one loss per row, summed here.

Its gradients are not divided by the number of rows; that division is left out of its time.
"""

from __future__ import annotations

import numpy as np
import sklearn
from problems import Problem
from runner import Runner
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss

NAME = "sklearn"
VERSION = sklearn.__version__

_num_threads = 1


def prepare(num_threads: int) -> None:
    global _num_threads
    _num_threads = num_threads


def runners(problem: Problem) -> dict[str, Runner]:
    logits, target = problem.logits, problem.target
    if problem.options or target is None or problem.dtype not in ("float32", "float64"):
        return {}
    if problem.operation.startswith("cross_entropy"):
        classes = logits.shape[-1]
        if logits.ndim != 2 or target.ndim != 1 or classes < 3:
            return {}
        loss = HalfMultinomialLoss(n_classes=classes, sample_weight=None)
    elif problem.operation.startswith("bce_with_logits"):
        logits, target = logits.reshape(-1), target.reshape(-1)
        loss = HalfBinomialLoss()
    else:
        return {}

    # The targets are wanted in the dtype of the logits. scikit-learn converts them once per fit and so does this.
    target = target.astype(logits.dtype)
    if not problem.differentiates:
        return {NAME: Runner(lambda: loss.loss(target, logits, n_threads=_num_threads).mean())}

    def value_and_grad():
        losses, gradient = loss.loss_gradient(target, logits, n_threads=_num_threads)
        return losses.mean(), gradient

    def divided(result):
        value, gradient = result
        return np.asarray(value), (gradient / target.size).reshape(problem.logits.shape)

    return {NAME: Runner(value_and_grad, result=divided)}
