"""docstring"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from . import _losses
from ._accepted import binary_dtype, cross_entropy_dtype, logsumexp_dtype

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "logsumexp", "sigmoid_focal_loss"]


def cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    if size_average is None and reduce is None:
        dtype = cross_entropy_dtype(input, target, weight, reduction, ignore_index, label_smoothing)
        if dtype is not None:
            return _losses.cross_entropy(input, target, weight, reduction, ignore_index, label_smoothing, dtype)
    return F.cross_entropy(input, target, weight, size_average, ignore_index, reduce, reduction, label_smoothing)


def binary_cross_entropy_with_logits(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    if size_average is None and reduce is None:
        dtype = binary_dtype(input, target, weight, pos_weight, reduction)
        if dtype is not None:
            return _losses.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction, dtype)
    return F.binary_cross_entropy_with_logits(input, target, weight, size_average, reduce, reduction, pos_weight)


def logsumexp(
    input: torch.Tensor, dim: int | Sequence[int], keepdim: bool = False, *, out: torch.Tensor | None = None
) -> torch.Tensor:
    dims = (dim,) if isinstance(dim, int) else dim
    dtype = logsumexp_dtype(input, dims) if out is None and isinstance(dims, (tuple, list)) else None
    if dtype is None:
        return torch.logsumexp(input, dim, keepdim, out=out)
    result = _losses.logsumexp(input, dims, dtype)
    for axis in sorted(axis % max(input.dim(), 1) for axis in dims) if keepdim and input.dim() > 0 else ():
        result = result.unsqueeze(axis)
    return result


def sigmoid_focal_loss(
    inputs: torch.Tensor,
    targets: torch.Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
) -> torch.Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction: got {reduction!r}, expected 'none', 'mean' or 'sum'")
    if not (0 <= alpha <= 1 or alpha == -1):
        raise ValueError(f"alpha: got {alpha!r}, expected a number in [0, 1], or -1 for none")
    factor = None if alpha == -1 else alpha
    dtype = binary_dtype(inputs, targets, None, None, reduction)
    if dtype is None or inputs.dtype is not targets.dtype or gamma < 0:
        return _losses.focal_reference(inputs, targets, factor, gamma, reduction)
    return _losses.sigmoid_focal_loss(inputs, targets, factor, gamma, reduction, dtype)
