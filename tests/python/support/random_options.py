"""Calls with random combinations of options, each made from its number alone, and the bits of their results.

python random_options.py FIRST COUNT prints a line a call: its number, what it is, and a checksum of its results, with
any NaN as one and the same. Every call runs with 1, 2 and 5 threads, without a gradient, and over its own logits, and
stops the program where these differ. test_random_options.py compares what processes with other instruction sets print.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any

import ml_dtypes
import numpy as np
from checks import assert_same_bits

import logitloss as ll

FLOATS = [np.float32, np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
SHAPES = [(1, 1), (3, 2), (40, 3), (9, 10), (17, 33), (40, 64), (5, 100), (3, 129), (2, 300), (2, 4097), (1, 9000)]
LARGE = [(4001, 11), (300, 150), (40, 1200), (2, 20000), (1, 40000)]  # enough work for several threads
THREADS = (1, 2, 5)


class Draw:
    """Random arguments of one call."""

    def __init__(self, number: int) -> None:
        self.rng = np.random.default_rng([number, 1])

    def one_of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def logits(self, shape: tuple[int, ...]) -> np.ndarray:
        x = self.one_of(1, 4, 40) * self.rng.standard_normal(shape)
        if self.happens(0.3):
            x[self.rng.random(shape) < 0.2] = -np.inf
        if self.happens(0.3):
            x[self.rng.integers(shape[0])] += self.one_of(-1e9, 1e6, 60000, -300)
        if self.happens(0.2):
            x[self.rng.integers(shape[0]), self.rng.integers(shape[1])] = self.one_of(np.inf, np.nan, 1e38, -0.0)
        with np.errstate(over="ignore"):
            x = x.astype(self.one_of(*FLOATS))
        if self.happens(0.15):
            x = x.astype(x.dtype.newbyteorder()) if x.dtype != ml_dtypes.bfloat16 else x[::-1]
        if self.happens(0.15):
            x = np.repeat(x, 2, axis=-1)[:, ::2]
        return np.asfortranarray(x) if self.happens(0.25) else x

    def factors(self, shape: tuple[int, ...]) -> np.ndarray:
        """Weights, of any size and sign."""
        factors = self.rng.uniform(0.25, 2, shape)
        kind = self.one_of("ordinary", "ordinary", "zeros", "signs", "far", "powers")
        if kind == "zeros":
            factors[self.rng.random(shape) < 0.4] = 0
        if kind == "signs":
            factors *= self.rng.choice([-1, 1], shape)
        if kind == "far":
            return factors * 10.0 ** self.rng.integers(-90, 90, shape)
        if kind == "powers":
            factors = 2.0 ** self.rng.integers(-50, 51, shape)
        return factors.astype(self.one_of(np.float32, np.float64, ml_dtypes.bfloat16))

    def reduction(self) -> dict[str, Any]:
        options: dict[str, Any] = {"reduction": self.one_of("none", "sum", "mean")}
        if options["reduction"] != "none" and self.happens(0.3):
            options["normalizer"] = self.one_of(7.0, 1e-30, 1e30)
        return options

    def upstream(self, options: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        if not self.happens(0.4):
            return {}
        if options["reduction"] == "none" and self.happens(0.5):
            return {"upstream": self.factors(shape)}
        return {"upstream": self.one_of(3.0, -0.1, 0.0, 1e-40, 1e60)}

    def cross_entropy(self, x: np.ndarray) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        rows, classes = x.shape
        labels = self.rng.integers(0, classes, rows)
        kind = self.one_of("indices", "one-hot", "soft")
        target: np.ndarray = labels.astype(self.one_of(np.int64, np.int32, np.uint16))
        if kind == "indices" and self.happens(0.3):
            target = np.where(self.rng.random(rows) < 0.3, -100, labels)
        if kind == "one-hot":
            target = (np.arange(classes) == labels[:, None]).astype(self.one_of(np.uint8, bool, np.float32))
        if kind == "soft":
            target = self.factors(x.shape)
        options = self.reduction()
        if self.happens(0.5):
            options["class_weight"] = self.factors((classes,))
        if self.happens(0.4):
            options["sample_weight"] = self.factors((rows,))
        choices = {
            "label_smoothing": (0.1, 1.0, 1e-9, 1e-50),
            "z_loss": (1e-4, -0.5, 1e-30),
            "softcap": (5.0, 1000.0, 1e-3),
            "scale": (30.0, 0.5),
            "margin": (0.35, -2.0),
        }
        for name, values in choices.items():
            if self.happens(0.3) and not (name == "margin" and kind != "indices"):
                options[name] = self.one_of(*values)
        return target, options, self.upstream(options, (rows,))

    def binary(self, x: np.ndarray, focal: bool) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        kind = self.one_of(np.uint8, bool, np.float32, np.float64)
        target = self.rng.integers(0, 2, x.shape).astype(kind)
        if np.issubdtype(kind, np.floating) and self.happens(0.6):
            target = self.rng.random(x.shape).astype(kind)
        options = self.reduction()
        if self.happens(0.4):
            options["weight"] = self.factors(self.one_of(x.shape, x.shape[1:], ()))
        if self.happens(0.3):
            options["label_smoothing"] = self.one_of(0.1, 1.0, 1e-9)
        if self.happens(0.2):
            options["ignore_value"] = 1
        if focal:
            options |= {"alpha": self.one_of(None, 0.25, 1.0), "gamma": self.one_of(0.0, 0.5, 2.0, 30.0)}
        elif self.happens(0.4):
            options["pos_weight"] = self.factors(self.one_of(x.shape, x.shape[1:], ()))
        return target, options, self.upstream(options, x.shape)


def bits(results: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.array(result) for result in (results if isinstance(results, tuple) else (results,)))


def checksum(results: tuple[np.ndarray, ...]) -> int:
    total = 0
    for result in results:
        one_nan = np.where(np.isnan(result), np.array(np.nan, result.dtype), result)
        total = zlib.crc32(np.ascontiguousarray(one_nan).tobytes(), total)
    return total


def run(number: int) -> tuple[str, int]:
    """What the call is, and the checksum of its results."""
    draw = Draw(number)
    x = draw.logits(draw.one_of(*SHAPES, *SHAPES, *LARGE))
    kind = draw.one_of("cross_entropy", "cross_entropy", "bce_with_logits", "sigmoid_focal_loss", "logsumexp")
    if kind == "logsumexp":
        b = draw.factors(draw.one_of(x.shape, x.shape[1:], (x.shape[0], 1)))
        axis = draw.one_of(0, 1, None)
        first, *others = (
            (
                *ll.logsumexp(x, axis, b, return_sign=True, num_threads=n),
                *ll.logsumexp_value_and_grad(x, axis, num_threads=n),
            )
            for n in THREADS
        )
        names = f"axis {axis} b {b.dtype}{b.shape}"
    else:
        arguments = draw.cross_entropy(x) if kind == "cross_entropy" else draw.binary(x, kind == "sigmoid_focal_loss")
        target, options, gradient_options = arguments
        value_and_grad = getattr(ll, kind + "_value_and_grad")
        first, *others = (value_and_grad(x, target, num_threads=n, **options, **gradient_options) for n in THREADS)
        assert_same_bits(getattr(ll, kind)(x, target, **options), first[0])
        if x.dtype.isnative:
            place = np.copy(x, order="K")
            alone = value_and_grad(place.copy(order="K"), target, **options, **gradient_options)
            loss, grad = value_and_grad(place, target, grad_out=place, **options, **gradient_options)
            assert grad is place
            assert_same_bits(loss, alone[0])
            assert_same_bits(grad, alone[1])
        names = f"{target.dtype} {sorted(options | gradient_options)}"
    for other in others:
        for got, want in zip(bits(other), bits(first), strict=True):
            assert_same_bits(got, want)
    return f"{kind} {x.dtype}{x.shape} {names}", checksum(bits(first))


if __name__ == "__main__":
    begin, count = map(int, sys.argv[1:])
    for call in range(begin, begin + count):
        try:
            what, value = run(call)
        except AssertionError as error:
            raise SystemExit(f"call {call}: {error}") from error
        print(call, f"{value:08x}", what)
