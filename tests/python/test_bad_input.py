"""Bad calls: each gives the named error, says which argument, what was got and what was expected, and writes nothing.

One table for all functions. A row of it is a valid call of which some arguments are replaced. Every call is made with
outputs given, and once more in place where the function can work in place; after the error no array may have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from functions import CLASSES, FUNCTIONS, METRICS, OPTIONAL, ROWS, SOFTMAXES, Function

import logitloss as ll

NAN = float("nan")


@dataclass(frozen=True)
class BadCall:
    function: Function
    what: str
    change: Callable[[dict[str, Any]], dict[str, Any]]
    error: type[Exception]
    fragments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.function.name}-{self.what}"


def replaced(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: given | changes


# ------------------------------------------------------------------------------------------------------- the table


def arrays_of_a_wrong_kind() -> dict[str, tuple[Any, str]]:
    """What no argument takes, and the name of it that the message must give."""
    numbers = np.ones((ROWS, CLASSES))
    kinds = {
        "masked": (np.ma.masked_array(numbers, numbers < 0), "MaskedArray"),
        "complex64": (numbers.astype(np.complex64), "complex64"),
        "complex128": (numbers.astype(np.complex128), "complex128"),
        "object": (numbers.astype(object), "object"),
        "string": (numbers.astype(str), ""),
        "bytes": (numbers.astype(bytes), ""),
        "datetime": (np.zeros((ROWS, CLASSES), "datetime64[s]"), "datetime64"),
        "structured": (np.zeros((ROWS, CLASSES), [("f", np.float32)]), ""),
        "text": ("logits", ""),
        "none": (None, ""),
    }
    if np.dtype(np.longdouble) != np.dtype(np.float64):
        kinds["longdouble"] = (numbers.astype(np.longdouble), np.dtype(np.longdouble).name)
    return kinds


def wrong_kinds(function: Function) -> Iterator[BadCall]:
    for kind, (value, shown) in arrays_of_a_wrong_kind().items():
        for name in (function.first, *function.others):
            yield BadCall(function, f"{name}-{kind}", replaced(**{name: value}), TypeError, (name, shown))
        for name in function.weights:
            if kind != "none":
                yield BadCall(function, f"{name}-{kind}", replaced(**{name: value}), TypeError, (name, shown))


def wrong_axes(function: Function) -> Iterator[BadCall]:
    if not function.needs_axis:
        return
    for axis in (2, -3, 1000):
        yield BadCall(function, f"axis-{axis}", replaced(axis=axis), np.exceptions.AxisError, ("axis", str(axis), "2"))
    for axis in (2**40, -(2**70)):  # the number that was given, and not what is left of it in C++
        yield BadCall(function, f"axis-{axis}", replaced(axis=axis), np.exceptions.AxisError, ("axis", str(axis)))
    for axis in (1.0, "0"):
        yield BadCall(function, f"axis-{axis!r}", replaced(axis=axis), TypeError, ("axis",))
    if function.reduces:
        for axis in (None, (0, 1)):
            yield BadCall(function, f"axis-{axis}", replaced(axis=axis), TypeError, ("axis",))


def wrong_threads(function: Function) -> Iterator[BadCall]:
    for value, error in ((0, ValueError), (-3, ValueError), (-(2**70), ValueError), (1.5, TypeError), ("2", TypeError)):
        fragments = ("num_threads", str(value))
        yield BadCall(function, f"threads-{value!r}", replaced(num_threads=value), error, fragments)


def wrong_options(function: Function) -> Iterator[BadCall]:
    for name, values in function.floats.items():
        if name == "margin" and function.probabilities:
            values = (0.5,)
        for value in values:
            yield BadCall(function, f"{name}-{value}", replaced(**{name: value}), ValueError, (name, f"{value:g}"))
        for value in ("0.5", [0.5, 0.5], 1j) + (() if name in OPTIONAL else (None,)):
            yield BadCall(function, f"{name}-{value!r}", replaced(**{name: value}), TypeError, (name,))
    if function.reduces and function.has_reduction:
        for value in ("avg", "Mean", ""):
            fragments = ("reduction", repr(value), "none", "sum", "mean")
            yield BadCall(function, f"reduction-{value!r}", replaced(reduction=value), ValueError, fragments)
        for value in (None, 1, b"mean"):
            yield BadCall(function, f"reduction-{value!r}", replaced(reduction=value), TypeError, ("reduction",))


def wrong_shapes(function: Function) -> Iterator[BadCall]:
    def with_shape(name: str, shape: tuple[int, ...]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda given: given | {name: np.ones(shape, given[name].dtype if name in given else np.float32)}

    for name in function.others:
        shapes = [(ROWS + 1,), (ROWS, CLASSES + 1), (ROWS, 1), (1, CLASSES), (), (1, ROWS, CLASSES)]
        if function.probabilities:
            shapes.remove((ROWS + 1,))  # one dimension fewer: these would be class indices
        if name == "q":
            shapes = [(ROWS + 1,), (ROWS, CLASSES + 1), (2, ROWS + 1, CLASSES)]  # p and q broadcast
        if name == "ids":
            shapes = [(ROWS + 1,), (ROWS + 1, CLASSES), (), (1, ROWS, CLASSES)]  # any number a row
        if name == "d_logprob":
            shapes = [(ROWS + 1,), (ROWS, CLASSES + 1), (1, ROWS, CLASSES)]  # broadcasts
        for shape in shapes:
            yield BadCall(function, f"{name}-{shape}", with_shape(name, shape), ValueError, (name, str(shape)))
    for name in function.weights:
        shapes = [(ROWS + 1, CLASSES), (5,), (2, ROWS, CLASSES)]
        if name == "upstream" and function.reduces:
            shapes += [(ROWS,), (2,)]
        elif name == "class_weight":
            shapes += [(ROWS, CLASSES), (CLASSES + 1,), ()]
        elif name == "b":
            shapes = [(ROWS + 1, CLASSES), (5,)]  # b may be larger than a
        for shape in shapes:
            yield BadCall(function, f"{name}-{shape}", with_shape(name, shape), ValueError, (name, str(shape)))


def wrong_outputs(function: Function) -> Iterator[BadCall]:
    loss_shape = () if function.reduces else (ROWS,)
    for name, shape in ((function.loss_out, loss_shape), (function.gradient_out, (ROWS, CLASSES))):
        if name is None:
            continue
        other_shape = (*shape, 1)
        read_only = np.zeros(shape, np.float32)
        read_only.flags.writeable = False
        values: list[tuple[str, Any, tuple[str, ...]]] = [
            ("shape", np.zeros(other_shape, np.float32), (str(other_shape), str(shape))),
            ("dtype", np.zeros(shape, np.float64), ("float64", "float32")),
            ("integers", np.zeros(shape, np.int32), ("int32", "float32")),
            ("objects", np.zeros(shape, object), ("got dtype object, expected float32",)),
            ("complex", np.zeros(shape, np.complex64), ("got dtype complex64, expected float32",)),
            ("byteswapped", np.zeros(shape, np.dtype(np.float32).newbyteorder()), ()),
            ("read-only", read_only, ("read-only",)),
        ]
        if shape:
            one_element = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (0,) * len(shape))
            values.append(("itself", one_element, ("overlap",)))
        for what, value, fragments in values:
            yield BadCall(function, f"{name}-{what}", replaced(**{name: value}), ValueError, (name, *fragments))
        for what, value in (
            ("list", np.zeros(shape).tolist()),
            ("masked", np.ma.zeros(shape, np.float32)),
            ("text", "out"),
        ):
            yield BadCall(function, f"{name}-{what}", replaced(**{name: value}), TypeError, (name,))


def overlapping_outputs(function: Function) -> Iterator[BadCall]:
    def shifted(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def change(given: dict[str, Any]) -> dict[str, Any]:
            memory = np.zeros(64, np.float32)
            size = given[name].size
            whole = memory[: ROWS * CLASSES].reshape(ROWS, CLASSES)
            return given | {function.first: whole, name: memory[1 : 1 + size].reshape(given[name].shape)}

        return change

    for name in (function.loss_out, function.gradient_out):
        if name is not None:
            yield BadCall(function, f"{name}-overlaps-{function.first}", shifted(name), ValueError, (name, "overlap"))
    if function.gradient_out and not function.in_place:

        def in_place(given: dict[str, Any]) -> dict[str, Any]:
            return given | {function.gradient_out: given[function.first]}

        fragments = (str(function.gradient_out), "overlap", function.first)
        yield BadCall(function, "in-place", in_place, ValueError, fragments)
    if function.gradient_out:

        def reversed_in_place(given: dict[str, Any]) -> dict[str, Any]:
            return given | {function.gradient_out: given[function.first][::-1]}

        yield BadCall(
            function, "reversed-in-place", reversed_in_place, ValueError, (str(function.gradient_out), "overlap")
        )
    if function.loss_out and function.gradient_out:

        def outputs_overlap(given: dict[str, Any]) -> dict[str, Any]:
            return given | {"out": given["grad_out"][0, 0:1].reshape(())}

        yield BadCall(function, "outputs-overlap", outputs_overlap, ValueError, ("out", "overlap"))
    if function.gradient_out:
        for name in (*function.others, *function.weights):
            change = gradient_over(name, function)
            if change is not None:
                fragments = (str(function.gradient_out), "overlap", name)
                yield BadCall(function, f"gradient-over-{name}", change, ValueError, fragments)


def gradient_over(name: str, function: Function) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """The argument `name` is a part of the memory that the gradient goes to."""
    if name in ("target", "dy"):
        part = np.s_[:, ::-1]  # a product may be formed in place, but not backwards
    elif name == "class_weight":
        part = np.s_[0]
    elif name in ("sample_weight", "d_entropy", "lse") or (name == "upstream" and not function.reduces):
        part = np.s_[:, 1]
    elif name == "upstream":
        part = np.s_[1, 1]
    else:
        part = np.s_[1:2]
    if function.is_integer(name):
        return None  # integers

    def change(given: dict[str, Any]) -> dict[str, Any]:
        output = given[str(function.gradient_out)]
        return given | {name: output[part] if np.ndim(output[part]) else output[1:2, 1:2].reshape(())}

    return change


def wrong_labels(function: Function) -> Iterator[BadCall]:
    if not function.takes_labels:
        return

    def label(value: int, dtype: Any = np.int64, position: int = 2) -> Callable[[dict[str, Any]], dict[str, Any]]:
        target = np.array([0, 2, 1, 1], dtype)
        target[position] = value
        return replaced(target=target)

    for dtype in (np.int8, np.int16, np.int32, np.int64):
        for value in (-1, CLASSES, -99, np.iinfo(dtype).min, np.iinfo(dtype).max):
            change = label(value, dtype)
            what = f"label-{np.dtype(dtype).name}-{value}"
            yield BadCall(function, what, change, ValueError, ("target", str(value), str(CLASSES), "2"))
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        for value in (CLASSES, np.iinfo(dtype).max):
            what = f"label-{np.dtype(dtype).name}-{value}"
            yield BadCall(function, what, label(value, dtype), ValueError, ("target", str(value), str(CLASSES), "2"))
    yield BadCall(
        function,
        "label-nothing-ignored",
        lambda given: label(-100)(given) | {"ignore_index": None},
        ValueError,
        ("target", "-100", str(CLASSES), "2"),
    )
    yield BadCall(
        function,
        "label-beside-ignored",
        lambda given: given | {"target": np.array([-7, 0, -100, 0]), "ignore_index": -7},
        ValueError,
        ("target", "-100", str(CLASSES), "2"),
    )
    for dtype in (bool,) if function.float_labels else (bool, np.float32, np.float64, np.float16):
        target = np.zeros(ROWS, dtype)
        what = f"label-{np.dtype(dtype).name}"
        yield BadCall(function, what, replaced(target=target), TypeError, ("target", np.dtype(dtype).name))
    for value in (2**70, -(2**70)):
        change = replaced(ignore_index=value)
        yield BadCall(function, f"ignore_index-{value}", change, ValueError, ("ignore_index",))
    for value in (1.5, "0", NAN):
        yield BadCall(function, f"ignore_index-{value!r}", replaced(ignore_index=value), TypeError, ("ignore_index",))


def wrong_dimensions(function: Function) -> Iterator[BadCall]:
    if function.has_classes:
        scalar = replaced(**{function.first: np.float32(1), "target": np.zeros((), int)})
        yield BadCall(function, "0-d", scalar, np.exceptions.AxisError, ("axis",))
        if not function.probabilities and not function.gradient_out:
            no_classes = replaced(**{function.first: np.zeros((ROWS, 0), np.float32), "target": np.zeros(ROWS, int)})
            yield BadCall(function, "no-classes", no_classes, ValueError, ("target", "0"))


def wrong_counts(function: Function) -> Iterator[BadCall]:
    if function in METRICS[:-1]:
        for value in (0, -3, -(2**70)):
            yield BadCall(function, f"top_k-{value}", replaced(top_k=value), ValueError, ("top_k", str(value)))
        for value in (1.0, "1", None, True):
            yield BadCall(function, f"top_k-{value!r}", replaced(top_k=value), TypeError, ("top_k",))


CHECKS = (
    wrong_counts,
    wrong_kinds,
    wrong_axes,
    wrong_threads,
    wrong_options,
    wrong_shapes,
    wrong_outputs,
    overlapping_outputs,
    wrong_labels,
    wrong_dimensions,
)
BAD_CALLS = [bad for function in FUNCTIONS for check in CHECKS for bad in check(function)]
BAD_CALLS += [
    BadCall(SOFTMAXES[0], "axes-repeated", replaced(axis=(0, 0)), ValueError, ("axis",)),
    BadCall(SOFTMAXES[0], "axes-mixed-repeated", replaced(axis=(1, -1)), ValueError, ("axis",)),
    BadCall(SOFTMAXES[0], "axes-out-of-range", replaced(axis=(0, 5)), np.exceptions.AxisError, ("axis", "5", "2")),
]


# ------------------------------------------------------------------------------------------------------- the tests


def contents(given: dict[str, Any]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in given.items() if isinstance(value, np.ndarray)}


every_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)


def complaint(bad: BadCall, given: dict[str, Any]) -> str | None:
    """What is wrong with how the call is refused."""
    before = contents(given)
    try:
        bad.function.call(**given)
    except bad.error as error:
        missing = [fragment for fragment in bad.fragments if fragment not in str(error)]
        if missing:
            return f"{bad}: the message does not say {missing}: {error}"
    except Exception as error:
        return f"{bad}: raises {error!r}"
    else:
        return f"{bad}: no error"
    return None if contents(given) == before else f"{bad}: something was written"


@every_function
def test_bad_call(function):
    calls = [(bad, bad.change(function.arguments())) for bad in BAD_CALLS if bad.function is function]
    assert [found for bad, given in calls if (found := complaint(bad, given))] == []


ABOUT_OUTPUTS = ("out", "overlap", "in-place", "gradient-over")


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.gradient_out and f.in_place], ids=lambda f: f.name)
def test_bad_call_in_place(function):
    complaints = []
    for bad in BAD_CALLS:
        if bad.function is function and not any(word in bad.what for word in ABOUT_OUTPUTS):
            given = bad.change(function.arguments())
            first = given[function.first]
            if isinstance(first, np.ndarray):
                given[function.gradient_out] = first
            complaints.append(complaint(bad, given))
    assert complaints
    assert list(filter(None, complaints)) == []


@every_function
def test_the_unchanged_call_is_valid(function):
    given = function.arguments()
    outputs = [given[name] for name in (function.loss_out, function.gradient_out) if name]
    function.call(**given)
    assert all(np.all(output != 77) for output in outputs)


def test_the_table_holds_hundreds_of_bad_calls():
    assert len({str(bad) for bad in BAD_CALLS}) == len(BAD_CALLS) > 600


# -------------------------------------------------------------------------------------------------- labels at length


@pytest.mark.parametrize("ignore_index", [-100, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("order", ["<", ">"])
def test_no_ignore_index_hides_a_label_beyond_int64(order, ignore_index):
    target = np.array([1, 2**64 - 1], order + "u8")
    for function in (ll.cross_entropy, ll.accuracy):
        with pytest.raises(ValueError, match=r"target\[1\]: got label 18446744073709551615, expected"):
            function(np.zeros((2, 3)), target, ignore_index=ignore_index)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_the_message_gives_the_first_bad_position_in_target(axis, rng):
    shape = [5, 6, 4]
    shape[axis] = 7
    logits = rng.standard_normal(shape).astype(np.float32)
    target = rng.integers(0, 7, np.delete(shape, axis))
    target[2, 3] = 4242
    target[3, 1] = -5
    with pytest.raises(ValueError, match=r"target.*\(?2, 3\)?.*4242.*7|target.*4242.*\(?2, 3\)?.*7"):
        ll.cross_entropy(logits, target, axis=axis)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("where", [0, 1, 12345, 49_999])
def test_a_bad_label_anywhere_in_a_large_call_leaves_everything_untouched(where, in_place, rng):
    logits = rng.standard_normal((50_000, 3)).astype(np.float32)
    target = rng.integers(0, 3, 50_000)
    target[where:] = 3
    kept = logits.copy()
    grad = logits if in_place else np.full_like(logits, 77)
    with pytest.raises(ValueError, match=rf"target.*\b{where}\b"):
        ll.cross_entropy_value_and_grad(logits, target, grad_out=grad)
    np.testing.assert_array_equal(logits, kept)
    assert in_place or np.all(grad == 77)


def test_a_bad_label_in_a_row_of_weight_0_is_still_bad(rng):
    logits = rng.standard_normal((3, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="target"):
        ll.cross_entropy(logits, np.array([0, 9, 1]), sample_weight=np.array([1, 0, 1]))


class NoNumber:
    def __float__(self):
        raise TypeError("it has no value yet")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones(2), TypeError, "scale: got an array of shape"),
        (10**400, ValueError, "expected a float64 number"),
        (NoNumber(), TypeError, "it has no value yet"),
    ],
    ids=["array", "too large", "refuses"],
)
def test_an_option_that_is_no_number(value, error, message):
    with pytest.raises(error, match=message):
        ll.cross_entropy(np.zeros((2, 3)), [0, 1], scale=value)
