"""What the extension module asks of Python for arguments that are no plain arrays and numbers."""

from __future__ import annotations

import itertools
import operator
import reprlib
import sys
from typing import Any

import numpy as np

from ._types import Array


def as_array(value: Any, name: str) -> Array:
    """`value` as an ndarray, without a copy where its owner allows that."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a numpy.ma.MaskedArray, whose mask would be lost; expected a plain array")
    try:
        if any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__):
            return _from_torch(value)
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError, ImportError) as error:
        raise TypeError(f"{name}: got {type(value).__name__}, expected an array ({error})") from None


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
        import ml_dtypes
    except ImportError:
        raise TypeError("a bfloat16 tensor needs the package ml_dtypes: pip install ml_dtypes") from None
    bits: Array = tensor.view(sys.modules["torch"].int16).numpy()
    return bits.view(ml_dtypes.bfloat16)


def empty_like(array: Array) -> Array:
    """An output for `array`: the same shape and memory order, native byte order."""
    return np.empty_like(array, dtype=array.dtype.newbyteorder("="), subok=False)


def as_number(value: Any, name: str) -> float:
    """A real number; booleans and text are none."""
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
    return np.dtype(np.float32) if dtype.name == "bfloat16" else dtype


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
