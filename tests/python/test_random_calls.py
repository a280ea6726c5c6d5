"""Random calls of the Python functions, good and bad, on arrays that live on from call to call.

Whatever is passed, a call returns or raises TypeError, ValueError (AxisError is one) or MemoryError; after an error no
array has changed; a second call, on copies and one thread, gives the same bits. LOGITLOSS_RANDOM_CALLS is the number of
sequences, 40 by default; docs/verification.md has what longer runs gave.
"""

from __future__ import annotations

import inspect
import os
import pickle
from typing import Any

import ml_dtypes
import numpy as np
from checks import assert_same_bits
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

import logitloss as ll

EXPECTED = (TypeError, ValueError, MemoryError)
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
DTYPES = [
    *FLOATS,
    *FLOATS,
    bool,
    np.int8,
    np.int64,
    np.uint16,
    np.int32,
    np.complex64,
    np.longdouble,
    object,
    "U2",
    ">f4",
]
SHAPES = [(), (0,), (1,), (5,), (3, 4), (4, 3), (4,), (3,), (1, 4), (3, 0), (2, 3, 4), (7, 130), (2, 4099), (300, 120)]
NUMBERS = [0.0, 0.1, 1.0, 2.5, -1.0, 1e-300, 1e300, np.inf, np.nan, -0.0]
OBJECTS = [None, True, 0, 1, -1, 2**70, "mean", "", b"x", 1.5, [1, 2], (), (0, 1), {}, object(), np.float32(3), 1j]

arrays = st.builds(
    lambda seed, shape, dtype, values, layout: np.asanyarray(laid_out(values_of(seed, shape, dtype, values), layout)),
    st.integers(0, 2**32 - 1),
    st.sampled_from(SHAPES),
    st.sampled_from(DTYPES),
    st.sampled_from(["normal", "classes", "unit", "special"]),
    st.sampled_from(["C", "C", "F", "reversed", "gaps", "read-only", "masked", "broadcast", "unaligned"]),
)


def values_of(seed: int, shape: tuple[int, ...], dtype: Any, values: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = {
        "normal": lambda: 4 * rng.standard_normal(shape),
        "classes": lambda: rng.integers(0, 4, shape),
        "unit": lambda: rng.random(shape),
        "special": lambda: rng.choice([0, -0.0, 1, np.inf, -np.inf, np.nan, 1e30, -1e9, 60000], shape),
    }[values]()
    with np.errstate(all="ignore"):
        return np.asarray(made).astype(dtype)


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return np.flip(array)
    if layout == "gaps" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "read-only":
        array.flags.writeable = False
    if layout == "masked":
        return np.ma.masked_array(array)
    if layout == "broadcast":
        return np.broadcast_to(array, (3, *array.shape))
    if layout == "unaligned" and array.dtype != object:
        moved = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved
    return array


numbers = st.sampled_from(NUMBERS)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "axis": st.sampled_from([-1, 0, 1, -2, 5, None, (0, 1), "0"]),
    "keepdims": st.booleans(),
    "return_sign": st.booleans(),
    "label_smoothing": numbers,
    "z_loss": numbers,
    "softcap": numbers,
    "margin": numbers,
    "scale": numbers,
    "normalizer": numbers,
    "gamma": numbers,
    "alpha": numbers,
    "ignore_value": numbers,
    "where": st.none() | st.booleans() | arrays,
    "ignore_index": st.sampled_from([0, -100, None, 2**70, 1.5]),
    "eps": st.sampled_from([None, None, 1e-7, 0.0, 0.1, 0.5, -1.0, np.nan]),
    "base": st.sampled_from([None, 2, 10.0, 1, 0, 1e-300, np.inf]),
    "top_k": st.sampled_from([1, 2, 5, 0, 2**62, 2**70, 1.5]),
    "temperature": numbers,
    "returns": st.sampled_from([("logprob",), ll.TokenLogProbs._fields, ["rank", "topk_ids"], "lse", ("loss",)]),
    "k": st.sampled_from([None, 1, 2, 5, 0, 2**70, 1.5]),
    "reduction": st.sampled_from(["none", "sum", "mean", "mean", "avg", None]),
    "num_threads": st.sampled_from([None, 1, 3, 0, 10**9]),
}


def arguments(function: Any) -> tuple[int, list[str]]:
    """How many arrays stand first, and the names of the options."""
    parameters = inspect.signature(function).parameters.values()
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    return len(required), [parameter.name for parameter in parameters if parameter not in required]


FUNCTIONS = {
    function: arguments(function)
    for function in (getattr(ll, name) for name in ll.__all__)
    if inspect.isfunction(function) and "num_threads" in inspect.signature(function).parameters
}


def test_every_function_on_arrays_is_called():
    assert {ll.logsumexp, ll.softmax_vjp, ll.cross_entropy_from_probs, ll.kl_divergence, ll.accuracy} < set(FUNCTIONS)
    assert len(FUNCTIONS) >= 30


