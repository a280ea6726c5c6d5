"""scikit-learn: sklearn.metrics, and the losses inside (sklearn._loss).

The latter are compiled and threaded, and give one loss per row, summed here. Their gradients are not divided by the
number of rows; that division is left out of the time.
"""

from __future__ import annotations

import numpy as np
import sklearn
from problems import Problem
from runner import Runner
from sklearn import metrics
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss

NAME = "sklearn"
VERSION = sklearn.__version__

_num_threads = 1


def prepare(num_threads: int) -> None:
    global _num_threads
    _num_threads = num_threads


def runners(problem: Problem) -> dict[str, Runner]:
    if problem.target is None or problem.dtype not in ("float32", "float64"):
        return {}
    if problem.operation == "accuracy" and "top_k" in problem.options:
        return {NAME: Runner(lambda: top_k_accuracy(problem))}
    if problem.options:
        return {}
    if problem.operation == "cross_entropy_from_probs" and problem.target.ndim == problem.logits.ndim:
        return {}
    if function := METRICS.get(problem.operation):
        return {NAME: Runner(lambda: function(problem))}
    return loss_runners(problem)


def top_k_accuracy(p: Problem) -> float:
    labels = np.arange(p.logits.shape[1])
    return metrics.top_k_accuracy_score(p.target, p.logits, k=p.options["top_k"], labels=labels)


METRICS = {
    "accuracy": lambda p: metrics.accuracy_score(p.target, p.logits.argmax(axis=1)),
    "cross_entropy_from_probs": lambda p: metrics.log_loss(p.target, p.logits, labels=np.arange(p.logits.shape[1])),
    "binary_cross_entropy": lambda p: metrics.log_loss(p.target.reshape(-1), p.logits.reshape(-1), labels=[0, 1]),
    "mean_squared_error": lambda p: metrics.mean_squared_error(p.target, p.logits),
    "mean_absolute_error": lambda p: metrics.mean_absolute_error(p.target, p.logits),
    "root_mean_squared_error": lambda p: metrics.mean_squared_error(p.target, p.logits) ** 0.5,
}


def loss_runners(problem: Problem) -> dict[str, Runner]:
    logits, target = problem.logits, problem.target
    if problem.operation.removesuffix("_value_and_grad") == "cross_entropy":
        classes = logits.shape[-1]
        if logits.ndim != 2 or target.ndim != 1 or classes < 3:
            return {}
        loss = HalfMultinomialLoss(n_classes=classes, sample_weight=None)
    elif problem.operation.removesuffix("_value_and_grad") == "bce_with_logits":
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
