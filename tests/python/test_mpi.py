"""logitloss.mpi: classes shared out among ranks. Threads stand for ranks; where there is MPI, processes do, too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from checks import DTYPES, assert_same_bits, ulps
from child import MODULES, program
from shards import gradient, merged, part, states

import logitloss as ll
from logitloss import mpi

EXAMPLE = Path(__file__).parents[2] / "examples" / "vocabulary_parallel.py"

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)


class Rank:
    """The communicator of one thread of several; it counts its collectives."""

    def __init__(self, rank, messages, barrier):
        self.rank, self.size, self.collectives = rank, len(messages), 0
        self._messages, self._barrier = messages, barrier

    def allgather(self, sendobj):
        self.collectives += 1
        self._messages[self.rank] = sendobj
        self._barrier.wait()
        received = list(self._messages)
        self._barrier.wait()
        return received


def on_ranks(count, function):
    """What function(comm) returns or raises on each rank. A rank that waits for the others is a BrokenBarrierError."""
    messages = [None] * count
    barrier = threading.Barrier(count, timeout=60)

    def run(rank):
        try:
            return function(Rank(rank, messages, barrier))
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def edges(classes, count):
    return np.linspace(0, classes, count + 1).astype(int)


def problem(rng, dtype=np.float64, rows=30, classes=90):
    logits = (4 * rng.standard_normal((rows, classes))).astype(dtype)
    target = rng.integers(0, classes, rows)
    logits[np.arange(rows), target] += np.linspace(0, 60, rows).astype(dtype)
    target[3] = -100
    return logits, target


@every_dtype
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "none", "upstream": 0.5},
        {"label_smoothing": 0.1, "z_loss": 1e-3, "normalizer": 5.0},
        {"class_weight": True, "sample_weight": True, "label_smoothing": 0.1, "softcap": 30.0},
        {"scale": 2.0, "ignore_index": 7, "reduction": "sum"},
    ],
    ids="-".join,
)
def test_ranks_give_what_their_states_give(ranks, options, dtype, rng):
    logits, target = problem(rng, dtype)
    weights = {"class_weight": rng.random(90), "sample_weight": rng.random(30)}
    options = {name: weights[name] if value is True else value for name, value in options.items()}
    if options.get("ignore_index") == 7:
        target[3] = 7
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, **options)
    cuts = edges(90, ranks)
    of_end = {name: options.pop(name) for name in ("reduction", "normalizer", "upstream") if name in options}
    state = merged(states(logits, target, cuts[1:-1], **options))
    want = gradient(state, logits, target, cuts[1:-1], **of_end)
    of_end_loss = {name: value for name, value in of_end.items() if name != "upstream"}

    def run(comm):
        first, end = cuts[comm.rank], cuts[comm.rank + 1]
        shard = logits[:, first:end].copy()
        got = mpi.cross_entropy_value_and_grad(
            shard, target, comm, first_class=int(first), grad_out=shard, **options, **of_end
        )
        assert got[1] is shard
        return *got, comm.collectives

    results = on_ranks(ranks, run)
    for got, _, collectives in results:
        assert_same_bits(got, state.loss(**of_end_loss))
        assert collectives == 1
    together = np.concatenate([shard for _, shard, _ in results], axis=1)
    assert_same_bits(together, want)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(results[0][0], loss, rtol=tolerance)
    np.testing.assert_allclose(together, grad, rtol=20 * tolerance, atol=tolerance)


def test_ranks_in_any_order_and_without_classes(rng):
    logits, target = problem(rng)
    shards = [(50, 90), (20, 20), (0, 20), (20, 50)]
    state = merged(states(logits, target, [20, 50]))

    def run(comm):
        first, end = shards[comm.rank]
        return mpi.cross_entropy_value_and_grad(part(logits, first, end), target, comm, first_class=first)

    for (first, end), (loss, grad) in zip(shards, on_ranks(4, run), strict=True):
        assert_same_bits(loss, state.loss())
        assert_same_bits(grad, state.grad(part(logits, first, end), first_class=first))


def test_class_probabilities_along_axis_0(rng):
    logits = rng.standard_normal((12, 5))
    target = rng.dirichlet(np.ones(12), 5).T
    options = {"axis": 0, "label_smoothing": 0.1}
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, **options)

    def run(comm):
        rows = slice(6 * comm.rank, 6 * comm.rank + 6)
        return mpi.cross_entropy_value_and_grad(
            logits[rows], target[rows], comm, first_class=rows.start, num_classes=12, **options
        )

    for rank, (got, shard) in enumerate(on_ranks(2, run)):
        np.testing.assert_allclose(got, loss, rtol=1e-14)
        np.testing.assert_allclose(shard, grad[6 * rank : 6 * rank + 6], rtol=1e-13, atol=1e-16)


def test_a_target_that_leads_by_40_on_another_rank():
    def run(comm):
        shard = np.array([[0.0, 0.0], [40.0, 0.0]])[comm.rank : comm.rank + 1]
        return mpi.cross_entropy_value_and_grad(shard, [2], comm, first_class=2 * comm.rank)

    for loss, _ in on_ranks(2, run):
        assert ulps(loss, 3 * np.exp(-40.0)) <= 1


def overlapping(**changed):
    """The shard of a rank, and as its gradient or upstream gradient memory that others share."""
    memory = np.zeros((4, 2))
    return {"shard": memory[:3], "grad_out": memory[1:]} | changed


BOTH = np.ones((3, 2))

# Rank 1 of three calls with what is given here.
DISAGREE = {
    "a bad label": ({"target": [0, 99, 2]}, ValueError, "target.* on rank 1 .*|got label 99"),
    "another target": ({"target": [0, 1, 1]}, ValueError, "target: got other values on rank 1 than on rank 0"),
    "fewer rows": ({"target": [0, 1], "rows": 2}, ValueError, r"rows: got \(2,\) on rank 1 and \(3,\) on rank 0"),
    "an overlap": ({"first_class": 1}, ValueError, "shards: got class .* twice"),
    "a gap": ({"first_class": 3, "columns": 1}, ValueError, r"got no classes \[2, 3\)"),
    "a shard outside": ({"first_class": -1}, ValueError, "first_class: got -1"),
    "another option": ({"z_loss": 0.5}, ValueError, "z_loss: got 0.5 on rank 1 and 0.0 on rank 0"),
    "another weight": ({"sample_weight": [1, 2, 3]}, ValueError, "sample_weight: got other values on rank 1"),
    "another reduction": ({"reduction": "sum"}, ValueError, "reduction: got sum on rank 1 and mean on rank 0"),
    "another dtype": ({"dtype": np.float32}, ValueError, "arithmetic: got float32 on rank 1 and float64 on rank 0"),
    "a bad dtype": ({"dtype": complex}, TypeError, "got dtype complex128"),
    "a bad option": ({"softcap": -1.0}, ValueError, "softcap: got -1.0"),
    "a bad output": ({"grad_out": np.zeros(3)}, ValueError, "grad_out: got shape"),
    "no output": ({"grad_out": [0.0]}, TypeError, "grad_out: got list, expected .*ndarray"),
    "an output that overlaps the shard": (overlapping(), ValueError, "grad_out: got an array that overlaps"),
    "an output that overlaps itself": (
        {"grad_out": np.lib.stride_tricks.as_strided(np.zeros(2), (3, 2), (0, 8), writeable=True)},
        ValueError,
        "grad_out: got",
    ),
    "a masked output": ({"grad_out": np.ma.zeros((3, 2))}, TypeError, "grad_out: got .*mask"),
    "an output that overlaps upstream": (
        {"reduction": "none", "upstream": BOTH[:, 0], "grad_out": BOTH},
        ValueError,
        "grad_out: got an array that overlaps upstream",
    ),
    "an upstream of another shape": ({"upstream": [1.0, 2.0]}, ValueError, "upstream: got shape"),
    "a complex upstream": ({"upstream": np.array(1j)}, TypeError, "upstream: got dtype complex128"),
    "a bad normalizer": ({"normalizer": 0.0}, ValueError, "normalizer: got 0"),
    "a bad reduction": ({"reduction": "median"}, ValueError, "reduction: got 'median'"),
    "a negative label": (
        {"target": [0, -5, 2]},
        ValueError,
        r"target\[1\]: got label -5, expected a class in \[0, num_classes\)",
    ),
    "NaN": ({"upstream": float("nan")}, ValueError, "upstream: got nan on rank 1 and None on rank 0"),
}


@pytest.mark.parametrize("case", DISAGREE)
def test_if_one_rank_is_wrong_all_raise_and_nothing_is_written(case):
    changed, error, message = DISAGREE[case]
    columns = changed.get("columns", 2)

    def run(comm):
        given = dict(changed) if comm.rank == 1 else {}
        given.pop("columns", None)
        shard = np.zeros((given.pop("rows", 3), columns if comm.rank == 1 else 2), given.pop("dtype", np.float64))
        shard = given.pop("shard", shard)
        out = np.full((3, 2), 7.0)
        arguments = {"target": [0, 1, 2], "first_class": 2 * comm.rank, "grad_out": out if comm.rank != 1 else None}
        arguments |= given
        try:
            return mpi.cross_entropy_value_and_grad(shard, arguments.pop("target"), comm, **arguments)
        finally:
            assert np.all(out == 7)
            assert comm.collectives == 1

    for result in on_ranks(3, run):
        assert isinstance(result, error), result
        with pytest.raises(error, match=message):
            raise result


def test_numbers_agree_whatever_their_types():
    same = {
        "num_classes": (4, np.int64(4)),
        "scale": (2, np.float64(2.0)),
        "upstream": (np.array(0.5), 0.5),
        "normalizer": (np.float32(3), 3),
        "ignore_index": (np.int32(-1), -1),
        "sample_weight": (np.ones(3), [1, 1, 1]),
    }
    results = on_ranks(
        2,
        lambda comm: mpi.cross_entropy_value_and_grad(
            np.zeros((3, 2)),
            [0, -1, 3],
            comm,
            first_class=2 * comm.rank,
            **{name: values[comm.rank] for name, values in same.items()},
        ),
    )
    for loss, grad in results:
        np.testing.assert_allclose(loss, 2 * np.log(4) / 3, rtol=1e-15)
        assert grad.any()


@pytest.mark.parametrize("ranks", [1, 2])
def test_nan_is_equal_to_nan(ranks):
    def run(comm):
        upstream = (np.nan, np.array(np.nan))[comm.rank]
        shard = np.zeros((3, 2))
        return mpi.cross_entropy_value_and_grad(shard, [0, 1, 1], comm, first_class=2 * comm.rank, upstream=upstream)

    for loss, grad in on_ranks(ranks, run):
        np.testing.assert_allclose(loss, np.log(2 * ranks), rtol=1e-15)
        assert np.isnan(grad).all()


def test_many_ranks_are_merged_in_one_step(rng, monkeypatch):
    logits, target = problem(rng, rows=20, classes=640)
    cuts = edges(640, 64)
    want = merged(states(logits, target, cuts[1:-1]))
    merges = []
    merge = ll.CrossEntropyState._set_pieces
    monkeypatch.setattr(
        ll.CrossEntropyState, "_set_pieces", lambda self, pieces: merges.append(len(pieces)) or merge(self, pieces)
    )

    def run(comm):
        first, end = int(cuts[comm.rank]), int(cuts[comm.rank + 1])
        return mpi.cross_entropy_value_and_grad(logits[:, first:end], target, comm, first_class=first)

    results = on_ranks(64, run)
    assert sorted(merges) == [1] * 64 + [64] * 64
    one, grad = ll.cross_entropy_value_and_grad(logits, target)
    for loss, _ in results:
        assert_same_bits(loss, want.loss())
        np.testing.assert_allclose(loss, one, rtol=1e-14)
    together = np.concatenate([shard for _, shard in results], axis=1)
    np.testing.assert_allclose(together, grad, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"target": [0, 6, 2]}, ValueError, r"target\[1\]: got label 6, expected a class in \[0, 6\)"),
        ({"num_classes": 7}, ValueError, r"got no classes \[6, 7\)"),
        ({"num_classes": 5}, ValueError, r"first_class: got 4 for a shard of 2 classes"),
        ({"reduction": "median"}, ValueError, "reduction"),
        ({"upstream": [1.0, 2.0]}, ValueError, "upstream"),
        ({"normalizer": 0.0}, ValueError, "normalizer"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_on_all_ranks(changed, error, message):
    def run(comm):
        arguments = {"target": [0, 1, 2], "first_class": 2 * comm.rank, "grad_out": np.full((3, 2), 7.0)} | changed
        try:
            mpi.cross_entropy_value_and_grad(np.zeros((3, 2)), arguments.pop("target"), comm, **arguments)
        finally:
            assert np.all(arguments["grad_out"] == 7)

    for result in on_ranks(3, run):
        with pytest.raises(error, match=message):
            raise result


# ----------------------------------------------------------------------------------------------------------- with MPI

PROGRAM = """
import numpy as np
from mpi4py import MPI
import logitloss as ll
from checks import floor, ulps
from logitloss import mpi
from shards import gradient, merged, states
from test_mpi import edges, problem

