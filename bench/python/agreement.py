"""Whether two results are the same but for rounding: nothing is timed unchecked."""

from __future__ import annotations

import numpy as np

# What a peer may differ by, relative and as a share of the largest value: enough for its rounding, not for an error.
TOLERANCE = {"float64": (1e-9, 1e-11), "float32": (1e-4, 1e-5), "float16": (1e-2, 1e-2), "bfloat16": (3e-2, 3e-2)}
COMPARED = 2**17  # elements of a large result that are compared


def sampled(array: np.ndarray) -> np.ndarray:
    """A float64 copy of the result, or of elements spread over a large one (and its ends)."""
    flat = array.reshape(-1)
    if flat.size > COMPARED:
        step = flat.size // COMPARED | 1  # odd: walks through all columns of a row length that is even
        flat = np.concatenate([flat[:1000], flat[::step], flat[-1000:]])
    return flat.astype(np.float64)


def disagreement(result: list[np.ndarray], expected: list[np.ndarray], dtype: str) -> str:
    relative, absolute = TOLERANCE[dtype]
    if len(result) != len(expected):
        return f"{len(result)} results, expected {len(expected)}"
    for part, (ours, theirs) in enumerate(zip(expected, result, strict=True)):
        if ours.shape != theirs.shape:
            return f"result {part} has {theirs.size} elements, expected {ours.size}"
        allowed = relative * np.abs(ours) + absolute * np.abs(ours).max(initial=0.0)
        difference = np.abs(ours - theirs)
        if not np.all(difference <= allowed):
            worst = int(np.argmax(difference - allowed))
            return f"result {part} has {theirs[worst]:.9g} where logitloss has {ours[worst]:.9g}"
    return ""


def first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:160]
