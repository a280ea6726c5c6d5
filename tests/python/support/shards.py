"""Logits cut into shards of classes, and the loss and gradient that come of their states."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import logitloss as ll


def part(array: Any, first: int, end: int, axis: int = -1) -> np.ndarray:
    """Classes [first, end), as a view."""
    return np.moveaxis(np.moveaxis(array, axis, 0)[first:end], 0, axis)


def states(
    logits: np.ndarray, target: Any, cuts: Sequence[int], *, axis: int = -1, **options: Any
) -> list[ll.CrossEntropyState]:
    """One state for each of the shards between the cuts."""
    target = np.asarray(target)
    classes = logits.shape[axis]
    shared = target.ndim < logits.ndim
    return [
        ll.CrossEntropyState(
            part(logits, first, end, axis),
            target if shared else part(target, first, end, axis),
            first_class=first,
            num_classes=classes,
            axis=axis,
            **options,
        )
        for first, end in pairwise([0, *cuts, classes])
    ]


def merged(parts: Sequence[ll.CrossEntropyState], order: Sequence[int] | None = None) -> ll.CrossEntropyState:
    """All of them in one, merged in this order; they stay as they are."""
    order = range(len(parts)) if order is None else order
    first, *others = (copy.copy(parts[i]) for i in order)
    for other in others:
        first.merge(other)
    return first


def gradient(
    state: ll.CrossEntropyState, logits: np.ndarray, target: Any, cuts: Sequence[int], axis: int = -1, **options: Any
) -> np.ndarray:
    """The gradients of all shards, side by side."""
    target = np.asarray(target)
    shared = target.ndim < logits.ndim
    return np.concatenate(
        [
            state.grad(
                part(logits, first, end, axis),
                first_class=first,
                target=None if shared else part(target, first, end, axis),
                **options,
            )
            for first, end in pairwise([0, *cuts, logits.shape[axis]])
        ],
        axis=axis,
    )
