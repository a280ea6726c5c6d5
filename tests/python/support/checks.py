"""How errors are measured, and which dtypes are tested."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from reference import EXTENDED, FLOAT64, Arithmetic, to_extended

import logitloss as ll

DTYPES: list[Any] = [np.float32, np.float64]
HALVES: list[Any] = [np.float16, ml_dtypes.bfloat16]

# How many of the cases that a test draws are tried; all of them, unless only a sample is asked for (.ci/run quick).
SAMPLE = 3 if os.environ.get("LOGITLOSS_TEST_SAMPLE") else None


def spares(isa: str) -> bool:
    """Whether few cases will do on `isa`: if a sample is asked for, on scalar, beside others ten times as fast."""
    return SAMPLE is not None and isa == "scalar" and isa != ll.available_isas()[0]


def share(cases: Sequence[Any], isa: str) -> list[Any]:
    """All cases. If a sample is asked for, one of 17 on scalar, and instruction sets with vectors take turns."""
    isas = ll.available_isas()
    turn, turns = isas.index(isa), max(1, len(isas) - 1)
    if SAMPLE is None:
        return list(cases)
    if spares(isa):
        return list(cases[turn::17])
    # Another one is the first in each round: what alternates from case to case does not part them.
    return [case for number, case in enumerate(cases) if (number + number // turns) % turns == turn]


# What the library promises for the plain losses: NUMERICS of the project's documentation, in units of `magnitude`.
LOSS_TOLERANCE = {np.dtype(np.float32): 4e-7, np.dtype(np.float64): 1e-14}
GRADIENT_TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}


def arithmetic_for(dtype: Any) -> Arithmetic:
    """Arithmetic whose own error is thousands of times smaller than the tolerance for `dtype`."""
    return FLOAT64 if np.dtype(dtype) == np.float32 else EXTENDED


def floor(dtype: Any) -> float:
    """Below this a result may be flushed to 0: a few times the smallest normal number."""
    return 8 * float(np.finfo(dtype).tiny)


def ends_and_borders(size: int) -> list[int]:
    """Where in a row to put something special: its ends, its middle and both sides of a block's border."""
    return sorted({at % size for at in (0, size // 2, -1, 4095, 4096)})


def ulps(got: Any, exact: Any) -> np.ndarray:
    """|got - exact| in units of the spacing of got's dtype at `exact`."""
    got = np.asarray(got)
    exact = to_extended(exact)
    spacing = np.spacing(np.abs(exact).astype(got.dtype)).astype(np.longdouble)
    return np.abs(got.astype(np.longdouble) - exact) / spacing


def half_spacing(values: Any, half: Any) -> np.ndarray:
    """The distance of the 16-bit numbers around each of `values`."""
    bits, smallest = (11, -13) if np.dtype(half) == np.float16 else (8, -125)
    _, exponent = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(1.0, np.maximum(exponent, smallest) - bits)


def assert_within(got: Any, want: Any, tolerance: float, magnitude: Any = None, floor: float = 0.0) -> None:
    """|got - want| <= tolerance * magnitude + floor, where not finite: the same. Beyond the dtype means infinite."""
    got, want = np.asarray(got), to_extended(want)
    with np.errstate(over="ignore", under="ignore"):
        want = np.where(np.isinf(want.astype(got.dtype)), want.astype(got.dtype), want)
    assert got.shape == want.shape
    magnitude = np.abs(want) if magnitude is None else to_extended(magnitude)
    finite = np.isfinite(want)
    np.testing.assert_array_equal(got[~finite], want[~finite].astype(got.dtype))
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(np.longdouble) - want)
    too_far = finite & ~(error <= tolerance * np.where(finite, magnitude, 0) + floor)
    if too_far.any():
        first = tuple(np.argwhere(too_far)[0].tolist())
        raise AssertionError(
            f"{too_far.sum()} of {got.size} differ; first at {first}: got {got[first]!r}, want {want[first]!r}, "
            f"error {error[first]:.3g}, allowed {tolerance:.3g} of {magnitude[first]:.3g}, or {floor:.3g}"
        )


def assert_same_bits(got: Any, want: Any) -> None:
    """Same dtype, shape and bytes; any NaN is as good as another."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    same = (got == want) & (np.signbit(got) == np.signbit(want)) | (np.isnan(got) & np.isnan(want))
    assert same.all(), f"{(~same).sum()} of {got.size} differ, first at {np.argwhere(~same)[0]}"
