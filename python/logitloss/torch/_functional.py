"""The public functions: to the kernels what they take, to PyTorch everything else."""

from __future__ import annotations

import math

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
    """Softmax cross-entropy, in place of `torch.nn.functional.cross_entropy`: the same arguments and meaning.

    With ``L = log(sum_j exp(z_j))`` of a row of C logits, ``e`` the smoothing and ``w`` the class weights, the loss of
    a row is ``(1-e) w_y (L - z_y) + (e/C) sum_j w_j (L - z_j)`` for a class index y, and for class probabilities t
    ``sum_j w_j t'_j (L - z_j)`` with ``t' = (1-e) t + e/C``. Loss and gradient keep their relative accuracy for
    confident rows: a target that leads by 40 has loss 4e-18 and not 0.

    Parameters
    ----------
    input : Tensor
        Logits of shape (C), (N, C) or (N, C, d1, ...), with any strides.
    target : Tensor
        Class indices of shape (), (N) or (N, d1, ...), int64 (without d1 also uint8); or class probabilities of the
        shape of `input`.
    weight : Tensor, optional
        w, of shape (C) and the dtype of `input`.
    size_average, reduce
        Deprecated in PyTorch, which is called if one of them is given.
    ignore_index : int
        Rows with this class index are not read and count as 0.
    reduction : {"mean", "sum", "none"}
        The mean is over rows that are not ignored, by their class weights.
    label_smoothing : float
        e, in [0, 1].

    Returns
    -------
    Tensor
        The loss, of the dtype that PyTorch's has (float32 under autocast), computed in float32 (float64 for float64)
        and rounded once. The gradient is made in the backward pass; logits are never overwritten.

    Raises
    ------
    ValueError, RuntimeError, IndexError, TypeError
        As PyTorch, which is called for everything that the kernels do not take.

    Notes
    -----
    docs/torch.md lists where results differ from PyTorch's on purpose.

    Examples
    --------
    >>> import torch
    >>> from logitloss.torch import cross_entropy
    >>> logits = torch.tensor([[2.0, 1.0, 0.0], [40.0, 0.0, 0.0]], requires_grad=True)
    >>> loss = cross_entropy(logits, torch.tensor([0, 0]), reduction="none")
    >>> print([f"{row:.4g}" for row in loss.tolist()])
    ['0.4076', '8.497e-18']
    >>> loss.sum().backward()
    >>> print([f"{each:.4g}" for each in logits.grad[1].tolist()])
    ['-8.497e-18', '4.248e-18', '4.248e-18']
    """
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
    """Binary cross-entropy, in place of `torch.nn.functional.binary_cross_entropy_with_logits`: the same meaning.

        ``weight * (pos_weight t softplus(-x) + (1-t) softplus(x))``,
        ``softplus(x) = max(x, 0) + log1p(exp(-|x|))``

    Loss and gradient keep their relative accuracy at both ends: x = -40, t = 0 gives 4.2e-18 and not 0.

    Parameters
    ----------
    input : Tensor
        Logits x of any shape, with any strides.
    target : Tensor
        t in [0, 1], of the shape of `input` and a floating dtype.
    weight : Tensor, optional
        Multiplies the loss of each element; broadcasts to `input` without a copy.
    size_average, reduce
        Deprecated in PyTorch, which is called if one of them is given.
    reduction : {"mean", "sum", "none"}
        The mean is over elements, not by weights.
    pos_weight : Tensor, optional
        Multiplies the positive term; broadcasts to `input` without a copy.

    Returns
    -------
    Tensor
        The loss, of the dtype that PyTorch's has: the target's (float32 under autocast).

    Raises
    ------
    ValueError, RuntimeError, TypeError
        As PyTorch, which is called for everything that the kernels do not take.

    Examples
    --------
    >>> import torch
    >>> from logitloss.torch import binary_cross_entropy_with_logits
    >>> logits, target = torch.tensor([0.0, 2.0, -40.0]), torch.tensor([1.0, 1.0, 0.0])
    >>> loss = binary_cross_entropy_with_logits(logits, target, reduction="none")
    >>> print([f"{each:.4g}" for each in loss.tolist()])
    ['0.6931', '0.1269', '4.248e-18']
    """
    if size_average is None and reduce is None:
        dtype = binary_dtype(input, target, weight, pos_weight, reduction)
        if dtype is not None:
            return _losses.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction, dtype)
    return F.binary_cross_entropy_with_logits(input, target, weight, size_average, reduce, reduction, pos_weight)


