"""How many threads a call uses, and that nothing but its speed depends on it."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from child import run_python, start_python

import logitloss as ll

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
serial_build = ll._core.threading_backend() == "serial"
needs_threads = pytest.mark.skipif(serial_build, reason="this build has no threads (LOGITLOSS_THREADING=serial)")

PRINT_THREADS = "import logitloss as ll; print(ll.get_num_threads())"


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((300, 1000)).astype(np.float32)


@pytest.fixture
def restore_threads():
    before = ll.get_num_threads()
    yield
    ll.set_num_threads(before)


# -------------------------------------------------------------------------------------------------------------- limits


@needs_threads
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3", "LOGITLOSS_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "3", "LOGITLOSS_NUM_THREADS": "64"}, 3),
        ({"OMP_NUM_THREADS": "3", "LOGITLOSS_NUM_THREADS": "99999999999999999999"}, 3),
        ({"OMP_NUM_THREADS": "3", "LOGITLOSS_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1", "LOGITLOSS_NUM_THREADS": "4"}, 1),
    ],
)
def test_the_smallest_limit_holds(settings, expected):
    assert run_python(PRINT_THREADS, LOGITLOSS_OVERSUBSCRIBE="1", **settings) == str(expected)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("LOGITLOSS_NUM_THREADS", ["0", "-1", "two", "1.5", "2 "], "a whole number >= 1"),
        ("LOGITLOSS_STREAM_BYTES", ["-1", "abc", "1e6", "32 MiB", " 1"], "a whole number >= 0"),
        ("LOGITLOSS_OVERSUBSCRIBE", ["2", "yes", "-1", " 1"], "0 or 1"),
    ],
)
def test_a_bad_variable_is_an_import_error(name, values, expected):
    for value in values:
        done = start_python("-c", "import logitloss", **{name: value})
        assert done.returncode == 1
        message = done.stderr.strip().splitlines()[-1]
        assert message.startswith("ImportError")
        assert f"{name}: got {value!r}, expected {expected}" in message


def test_variables_that_are_empty_or_large_are_fine():
    names = ("LOGITLOSS_NUM_THREADS", "LOGITLOSS_STREAM_BYTES", "LOGITLOSS_OVERSUBSCRIBE", "LOGITLOSS_ISA")
    run_python("import logitloss", **dict.fromkeys(names, ""))
    run_python("import logitloss", **dict.fromkeys(names[:2], "9" * 40))
    run_python("import logitloss", LOGITLOSS_STREAM_BYTES="0", LOGITLOSS_OVERSUBSCRIBE="0")


@linux_only
def test_never_more_than_the_cpus_of_this_process():
    cpu = min(os.sched_getaffinity(0))
    pinned = f"import os; os.sched_setaffinity(0, {{{cpu}}}); " + PRINT_THREADS
    assert run_python(pinned, OMP_NUM_THREADS="4") == "1"
    if not serial_build:
        assert run_python(pinned, OMP_NUM_THREADS="4", LOGITLOSS_OVERSUBSCRIBE="1") == "4"


@needs_threads
def test_a_setting_holds_in_every_thread(restore_threads):
    ll.set_num_threads(1)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(ll.get_num_threads).result() == 1


@pytest.mark.parametrize("n", [0, -1, -(2**70)])
def test_set_num_threads_refuses_less_than_one(n):
    with pytest.raises(ValueError, match="expected an int >= 1"):
        ll.set_num_threads(n)


@pytest.mark.parametrize("n", [1.0, "2", None, True, [1], np.float32(2)])
def test_set_num_threads_refuses_what_is_no_integer(n):
    with pytest.raises(TypeError, match="expected an int >= 1"):
        ll.set_num_threads(n)


@pytest.mark.parametrize("n", [np.int64(1), 2**40])
def test_set_num_threads_takes_any_integer(n, restore_threads):
    ll.set_num_threads(n)
    assert 1 <= ll.get_num_threads() <= n


@needs_threads
def test_threadpoolctl_limits_hold_in_every_thread_and_end():
    pytest.importorskip("threadpoolctl")
    code = """
import threading, threadpoolctl
import logitloss as ll
seen = [ll.get_num_threads()]
def look():
    thread = threading.Thread(target=lambda: seen.append(ll.get_num_threads()))
    thread.start(); thread.join()
with threadpoolctl.threadpool_limits(1):
    seen.append(ll.get_num_threads()); look()
look()
with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    with threadpoolctl.threadpool_limits(2):
        pass
