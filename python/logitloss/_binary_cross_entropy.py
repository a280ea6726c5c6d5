"""Binary cross-entropy with logits and its gradient."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar, Reduction


def bce_with_logits(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Binary cross-entropy of logits x against targets t, element by element, in nats.

        ``weight * (pos_weight t softplus(-x) + (1-t) softplus(x))``,
        ``softplus(x) = max(x, 0) + log1p(exp(-|x|))``

    It keeps its relative accuracy at both ends: x = -40, t = 0 gives 4.2e-18 and not 0.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Shape of `logits`, any real dtype; what is not in the precision of `logits` is rounded to it. In [0, 1], hard or
        soft.
    weight : array_like, optional
        Multiplies the loss of each element; broadcasts to `logits` without a copy.
    pos_weight : array_like, optional
        Multiplies the positive term; broadcasts to `logits` without a copy.
    label_smoothing : float
        e in [0, 1]: targets become ``(1-e) t + e/2``.
    ignore_value : float, optional
        Elements with this target count as 0.
    reduction : {"mean", "sum", "none"}
        The mean divides by the number of elements that are not ignored, not by weights; NaN if there are none.
    normalizer : float, optional
        > 0: divides the sum instead. Not with "none".
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
    Meaning and mean are those of `torch.nn.functional.binary_cross_entropy_with_logits`, but for infinite logits,
    where that gives NaN.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.bce_with_logits([0.0, 2.0, -40.0], [1, 1, 0], reduction="none"))
    [6.93147181e-01 1.26928011e-01 4.24835426e-18]
    """
    return _core.bce_with_logits(
        pos_weight, label_smoothing, ignore_value, normalizer, logits, target, weight, reduction, out, num_threads
    )


def bce_with_logits_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Binary cross-entropy with logits and its gradient with respect to the logits, in one pass over memory.

    The gradient is ``weight * ((1-t) sigmoid(x) - pos_weight t sigmoid(-x))``; for a hard target a single term, to
    relative accuracy at both ends.

    Parameters
    ----------
    logits, target, weight, pos_weight, label_smoothing, ignore_value, reduction, normalizer, out, num_threads
        As for `bce_with_logits`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the loss's shape.
        An upstream of 0 makes a gradient 0, and a gradient of 0 stays so under an infinite upstream.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `logits`. It may be `logits` itself.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `bce_with_logits`.
    grad : ndarray
        d loss / d logits, shape and dtype of `logits`; for reduction "none" of each element's own loss.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.bce_with_logits_value_and_grad([0.0, 0.0], [1, 0])
    >>> print(loss, grad)
    0.6931471805599453 [-0.25  0.25]
    """
    return _core.bce_with_logits_value_and_grad(
        upstream,
        grad_out,
        pos_weight,
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
