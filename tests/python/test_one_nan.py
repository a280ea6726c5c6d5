"""Every NaN that any function writes has the same bits, whatever made it: one that came in, with any sign and payload,
or an operation on infinities. That is decided kernel by kernel, so every instruction set is asked in a process of its
own."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from checks import spares
from child import run_python
from losses import LOSSES, Loss

import logitloss as ll

THE_NAN = {
    np.dtype(np.float32): 0x7FC00000,
    np.dtype(np.float64): 0x7FF8000000000000,
    np.dtype(np.float16): 0x7E00,
    np.dtype(ml_dtypes.bfloat16): 0x7FC0,
}
SHAPES = [(23, 3), (9, 40), (6, 200), (3, 4100)]


def words(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def nans(dtype: Any) -> np.ndarray:
    """Quiet and signalling, of both signs, with several payloads."""
    dtype = np.dtype(dtype)
    one, sign = THE_NAN[dtype], 1 << (8 * dtype.itemsize - 1)
    infinity = int(words(np.array([np.inf], dtype))[0])
    bits = [one, one | sign, one | 5, one | sign | 1, infinity | 1, infinity | sign | 3]
    return np.array(bits, f"u{dtype.itemsize}").view(dtype)


def spoiled(rng: np.random.Generator, array: np.ndarray, share: float) -> np.ndarray:
    """A copy in which a share of the elements is NaN or infinite."""
    array = np.array(array)
    specials = np.concatenate([nans(array.dtype), np.array([np.inf, -np.inf], array.dtype)])
    where = rng.random(array.shape) < share
    chosen = words(specials)[rng.integers(0, specials.size, array.shape)]
    words_of = array.view(f"u{array.dtype.itemsize}")
    words_of[where] = chosen[where]
    return array


def is_floating(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype in THE_NAN


def results_of_loss(loss: Loss, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Iterator[Any]:
    given = loss.inputs(rng, shape, dtype)
    upstreams = [None, np.nan, np.inf, 0.0]
    if loss.reduction == "none":
        upstreams.append(spoiled(rng, np.ones(loss.loss_shape(shape), dtype), 0.3))
    for share in (0.0, 1 / shape[1], 0.5):
        logits = spoiled(rng, given.logits, 0.0 if loss.refuses_others else share)
        spoils = share and not loss.name.startswith("poisson")  # which refuses what is no count
        targets = [spoiled(rng, t, 0.1) if spoils and is_floating(t) else t for t in given.targets]
        options = {k: spoiled(rng, v, 0.2) if share and is_floating(v) else v for k, v in given.options.items()}
        for upstream in upstreams:
            yield from loss.value_and_grad(logits, *targets, **options, upstream=upstream)
        yield loss.value(logits, *targets, **options)


def results_of_softmaxes(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Iterator[Any]:
    clean = rng.standard_normal(shape).astype(dtype)
    for share in (1 / shape[1], 0.5):
        x, dy, b = (spoiled(rng, clean, share) for _ in range(3))
        for axis in (-1, 0, None):
            yield ll.logsumexp(x, axis=axis)
            yield from ll.logsumexp(x, axis=axis, b=b, return_sign=True)
            yield ll.logsumexp(x, axis=axis, b=-np.abs(clean))
            yield from ll.logsumexp_value_and_grad(x, axis)
            yield ll.LogSumExp(axis).update(x).merge(ll.LogSumExp(axis).update(dy)).value()
            if axis is not None:
                p, log_p = ll.softmax(x, axis=axis), ll.log_softmax(x, axis=axis)
                yield from (p, log_p, ll.softmax_vjp(p, dy, axis), ll.log_softmax_vjp(log_p, dy, axis))
                yield from (ll.softmax_vjp(x, dy, axis), ll.log_softmax_vjp(x, dy, axis))


def results_of_far_rows(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Iterator[Any]:
    """Of coefficients that float32 does not hold, some of them infinite or NaN."""
    logits = rng.standard_normal(shape).astype(dtype)
    for share in (0.0, 0.02):
        target = spoiled(rng, rng.random(shape) * 1e-60, share)
        weight = spoiled(rng, rng.random(shape[-1]) * 1e-60, 0.5 - share)
        for options in ({}, {"class_weight": weight, "label_smoothing": 0.1}):
            yield from ll.cross_entropy_value_and_grad(logits, target, reduction="none", **options)
            yield from ll.cross_entropy_value_and_grad(logits, target, **options)


def results_of_measures(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Iterator[Any]:
    clean = rng.random(shape).astype(dtype)
    for share in (0.0, 1 / shape[1], 0.5):
        p, q, z = (spoiled(rng, clean, share) for _ in range(3))
        p[:, 0] -= 2  # a logarithm of a negative number
        yield from (ll.self_information(p), ll.self_information(p, base=2), ll.perplexity(z))
        for axis in (-1, 0):
            for base in (None, 10):
                yield from (ll.entropy(p, axis=axis, base=base), ll.entropy_from_logits(z, axis=axis, base=base))
                yield from (ll.kl_divergence(p, q, axis=axis, base=base), ll.cross_entropy_of(p, q, axis=axis))
        nothing = np.zeros(shape[0])
        yield from (function(z, clean, sample_weight=nothing) for function in (ll.accuracy, ll.error_rate))


def all_results(dtype: Any) -> Iterator[tuple[str, Any]]:
    rng = np.random.default_rng(zlib.crc32(np.dtype(dtype).name.encode()))
    for shape in SHAPES[:-1] if spares(ll.isa()) else SHAPES:
        for result in results_of_softmaxes(rng, shape, dtype):
            yield f"softmaxes, {shape}", result
        for result in results_of_far_rows(rng, shape, dtype):
            yield f"far rows, {shape}", result
        for result in results_of_measures(rng, shape, dtype):
            yield f"measures, {shape}", result
        for loss in LOSSES:
            for result in results_of_loss(loss, rng, shape, dtype) if loss.target else ():
                yield f"{loss}, {shape}", result


def print_strays() -> None:
    """The calls that wrote another NaN, and how many NaNs were seen."""
    with np.errstate(all="ignore"):
        for dtype in THE_NAN:
            seen, strays = 0, set()
            for name, result in all_results(dtype):
                result = np.atleast_1d(result)
                found = words(result)[np.isnan(result)]
                seen += found.size
                if np.any(found != THE_NAN[result.dtype]):
                    strays.add(name)
            print(ll.isa(), dtype.name, seen, *sorted(strays), sep="|")


@pytest.mark.parametrize("isa", ll.available_isas())
def test_there_is_one_nan(isa):
    lines = run_python("import test_one_nan as t; t.print_strays()", timeout=300, LOGITLOSS_ISA=isa).splitlines()
    assert [line.split("|")[:2] for line in lines] == [[isa, dtype.name] for dtype in THE_NAN]
    for line in lines:
        _, dtype, seen, *strays = line.split("|")
        assert int(seen) > 10_000, line
        assert not strays, f"{dtype}: {strays}"
