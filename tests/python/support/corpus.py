"""The corpus whose results are hashed in tests/golden/hashes.json: the same in tests/cpp/golden_test.cpp.

Everything follows from integers, by operations that are exact in the dtype, so that any language and machine builds
the same inputs:

  mix(z)         the output step of splitmix64
  word(name, i)  mix(fnv1a64(name) + (i + 1) golden), the i-th word of a stream
  unit           in [0, 1): the upper 24 bits of the word, 8 where it is stored in 16
  plain          in [-8, 8): the upper bits of the word, as many as the dtype holds: 53, 24, 11 (float16), 8 (bfloat16)
  hash           sum over i of mix(bits_i + (i + 1) golden), any NaN counting as all ones; the hashes of the arrays of
                 a case, for one size after the other, are chained by state = mix(state + hash)

A case is <function>/<dtype>/<values>/<layout>. The stream of an array is called <case>/<rows>x<classes>/<array>.
After a deliberate change of the arithmetic:

  python tests/python/support/corpus.py --update

and say in the commit why the bits had to change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from checks import share

import logitloss as ll

GOLDEN_FILE = Path(__file__).parents[2] / "golden" / "hashes.json"
GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
THREADS = (1, 2, 5)

FEW_CLASSES = [(37, k) for k in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)]
MANY_CLASSES = [(5, 200), (5, 1000), (2, 4095), (2, 4096), (2, 4097), (2, 8193)]
LARGE = [(7001, 10), (70, 1000), (1, 70001)]  # enough for several threads
SIZES = {
    "plain": FEW_CLASSES + MANY_CLASSES + LARGE,
    "extreme": FEW_CLASSES + MANY_CLASSES,
    "structured": FEW_CLASSES + MANY_CLASSES,
}

DTYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)

Arrays = tuple[np.ndarray, ...]


def mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fnv1a(name: str) -> int:
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def words(name: str, *shape: int) -> np.ndarray:
    count = np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.uint64)
    return mix(np.array([fnv1a(name)], np.uint64) + count * GOLDEN_RATIO).reshape(shape)


def upper_bits(word: np.ndarray, bits: int) -> np.ndarray:
    """The upper bits of each word as a number in [0, 1), exact in float64."""
    return (word >> np.uint64(64 - bits)).astype(np.float64) * 2.0**-bits


def is_half(dtype: Any) -> bool:
    return np.dtype(dtype).itemsize == 2


def unit(word: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    return upper_bits(word, 8 if is_half(dtype) else 24).astype(dtype)


def plain(word: np.ndarray, dtype: Any) -> np.ndarray:
    bits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[np.dtype(dtype).name]
    return (16 * upper_bits(word, bits) - 8).astype(dtype)


def extreme(word: np.ndarray, dtype: Any) -> np.ndarray:
    """Masked and padded classes, zeros of both signs, tiny and large values; rows that are masked whole, that hold
    one +inf or one NaN, and rows beyond the range of the fast exponential."""
    rows, classes = word.shape
    row, column = np.ogrid[:rows, :classes]
    padding, tiny, huge = (-(2.0**15), 2.0**-4, 2.0**12) if is_half(dtype) else (-(2.0**30), 2.0**-20, 2.0**17)
    number = plain(word, dtype).astype(np.float64)
    value = number
    kind = word & np.uint64(15)
    for which, special in enumerate((-np.inf, padding, number * tiny, 0.0, -0.0, number * 8)):
        value = np.where(kind == which, special, value)
    value = np.where(row % 7 == 3, -np.inf, value)
    value = np.where((row % 7 == 4) & (column == row % classes), np.inf, value)
    value = np.where((row % 7 == 5) & (column == 5 * row % classes), np.nan, value)
    return np.where(row % 7 == 6, number * huge, value).astype(dtype)


def structured(word: np.ndarray, dtype: Any) -> np.ndarray:
    """Rows of equal logits, ramps, and rows that one class dominates by 40."""
    rows, classes = word.shape
    row, column = np.ogrid[:rows, :classes]
    ramp = (column - classes // 2) * 2.0**-4
    dominated = np.where(column == row % classes, 40.0, 0.0)
    return np.where(row % 3 == 0, 1.5, np.where(row % 3 == 1, ramp, dominated)).astype(dtype)


def logits_of(values: str, name: str, shape: tuple[int, int], dtype: Any) -> np.ndarray:
    return {"plain": plain, "extreme": extreme, "structured": structured}[values](words(name, *shape), dtype)


# ------------------------------------------------------------------------------------------------------ the functions


class Case:
    """One function on one size: its inputs, laid out with the class axis last or first."""

    def __init__(self, name: str, values: str, layout: str, shape: tuple[int, int], dtype: Any) -> None:
        self.stream = f"{name}/{shape[0]}x{shape[1]}"
        self.shape, self.dtype = shape, dtype
        self.is_strided = layout == "strided"
        self.axis = 0 if self.is_strided else -1
        self.x = self.lay(logits_of(values, self.stream + "/x", shape, dtype))

    def lay(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(rows.T) if self.is_strided else rows

    def words(self, array: str, *shape: int) -> np.ndarray:
        return words(f"{self.stream}/{array}", *shape)

    def unit(self, dtype: Any = np.float32, array: str = "unit") -> np.ndarray:
        return self.lay(unit(self.words(array, *self.shape), dtype))

    def probabilities(self, array: str = "p") -> np.ndarray:
        """In [0, 1) and of the dtype of x; rows do not sum to 1."""
        return self.unit(self.dtype, array)

    def labels(self) -> np.ndarray:
        word = self.words("labels", self.shape[0])
        return np.where(word >> np.uint64(60) == 0, -100, (word % np.uint64(self.shape[1])).astype(np.int64))

    def hard(self) -> np.ndarray:
        return (self.words("hard", *self.shape) & np.uint64(1)).astype(np.uint8)

    def mask(self) -> np.ndarray:
        """Half of the elements."""
        return self.lay(self.hard()).view(bool)

    def halves(self, array: str, count: int, least: int) -> np.ndarray:
        """Weights: least/2, (least+1)/2, (least+2)/2 or (least+3)/2."""
        return ((self.words(array, count) >> np.uint64(62)).astype(np.float32) + np.float32(least)) * np.float32(0.5)

    def entropy_options(self) -> dict[str, Any]:
        return {
            "class_weight": self.halves("class_weight", self.shape[1], 1),
            "sample_weight": self.halves("sample_weight", self.shape[0], 0),
            "label_smoothing": 0.125,
            "z_loss": 0.03125,
            "softcap": 16.0,
            "margin": 0.25,
            "scale": 1.5,
        }

    def binary_options(self) -> dict[str, Any]:
        return {
            "weight": self.halves("weight", self.shape[1], 0),
            "pos_weight": self.halves("pos_weight", self.shape[1], 1),
            "label_smoothing": 0.125,
        }

    def signed_weights(self) -> np.ndarray:
        """Integers from -8 to 7, of the dtype of the results."""
        number = (self.words("weights", *self.shape) >> np.uint64(60)).astype(np.float64) - 8
        return self.lay(number.astype(np.float64 if self.dtype == np.float64 else np.float32))


def _as_tuple(result: Any) -> Arrays:
    return tuple(np.asarray(r) for r in (result if isinstance(result, tuple) else (result,)))


def _cross_entropy_of_two_shards(c: Case, num_threads: int) -> Arrays:
    """Of classes cut at a third; the gradient is that of all."""
    labels, classes, threads = c.labels(), c.shape[1], {"num_threads": num_threads}
    cut = classes // 3
    columns = [(slice(first, end), slice(None))[:: 1 if c.is_strided else -1] for first, end in ((0, cut), (cut, None))]
    options = {"num_classes": classes, "axis": c.axis, "label_smoothing": 0.125, "z_loss": 0.03125}
    left, right = (
        ll.CrossEntropyState(c.x[shard], labels, first_class=first, **options, **threads)
        for first, shard in zip((0, cut), columns, strict=True)
    )
    state, grad = left.merge(right), np.empty_like(c.x)
    for first, shard in zip((0, cut), columns, strict=True):
        state.grad(c.x[shard], first_class=first, reduction="none", grad_out=grad[shard], **threads)
    return np.asarray(state.loss(reduction="none", **threads)), grad


FUNCTIONS: dict[str, Callable[[Case, int], Any]] = {
    "logsumexp": lambda c, n: ll.logsumexp(c.x, axis=c.axis, num_threads=n),
    "logsumexp_value_and_grad": lambda c, n: ll.logsumexp_value_and_grad(c.x, axis=c.axis, num_threads=n),
    "softmax": lambda c, n: ll.softmax(c.x, axis=c.axis, num_threads=n),
    "log_softmax": lambda c, n: ll.log_softmax(c.x, axis=c.axis, num_threads=n),
    "softmax_vjp": lambda c, n: ll.softmax_vjp(c.unit(c.dtype), c.x, axis=c.axis, num_threads=n),
    "log_softmax_vjp": lambda c, n: ll.log_softmax_vjp(c.unit(c.dtype) * c.dtype(-8), c.x, axis=c.axis, num_threads=n),
    "cross_entropy-loss": lambda c, n: ll.cross_entropy(c.x, c.labels(), axis=c.axis, reduction="none", num_threads=n),
    "cross_entropy-none": lambda c, n: ll.cross_entropy_value_and_grad(
        c.x, c.labels(), axis=c.axis, reduction="none", num_threads=n
    ),
    "cross_entropy-mean": lambda c, n: ll.cross_entropy_value_and_grad(c.x, c.labels(), axis=c.axis, num_threads=n),
    "cross_entropy-soft": lambda c, n: ll.cross_entropy_value_and_grad(c.x, c.unit(), axis=c.axis, num_threads=n),
    "cross_entropy-options": lambda c, n: ll.cross_entropy_value_and_grad(
        c.x, c.labels(), axis=c.axis, num_threads=n, **c.entropy_options()
    ),
    "cross_entropy-far": lambda c, n: ll.cross_entropy_value_and_grad(
        c.x, c.unit(np.float64) * 2.0**-200, axis=c.axis, normalizer=2.0**-200, num_threads=n
    ),
    "bce_with_logits-none": lambda c, n: ll.bce_with_logits_value_and_grad(
        c.x, c.hard(), reduction="none", num_threads=n
    ),
    "bce_with_logits-mean": lambda c, n: ll.bce_with_logits_value_and_grad(c.x, c.unit(), num_threads=n),
    "bce_with_logits-options": lambda c, n: ll.bce_with_logits_value_and_grad(
        c.x, c.hard(), num_threads=n, **c.binary_options()
    ),
    "sigmoid_focal_loss-none": lambda c, n: ll.sigmoid_focal_loss_value_and_grad(
        c.x, c.hard(), reduction="none", num_threads=n
    ),
    "sigmoid_focal_loss-soft": lambda c, n: ll.sigmoid_focal_loss_value_and_grad(
        c.x, c.unit(), alpha=None, gamma=1.5, num_threads=n
    ),
    "cross_entropy_grad_hess-upper": lambda c, n: ll.cross_entropy_grad_hess(
        c.x, c.labels(), axis=c.axis, hessian="upper", num_threads=n
    ),
    "cross_entropy_grad_hess-smooth": lambda c, n: ll.cross_entropy_grad_hess(
        c.x, c.labels(), axis=c.axis, hessian="friedman", label_smoothing=0.125, scale=0.75, num_threads=n
    ),
    "cross_entropy_grad_hess-soft": lambda c, n: ll.cross_entropy_grad_hess(
        c.x, c.unit(), axis=c.axis, hessian="abs", num_threads=n
    ),
    "bce_with_logits_grad_hess": lambda c, n: ll.bce_with_logits_grad_hess(c.x, c.unit(), num_threads=n),
    "sigmoid_focal_loss_grad_hess": lambda c, n: ll.sigmoid_focal_loss_grad_hess(c.x, c.hard(), num_threads=n),
    "mean_squared_error-none": lambda c, n: ll.mean_squared_error_value_and_grad(
        c.x, c.unit(), reduction="none", num_threads=n
    ),
    "mean_squared_error-weight": lambda c, n: ll.mean_squared_error_value_and_grad(
        c.x, c.hard(), weight=c.halves("weight", c.shape[1], 1), num_threads=n
    ),
    "mean_absolute_error": lambda c, n: ll.mean_absolute_error_value_and_grad(c.x, c.unit(), num_threads=n),
    "root_mean_squared_error": lambda c, n: ll.root_mean_squared_error_value_and_grad(c.x, c.hard(), num_threads=n),
    "poisson_nll-none": lambda c, n: ll.poisson_nll_value_and_grad(c.x, c.hard(), reduction="none", num_threads=n),
    "poisson_nll-full": lambda c, n: ll.poisson_nll_value_and_grad(
        c.x, c.unit() * np.float32(8), full=True, weight=c.halves("weight", c.shape[1], 1), num_threads=n
    ),
    "self_information": lambda c, n: ll.self_information(c.probabilities(), base=2, num_threads=n),
    "entropy": lambda c, n: ll.entropy(c.probabilities(), axis=c.axis, num_threads=n),
    "entropy_from_logits": lambda c, n: ll.entropy_from_logits(c.x, axis=c.axis, num_threads=n),
    "kl_divergence": lambda c, n: ll.kl_divergence(c.probabilities(), c.probabilities("q"), axis=c.axis, num_threads=n),
    "cross_entropy_of": lambda c, n: ll.cross_entropy_of(
        c.probabilities(), c.probabilities("q"), axis=c.axis, base=10, num_threads=n
    ),
    "cross_entropy_from_probs-none": lambda c, n: ll.cross_entropy_from_probs_value_and_grad(
        c.probabilities(), c.labels(), axis=c.axis, reduction="none", num_threads=n
    ),
    "cross_entropy_from_probs-eps": lambda c, n: ll.cross_entropy_from_probs_value_and_grad(
        c.probabilities(), c.unit(), axis=c.axis, eps=2.0**-6, label_smoothing=0.125, num_threads=n
    ),
    "binary_cross_entropy-none": lambda c, n: ll.binary_cross_entropy_value_and_grad(
        c.probabilities(), c.hard(), reduction="none", num_threads=n
    ),
    "binary_cross_entropy-eps": lambda c, n: ll.binary_cross_entropy_value_and_grad(
        c.probabilities(), c.unit(), eps=2.0**-6, num_threads=n
    ),
    "accuracy": lambda c, n: ll.accuracy(c.probabilities(), c.labels(), axis=c.axis, top_k=3, num_threads=n),
    "error_rate": lambda c, n: ll.error_rate(c.probabilities(), c.labels(), axis=c.axis, top_k=2, num_threads=n),
    "perplexity": lambda c, n: ll.perplexity(c.x, num_threads=n),
    "token_logprobs": lambda c, n: ll.token_logprobs(
        c.x, c.labels(), axis=c.axis, returns=ll.TokenLogProbs._fields, k=min(5, c.shape[1]), num_threads=n
    ),
    "token_logprobs_vjp": lambda c, n: ll.token_logprobs_vjp(
        c.x,
        c.labels(),
        c.halves("d_logprob", c.shape[0], 0),
        c.halves("d_entropy", c.shape[0], 0),
        axis=c.axis,
        num_threads=n,
    ),
    "softmax-where": lambda c, n: ll.softmax(c.x, axis=c.axis, where=c.mask(), num_threads=n),
    "log_softmax-where": lambda c, n: ll.log_softmax(c.x, axis=c.axis, where=c.mask(), num_threads=n),
    "logmeanexp": lambda c, n: ll.logmeanexp(c.x, axis=c.axis, num_threads=n),
    "logmeanexp-where": lambda c, n: ll.logmeanexp(c.x, axis=c.axis, where=c.mask(), num_threads=n),
    "weighted_logsumexp": lambda c, n: ll.logsumexp(
        c.x, axis=c.axis, b=c.signed_weights(), return_sign=True, num_threads=n
    ),
    "cross_entropy_state": _cross_entropy_of_two_shards,
}


ELEMENTWISE = (
    "bce_with_logits",
    "binary_cross_entropy",
    "sigmoid_focal_loss",
    "mean_squared_error",
    "mean_absolute_error",
    "root_mean_squared_error",
    "poisson_nll",
    "self_information",
    "perplexity",
)


# Not of x: their values are always the same.
OF_PROBABILITIES = (
    "self_information",
    "entropy",
    "kl_divergence",
    "cross_entropy_of",
    "cross_entropy_from_probs",
    "binary_cross_entropy",
    "accuracy",
    "error_rate",
)


def values_of(function: str, dtype: Any) -> tuple[str, ...]:
    if function.split("-")[0] in OF_PROBABILITIES:
        return ("plain",)
    return ("plain", "extreme") if is_half(dtype) else tuple(SIZES)


Named = tuple[str, Callable[["Case", int], Any], str, str, Any]


def cases() -> Iterator[Named]:
    for function, call in FUNCTIONS.items():
        for dtype in DTYPES:
            for values in values_of(function, dtype):
                for layout in ("contiguous",) if function.startswith(ELEMENTWISE) else ("contiguous", "strided"):
                    yield f"{function}/{np.dtype(dtype).name}/{values}/{layout}", call, values, layout, dtype


def cases_on(isa: str) -> list[Named]:
    """All cases, or, if a sample is asked for, the share of `isa`."""
    return share(list(cases()), isa)


# --------------------------------------------------------------------------------------------------------- the hashes


def hash_of(array: np.ndarray) -> int:
    array = np.ascontiguousarray(array)
    bits = array.reshape(-1).view(f"u{array.itemsize}").astype(np.uint64)
    bits = np.where(np.isnan(array).reshape(-1), np.uint64(2**64 - 1), bits)
    count = np.arange(1, bits.size + 1, dtype=np.uint64)
    return int(mix(bits + count * GOLDEN_RATIO).sum(dtype=np.uint64))


def chained(state: int, arrays: Arrays) -> int:
    for array in arrays:
        state = int(mix(np.array([(state + hash_of(array)) % 2**64], np.uint64))[0])
    return state


def hashes(threads: tuple[int, ...], chosen: Iterable[Named] | None = None) -> dict[str, dict[str, str]]:
    """{number of threads: {case: hash}}, of all cases or those that are given."""
    found: dict[str, dict[str, str]] = {str(n): {} for n in threads}
    for name, call, values, layout, dtype in cases() if chosen is None else chosen:
        states = dict.fromkeys(threads, 0)
        for shape in SIZES[values]:
            case = Case(name, values, layout, shape, dtype)
            known: dict[tuple[Any, ...], int] = {}  # most often the same bytes at any number of threads
            for n in threads:
                arrays = _as_tuple(call(case, n))
                key = (states[n], *((a.dtype, a.shape, a.tobytes()) for a in map(np.asarray, arrays)))
                if key not in known:
                    known[key] = chained(states[n], arrays)
                states[n] = known[key]
        for n in threads:
            found[str(n)][name] = f"{states[n]:016x}"
    return found


def main() -> None:
    if "--update" in sys.argv[1:]:
        GOLDEN_FILE.write_text(json.dumps(hashes((1,))["1"], indent=0) + "\n")
    else:
        json.dump(hashes(THREADS, cases_on(ll.isa())), sys.stdout)


if __name__ == "__main__":
    main()
