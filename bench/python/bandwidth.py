"""The bound: how long loops that do nothing but move the same bytes take, in the same run, on as many threads.

Reading: the fastest of `memchr` of the C library, looking for a byte that is not there, and BLAS's dot product of an
array with itself. Both are vectorised by their authors; sums and maxima of NumPy are slower and would flatter us.
Copying (read once, write once): the fastest of `np.copyto`, which is memcpy and streams past the caches where that
helps, and `np.negative` into another array. In place: `np.negative` onto itself.
What is read and not written is read, what is both is copied, and the two times add up.
"""

from __future__ import annotations

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

LEAST_BYTES = 2**18  # below, a call's fixed cost decides and there is no bound to speak of
FILL, ABSENT = 0x3F, 0x00  # the float32 0x3f3f3f3f is 0.747
SLOT = 4096  # threads get whole pages


class Bandwidth:
    """Owns two arrays and the threads that move them."""

    def __init__(self, num_threads: int, most_read: int, most_written: int):
        self.num_threads = num_threads
        slack = 2 * SLOT * num_threads
        self.source = np.full(most_read + slack, FILL, np.uint8)
        self.sink = np.zeros(most_written + slack, np.uint8)
        self.pool = ThreadPoolExecutor(num_threads)

    def bound(self, read: int, write: int, in_place: bool) -> Bound:
        return Bound(self, min(read, write), max(0, read - write), in_place)

    def run(self, moved: int, read: int, repeats: int, move, scan) -> float:
        """Seconds for one pass over `moved` and `read` bytes, shared by all threads: first start to last end."""
        barrier = Barrier(self.num_threads)

        def work(thread: int) -> tuple[float, float]:
            source, sink = self._share(self.source, moved, thread), self._share(self.sink, moved, thread)
            rest = self._share(self.source[self._span(moved) :], read, thread)
            barrier.wait()
            start = time.perf_counter()
            for _ in range(repeats):
                if moved:
                    move(source, sink)
                if read:
                    scan(rest)
            return start, time.perf_counter()

        times = list(self.pool.map(work, range(self.num_threads)))
        return (max(end for _, end in times) - min(start for start, _ in times)) / repeats

    def _span(self, size: int) -> int:
        """Bytes that `size` bytes take when every thread's share is rounded up to whole pages."""
        return -(-size // (self.num_threads * SLOT)) * SLOT * self.num_threads

    def _share(self, array: np.ndarray, size: int, thread: int) -> np.ndarray:
        begin = self._span(size) // self.num_threads * thread
        share = array[begin : begin + size // self.num_threads // 4 * 4].view(np.float32)
        assert share.nbytes >= size // self.num_threads - 4, "the arrays are too small for this cell"
        return share


class Bound:
    """A contestant (see runner.py) that times itself: handing work to threads is not part of the bound."""

    def __init__(self, bandwidth: Bandwidth, moved: int, read: int, in_place: bool):
        self.bandwidth, self.moved, self.read = bandwidth, moved, read
        self.moves = [(negate_in_place, "negative")] if in_place else [(copy, "memcpy"), (negate, "negative")]
        self.repeats = 1

    def calibrate(self, sample_seconds: float) -> None:
        """Take the fastest pair of loops for this size."""
        scans = [(scan_memchr, "memchr"), (scan_dot, "dot")]
        pairs = [(move, scan) for move in self.moves for scan in scans]
        if not self.moved:
            pairs = pairs[: len(scans)]
        elif not self.read:
            pairs = pairs[:: len(scans)]
        times = []
        for self.move, self.scan in pairs:
            self.repeats = max(1, round(sample_seconds / self.sample()))
            times.append(min(self.sample() for _ in range(3)))
        self.move, self.scan = pairs[int(np.argmin(times))]
        self.repeats = max(1, round(sample_seconds / min(times)))
        self.loops = "+".join([self.move[1]] * (self.moved > 0) + [self.scan[1]] * (self.read > 0))

    def sample(self) -> float:
        return self.bandwidth.run(self.moved, self.read, self.repeats, self.move[0], self.scan[0])


_memchr = ctypes.CDLL(None).memchr
_memchr.restype = ctypes.c_void_p
_memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)


def scan_memchr(array: np.ndarray) -> None:
    found = _memchr(array.ctypes.data, ABSENT, array.nbytes)
    assert found is None


def scan_dot(array: np.ndarray) -> None:
    np.dot(array, array)


def copy(source: np.ndarray, sink: np.ndarray) -> None:
    np.copyto(sink, source)


def negate(source: np.ndarray, sink: np.ndarray) -> None:
    np.negative(source, out=sink)


def negate_in_place(_: np.ndarray, sink: np.ndarray) -> None:
    np.negative(sink, out=sink)


def peak_flops(num_threads: int, size: int = 768) -> float:
    """Operations per second of float32 matrix products, one per thread: the flat roof of the roofline."""
    matrix = np.full((size, size), 0.5, np.float32)
    outputs = [np.empty_like(matrix) for _ in range(num_threads)]
    best = 0.0
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(lambda out: np.matmul(matrix, matrix, out=out), outputs))
            best = max(best, num_threads * 2 * size**3 / (time.perf_counter() - start))
    return best