comm = MPI.COMM_WORLD

class Counting:
    collectives = 0
    def allgather(self, sendobj):
        self.collectives += 1
        return comm.allgather(sendobj)

rng = np.random.default_rng(5)
for dtype in (np.float32, np.float64):
    for options in ({}, {"label_smoothing": 0.1}, {"scale": 3.0, "margin": 0.2}):
        logits, target = problem(rng, dtype, 40, 3000)
        cuts = edges(3000, comm.size)
        first, end = int(cuts[comm.rank]), int(cuts[comm.rank + 1])
        counting = Counting()
        shard = logits[:, first:end].copy()
        loss, grad = mpi.cross_entropy_value_and_grad(
            shard, target, counting, first_class=first, grad_out=shard, **options
        )
        assert counting.collectives == 1
        state = merged(states(logits, target, cuts[1:-1], **options))
        assert loss == state.loss()
        assert np.array_equal(grad, state.grad(logits[:, first:end], first_class=first))
        one, one_grad = ll.cross_entropy_value_and_grad(logits, target, **options)
        most = 1 if dtype == np.float32 and not options else 2 if not options else 4
        assert ulps(loss, one) <= most, (loss, one)
        of_rank = one_grad[:, first:end]
        if options:  # as near to the exact ones as those of one call
            tolerance = 40 * np.finfo(dtype).eps
            np.testing.assert_allclose(grad, of_rank, rtol=tolerance, atol=tolerance * abs(of_rank).max())
        else:
            normal = abs(of_rank) > floor(dtype)
            assert ulps(grad[normal], of_rank[normal]).max() <= 2 * most
        last = comm.rank == comm.size - 1
        whose = "" if last else f"rank {comm.size - 1}: "
        said = f"{whose}first_class: got {int(cuts[-2]) + 1} for a shard of"
        out = np.full((40, end - first), 7, dtype)
        try:
            mpi.cross_entropy_value_and_grad(
                logits[:, first:end], target, comm, first_class=first + last, num_classes=3000, grad_out=out
            )
        except ValueError as error:
            assert str(error).startswith(said), error
        else:
            raise AssertionError("no error")
        assert (out == 7).all()

