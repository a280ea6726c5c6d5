"""The other bound: how long the least arithmetic of a loss takes, on data in L1, in the same run, on as many threads.

`arithmetic.cpp` has it as plain loops: an exponential for each logit, a logarithm for each probability, a division
where a gradient has one; what is only multiplied and added is not counted. They are compiled for this CPU with -O3 and
-ffast-math by every compiler that is there, for every width of vectors, with the exponentials and logarithms of the C
library and with polynomials written out. The fastest of all of them is the bound. None is logitloss's own.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np

LOOPS = ["exp", "max+exp", "exp+log1p", "exp+log1p+division", "log", "log+division"]  # as arithmetic.cpp numbers them
FLAGS = ["-std=c++17", "-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
WIDTHS = ["-mprefer-vector-width=256", "-mprefer-vector-width=512"]
LIMITS = {"native": [], "avx2": ["-mno-avx512f"]}
SIZE = 1024  # with every dtype a quarter of the smallest L1
TRIALS = 10
TRIAL_PASSES = 512  # enough that it does not show when which thread begins


class Arithmetic:
    """The compiled loops, and the threads that run them. Without a compiler it has no bounds."""

    def __init__(self, num_threads: int, isa: str, directory: str):
        self.num_threads = num_threads
        self.pool = ThreadPoolExecutor(num_threads)
        self.libraries = compile_all(LIMITS[isa], Path(directory))
        self.fastest: dict[tuple[str, str], Loop] = {}

    def bound(self, needs: str, dtype: str, elements: int) -> ArithmeticBound | None:
        """Of a cell; None if it needs nothing of the kind. Halves count as float32."""
        dtype = "float64" if dtype == "float64" else "float32"
        if not needs or not self.libraries:
            return None
        if (needs, dtype) not in self.fastest:
            self.fastest[needs, dtype] = self.choose(needs, dtype)
        return ArithmeticBound(self, self.fastest[needs, dtype], elements)

    def choose(self, needs: str, dtype: str) -> Loop:
        loops = [
            Loop(name, library, needs, dtype, polynomial)
            for name, library in self.libraries.items()
            for polynomial in (False, True)
        ]
        for loop in loops:
            loop.check()
        trials = [[self.run(loop, TRIAL_PASSES) for loop in loops] for _ in range(TRIALS)]
        return loops[int(np.argmin(np.min(trials, axis=0)))]

    def run(self, loop: Loop, passes: int) -> float:
        """Seconds for so many passes on every thread at once: first start to last end."""
        barrier = Barrier(self.num_threads)

        def work(_: int) -> tuple[float, float]:
            barrier.wait()
            start = time.perf_counter()
            loop(passes)
            return start, time.perf_counter()

        times = list(self.pool.map(work, range(self.num_threads)))
        return max(end for _, end in times) - min(start for start, _ in times)


class Loop:
    """One loop as one compiler made it."""

    def __init__(self, compiled: str, library: ctypes.CDLL, needs: str, dtype: str, polynomial: bool):
        self.name = f"{needs}, {'polynomial' if polynomial else 'library'}, {compiled}"
        self.needs, self.polynomial = needs, polynomial
        self.data = np.random.default_rng(1).uniform(0.01, 4, SIZE).astype(dtype)
        self.data[::2] *= -1
        number = np.ctypeslib.as_ctypes_type(dtype)
        self.function = getattr(library, f"run_{dtype}")
        self.function.restype = number
        self.function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)

    def __call__(self, passes: int) -> float:
        number = LOOPS.index(self.needs)
        return self.function(number, self.polynomial, self.data.ctypes.data, self.data.size, passes)

    def check(self) -> None:
        """A loop that computed something else would be no bound."""
        x = self.data.astype(np.float64)
        softplus, size = np.logaddexp(0, x), np.abs(x)
        terms = {
            "exp": np.exp(x),
            "max+exp": np.exp(x - x.max()),
            "exp+log1p": softplus,
            "exp+log1p+division": softplus + 1 / (1 + np.exp(-size)),
            "log": np.log(size),
            "log+division": np.log(size) + 1 / (4 + x),
        }[self.needs]
        np.testing.assert_allclose(self(1), terms.sum(), rtol=64 * np.finfo(self.data.dtype).eps, err_msg=self.name)


class ArithmeticBound:
    """A contestant (see runner.py) that times itself, for the elements of a cell."""

    def __init__(self, arithmetic: Arithmetic, loop: Loop, elements: int):
        self.arithmetic, self.loop, self.loops = arithmetic, loop, loop.name
        self.share = elements / arithmetic.num_threads / SIZE  # passes that the cell takes on each thread
        self.passes = 1

    def calibrate(self, sample_seconds: float) -> None:
        seconds = self.arithmetic.run(self.loop, TRIAL_PASSES)
        self.passes = max(1, round(TRIAL_PASSES * sample_seconds / seconds))

    def sample(self) -> float:
        return self.arithmetic.run(self.loop, self.passes) / self.passes * self.share


def compile_all(limits: list[str], directory: Path) -> dict[str, ctypes.CDLL]:
    """The loops by compiler and flags. What a compiler does not know, or what fails, is left out."""
    source = Path(__file__).with_name("arithmetic.cpp")
    libraries = {}
    for compiler in filter(shutil.which, ("g++", "clang++", "c++")):
        if compiler == "c++" and libraries:
            break  # one of those two
        for width in [[flag] for flag in WIDTHS] + [[]]:
            if not width and any(name.startswith(compiler) for name in libraries):
                break  # which says nothing new
            output = directory / f"arithmetic{len(libraries)}.so"
            command = [compiler, *FLAGS, *limits, *width, str(source), "-o", str(output), "-lm"]
            if subprocess.run(command, capture_output=True).returncode == 0:
                libraries[" ".join([compiler, *width])] = ctypes.CDLL(str(output))
    return libraries
