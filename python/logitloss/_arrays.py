"""What the extension module asks of Python for arguments that are no plain arrays and numbers."""

from __future__ import annotations

import importlib
import itertools
import operator
import reprlib
import sys
from typing import Any

import numpy as np

from ._types import Array

# What to call instead, in place of an array that is ...
_INSTEAD_OF_LAZY = "call the functions of logitloss.dask, which take Dask arrays, or .compute() first"
_INSTEAD_OF_DISTRIBUTED = "gather it on one device first, or go through its shards one by one, as with ll.LogSumExp"

# The bits of a bfloat16 where ml_dtypes, whose dtype has the name of this field, is not installed.
BFLOAT16 = np.dtype([("bfloat16", np.uint16)])

_NUMBERS_AND_TEXT = (int, float, complex, np.generic, str, bytes)


class _Refused(TypeError):
    """`value`, which is an argument or lies in one, is an array that may not be converted."""

    def __init__(self, value: Any, why: str) -> None:
        super().__init__(f"{type(value).__module__}.{type(value).__qualname__}{why}")
        self.value = value


def as_array(value: Any, name: str) -> Array:
    """`value` as an ndarray, without a copy where its owner allows that.

    Nothing is lost and nothing is computed that the caller does not see: masks, and arrays that are lazy or lie on
    several devices, are a TypeError wherever they are in `value`.
    """
    try:
        array: Array = np.asarray(_convertible(value))
    except _Refused as refused:
        around = "" if refused.value is value else f"{type(value).__name__} with "
        raise TypeError(f"{name}: got {around}{refused}") from None
    except (TypeError, ValueError, RuntimeError, BufferError, ImportError) as error:
        raise TypeError(f"{name}: got {type(value).__name__}, expected an array ({error})") from None
    if array.dtype == object:
        raise TypeError(f"{name}: got {type(value).__name__} of dtype object, expected an array of numbers")
    return array


def why_no_objects(array: Array, name: str) -> str:
    """What to say of an array of objects: some of them may be masked or lazy arrays."""
    try:
        as_array(array, name)
    except TypeError as error:
        return str(error)
    raise AssertionError("an array of objects is always refused")


def _convertible(value: Any) -> Any:
    """`value` as something of which numpy.asarray makes an array without losing a mask, or computing a lazy array."""
    if type(value) in (list, tuple):
        return _convertible_items(value)
    if isinstance(value, _NUMBERS_AND_TEXT) or (type(value) is np.ndarray and value.dtype != object):
        return value
    _refuse(value)
    if "Tensor" in _torch_types(value):
        return _from_torch(value)
    if any(hasattr(value, protocol) for protocol in ("__array__", "__array_interface__", "__array_struct__")):
        array = np.asanyarray(value)
        _refuse(array)
        if array.dtype == object:
            _convertible_items(array.ravel().tolist())
            numbers = ".to_numpy(dtype=float)" if hasattr(value, "to_numpy") else ".astype(float)"
            raise _Refused(value, f" of dtype object, expected numbers, as {numbers} makes them")
        return np.asarray(array)
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(value)
    is_sequence = hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, dict)
    return _convertible_items(list(value)) if is_sequence and not _has_buffer(value) else value


def _convertible_items(items: list[Any] | tuple[Any, ...]) -> Any:
    if all(issubclass(kind, _NUMBERS_AND_TEXT) for kind in set(map(type, items))):
        return items
    return [_convertible(item) for item in items]


def _has_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


def _refuse(value: Any) -> None:
    """Raises for masks and for arrays that are lazy or lie on several devices; no package is imported for that."""
    torch_types = _torch_types(value)
    # Astropy's masked arrays are ndarrays, too. An attribute of that name means something else in other packages.
    is_masked = isinstance(value, np.ma.MaskedArray) or (isinstance(value, np.ndarray) and hasattr(value, "mask"))
    if is_masked or "MaskedTensor" in torch_types:
        raise _Refused(value, ", whose mask would be lost; expected a plain array")
    devices = getattr(getattr(value, "sharding", None), "device_set", ())
    if len(devices) > 1 or getattr(value, "is_fully_addressable", True) is False or "DTensor" in torch_types:
        raise _Refused(value, f", which lies on several devices; {_INSTEAD_OF_DISTRIBUTED}")
    graph = getattr(value, "__dask_graph__", None)  # Xarray has it always, and a graph only of what is lazy.
    is_chunked = callable(getattr(value, "compute", None)) and bool(getattr(value, "chunks", None))
    if is_chunked or (graph is not None and graph() is not None):
        raise _Refused(value, f", which is lazy and would be computed whole; {_INSTEAD_OF_LAZY}")