# One rank's output alone is wrong: all raise, and the next call finds them together.
for step in range(2):
    memory = np.zeros((4, 2))
    out = memory[1:] if comm.rank == comm.size - 1 else memory[:3]
    try:
        mpi.cross_entropy_value_and_grad(memory[:3], [0, 1, 1], comm, first_class=2 * comm.rank, grad_out=out)
    except ValueError as error:
        assert "grad_out: got an array that overlaps" in str(error), error
    else:
        raise AssertionError("no error")
    assert not memory.any()
print("done", comm.rank, flush=True)
"""


def mpiexec(count, *command):
    """Output of `count` processes. Open MPI runs as root, and more processes than cores, if it is told so."""
    launcher = program("mpiexec")
    if find_spec("mpi4py") is None or launcher is None:
        pytest.skip("needs mpi4py and mpiexec (pip install mpi4py mpich)")
    if subprocess.run([sys.executable, "-c", "from mpi4py import MPI"], capture_output=True, check=False).returncode:
        pytest.skip("mpi4py finds no MPI library that it was made for (pip install mpich)")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*MODULES, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "LOGITLOSS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [launcher, "-n", str(count), sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_processes(ranks):
    assert mpiexec(ranks, "-c", PROGRAM).count("done") == ranks


def test_the_example_learns_the_same_on_any_number_of_ranks():
    pytest.importorskip("sklearn", reason="its digits come from scikit-learn")
    outputs = [mpiexec(ranks, str(EXAMPLE)) for ranks in (1, 4)]
    assert outputs[0] == outputs[1]
    assert "accuracy" in outputs[0]
