"""Arrays of other owners: a mask is never lost and a lazy or distributed array never computed whole, in any argument.

Stand-ins have what the recognition goes by; the packages themselves are asked where they are installed.
"""

from __future__ import annotations

import subprocess
import sys
from collections import UserList, deque
from typing import Any

import numpy as np
import pytest
from functions import CLASSES, FUNCTIONS, ROWS, Function

import logitloss as ll

# -------------------------------------------------------------------------------------------------------- the stand-ins


class NeverConverted:
    """An array that is too large for this: asking for its numbers fails the test."""

    def __init__(self, array: np.ndarray):
        self.shape, self.dtype = np.shape(array), np.asarray(array).dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        pytest.fail("a lazy or distributed array was computed")

    def __float__(self) -> float:
        pytest.fail("a lazy number was computed")

    __index__ = __float__


class DaskLike(NeverConverted):
    def __dask_graph__(self) -> dict[str, Any]:
        return {"key": ()}


class CubedLike(NeverConverted):
    chunks = ((1, 1),)

    def compute(self) -> None:
        pytest.fail("a lazy array was computed")


class Sharding:
    def __init__(self, devices: int):
        self.device_set = set(range(devices))


class JaxLike(NeverConverted):
    """A JAX array on two devices."""

    sharding = Sharding(2)


class ElsewhereLike(NeverConverted):
    """A JAX array of which this process has a part only."""

    sharding = Sharding(1)
    is_fully_addressable = False


class AstropyLike(np.ndarray):
    """An ndarray with a mask that is no numpy.ma.MaskedArray."""

    mask = np.zeros(1, bool)


class Owner:
    """What hands out an array when it is asked: a column of a table, a field of a record."""

    def __init__(self, array: Any):
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


class FrameLike(Owner):
    """A DataFrame of nullable or Arrow columns: its numbers are objects unless they are asked for as floats."""

    def __init__(self, array: np.ndarray):
        super().__init__(np.asarray(array).astype(object))

    def to_numpy(self, dtype: Any = object) -> np.ndarray:
        return self.array.astype(dtype)


def masked(array: np.ndarray) -> np.ma.MaskedArray:
    """Every other element masked."""
    return np.ma.masked_array(array, np.indices(np.shape(array)).sum(0) % 2 == 1)


def object_array(items: list[Any]) -> np.ndarray:
    array = np.empty(len(items), object)
    for place, item in enumerate(items):  # one by one, or NumPy would look into them
        array[place] = item
    return array


MASK, LAZY, DISTRIBUTED = "mask would be lost", r"lazy.*logitloss\.dask.*\.compute\(\)", "several devices.*gather"
OBJECTS = r"dtype object, expected numbers, as \.to_numpy\(dtype=float\)"
WHOLE = {
    "masked": (masked, MASK),
    "ndarray with a mask": (lambda array: array.view(AstropyLike), MASK),
    "gives a masked one": (lambda array: Owner(masked(array)), MASK),
    "lazy": (DaskLike, LAZY),
    "lazy with chunks": (CubedLike, LAZY),
    "distributed": (JaxLike, DISTRIBUTED),
    "not here": (ElsewhereLike, DISTRIBUTED),
    "frame": (FrameLike, OBJECTS),
}
AROUND = {
    "list": list,
    "tuple": tuple,
    "list of lists": lambda items: [[item] for item in items],
    "deque": deque,
    "sequence": UserList,
    "object array": object_array,
}


def forms(array: np.ndarray) -> dict[str, tuple[Any, str]]:
    """`array` as somebody else's, by itself and inside something, and what the error must say."""
    found = {what: (make(array), says) for what, (make, says) in WHOLE.items()}
    if np.ndim(array):
        for what in ("masked", "gives a masked one", "lazy", "distributed", "frame"):
            make, says = WHOLE[what]
            for container, put in AROUND.items():
                found[f"{container} of {what}"] = put([make(row) for row in array]), says
    return found


def array_arguments(function: Function) -> dict[str, np.ndarray]:
    """Every array that may be given, with a valid value."""
    given = {name: value for name, value in function.arguments().items() if name != "axis"}
    shapes = {"class_weight": (CLASSES,), "sample_weight": (ROWS,), "upstream": () if function.reduces else (ROWS,)}
    shapes |= {"d_entropy": (ROWS,), "lse": (ROWS,)}
    return given | {name: np.ones(shapes.get(name, (ROWS, CLASSES)), np.float32) for name in function.weights}


# ------------------------------------------------------------------------------------------------------------ the tests


@pytest.mark.parametrize(
    ("function", "name"),
    [pytest.param(f, name, id=f"{f.name}-{name}") for f in FUNCTIONS for name in array_arguments(f)],
)
def test_no_argument_takes_what_would_be_lost_or_computed(function, name):
    given = function.arguments()
    outputs = {output: given[output] for output in (function.loss_out, function.gradient_out) if output}
    value = array_arguments(function)[name]
    for what, (refused, says) in forms(value).items():
        says = "expected a numpy.ndarray" if name in outputs and not isinstance(refused, np.ndarray) else says
        if name in outputs and getattr(refused, "dtype", None) == np.dtype(object):
            continue  # an output of another dtype is a ValueError, and says so
        with pytest.raises(TypeError, match=rf"(?s)^{name}: got .*{says}"):
            function.call(**given | {name: refused})
        assert all(np.all(output == 77) for output in outputs.values()), what
        assert not isinstance(refused, np.ma.MaskedArray) or np.all(refused.data == value), what
    function.call(**given | {name: value})  # it is the form that is refused