seen.append(ll.get_num_threads())
print(*seen)
print([lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["internal_api"] == "logitloss"])
"""
    settings = {"OMP_NUM_THREADS": "3", "LOGITLOSS_OVERSUBSCRIBE": "1", "LOGITLOSS_NUM_THREADS": "3"}
    assert run_python(code, **settings) == "3 1 1 3 3\n[3]"


def test_works_without_threadpoolctl():
    code = "import sys; sys.modules['threadpoolctl'] = None; import logitloss as ll; print(ll.logsumexp([0.0]))"
    assert float(run_python(code)) == 0.0


# ------------------------------------------------------------------------------------------------------------- results


@pytest.mark.parametrize("num_threads", [2, 5, 10**6])
def test_results_do_not_depend_on_the_number_of_threads(logits, num_threads):
    labels = np.arange(300) % 1000
    loss, grad = ll.cross_entropy_value_and_grad(logits, labels, num_threads=1)
    loss_threaded, grad_threaded = ll.cross_entropy_value_and_grad(logits, labels, num_threads=num_threads)
    assert loss.tobytes() == loss_threaded.tobytes()
    assert grad.tobytes() == grad_threaded.tobytes()


@pytest.mark.parametrize("num_threads", [0, -1])
def test_num_threads_less_than_one_is_a_value_error(logits, num_threads):
    with pytest.raises(ValueError, match="num_threads"):
        ll.logsumexp(logits, axis=-1, num_threads=num_threads)


@pytest.mark.parametrize("num_threads", [1.0, "1", True])
def test_num_threads_of_another_type_is_a_type_error(logits, num_threads):
    with pytest.raises(TypeError, match="num_threads"):
        ll.logsumexp(logits, axis=-1, num_threads=num_threads)


def test_concurrent_callers_get_their_own_results(logits):
    inputs = [np.roll(logits, i, axis=0) for i in range(6)]
    expected = [ll.softmax(x, axis=-1) for x in inputs]
    start = threading.Barrier(6)

    def call(x):
        start.wait()
        return [ll.softmax(x, axis=-1) for _ in range(5)]

    with ThreadPoolExecutor(6) as pool:
        for results, right in zip(pool.map(call, inputs), expected, strict=True):
            for result in results:
                np.testing.assert_array_equal(result, right)


# --------------------------------------------------------------------------------------------------- hostile processes

SETUP = """
import os, sys, threading, time
import numpy as np
import logitloss as ll
logits = np.random.default_rng(7).standard_normal((300, 1000)).astype(np.float32)
expected = ll.logsumexp(logits, axis=-1, num_threads=1)
def compute():
    return np.array_equal(ll.logsumexp(logits, axis=-1), expected)
"""
FOUR_THREADS = {"OMP_NUM_THREADS": "4", "LOGITLOSS_OVERSUBSCRIBE": "1"}


@linux_only
def test_a_forked_child_computes(tmp_path):
    code = (
        SETUP
        + """
import warnings
warnings.simplefilter("ignore")  # Python warns of forks in threaded processes, which is what this is about
assert compute()
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if compute() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert compute()
print("done")
"""
    )
    assert run_python(code, timeout=60, **FOUR_THREADS) == "done"


@linux_only
def test_many_callers_do_not_leave_many_threads():
    code = (
        SETUP
        + """
stay = threading.Event()
ready = threading.Barrier(9)
def caller():
    for _ in range(20):
        assert compute()
    ready.wait(); stay.wait()
callers = [threading.Thread(target=caller) for _ in range(8)]
for thread in callers: thread.start()
ready.wait()
with open("/proc/self/status") as file:
    threads = int(file.read().split("Threads:")[1].split()[0])
stay.set()
for thread in callers: thread.join()
print(threads)
"""
    )
    threads = int(run_python(code, OPENBLAS_NUM_THREADS="1", **FOUR_THREADS))
    # Main thread and 8 callers, two of them with a pool of 3, and the one that the others share. With a pool each it
    # would be 33.
    assert threads <= 9 + 3 * 3


@linux_only
@needs_threads
def test_a_server_creates_no_threads_once_it_is_warm():
    code = (
        SETUP
        + """
def tasks():
    return set(os.listdir("/proc/self/task"))
warm = threading.Barrier(9)
done = threading.Event()
wrong = []
def caller():
    try:
        compute()
        warm.wait()  # all of them have been there: two own a pool now
        for _ in range(100):
            wrong.append(not compute())
        warm.wait()
        warm.wait()
        while not done.is_set():  # some meet another's call, and the others have the CPUs to themselves
            wrong.append(not compute())
    except Exception as error:
        wrong.append(error)
callers = [threading.Thread(target=caller) for _ in range(8)]
for thread in callers: thread.start()
warm.wait(); warm.wait()
before = tasks()
warm.wait()
seen = set()
end = time.monotonic() + 1.0
while time.monotonic() < end:
    seen |= tasks()
done.set()
for thread in callers: thread.join()
print(any(wrong), len(wrong) > 100, len(seen - before))
"""
    )
    assert run_python(code, OPENBLAS_NUM_THREADS="1", **FOUR_THREADS) == "False True 0"


@linux_only
def test_where_threads_cannot_be_created_the_caller_works_alone():
    code = (
        SETUP
        + """
import resource
ll.logsumexp(np.zeros(4), axis=-1)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
room = size + (6 << 20)  # less than a thread's stack
out = np.empty_like(expected)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    print("no threads")
ll.logsumexp(logits, axis=-1, out=out)
print(np.array_equal(out, expected))
"""
    )
    assert run_python(code, **FOUR_THREADS) == "no threads\nTrue"


def test_the_gil_is_released():
    logits = np.zeros((100, 100_000), np.float32)
    ticks = []
    finished = threading.Event()

    def tick():
        while not finished.wait(0.0005):
            ticks.append(time.perf_counter())

    def ticks_of_a_call():
        begin = time.perf_counter()
        ll.softmax(logits, axis=-1, num_threads=1)
        end = time.perf_counter()
        return sum(begin < at < end for at in ticks)

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        # A call of some milliseconds that kept the GIL would let no tick happen between its begin and its end. One that
        # does not may have no CPU to spare for the ticker.
        heard = any(ticks_of_a_call() >= 2 for _ in range(50))
    finally:
        finished.set()
        ticker.join()
    assert heard
