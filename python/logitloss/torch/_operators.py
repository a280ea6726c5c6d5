"""How a loss becomes two operators of PyTorch's dispatcher, and differentiable.

``logitloss::name`` is the loss and ``logitloss::name_backward`` its gradient: torch.compile sees these two. They have no
derivatives of their own. An autograd function is put around them, which costs less than one that the dispatcher looks up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import BFLOAT16
from .._types import Array

_LIBRARY = torch.library.Library("logitloss", "DEF")
# A compiler may choose the layouts, as all are read where they lie.
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)


@dataclass(frozen=True)
class Loss:
    """What is special about a loss. `arguments` are those of its operator, between the logits and the dtype."""

    name: str
    schema: str  # of the arguments
    tensors: int  # how many of them are tensors; these come first
    value: Callable[..., Any]  # as this package has it for arrays
    value_and_grad: Callable[..., Any]
    keywords: Callable[..., dict[str, Any]]  # (logits, *arguments): what these two are called with
    shape: Callable[..., Sequence[int]]  # (logits, *arguments): that of the loss
    reference: Callable[..., torch.Tensor]  # (logits, *arguments): by PyTorch, whose errors and derivatives it has


def array_of(tensor: torch.Tensor) -> Array:
    """A tensor's memory. NumPy knows no bfloat16, so its bits come across as integers."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    is_bfloat16 = tensor.dtype is torch.bfloat16
    array: Array = (tensor.view(torch.int16) if is_bfloat16 else tensor).numpy()
    return array.view(BFLOAT16) if is_bfloat16 else array


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
        def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
            arguments = upstream, *ctx.saved_tensors, *ctx.options
            # What is compiled has no second derivative, and need not be traced for one.
            twice = torch.is_grad_enabled() and not torch.compiler.is_compiling()
            grad = Gradient.apply(*arguments) if twice else backward_operator(*arguments)
            return grad, *[None] * (len(arguments) - 2)

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
            ctx.save_for_backward(*arguments[: 2 + loss.tensors])
            ctx.options = arguments[2 + loss.tensors :]
            return backward_operator(*arguments)

        @staticmethod
        def backward(ctx: Any, direction: torch.Tensor) -> tuple[Any, ...]:
            upstream, logits, *tensors = ctx.saved_tensors
            *options, dtype = ctx.options
            further = torch.is_grad_enabled()
            with torch.enable_grad():
                inputs = _differentiated(upstream), _differentiated(logits)
                value = loss.reference(inputs[1], *tensors, *options).to(dtype)
                (grad,) = torch.autograd.grad(value, inputs[1], inputs[0], create_graph=True)
                seconds = torch.autograd.grad(grad, inputs, direction, create_graph=further, materialize_grads=True)
            return *seconds, *[None] * (len(tensors) + len(ctx.options))

    def call(logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if not (torch.is_grad_enabled() and logits.requires_grad):
            return forward_operator(logits, *arguments)
        if torch.compiler.is_compiling():
            arguments = _told_apart(arguments)
        result: torch.Tensor = Value.apply(logits, *arguments)
        return result

    return call


def _differentiated(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`, to differentiate with respect to: within its graph if it has one, so that there are more derivatives."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def _told_apart(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """The compiler refuses autograd functions that are given one tensor twice, such as one for two weights."""
    return tuple(
        argument.detach() if isinstance(argument, torch.Tensor) and any(argument is a for a in arguments[:i]) else argument
        for i, argument in enumerate(arguments)
    )


def _operators(loss: Loss) -> tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]:
    def forward(logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        *plain, dtype = arguments
        result = np.empty(loss.shape(logits, *plain), np.float64 if logits.dtype is torch.float64 else np.float32)
        try:
            loss.value(**_keywords(loss, logits, plain), out=result)
        except ValueError:  # a label that is no class
            return loss.reference(logits.detach(), *plain).to(dtype)
        return torch.from_numpy(result).to(dtype)

    def backward(upstream: torch.Tensor, logits: torch.Tensor, *arguments: Any) -> torch.Tensor:
        grad = torch.empty_like(logits)
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
        or torch.autograd._profiler_enabled()
    )