def contents(pool: list[np.ndarray]) -> list[bytes]:
    return [array.tobytes() for array in pool]


def np_tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


class RandomCalls(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool: list[np.ndarray] = []
        self.states = [ll.LogSumExp()]

    def pick(self, data: st.DataObject) -> Any:
        """An array that was there before, mostly; a new one; or no array."""
        kind = data.draw(st.integers(0, 9))
        if kind == 9:
            return data.draw(st.sampled_from(OBJECTS))
        if kind >= 7 or not self.pool:
            self.pool.append(data.draw(arrays))
            return self.pool[-1]
        return self.pool[data.draw(st.integers(0, len(self.pool) - 1))]

    @rule(array=arrays)
    def add_an_array(self, array: np.ndarray) -> None:
        self.pool.append(array)

    @rule(shape=st.sampled_from(SHAPES[3:]), dtype=st.sampled_from(FLOATS), seed=st.integers(0, 1000))
    def add_arrays_that_fit(self, shape: tuple[int, ...], dtype: Any, seed: int) -> None:
        self.pool.append(values_of(seed, shape, dtype, "normal"))
        self.pool.append(np.full(shape, 7, dtype))
        self.pool.append(values_of(seed, shape[:-1], np.int64, "classes") % max(shape[-1], 1))
        self.pool.append(values_of(seed, shape, np.float32, "unit"))

    @rule(data=st.data(), function=st.sampled_from(list(FUNCTIONS)))
    def call(self, data: st.DataObject, function: Any) -> None:
        count, names = FUNCTIONS[function]
        positional = [self.pick(data) for _ in range(count)]
        chosen = data.draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
        options = {name: data.draw(OPTIONS[name]) if name in OPTIONS else self.pick(data) for name in chosen}
        self.compare(function, positional, options)

    @rule(data=st.data(), function=st.sampled_from(list(FUNCTIONS)))
    def call_that_fits(self, data: st.DataObject, function: Any) -> None:
        """The second array has the shape, or the rows, of the first, and so may the outputs."""
        count, names = FUNCTIONS[function]
        floating = [a for a in self.pool if a.dtype in FLOATS and a.ndim]
        if not floating:
            return
        first = data.draw(st.sampled_from(floating))
        alike = [a for a in self.pool if a.shape == first.shape or a.shape == first.shape[:-1]]
        positional = [first, *(data.draw(st.sampled_from(alike)) for _ in range(count - 1))]
        options = (
            {"grad_out": data.draw(st.sampled_from(alike))} if "grad_out" in names and data.draw(st.booleans()) else {}
        )
        if "reduction" in names:
            options["reduction"] = data.draw(st.sampled_from(["none", "sum", "mean"]))
        self.compare(function, positional, options)

    def compare(self, function: Any, positional: list[Any], options: dict[str, Any]) -> None:
        backups = [array.copy() for array in self.pool]
        before = contents(self.pool)
        try:
            results = np_tuple(function(*positional, **options))
        except EXPECTED:
            assert contents(self.pool) == before, "an error left a trace"
            return
        outputs = [options[name] for name in ("out", "grad_out") if isinstance(options.get(name), np.ndarray)]
        for array, bytes_before in zip(self.pool, before, strict=True):
            if not any(np.shares_memory(array, output) for output in outputs):
                assert array.tobytes() == bytes_before, "an input was written"
        first = [np.copy(result) for result in results]
        for output in outputs:
            output[...] = next(b for a, b in zip(self.pool, backups, strict=True) if a is output)
        for got, want in zip(first, np_tuple(function(*positional, **options | {"num_threads": 1})), strict=True):
            assert_same_bits(got, want)

    @rule(data=st.data())
    def update_a_state(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.states))
        before = pickle.dumps(state)
        try:
            assert state.update(self.pick(data)) is state
        except EXPECTED:
            assert pickle.dumps(state) == before

    @rule(data=st.data(), axis=OPTIONS["axis"])
    def begin_a_state(self, data: st.DataObject, axis: Any) -> None:
        try:
            self.states.append(ll.LogSumExp(axis))
        except EXPECTED:
            assert not isinstance(axis, int)

    @rule(data=st.data())
    def merge_states(self, data: st.DataObject) -> None:
        left, right = (data.draw(st.sampled_from(self.states)) for _ in range(2))
        before = pickle.dumps(left)
        try:
            assert left.merge(right) is left
        except EXPECTED:
            assert pickle.dumps(left) == before

    @rule(data=st.data())
    def read_a_state(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.states))
        assert_same_bits(pickle.loads(pickle.dumps(state)).value(), state.value())


TestRandomCalls = RandomCalls.TestCase
TestRandomCalls.settings = settings(
    max_examples=int(os.environ.get("LOGITLOSS_RANDOM_CALLS", "40")),
    stateful_step_count=30,
    deadline=None,
    derandomize="LOGITLOSS_RANDOM_CALLS" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
