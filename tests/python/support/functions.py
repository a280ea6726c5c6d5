"""Every public function, and how a valid call of it is made: what the tests that go through all of them start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import logitloss as ll

ROWS, CLASSES = 4, 3


@dataclass(frozen=True)
class Function:
    """A function, and how a valid call of it is made."""

    call: Callable[..., Any]
    first: str  # the array that the others follow
    others: tuple[str, ...]  # further array arguments of that shape or of its rows
    floats: dict[str, tuple[float, ...]]  # scalar options, each with its invalid values
    weights: tuple[str, ...] = ()
    loss_out: str | None = None  # the output of the loss's shape
    gradient_out: str | None = None  # the output of the logits' shape
    in_place: bool = True  # whether that may be the first array
    needs_axis: bool = True
    reduces: bool = False
    has_reduction: bool = True  # if it reduces: whether there is a choice
    probabilities: bool = False
    float_labels: bool = False  # whether class indices may be of a floating dtype

    @property
    def name(self) -> str:
        return self.call.__name__ + ("-probabilities" if self.probabilities else "")

    @property
    def has_classes(self) -> bool:
        """Whether the target may be class indices or class probabilities."""
        return "target" in self.others and self.needs_axis

    @property
    def takes_labels(self) -> bool:
        return self.has_classes and not self.probabilities

    def is_integer(self, name: str) -> bool:
        """Whether an argument holds class indices."""
        return name == "ids" or (name == "target" and self.takes_labels)

    def arguments(self) -> dict[str, Any]:
        """A valid call, by keyword."""
        rng = np.random.default_rng(7)
        make = rng.random if self.first == "probs" else rng.standard_normal
        logits = make((ROWS, CLASSES)).astype(np.float32)
        given: dict[str, Any] = {self.first: logits}
        for name in self.others:
            indices = np.array([0, 2, 1, 1])
            given[name] = indices if self.is_integer(name) else rng.random(logits.shape).astype(np.float32)
            if name == "ids":  # several a row
                given[name] = rng.integers(0, CLASSES, logits.shape)
        if self.loss_out:
            shape = () if self.reduces else (ROWS,)
            given[self.loss_out] = np.full(shape, 77, np.float32)
        if self.gradient_out:
            given[self.gradient_out] = np.full(logits.shape, 77, np.float32)
        if self.needs_axis:
            given["axis"] = -1
        return given


NAN, INF = float("nan"), float("inf")
ENTROPY_FLOATS = {
    "label_smoothing": (-0.125, 1.125, NAN, INF),
    "z_loss": (NAN,),
    "softcap": (0.0, -2.5, NAN),
    "margin": (NAN, INF, -INF),
    "scale": (0.0, -1.5, NAN),
    "normalizer": (0.0, -3.5, NAN, INF),
}
BINARY_FLOATS = {
    "label_smoothing": (-0.125, 1.125, NAN, INF),
    "ignore_value": (NAN,),
    "normalizer": (0.0, -3.5, NAN, INF),
}
FOCAL_FLOATS = BINARY_FLOATS | {"alpha": (-0.125, 1.125, NAN), "gamma": (-0.5, NAN)}
OPTIONAL = {"softcap", "normalizer", "ignore_value", "alpha", "base", "eps"}


def _loss(
    call: Any, floats: Any, weights: tuple[str, ...], gradient: bool, first: str = "logits", **more: Any
) -> Function:
    return Function(
        call,
        first,
        ("target",),
        floats,
        weights + (("upstream",) if gradient else ()),
        loss_out="out",
        gradient_out="grad_out" if gradient else None,
        reduces=True,
        **more,
    )


CROSS_ENTROPIES = [
    _loss(call, ENTROPY_FLOATS, ("class_weight", "sample_weight"), gradient, probabilities=probabilities)
    for probabilities in (False, True)
    for call, gradient in ((ll.cross_entropy, False), (ll.cross_entropy_value_and_grad, True))
]
BINARY = [
    _loss(ll.bce_with_logits, BINARY_FLOATS, ("weight", "pos_weight"), False, needs_axis=False),
    _loss(ll.bce_with_logits_value_and_grad, BINARY_FLOATS, ("weight", "pos_weight"), True, needs_axis=False),
    _loss(ll.sigmoid_focal_loss, FOCAL_FLOATS, ("weight",), False, needs_axis=False),
    _loss(ll.sigmoid_focal_loss_value_and_grad, FOCAL_FLOATS, ("weight",), True, needs_axis=False),
]
SOFTMAXES = [
    Function(ll.logsumexp, "a", (), {}, ("b",), loss_out="out"),
    Function(ll.logsumexp_value_and_grad, "a", (), {}, ("upstream",), gradient_out="grad_out"),
    Function(ll.softmax, "x", (), {}, gradient_out="out"),
    Function(ll.log_softmax, "x", (), {}, gradient_out="out"),
    Function(ll.softmax_vjp, "y", ("dy",), {}, gradient_out="out"),
    Function(ll.log_softmax_vjp, "y", ("dy",), {}, gradient_out="out"),
    Function(ll.logmeanexp, "a", (), {}, ("b",), loss_out="out"),
]
REGRESSION = [
    _loss(call, {}, ("weight",), gradient, first="pred", needs_axis=False, has_reduction=has_reduction)
    for call, gradient, has_reduction in (
        (ll.mean_squared_error, False, True),
        (ll.mean_squared_error_value_and_grad, True, True),
        (ll.mean_absolute_error, False, True),
        (ll.mean_absolute_error_value_and_grad, True, True),
        (ll.root_mean_squared_error, False, False),
        (ll.root_mean_squared_error_value_and_grad, True, False),
    )
] + [
    _loss(ll.poisson_nll, {}, ("weight",), False, first="log_rate", needs_axis=False),
    _loss(ll.poisson_nll_value_and_grad, {}, ("weight",), True, first="log_rate", needs_axis=False),
]
BASES = {"base": (0.0, -2.5, 1.0, NAN, INF)}
INFORMATION = [
    Function(ll.self_information, "p", (), BASES, gradient_out="out", in_place=False, needs_axis=False),
    Function(ll.entropy, "p", (), BASES, loss_out="out"),
    Function(ll.entropy_from_logits, "logits", (), BASES, loss_out="out"),
    Function(ll.kl_divergence, "p", ("q",), BASES, loss_out="out"),
    Function(ll.cross_entropy_of, "p", ("q",), BASES, loss_out="out"),
]
EPS = {"eps": (-0.125, 0.5, NAN)}
PROBABILITY_FLOATS = EPS | {name: ENTROPY_FLOATS[name] for name in ("label_smoothing", "normalizer")}
FROM_PROBABILITIES = [
    _loss(call, PROBABILITY_FLOATS, ("class_weight", "sample_weight"), gradient, "probs", probabilities=probabilities)
    for probabilities in (False, True)
    for call, gradient in ((ll.cross_entropy_from_probs, False), (ll.cross_entropy_from_probs_value_and_grad, True))
] + [
    _loss(ll.binary_cross_entropy, BINARY_FLOATS | EPS, ("weight",), False, "probs", needs_axis=False),
    _loss(ll.binary_cross_entropy_value_and_grad, BINARY_FLOATS | EPS, ("weight",), True, "probs", needs_axis=False),
]
METRICS = [
    Function(call, "logits", ("target",), {}, ("sample_weight",), probabilities=probabilities)
    for probabilities in (False, True)
    for call in (ll.accuracy, ll.error_rate)
] + [Function(ll.perplexity, "loss", (), {}, gradient_out="out", in_place=False, needs_axis=False)]
TEMPERATURES = {"temperature": (0.0, -2.5, NAN, INF)}
TOKENS = [
    Function(ll.token_logprobs, "logits", ("ids",), TEMPERATURES),
    Function(
        ll.token_logprobs_vjp,
        "logits",
        ("ids", "d_logprob"),
        TEMPERATURES,
        ("d_entropy", "lse"),
        gradient_out="grad_out",
    ),
]
HESSIANS = [
    Function(
        ll.cross_entropy_grad_hess,
        "logits",
        ("target",),
        {name: ENTROPY_FLOATS[name] for name in ("label_smoothing", "scale")},
        ("class_weight", "sample_weight"),
        gradient_out="grad_out",
        float_labels=True,
        probabilities=probabilities,
    )
    for probabilities in (False, True)
] + [
    Function(
        call,
        "logits",
        ("target",),
        {name: values for name, values in floats.items() if name != "normalizer"},
        weights,
        gradient_out="grad_out",
        needs_axis=False,
    )
    for call, floats, weights in (
        (ll.bce_with_logits_grad_hess, BINARY_FLOATS, ("weight", "pos_weight")),
        (ll.sigmoid_focal_loss_grad_hess, FOCAL_FLOATS, ("weight",)),
    )
]
LOSS_FUNCTIONS = CROSS_ENTROPIES + BINARY + REGRESSION + FROM_PROBABILITIES
FUNCTIONS = SOFTMAXES + INFORMATION + METRICS + TOKENS + HESSIANS + LOSS_FUNCTIONS
