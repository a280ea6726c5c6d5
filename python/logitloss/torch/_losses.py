"""The losses that are operators of PyTorch, and what they are in PyTorch's own functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from .. import _binary_cross_entropy, _cross_entropy, _focal_loss, _softmax
from .._types import Array
from ._operators import Loss, differentiable

# ------------------------------------------------------------------------------------------------------- cross-entropy


def _class_axis(ndim: int) -> int:
    return 0 if ndim == 1 else 1


def _cross_entropy_keywords(
    logits: Array, target: Array, weight: Array | None, reduction: str, ignore_index: int, label_smoothing: float
) -> dict[str, Any]:
    return {
        "logits": logits,
        "target": target,
        "axis": _class_axis(logits.ndim),
        "class_weight": weight,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
    }


def _cross_entropy_shape(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, reduction: str, *options: Any
) -> tuple[int, ...]:
    axis = _class_axis(logits.dim())
    return (*logits.shape[:axis], *logits.shape[axis + 1 :]) if reduction == "none" else ()


def _cross_entropy_reference(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
) -> torch.Tensor:
    weight = None if weight is None else weight.to(logits.dtype)  # another one only under autocast
    return F.cross_entropy(
        logits,
        target,
        weight,
        reduction=reduction,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )


cross_entropy = differentiable(
    Loss(
        name="cross_entropy",
        schema="Tensor target, Tensor? weight, str reduction, SymInt ignore_index, float label_smoothing",
        tensors=2,
        value=_cross_entropy.cross_entropy,
        value_and_grad=_cross_entropy.cross_entropy_value_and_grad,
        keywords=_cross_entropy_keywords,
        shape=_cross_entropy_shape,
        reference=_cross_entropy_reference,
    )
)

# ---------------------------------------------------------------------------------------------- elementwise losses


def _bce_keywords(
    logits: Array, target: Array, weight: Array | None, pos_weight: Array | None, reduction: str
) -> dict[str, Any]:
    return {
        "logits": logits,
        "target": target,
        "weight": weight,
        "pos_weight": pos_weight,
        "reduction": reduction,
    }


def _bce_shape(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    pos_weight: torch.Tensor | None,
    reduction: str,
) -> tuple[int, ...]:
    return logits.shape if reduction == "none" else ()


def _bce_reference(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    pos_weight: torch.Tensor | None,
    reduction: str,
) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, target, weight, reduction=reduction, pos_weight=pos_weight)


binary_cross_entropy_with_logits = differentiable(
    Loss(
        name="binary_cross_entropy_with_logits",
        schema="Tensor target, Tensor? weight, Tensor? pos_weight, str reduction",
        tensors=3,
        value=_binary_cross_entropy.bce_with_logits,
        value_and_grad=_binary_cross_entropy.bce_with_logits_value_and_grad,
        keywords=_bce_keywords,
        shape=_bce_shape,
        reference=_bce_reference,
    )
)


def _focal_keywords(logits: Array, target: Array, alpha: float | None, gamma: float, reduction: str) -> dict[str, Any]:
    return {"logits": logits, "target": target, "alpha": alpha, "gamma": gamma, "reduction": reduction}


def _focal_shape(
    logits: torch.Tensor, target: torch.Tensor, alpha: float | None, gamma: float, reduction: str
) -> tuple[int, ...]:
    return logits.shape if reduction == "none" else ()


def focal_reference(
    logits: torch.Tensor, target: torch.Tensor, alpha: float | None, gamma: float, reduction: str
) -> torch.Tensor:
    """The formula of Lin et al., arXiv:1708.02002: PyTorch itself has no such loss."""
    miss = torch.sigmoid(logits) * (1 - target) + torch.sigmoid(-logits) * target  # 1 - p_t
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * miss**gamma
    if alpha is not None:
        loss = (alpha * target + (1 - alpha) * (1 - target)) * loss
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


sigmoid_focal_loss = differentiable(
    Loss(
        name="sigmoid_focal_loss",
        schema="Tensor target, float? alpha, float gamma, str reduction",
        tensors=1,
        value=_focal_loss.sigmoid_focal_loss,
        value_and_grad=_focal_loss.sigmoid_focal_loss_value_and_grad,
        keywords=_focal_keywords,
        shape=_focal_shape,
        reference=focal_reference,
    )
)

# -------------------------------------------------------------------------------------------------------- log-sum-exp


def _logsumexp_keywords(a: Array, dim: Sequence[int]) -> dict[str, Any]:
    return {"a": a, "axis": tuple(dim)}


def _logsumexp_shape(a: torch.Tensor, dim: Sequence[int]) -> tuple[int, ...]:
    summed = {axis % max(a.dim(), 1) for axis in dim}
    return tuple(length for axis, length in enumerate(a.shape) if axis not in summed)


logsumexp = differentiable(
    Loss(
        name="logsumexp",
        schema="int[] dim",
        tensors=0,
        value=_softmax.logsumexp,
        value_and_grad=_softmax.logsumexp_value_and_grad,
        keywords=_logsumexp_keywords,
        shape=_logsumexp_shape,
        reference=torch.logsumexp,
    )
)
