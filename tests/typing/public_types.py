"""What type checkers and editors know of the public functions. Checked by mypy and pyright, and run by the tests."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import logitloss as ll
from logitloss import mpi

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type

logits = np.zeros((4, 3), dtype=np.float32)
labels = np.zeros(4, dtype=np.int64)
tags = np.zeros((4, 3), dtype=np.bool_)


def reduced_losses_are_scalars() -> None:
    assert_type(ll.cross_entropy(logits, labels), np.floating[Any])
    assert_type(ll.cross_entropy([[1.0, 2.0]], [1], reduction="sum"), np.floating[Any])
    assert_type(ll.bce_with_logits(logits, tags, pos_weight=[1.0, 2.0, 3.0]), np.floating[Any])
    assert_type(ll.sigmoid_focal_loss(logits, tags, alpha=None, reduction="mean"), np.floating[Any])
    assert_type(ll.logsumexp(logits), np.floating[Any])
    assert_type(ll.logmeanexp(logits, where=logits > 0), np.floating[Any])
    assert_type(ll.mean_squared_error(logits, tags, weight=[1.0, 2.0, 3.0]), np.floating[Any])
    assert_type(ll.root_mean_squared_error(logits, tags), np.floating[Any])
    assert_type(ll.poisson_nll(logits, tags, full=True, reduction="sum"), np.floating[Any])
    assert_type(ll.cross_entropy_from_probs([0.75, 0.25], 0, eps=1e-7), np.floating[Any])
    assert_type(ll.binary_cross_entropy(np.full((4, 3), 0.5), tags, reduction="sum"), np.floating[Any])
    assert_type(ll.accuracy(logits, labels, top_k=2), np.float64)
    assert_type(ll.error_rate(logits, labels, sample_weight=[1, 2, 3, 4]), np.float64)
    assert_type(ll.perplexity(0.5), NDArray[Any] | Any)
    assert_type(ll.token_logprobs(logits, labels, returns=("rank",)), ll.TokenLogProbs)
    assert_type(ll.token_logprobs_vjp(logits, labels, 1.0, d_entropy=[0.5] * 4), NDArray[Any])
    assert_type(ll.cross_entropy_grad_hess(logits, labels, hessian="upper"), tuple[NDArray[Any], NDArray[Any]])
    assert_type(ll.bce_with_logits_grad_hess(logits, tags, pos_weight=2), tuple[NDArray[Any] | Any, NDArray[Any] | Any])
    assert_type(
        ll.sigmoid_focal_loss_grad_hess(logits, tags, alpha=None), tuple[NDArray[Any] | Any, NDArray[Any] | Any]
    )
    print(f"{float(ll.cross_entropy(logits, labels)):.3f}")


def losses_of_rows_are_arrays_or_scalars_of_one_row() -> None:
    assert_type(ll.cross_entropy(logits, labels, reduction="none"), NDArray[Any] | Any)
    assert_type(ll.cross_entropy(logits, labels, out=np.empty((), np.float32)), NDArray[Any] | Any)
    assert_type(ll.bce_with_logits(logits, tags, reduction="none"), NDArray[Any] | Any)
    assert_type(ll.sigmoid_focal_loss(logits, tags, reduction="none"), NDArray[Any] | Any)
    assert_type(ll.mean_absolute_error(logits, tags, reduction="none"), NDArray[Any] | Any)
    assert_type(ll.poisson_nll(logits, tags, reduction="none"), NDArray[Any] | Any)
    ll.cross_entropy(logits, labels, reduction="none").argsort()
    float(ll.cross_entropy(logits[0], labels[0], reduction="none"))


def gradients_are_arrays() -> None:
    assert_type(ll.cross_entropy_value_and_grad(logits, labels), tuple[np.floating[Any], NDArray[Any]])
    loss, grad = ll.cross_entropy_value_and_grad(logits, labels, grad_out=logits, reduction="none", upstream=2.0)
    assert_type(loss, NDArray[Any] | Any)
    assert_type(grad, NDArray[Any])
    loss, grad = ll.bce_with_logits_value_and_grad(logits, tags)
    assert_type(loss, np.floating[Any])
    assert_type(grad, NDArray[Any] | Any)
    loss, grad = ll.sigmoid_focal_loss_value_and_grad(logits, tags, reduction="sum")
    assert_type(loss, np.floating[Any])
    logits[:] -= 0.1 * grad
    loss, grad = ll.root_mean_squared_error_value_and_grad(logits, tags)
    assert_type(loss, np.floating[Any])


def log_sum_exp_is_as_its_arguments_say() -> None:
    assert_type(ll.logsumexp(logits, axis=-1), NDArray[Any] | Any)
    assert_type(ll.logmeanexp(logits, axis=-1), NDArray[Any] | Any)
    assert_type(ll.logsumexp(logits, keepdims=True), NDArray[Any] | Any)
    value, sign = ll.logsumexp(logits, b=-1, return_sign=True)
    assert_type(value, NDArray[Any] | Any)
    assert_type(sign, NDArray[Any] | Any)
    assert_type(ll.logsumexp_value_and_grad(logits, (0, 1)), tuple[NDArray[Any] | Any, NDArray[Any] | Any])
    assert_type(ll.softmax(logits, 1), NDArray[Any] | Any)
    assert_type(ll.log_softmax(logits, out=logits), NDArray[Any] | Any)
    assert_type(ll.softmax_vjp(logits, logits), NDArray[Any] | Any)
    assert_type(ll.log_softmax_vjp(logits, logits, axis=None), NDArray[Any] | Any)
    assert_type(ll.LogSumExp(axis=None).update(logits).merge(ll.LogSumExp()), ll.LogSumExp)
    assert_type(ll.LogSumExp().update(logits).value(), NDArray[Any] | Any)


class Alone:
    def allgather(self, sendobj: Any, /) -> list[Any]:
        return [sendobj]


def states_merge_and_ranks_share_out_classes() -> None:
    state = ll.CrossEntropyState(logits[:, :1], labels, first_class=0, num_classes=3)
    other = ll.CrossEntropyState(logits[:, 1:], labels, first_class=1, num_classes=3)
    assert_type(state.merge(other), ll.CrossEntropyState)
    assert_type(state.to_array(), NDArray[np.float64])
    assert_type(ll.CrossEntropyState.from_array(state.to_array(), labels, num_classes=3), ll.CrossEntropyState)
    assert_type(state.loss(reduction="none"), NDArray[Any] | Any)
    assert_type(state.grad(logits[:, :1]), NDArray[Any])
    comm: mpi.Communicator = Alone()
    _, grad = mpi.cross_entropy_value_and_grad(logits, labels, comm, first_class=0)
    assert_type(grad, NDArray[Any])


def measures_are_arrays_or_scalars_of_one_row() -> None:
    assert_type(ll.self_information(0.5, base=2), NDArray[Any] | Any)
    assert_type(ll.entropy(np.abs(logits)), NDArray[Any] | Any)
    assert_type(ll.entropy_from_logits(logits, 0, base=10), NDArray[Any] | Any)
    assert_type(ll.kl_divergence(tags, [0.5, 0.25, 0.25]), NDArray[Any] | Any)
    assert_type(ll.cross_entropy_of([1, 0], [0.5, 0.5], axis=0), NDArray[Any] | Any)


def a_reduction_may_be_a_variable(reduction: Literal["none", "sum", "mean"] = "sum") -> None:
    assert_type(ll.cross_entropy(logits, labels, reduction=reduction), NDArray[Any] | Any)


def the_environment_is_text_and_numbers() -> None:
    assert_type(ll.isa(), str)
    assert_type(ll.available_isas(), list[str])
    assert_type(ll.get_num_threads(), int)
    ll.set_num_threads(ll.get_num_threads())
    ll.show_config()


def mistakes_are_found() -> None:  # never called: what these lines do is to be refused by a type checker
    ll.cross_entropy(logits, labels, reduction="average")  # type: ignore
    ll.cross_entropy(logits, labels, 1)  # type: ignore
    ll.cross_entropy(logits, labels, label_smoothing="0.1")  # type: ignore
    ll.cross_entropy(logits, labels, out=[0.0])  # type: ignore
    ll.bce_with_logits(logits, tags, alpha=0.25)  # type: ignore
    ll.root_mean_squared_error(logits, tags, reduction="sum")  # type: ignore
    ll.logsumexp(logits, axis="rows")  # type: ignore
    ll.softmax(logits, upstream=1.0)  # type: ignore
    ll.LogSumExp().merge(logits)  # type: ignore
    ll.cross_entropy_grad_hess(logits, labels, hessian="newton")  # type: ignore
    ll.set_num_threads("all")  # type: ignore
