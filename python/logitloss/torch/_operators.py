"""How a loss becomes two operators of PyTorch's dispatcher, and differentiable.

``logitloss::name`` is the loss and ``logitloss::name_backward`` its gradient: torch.compile sees these two. They have
no derivatives of their own: an autograd function around them costs less than one that the dispatcher looks up.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad

from .._arrays import BFLOAT16
from .._types import Array

_LIBRARY = torch.library.Library("logitloss", "DEF")
# A compiler may choose the layouts, as all are read where they lie.
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)

_madvise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None
_HUGE_PAGES = 14  # MADV_HUGEPAGE


@dataclass(frozen=True)
class Loss:
    """What is special about a loss. `arguments` are those of its operator, between the logits and the dtype."""

    name: str
    schema: str  # of the arguments
    tensors: int  # how many of them are tensors; these come first
    value: Callable[..., Any]  # as this package has it for arrays
    value_and_grad: Callable[..., Any]
    keywords: Callable[..., dict[str, Any]]  # (logits, *arguments): what these two are called with
    shape: Callable[..., tuple[int, ...]]  # (logits, *arguments): that of the loss
    reference: Callable[..., torch.Tensor]  # (logits, *arguments): by PyTorch, whose errors and derivatives it has


def is_transformed(*tensors: torch.Tensor | None) -> bool:
    """Whether derivatives are taken in forward mode or by torch.func, or tensors are batches of tensors (vmap)."""
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or any(tensor is not None and is_legacy_batchedtensor(tensor) for tensor in tensors)
    )


def array_of(tensor: torch.Tensor) -> Array:
    """A tensor's memory. NumPy knows no bfloat16, so its bits come across as integers."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    is_bfloat16 = tensor.dtype is torch.bfloat16
    array: Array = (tensor.view(torch.int16) if is_bfloat16 else tensor).numpy()
    return array.view(BFLOAT16) if is_bfloat16 else array


def in_huge_pages(fresh: torch.Tensor) -> torch.Tensor:
    """Asks the system for large pages, as NumPy does for large arrays: faults of small ones take most of the time."""
    if fresh.nbytes >= 2**22 and _madvise is not None:
        page = 4096
        _madvise(ctypes.c_void_p(-fresh.data_ptr() // page * -page), ctypes.c_size_t(fresh.nbytes - page), _HUGE_PAGES)
    return fresh


def differentiable(loss: Loss) -> Callable[..., torch.Tensor]:
    """A function of ``(logits, *arguments, dtype)``, whose result has this dtype."""
    forward_operator, backward_operator = _operators(loss)

    class Value(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
            ctx.save_for_backward(logits, *arguments[: loss.tensors])
            ctx.options = arguments[loss.tensors :]
            return forward_operator(logits, *arguments)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[Any, ...]:
            (upstream,) = grad_outputs
            arguments = upstream, *ctx.saved_tensors, *ctx.options
            compute: Callable[..., torch.Tensor] = backward_operator
            if not torch.compiler.is_compiling():  # what is compiled is differentiated once
                if is_transformed(upstream):
                    compute = transformed_gradient
                elif torch.is_grad_enabled():
                    compute = Gradient.apply
            return compute(*arguments), *[None] * (len(arguments) - 2)

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
            ctx.save_for_backward(*arguments[: 2 + loss.tensors])
            ctx.options = arguments[2 + loss.tensors :]
            return backward_operator(*arguments)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[Any, ...]:
            (direction,) = grad_outputs
            upstream, logits = ctx.saved_tensors[:2]
            others = *ctx.saved_tensors[2:], *ctx.options
            further = torch.is_grad_enabled()
            with torch.enable_grad():
                inputs = _differentiated(upstream), _differentiated(logits)
                grad = transformed_gradient(*inputs, *others)
                seconds = torch.autograd.grad(grad, inputs, direction, create_graph=further, materialize_grads=True)
            return *seconds, *[None] * len(others)

    def transformed_gradient(upstream: torch.Tensor, logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        """The gradient in PyTorch's own functions, which know all transforms and derivatives."""
        *plain, dtype = arguments
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            logits = _differentiated(logits)
            value = loss.reference(logits, *plain).to(dtype)
            (grad,) = torch.autograd.grad(value, logits, upstream, create_graph=further)
        return grad

    def call(logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if not (torch.is_grad_enabled() and logits.requires_grad):
            return forward_operator(logits, *arguments)
        apart = _told_apart(arguments) if torch.compiler.is_compiling() else arguments
        result: torch.Tensor = Value.apply(logits, *apart)
        return result

    return call


def _differentiated(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`, to differentiate with respect to; within its graph if it has one, for more derivatives."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def _told_apart(arguments: Sequence[Any]) -> list[Any]:
    """The compiler refuses autograd functions that are given one tensor twice, such as one for two weights."""
    apart: list[Any] = []
    for argument in arguments:
        is_repeated = isinstance(argument, torch.Tensor) and any(argument is earlier for earlier in apart)
        apart.append(argument.detach() if is_repeated else argument)
    return apart


def _operators(loss: Loss) -> tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]:
    def forward(logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        *plain, dtype = arguments
        result = np.empty(loss.shape(logits, *plain), np.float64 if logits.dtype is torch.float64 else np.float32)
        try:
            loss.value(**_keywords(loss, logits, plain), out=result)
        except ValueError:  # a label that is no class, of which PyTorch says so
            return loss.reference(logits.detach(), *plain).to(dtype)
        return torch.from_numpy(result).to(dtype)

    def backward(upstream: torch.Tensor, logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        grad = in_huge_pages(torch.empty_like(logits))
        keywords = _keywords(loss, logits, arguments[:-1])
        loss.value_and_grad(**keywords, upstream=array_of(upstream), grad_out=array_of(grad))
        return grad

    def forward_fake(logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        *plain, dtype = arguments
        return logits.new_empty(loss.shape(logits, *plain), dtype=dtype)

    def backward_fake(upstream: torch.Tensor, logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        return torch.empty_like(logits)

    schema = f"Tensor logits, {loss.schema}, ScalarType dtype) -> Tensor"
    return (
        _registered(loss.name, f"({schema}", forward, forward_fake),
        _registered(f"{loss.name}_backward", f"(Tensor upstream, {schema}", backward, backward_fake),
    )


def _keywords(loss: Loss, logits: torch.Tensor, arguments: Sequence[Any]) -> dict[str, Any]:
    tensors, options = arguments[: loss.tensors], arguments[loss.tensors :]
    arrays = [None if tensor is None else array_of(tensor) for tensor in (logits, *tensors)]
    return loss.keywords(*arrays, *options) | {"num_threads": torch.get_num_threads()}


def _registered(name: str, schema: str, on_cpu: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """The operator. Where nobody listens to the dispatcher, its CPU kernel, which is half of a small call's time."""
    _LIBRARY.define(name + schema, tags=_TAGS)
    _LIBRARY.impl(name, on_cpu, "CPU")
    torch.library.register_fake(f"logitloss::{name}", fake, lib=_LIBRARY)
    operator = getattr(torch.ops.logitloss, name).default

    def call(*arguments: Any) -> Any:
        return (operator if _is_observed() else on_cpu)(*arguments)

    return call


def _is_observed() -> bool:
    """Whether a compiler, a mode, a tracer or a profiler wants to see operators."""
    return bool(
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state()
        or torch.autograd._profiler_enabled()  # pyright: ignore[reportPrivateImportUsage]
    )
