"""Which calls the kernels take. All others are PyTorch's, errors too, so these are conditions and not checks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ._operators import is_transformed

_TYPES = (torch.Tensor, torch.nn.Parameter)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_LABELS = (torch.int64, torch.uint8)
_REDUCTIONS = ("mean", "sum", "none")
_NUMBERS = (float, int)


def cross_entropy_dtype(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
) -> torch.dtype | None:
    """dtype of the loss, or None if the call is PyTorch's. So are the other functions here."""
    if not (_are_plain((logits, target), weight) and reduction in _REDUCTIONS and logits.numel() > 0):
        return None
    if type(ignore_index) is not int or type(label_smoothing) not in _NUMBERS or not 0 <= label_smoothing <= 1:
        return None
    shape = logits.shape
    axis = min(len(shape) - 1, 1)
    dtype = _arithmetic_dtype(logits)
    if weight is not None and (weight.shape != shape[axis : axis + 1] or _arithmetic_dtype(weight) is not dtype):
        return None
    if target.dtype is torch.uint8 and len(shape) > 2:  # where PyTorch refuses it
        return None
    if target.dtype in _LABELS:
        return dtype if target.shape == shape[:axis] + shape[axis + 1 :] and len(shape) > 0 else None
    if target.shape != shape or len(shape) == 0 or ignore_index >= 0 or target.dtype not in _FLOATS:
        return None
    return _unless_wider(torch.promote_types(dtype, _arithmetic_dtype(target)), logits)


def binary_dtype(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    pos_weight: torch.Tensor | None,
    reduction: str,
) -> torch.dtype | None:
    if not (_are_plain((logits, target), weight, pos_weight) and reduction in _REDUCTIONS and logits.numel() > 0):
        return None
    if target.shape != logits.shape or target.dtype not in _FLOATS:
        return None
    dtype = _arithmetic_dtype(logits)
    for factor in (weight, pos_weight):
        if factor is not None and not (_broadcasts(factor, logits) and _arithmetic_dtype(factor) is dtype):
            return None
    return _unless_wider(_arithmetic_dtype(target), logits)


def logsumexp_dtype(a: torch.Tensor, dim: Sequence[int]) -> torch.dtype | None:
    if not (_are_plain((a,)) and a.numel() > 0 and len(dim) > 0):
        return None
    ndim = max(a.dim(), 1)
    if not all(type(axis) is int and -ndim <= axis < ndim for axis in dim):
        return None
    return a.dtype if len({axis % ndim for axis in dim}) == len(dim) else None


def _are_plain(required: tuple[torch.Tensor, ...], *optional: torch.Tensor | None) -> bool:
    """Dense tensors on the CPU, of which only the first, the logits, may need a gradient, and that in reverse mode."""
    if is_transformed():
        return False
    logits = required[0]
    for tensor in (*required, *(tensor for tensor in optional if tensor is not None)):
        if type(tensor) not in _TYPES or not tensor.is_cpu or tensor.layout is not torch.strided:
            return False
        if tensor is not logits and tensor.requires_grad:
            return False
        if not torch.compiler.is_compiling() and tensor._is_zerotensor():  # which has no memory
            return False
    return logits.dtype in _FLOATS


def _arithmetic_dtype(tensor: torch.Tensor) -> torch.dtype:
    """dtype in which PyTorch has the losses computed: autocast casts all but float64."""
    if tensor.dtype is not torch.float64 and torch.is_autocast_enabled("cpu"):
        return torch.float32
    return tensor.dtype


def _unless_wider(dtype: torch.dtype, logits: torch.Tensor) -> torch.dtype | None:
    """The kernels compute in float64 only if the logits are."""
    return None if dtype is torch.float64 and logits.dtype is not torch.float64 else dtype


def _broadcasts(factor: torch.Tensor, logits: torch.Tensor) -> bool:
    lengths = zip(reversed(factor.shape), reversed(logits.shape), strict=False)
    return factor.dim() <= logits.dim() and all(m in (1, n) for m, n in lengths)
