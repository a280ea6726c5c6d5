"""What annotations are made of."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Reduction: TypeAlias = Literal["none", "sum", "mean"]
Axes: TypeAlias = int | tuple[int, ...] | None

# Of any dtype: what the dtype is follows from the data, and lists of numbers or a bfloat16 array do not tell.
Array: TypeAlias = NDArray[Any]

# Of one number, float32 or float64.
Scalar: TypeAlias = np.floating[Any]

# An array, but a NumPy scalar where it has no axes, which annotations cannot see. As in NumPy nobody need ask which of
# the two it is: type checkers let both uses pass, editors know the array's methods.
ArrayOrScalar: TypeAlias = Array | Any