def sigmoid_focal_loss(
    inputs: torch.Tensor,
    targets: torch.Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
) -> torch.Tensor:
    """Focal loss of logits, in place of `torchvision.ops.sigmoid_focal_loss`: the same arguments and meaning.

    With p = sigmoid(x), ``p_t = p t + (1-p) (1-t)`` and ``alpha_t = alpha t + (1-alpha) (1-t)`` the loss is
    ``alpha_t (1 - p_t)**gamma`` times the binary cross-entropy. It is computed in log space and keeps its relative
    accuracy at both ends.

    Parameters
    ----------
    inputs : Tensor
        Logits x of any shape, with any strides.
    targets : Tensor
        t in [0, 1], of the shape and dtype of `inputs`.
    alpha : float
        In [0, 1], or -1 for no such factor.
    gamma : float
        Exponent, usually not negative.
    reduction : {"none", "mean", "sum"}
        The mean is over elements.

    Returns
    -------
    Tensor
        The loss, of the dtype of `inputs` (float32 under autocast).

    Raises
    ------
    ValueError
        If an option or a shape does not fit.

    Notes
    -----
    Lin, Goyal, Girshick, He and Dollar, "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002. Torchvision
    need not be installed: what the kernels do not take is computed by PyTorch from the formula.

    Examples
    --------
    >>> import torch
    >>> from logitloss.torch import sigmoid_focal_loss
    >>> loss = sigmoid_focal_loss(torch.tensor([0.0, 2.0, -20.0]), torch.tensor([1.0, 1.0, 0.0]))
    >>> print([f"{each:.4g}" for each in loss.tolist()])
    ['0.04332', '0.0004509', '6.567e-27']
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction: got {reduction!r}, expected 'none', 'mean' or 'sum'")
    if not (0 <= alpha <= 1 or alpha == -1):
        raise ValueError(f"alpha: got {alpha!r}, expected a number in [0, 1], or -1 for none")
    factor = None if alpha == -1 else alpha
    dtype = binary_dtype(inputs, targets, None, None, reduction)
    if dtype is None or inputs.dtype is not targets.dtype or not 0 <= gamma < math.inf:
        return _losses.focal_reference(inputs, targets, factor, gamma, reduction)
    return _losses.sigmoid_focal_loss(inputs, targets, factor, gamma, reduction, dtype)


def logsumexp(
    input: torch.Tensor,
    dim: int | list[int] | tuple[int, ...],
    keepdim: bool = False,
    *,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logarithm of a sum of exponentials, ``log(sum_j exp(x_j))``, in place of `torch.logsumexp`.

    Parameters
    ----------
    input : Tensor
        Any shape and strides.
    dim : int or tuple of int
        Axes to sum over.
    keepdim : bool
        Keep the reduced axes with length 1.
    out : Tensor, optional
        Where to write the result; then it is PyTorch's.

    Returns
    -------
    Tensor
        Of the dtype of `input`, within 1 ulp (float64: 1.5) of the true value where that is at least 1 in magnitude.

    Raises
    ------
    IndexError, RuntimeError, TypeError
        As PyTorch, which is called for everything that the kernels do not take.

    Examples
    --------
    >>> import torch
    >>> from logitloss.torch import logsumexp
    >>> print(logsumexp(torch.tensor([[0.0, -40.0], [1000.0, 1000.0]], dtype=torch.float64), 1).tolist())
    [4.248354255291589e-18, 1000.6931471805599]
    """
    axes = (dim,) if isinstance(dim, int) else dim
    dtype = logsumexp_dtype(input, axes) if out is None and isinstance(axes, (tuple, list)) else None
    if dtype is None:
        return torch.logsumexp(input, dim, keepdim, out=out)
    result = _losses.logsumexp(input, axes, dtype)
    if keepdim and input.dim() > 0:
        for axis in sorted(axis % input.dim() for axis in axes):
            result = result.unsqueeze(axis)
    return result
