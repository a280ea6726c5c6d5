"""Logits of several gigabytes, evaluated by two processes that may use a fraction of that.

The logits lie in a file. A Dask array reads it chunk by chunk, rows and classes both cut, and `logitloss.dask` reduces
every chunk where it is read: what travels is a state of a few numbers a row. The workers are those of a LocalCluster,
with a memory limit below the size of the file.

A worker maps a chunk into its memory and lets go of it with the task. Pages of a mapped file count as memory of the
process as long as they are mapped, so one map of the whole file would soon be over the limit.

    python examples/out_of_core.py --gigabytes 4
    SCIPY_ARRAY_API=1 python examples/out_of_core.py --gigabytes 2 --measure 5

The second command also measures log-sum-exps of the file: by two processes and by one, and by SciPy's function on the
same Dask array. The exit code is 0 if the loss is that of one process that reads the file once, and no worker used as
much memory as the file has.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster, progress

import logitloss as ll
import logitloss.dask

CLASSES = 16384
PARTS = 2  # of the classes: as many chunks a block of rows
GIGABYTE = 2**30


class LogitsOnDisk:
    """Rows of float32 logits in a file, for `dask.array.from_array`: small to send, it maps what it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.dtype = np.dtype(np.float32)
        self.shape = (path.stat().st_size // (4 * CLASSES), CLASSES)
        self.ndim = 2

    def __getitem__(self, where: tuple[slice, ...]) -> np.ndarray:
        rows, classes = where
        start, stop, _ = rows.indices(self.shape[0])
        offset = 4 * CLASSES * start
        return np.memmap(self.path, self.dtype, "r", offset, (stop - start, CLASSES))[:, classes]


def write(path: Path, rows: int) -> np.ndarray:
    """Logits of a model that is right more often than not, and the labels."""
    rng = np.random.default_rng(1)
    target = rng.integers(CLASSES, size=rows)
    noise = rng.standard_normal(64 * CLASSES + 7919, np.float32)
    with path.open("wb") as file:
        for first in range(0, rows, 64):
            labels = target[first : first + 64]
            start = rng.integers(7919)
            logits = 2 * noise[start : start + len(labels) * CLASSES].reshape(-1, CLASSES)
            logits[np.arange(len(labels)), labels] += rng.normal(14, 4, len(labels)).astype(np.float32)
            file.write(logits.tobytes())
    return target


def in_one_process(disk: LogitsOnDisk, rows: int, reduce) -> list:
    """A function of each block of rows, as a program without Dask would go through the file."""
    starts = range(0, disk.shape[0], rows)
    return [reduce(disk[start : start + rows, :], slice(start, start + rows)) for start in starts]


def peak_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(disk: LogitsOnDisk, logits: da.Array, rows: int, repeats: int) -> None:
    """Medians of interleaved runs, so that all contestants meet the same machine."""
    from scipy.special import logsumexp

    def alone() -> np.ndarray:
        return np.concatenate(in_one_process(disk, rows, lambda chunk, _: ll.logsumexp(chunk, axis=1, num_threads=1)))

    contestants = {
        "logitloss.dask, two processes": lambda: logitloss.dask.logsumexp(logits, axis=1).compute(),
        "logitloss, one process, one thread": alone,
        "scipy.special, two processes": lambda: logsumexp(logits, axis=1).compute(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    values = {}
    for _ in range(repeats):
        for name, run in contestants.items():
            start = time.perf_counter()
            values[name] = run()
            seconds[name].append(time.perf_counter() - start)
    ours = values["logitloss.dask, two processes"]
    for name, value in values.items():
        median = statistics.median(seconds[name])
        difference = np.max(np.abs(value - ours) / np.spacing(np.abs(ours)))
        print(f"log-sum-exp, {name}: {median:.2f} s, largest difference {difference:.0f} ulp")


def main() -> int:
    parser = argparse.ArgumentParser(description="Logits that do not fit the workers' memory.")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the file (default: 4)")
    parser.add_argument(
        "--limit", type=float, help="gigabytes that a worker may use (default: a quarter of the file's)"
    )
    parser.add_argument("--folder", type=Path, help="where to write the file for the time of the run")
    parser.add_argument("--measure", type=int, default=0, metavar="REPEATS", help="also measure log-sum-exps, so often")
    arguments = parser.parse_args()
    size = arguments.gigabytes * GIGABYTE
    limit = int(arguments.limit * GIGABYTE if arguments.limit else size / 4)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "logits"
        target = write(path, int(size) // (4 * CLASSES))
        disk = LogitsOnDisk(path)
        size = path.stat().st_size
        rows = max(1, limit // 16 // (4 * CLASSES // PARTS))  # a chunk has a sixteenth of the limit
        logits = da.from_array(disk, chunks=(rows, CLASSES // PARTS), name="logits")
        print(f"{size / GIGABYTE:.2f} GB of logits in {logits.npartitions} chunks of {logits.numblocks}")
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=limit, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            print(f"two workers of {limit / GIGABYTE:.2f} GB; dashboard: {client.dashboard_link}")
            future = client.compute(logitloss.dask.cross_entropy(logits, target))
            progress(future, notebook=False)
            loss = future.result()
            used = max(client.run(peak_memory).values())
            print(f"\nmean loss {loss}; a worker used at most {used / GIGABYTE:.2f} GB")
            if arguments.measure:
                measure(disk, logits, rows, arguments.measure)

        def losses(chunk: np.ndarray, place: slice) -> float:
            return ll.cross_entropy(chunk, target[place], reduction="none").sum(dtype=np.float64)

        alone = np.float32(sum(in_one_process(disk, rows, losses)) / len(target))
        print(f"in one process {alone}")
    return 0 if abs(loss - alone) <= np.spacing(alone) and used < size and limit < size else 1


if __name__ == "__main__":
    sys.exit(main())