def _torch_types(value: Any) -> set[str]:
    """Names of the types of PyTorch that it is of."""
    return {base.__name__ for base in type(value).__mro__ if base.__module__.split(".")[0] == "torch"}


def _from_torch(tensor: Any) -> Array:
    """A CPU tensor's memory. NumPy knows no bfloat16, so its bits come across as integers."""
    tensor = tensor.detach()
    if tensor.device.type != "cpu":
        raise TypeError(f"it is on {tensor.device}, not on the CPU")
    tensor = tensor.resolve_conj().resolve_neg()
    if str(tensor.dtype) != "torch.bfloat16":
        array: Array = tensor.numpy()
        return array
    try:
        bfloat16 = importlib.import_module("ml_dtypes").bfloat16  # not by name: type checkers may not have it either
    except ImportError:
        bfloat16 = BFLOAT16
    bits: Array = tensor.view(sys.modules["torch"].int16).numpy()
    return bits.view(bfloat16)


def empty_like(array: Array, dtype: np.dtype[Any]) -> Array:
    """An output for `array`: the same shape and memory order, native byte order."""
    return np.empty_like(array, dtype=dtype.newbyteorder("="), subok=False)


def _refuse_number(value: Any, name: str) -> None:
    """A number without axes may be masked or lazy, too."""
    try:
        _refuse(value)
    except _Refused as refused:
        raise TypeError(f"{name}: got {refused}") from None


def as_number(value: Any, name: str) -> float:
    """A real number; booleans and text are none."""
    _refuse_number(value, name)
    refused = (bool, np.bool_, str, bytes, complex, np.complexfloating)
    if isinstance(value, refused) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: got {reprlib.repr(value)}, expected a number")
    if isinstance(value, np.ndarray) and value.ndim != 0:
        raise TypeError(f"{name}: got an array of shape {value.shape}, expected a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: got {reprlib.repr(value)}, expected a float64 number") from None
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: got {reprlib.repr(value)}, expected a number ({error})") from None


def as_integer(value: Any, name: str) -> int:
    """A whole number, of any integer type; booleans are none."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: got {value!r}, expected an int")
    _refuse_number(value, name)
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {reprlib.repr(value)}, expected an int") from None


def _broadcast(a: Array, b: Array) -> tuple[Array, Array]:
    """As `numpy.broadcast_arrays`, which stops at 32 axes where NumPy's arrays have up to 64."""
    lengths = itertools.zip_longest(reversed(a.shape), reversed(b.shape), fillvalue=1)
    shape = tuple(n if m == 1 else m for m, n in lengths)[::-1]
    return np.broadcast_to(a, shape), np.broadcast_to(b, shape)


def broadcast_pair(p: Array, q: Array) -> tuple[Array, Array]:
    """`p` and `q` broadcast against each other, as views."""
    try:
        wide_p, wide_q = _broadcast(p, q)
    except ValueError:
        raise ValueError(f"q: got shape {q.shape}, expected one that broadcasts with p's {p.shape}") from None
    return wide_p, wide_q


def _for_promotion(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """bfloat16 promotes as float32, its arithmetic type; NumPy has no rule for it."""
    return np.dtype(np.float32) if dtype.name == "bfloat16" or dtype == BFLOAT16 else dtype


def weighted_operands(a: Array, b: Array, given: Any) -> tuple[Array, Array, np.dtype[Any]]:
    """`a` and `b` broadcast against each other, as views, and the dtype of their log-sum-exp.

    `given` is what the caller passed as `b`: a Python number takes the dtype of `a`, as in NumPy.
    """
    try:
        wide_a, wide_b = _broadcast(a, b)
    except ValueError:
        raise ValueError(f"b: got shape {b.shape}, expected one that broadcasts with a's {a.shape}") from None
    promoted = _for_promotion(a.dtype)
    if given is not None and type(given) not in (int, float, bool):
        promoted = np.result_type(promoted, _for_promotion(b.dtype))
    return wide_a, wide_b, np.dtype(np.float64 if promoted.type is np.float64 else np.float32)