@pytest.mark.parametrize(("what", "array"), [("1-d", np.ones(3)), ("2-d", np.ones((2, 3)))])
def test_a_piece_of_a_log_sum_exp_neither(what, array):
    state = ll.LogSumExp(axis=None).update([0.0])
    for refused, says in forms(array).values():
        with pytest.raises(TypeError, match=f"(?s)^chunk: got .*{says}"):
            state.update(refused)
    assert state.value() == 0


@pytest.mark.parametrize(
    ("name", "number"), [("label_smoothing", 0.5), ("ignore_index", 1), ("axis", -1), ("num_threads", 1)]
)
def test_no_number_may_be_masked_or_lazy(name, number):
    for make, says in (WHOLE[what] for what in ("masked", "lazy", "distributed")):
        with pytest.raises(TypeError, match=f"^{name}: got .*{says}"):
            ll.cross_entropy(np.zeros((2, 3)), [0, 1], **{name: make(np.array(number))})


@pytest.mark.parametrize("value", [np.ma.masked, [np.ma.masked, 1.0], (1.0, np.ma.masked)])
def test_the_masked_constant(value):
    with pytest.raises(TypeError, match=MASK):
        ll.logsumexp(value)


def test_the_message_names_what_was_found_and_where():
    with pytest.raises(TypeError, match=r"^b: got tuple with numpy\.ma\.MaskedArray, whose mask would be lost"):
        ll.logsumexp([1.0, 2.0], b=(1.0, masked(np.ones(1))))
    with pytest.raises(TypeError, match=r"^a: got numpy\.ndarray of dtype object, expected .*\.astype\(float\)"):
        ll.logsumexp(np.ones(3, object))


def test_what_holds_itself_ends_in_an_error():
    around: list[Any] = []
    around.append(around)
    with pytest.raises(TypeError, match=r"a: got list, expected an array"):
        ll.logsumexp(around)


LN3 = np.log(3)
PLAIN = [
    [0.0, 0, np.float32(0)],
    ([0.0], [0], [False]),
    [[0.0, 0.0], [0.0, -np.inf]],
    range(0, 1, 1),
    deque([0.0, 0.0]),
    UserList([0.0, [0.0][0]]),
    bytearray(2),
    memoryview(np.zeros(2)),
    Owner(np.zeros(3)),
    [Owner(np.zeros(2)), [0.0, 0.0]],
    [np.zeros(2), np.zeros(2, np.float32)],
    np.zeros((2, 2)).view(np.matrix),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_other_containers_are_taken_as_before(value):
    assert ll.logsumexp(value) == ll.logsumexp(np.asarray(value))


def test_what_has_the_attributes_but_is_in_memory_is_taken():
    class InMemory(Owner):
        chunks = None
        sharding = Sharding(1)
        is_fully_addressable = True

        def compute(self) -> None:
            """Xarray has it for all arrays."""

        def mask(self) -> None:
            """A method of pandas."""

        def __dask_graph__(self) -> None:
            """None: it is not lazy."""

    assert ll.logsumexp(InMemory(np.zeros(3))) == ll.logsumexp([InMemory(np.zeros(3))]) == ll.logsumexp(np.zeros(3))


# --------------------------------------------------------------------------------------------------------- the packages


def test_dask():
    dask_array = pytest.importorskip("dask.array")
    x = dask_array.from_array(np.zeros((4, 3)), chunks=(2, 3))
    for lazy in (x, [x], x.sum()):
        with pytest.raises(TypeError, match=rf"a: got .*dask\.array.*{LAZY}"):
            ll.logsumexp(lazy)
    assert ll.logsumexp(x.compute()) == ll.logsumexp(np.zeros((4, 3)))
    state = ll.LogSumExp(axis=None)
    for chunk in x.blocks:
        state.update(chunk.compute())
    assert state.value() == ll.logsumexp(np.zeros((4, 3)))


def test_xarray():
    xarray = pytest.importorskip("xarray")
    x = xarray.DataArray(np.zeros((4, 3)), coords={"mask": ("dim_0", np.arange(4))})
    assert ll.logsumexp(x) == ll.logsumexp(np.zeros((4, 3)))
    pytest.importorskip("dask.array")
    with pytest.raises(TypeError, match=LAZY):
        ll.logsumexp(x.chunk({"dim_0": 2}))


@pytest.mark.parametrize("dtype", ["Float64", "Int32", "double[pyarrow]"])
def test_pandas(dtype):
    pandas = pytest.importorskip("pandas")
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    numbers = pandas.DataFrame({"a": [0.0, 1.0], "b": [2.0, 3.0]})
    want = ll.logsumexp(numbers.to_numpy(), axis=-1)
    np.testing.assert_array_equal(ll.logsumexp(numbers, axis=-1), want)
    nullable = numbers.astype(dtype)
    np.testing.assert_array_equal(ll.logsumexp(nullable.to_numpy(dtype=float), axis=-1), want)
    nullable.iloc[0, 0] = None
    for frame in (nullable, [nullable]):
        with pytest.raises(TypeError, match=OBJECTS):
            ll.logsumexp(frame, axis=-1)


JAX_ON_TWO_DEVICES = """
import jax, numpy as np, logitloss as ll
from jax.sharding import Mesh, NamedSharding, PartitionSpec
here = jax.numpy.zeros((4, 3))
assert ll.logsumexp(here) == ll.logsumexp(np.zeros((4, 3), np.float32))
assert len(jax.devices()) == 2
mesh = Mesh(np.array(jax.devices()), ("rows",))
for spec in (PartitionSpec("rows"), PartitionSpec()):
    try:
        ll.logsumexp([jax.device_put(here, NamedSharding(mesh, spec))])
    except TypeError as error:
        assert "several devices" in str(error), error
    else:
        raise AssertionError("a distributed array was taken")
"""


def test_jax():
    pytest.importorskip("jax")
    from os import environ

    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", JAX_ON_TWO_DEVICES], env={**environ, **flags}, check=True)
