"""Sigmoid focal loss and its gradient."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar, Reduction


def sigmoid_focal_loss(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Focal loss of logits x against targets t, element by element, in nats.

        ``weight * alpha_t (1 - p_t)**gamma (t softplus(-x) + (1-t) softplus(x))``,
        ``p = sigmoid(x)``, ``p_t = p t + (1-p) (1-t)``, ``alpha_t = alpha t + (1-alpha) (1-t)``

    The factor ``(1 - p_t)**gamma`` takes weight from what is already classified well. It is computed in log space and
    keeps its relative accuracy at both ends, for every gamma.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Shape of `logits`, any real dtype; what is not in the precision of `logits` is rounded to it. In [0, 1], hard or
        soft; outside it the loss is NaN.
    alpha : float or None
        In [0, 1]: weight of positives, and ``1 - alpha`` of negatives. None: both 1.
    gamma : float
        >= 0. With 0 this is binary cross-entropy times ``alpha_t``.
    weight : array_like, optional
        Multiplies the loss of each element; broadcasts to `logits` without a copy.
    label_smoothing : float
        e in [0, 1]: targets become ``(1-e) t + e/2``.
    ignore_value : float, optional
        Elements with this target count as 0.
    reduction : {"mean", "sum", "none"}
        The mean divides by the number of elements that are not ignored, not by weights; NaN if there are none.
    normalizer : float, optional
        > 0: divides the sum instead, as by the number of positives in a detector. Not with "none".
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        The loss, float64 for float64 logits and float32 otherwise; of the shape of `logits` for "none". An infinite
        logit has loss 0 where a hard target agrees and ``+inf`` otherwise; a factor of 0 makes its term 0.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        For shapes and option values that do not fit; if `out` overlaps another argument.

    Notes
    -----
    Lin, Goyal, Girshick, He and Dollar, "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002. `alpha` and
    `gamma` mean what they mean in `torchvision.ops.sigmoid_focal_loss`, whose alpha of -1 is None here and whose
    default reduction is "none".

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.sigmoid_focal_loss([0.0, 2.0, -20.0], [1, 1, 0], reduction="none"))
    [4.33216988e-02 4.50890709e-04 6.56738304e-27]
    """
    return _core.sigmoid_focal_loss(
        alpha, gamma, label_smoothing, ignore_value, normalizer, logits, target, weight, reduction, out, num_threads
    )


def sigmoid_focal_loss_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Focal loss and its exact gradient with respect to the logits, in one pass over memory.

    With H the binary cross-entropy the gradient is
    ``weight * alpha_t (1 - p_t)**gamma ((p - t) - gamma (2t-1) H p (1-p) / (1 - p_t))``; for a hard target its two
    terms have one sign, so it keeps its relative accuracy at both ends.

    Parameters
    ----------
    logits, target, alpha, gamma, weight, label_smoothing, ignore_value, reduction, normalizer, out, num_threads
        As for `sigmoid_focal_loss`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the loss's shape.
        An upstream of 0 makes a gradient 0, and a gradient of 0 stays so under an infinite upstream.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `logits`. It may be `logits` itself.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `sigmoid_focal_loss`.
    grad : ndarray
        d loss / d logits, shape and dtype of `logits`; for reduction "none" of each element's own loss.

    Raises
    ------
    TypeError, ValueError
        As `sigmoid_focal_loss`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.sigmoid_focal_loss_value_and_grad([0.0, 0.0], [1, 0], gamma=0.0, alpha=0.25)
    >>> print(loss, grad)
    0.34657359027997264 [-0.0625  0.1875]
    """
    return _core.sigmoid_focal_loss_value_and_grad(
        upstream,
        grad_out,
        alpha,
        gamma,
        label_smoothing,
        ignore_value,
        normalizer,
        logits,
        target,
        weight,
        reduction,
        out,
        num_threads,
    )
