"""Gradients and Hessian diagonals of the losses, row by row and element by element."""

from __future__ import annotations

from typing import Literal

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar


def cross_entropy_grad_hess(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    hessian: Literal["exact", "upper", "friedman", "abs"] = "exact",
    axis: int = -1,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    scale: float = 1.0,
    grad_out: Array | None = None,
    hess_out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[Array, Array]:
    """Gradient of softmax cross-entropy of each row, and the diagonal of its Hessian, with respect to the logits z.

    With ``p = softmax(s z)``, s the `scale`, u the sample weight, ``q_j`` the coefficient of ``log p_j`` in the row's
    loss, Q the sum of them and K the number of classes,

        ``grad_j = u s (Q p_j - q_j)``
        ``hess_j = u s^2 Q p_j (1 - p_j)``

    For a class index y ``q_j = (1-e) w_y [j = y] + (e/K) w_j``, with e the smoothing and w the class weights; for class
    probabilities t ``q_j = w_j ((1-e) t_j + e/K)``. ``1 - p_j`` is the sum of the other probabilities, so that both
    results keep their relative accuracy for confident rows.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Class indices, of the shape of `logits` without `axis`: of an integer dtype, or of a floating one if each is an
        integer. Or class probabilities of any real dtype and of the shape of `logits`.
    hessian : {"exact", "upper", "friedman", "abs"}
        What stands for the second derivative: itself; ``max(2 u s^2 Q p_j (1 - p_j), 1e-16)``, as XGBoost has it;
        ``K / (K-1)`` times it, as LightGBM has it; or ``s abs(grad_j)``.
    axis : int
        Class axis of `logits`.
    class_weight : array_like, optional
        w, one per class. May be negative.
    sample_weight : array_like, optional
        u; broadcasts to the shape of `logits` without `axis`. A row of weight 0 is not read.
    ignore_index : int or None
        Class index of rows that are not read and get 0. None: no row is ignored.
    label_smoothing : float
        e, in [0, 1].
    scale : float
        s > 0: multiplies the logits.
    grad_out, hess_out : ndarray, optional
        Where to write: arrays of the shape of `logits` and of one dtype, which is that of `logits` or float32.
        `grad_out` may be `logits` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    grad, hess : ndarray
        Of the shape, memory order and dtype of `logits`. Exactly 0 in rows that are ignored, of weight 0 or without a
        target; NaN in rows with NaN or ``+inf``, and of ``-inf`` alone. At a logit of ``-inf`` the exact Hessian is 0.

    Raises
    ------
    TypeError
        For class indices of dtype bool, and for masked, complex, longdouble, object and text arrays.
    ValueError
        For a label that is no integer in [0, K) and not `ignore_index`, naming the first; for shapes, dtypes and option
        values that do not fit; if an output overlaps another argument.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    The factor 2 of "upper" bounds the Hessian from above by a diagonal. The factor of "friedman" is that of Friedman,
    "Greedy Function Approximation: A Gradient Boosting Machine", 2001.

    Examples
    --------
    >>> import logitloss as ll
    >>> grad, hess = ll.cross_entropy_grad_hess([[0.0, 0.0], [40.0, 0.0]], [0, 0])
    >>> print(grad)
    [[-5.00000000e-01  5.00000000e-01]
     [-4.24835426e-18  4.24835426e-18]]
    >>> print(hess)
    [[2.50000000e-01 2.50000000e-01]
     [4.24835426e-18 4.24835426e-18]]
    """
    return _core.cross_entropy_grad_hess(
        logits,
        target,
        hessian,
        axis,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        scale,
        grad_out,
        hess_out,
        num_threads,
    )


def bce_with_logits_grad_hess(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    hessian: Literal["exact", "upper", "friedman", "abs"] = "exact",
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    grad_out: Array | None = None,
    hess_out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Gradient of binary cross-entropy of each element, and its second derivative, with respect to the logits x.

    With ``p = sigmoid(x)``, ``positive = pos_weight t`` and ``negative = 1 - t``

        ``grad = weight (negative p - positive (1-p))``
        ``hess = weight (positive + negative) p (1-p)``

    ``p (1-p)`` is ``e / (1+e)^2`` with ``e = exp(-abs(x))`` and keeps its relative accuracy at both ends.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Shape of `logits`, any real dtype; in [0, 1], hard or soft.
    hessian : {"exact", "upper", "friedman", "abs"}
        The second derivative, or what `cross_entropy_grad_hess` has in its place, with two classes.
    weight, pos_weight : array_like, optional
        Multiply the loss of each element, and its positive term; broadcast to `logits` without a copy.
    label_smoothing : float
        e in [0, 1]: targets become ``(1-e) t + e/2``.
    ignore_value : float, optional
        Elements with this target get 0.
    grad_out, hess_out : ndarray, optional
        Where to write: arrays of the shape of `logits` and of one dtype, which is that of `logits` or float32.
        `grad_out` may be `logits` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    grad, hess : ndarray
        Of the shape, memory order and dtype of `logits`. A weight of 0 makes both 0; an infinite logit has the
        formula's limit.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        For shapes, dtypes and option values that do not fit; if an output overlaps another argument.

    Notes
    -----
    "exact" is what the logistic objectives of XGBoost, LightGBM and CatBoost take.

    Examples
    --------
    >>> import logitloss as ll
    >>> grad, hess = ll.bce_with_logits_grad_hess([0.0, 40.0], [1, 1])
    >>> print(grad, hess)
    [-5.00000000e-01 -4.24835426e-18] [2.50000000e-01 4.24835426e-18]
    """
    return _core.bce_with_logits_grad_hess(
        logits,
        target,
        hessian,
        weight,
        pos_weight,
        label_smoothing,
        ignore_value,
        grad_out,
        hess_out,
        num_threads,
    )


def sigmoid_focal_loss_grad_hess(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    hessian: Literal["exact", "clipped"] = "exact",
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    grad_out: Array | None = None,
    hess_out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Gradient of the sigmoid focal loss of each element, and its second derivative, with respect to the logits x.

    With ``p = sigmoid(x)``, ``p_t = p t + (1-p) (1-t)``, ``a = weight alpha_t (1 - p_t)**gamma``, H the binary
    cross-entropy, ``d = 2t - 1`` and ``r = p (1-p) / (1 - p_t)``

        ``grad = a ((p - t) - gamma d H r)``
        ``hess = a (p (1-p) - 2 gamma d (p - t) r + gamma d H r ((gamma - 1) d r - (1 - 2p)))``

    The loss is not convex: the second derivative is negative for elements that are classified badly.

    Parameters
    ----------
    logits, target, alpha, gamma, weight, label_smoothing, ignore_value
        As for `sigmoid_focal_loss`.
    hessian : {"exact", "clipped"}
        The second derivative, or 0 where that is negative.
    grad_out, hess_out : ndarray, optional
        Where to write: arrays of the shape of `logits` and of one dtype, which is that of `logits` or float32.
        `grad_out` may be `logits` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    grad, hess : ndarray
        Of the shape, memory order and dtype of `logits`. A weight of 0 makes both 0.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        For shapes, dtypes and option values that do not fit; if an output overlaps another argument.

    Notes
    -----
    Lin, Goyal, Girshick, He and Dollar, "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002.

    Examples
    --------
    >>> import logitloss as ll
    >>> grad, hess = ll.sigmoid_focal_loss_grad_hess([0.0, -4.0], [1, 1], alpha=None, hessian="clipped")
    >>> print(grad, hess)
    [-0.2982868  -1.08639585] [0.3991434 0.       ]
    """
    return _core.sigmoid_focal_loss_grad_hess(
        logits,
        target,
        hessian,
        alpha,
        gamma,
        weight,
        label_smoothing,
        ignore_value,
        grad_out,
        hess_out,
        num_threads,
    )
