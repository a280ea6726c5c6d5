"""What the process around the library may do to it: forks, threads, other threading libraries, limits, signals.

Each in a fresh process, which must end by itself, in time and with the right numbers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from child import run_python, start_python

import logitloss as ll

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
serial_build = ll._core.threading_backend() == "serial"
needs_threads = pytest.mark.skipif(serial_build, reason="this build has no threads (LOGITLOSS_THREADING=serial)")

FOUR_THREADS = {"OMP_NUM_THREADS": "4", "LOGITLOSS_OVERSUBSCRIBE": "1", "OPENBLAS_NUM_THREADS": "1"}
SETUP = """
import os, resource, signal, sys, threading, time, warnings
import numpy as np
import logitloss as ll
warnings.filterwarnings("ignore", message=".*fork.*")  # Python warns of what this is about
rng = np.random.default_rng(7)
logits = rng.standard_normal((300, 1000)).astype(np.float32)
target = rng.integers(0, 1000, 300)
def results(**options):
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, **options)
    return loss, grad, ll.bce_with_logits(logits, logits > 0, **options)
expected = results(num_threads=1)
def compute():
    return all(np.array_equal(a, b) for a, b in zip(results(), expected))
def os_threads():
    with open("/proc/self/status") as file:
        return int(file.read().split("Threads:")[1].split()[0])
"""


def run(code: str, timeout: float = 60, **variables: str) -> str:
    return run_python(SETUP + code, timeout=timeout, **FOUR_THREADS | variables)


# ---------------------------------------------------------------------------------------------------------------- fork


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(method, tmp_path):
    module = tmp_path / "worker_module.py"
    module.write_text(SETUP + "def work(i):\n    return compute() and compute()\n")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import multiprocessing, warnings
import worker_module
warnings.filterwarnings("ignore", message=".*fork.*")
if __name__ == "__main__":
    assert worker_module.compute()
    with multiprocessing.get_context({method!r}).Pool(3) as pool:
        print(all(pool.map(worker_module.work, range(6))), worker_module.compute())
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = start_python(str(script), timeout=60, **FOUR_THREADS)
    assert done.stdout.strip() == "True True", done.stderr


def test_a_fork_from_a_thread_that_computed():
    code = """
def fork_and_compute(outcome):
    ok = compute()
    child = os.fork()
    if child == 0:
        os._exit(0 if compute() and compute() else 1)
    outcome.append(ok and os.waitpid(child, 0)[1] == 0 and compute())
assert compute()
outcome = []
for _ in range(3):
    thread = threading.Thread(target=fork_and_compute, args=(outcome,))
    thread.start(); thread.join()
print(outcome, compute())
"""
    assert run(code) == "[True, True, True] True"


def test_a_fork_while_another_thread_computes():
    code = """
stop = threading.Event()
busy = []
def keep_computing():
    while not stop.is_set():
        busy.append(compute())
other = threading.Thread(target=keep_computing)
other.start()
while not busy:
    time.sleep(0.001)
statuses = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if compute() else 1)
    statuses.append(os.waitpid(child, 0)[1])
stop.set(); other.join()
print(set(statuses), all(busy), compute())
"""
    assert run(code) == "{0} True True"


def test_a_grandchild_computes():
    code = """
assert compute()
child = os.fork()
if child == 0:
    ok = compute()
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if compute() else 1)
    os._exit(0 if ok and os.waitpid(grandchild, 0)[1] == 0 and compute() else 1)
print(os.waitpid(child, 0)[1], compute())
"""
    assert run(code) == "0 True"


@needs_threads
def test_a_forked_child_is_parallel_again():
    code = """
assert compute()
child = os.fork()
if child == 0:
    assert os_threads() == 1
    compute()
    os._exit(os_threads())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(code) == "4"


# ------------------------------------------------------------------------------------------------------------- threads


def test_sixteen_threads_at_once():
    code = """
barrier = threading.Barrier(16)
outcomes = []
def work():
    barrier.wait()
    outcomes.append(all(compute() for _ in range(5)))
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(outcomes), all(outcomes), compute())
"""
    assert run(code) == "16 True True"


@needs_threads
def test_threads_that_come_and_go_leave_nothing_behind():
    code = """
assert compute()
def work():
    assert compute()
def many(n):
    for _ in range(n):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
def settled():
    for _ in range(100):  # a thread that was joined is counted a moment longer
        time.sleep(0.01)
        if os_threads() <= 7:  # the caller's pool of 4, and the workers of the one that the others share
            break
    return os_threads()
def kilobytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
many(40)  # until each of the allocator's arenas has held its arrays
before = kilobytes()
many(40)
print(settled() <= 7, kilobytes() - before < 4000, compute())
"""
    assert run(code) == "True True True"


@needs_threads
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
def test_calls_from_inside_another_librarys_parallel_region(tmp_path):
    source, library = tmp_path / "other.cpp", tmp_path / "other.so"
    source.write_text(
        'extern "C" void in_parallel(int n, void (*f)()) {\n#pragma omp parallel num_threads(n)\nf();\n}\n'
    )
    subprocess.run(["g++", "-fopenmp", "-shared", "-fPIC", "-o", library, source], check=True)
    code = f"""
import ctypes
other = ctypes.CDLL({str(library)!r})
outcomes = []
@ctypes.CFUNCTYPE(None)
def inside():
    outcomes.append((compute(), threading.get_ident()))
def both(n):
    other.in_parallel(n, inside)
both(3)            # before the library had a team
assert compute()   # its own
both(4)
before = os_threads()
both(4)
print(len(outcomes), all(ok for ok, _ in outcomes), compute(), os_threads() == before)
"""
    assert run(code, OMP_DYNAMIC="false") == "11 True True True"


@pytest.mark.parametrize("other", ["torch", "sklearn"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_beside_other_libraries_with_threads(order, other):
    pytest.importorskip(other)
    use = {
        "torch": (
            "import torch\ntorch.set_num_threads(3)\nx = torch.randn(600, 600)\nuse = lambda: (x @ x).sum().item()\n"
        ),
        "sklearn": (
            "import sklearn._loss\npeer = sklearn._loss.HalfMultinomialLoss(n_classes=1000)\n"
            "use = lambda: peer.loss(target.astype(np.float32), logits, n_threads=3).sum()\n"
        ),
    }[other]
    work = """
for _ in range(3):
    first = use()
    assert compute()
    assert use() == first or abs(use() / first - 1) < 1e-3
outcomes = []
threads = [threading.Thread(target=lambda: (use(), outcomes.append(compute()))) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
child = os.fork()
if child == 0:
    os._exit(0 if compute() else 1)
print(outcomes, os.waitpid(child, 0)[1], compute())
"""
    code = use + SETUP + work if order == "before" else SETUP + "assert compute()\n" + use + work
    if other == "sklearn" and order == "before":
        code = "import sklearn._loss\n" + SETUP + use + work
    assert run_python(code, timeout=120, **FOUR_THREADS) == "[True, True, True, True] 0 True"


@needs_threads
def test_threadpoolctl_limits_hold_in_worker_threads():
    pytest.importorskip("threadpoolctl")
    code = """
import threadpoolctl
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    with threadpoolctl.threadpool_limits(1):
        inside = list(pool.map(lambda _: (ll.get_num_threads(), compute()), range(8)))
    after = [pool.submit(ll.get_num_threads).result() for _ in range(4)]
print(set(inside), set(after), compute())
"""
    assert run(code) == "{(1, True)} {4} True"


# -------------------------------------------------------------------------------------------------------------- limits

REFUSAL = """
caught = []
warnings.showwarning = lambda message, category, *more: caught.append(f"{category.__name__}: {message}")
warnings.simplefilter("always")
same = [compute() for _ in range(3)]
print(same, len(caught), caught[:1])
"""
REFUSED = "[True, True, True] 1 ['RuntimeWarning: logitloss: the system refused to create threads; "
LITTLE_ROOM = """
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
room = size + ({megabytes} << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
"""


@needs_threads
def test_no_room_for_stacks_is_a_warning_and_serial_work():
    assert run(LITTLE_ROOM.format(megabytes=6) + REFUSAL).startswith(REFUSED)


@needs_threads
def test_the_stacks_of_omp_stacksize_are_probed():
    # Threads of the default stack would fit, and the runtime's would not: it ends the process then.
    code = LITTLE_ROOM.format(megabytes=200) + REFUSAL
    assert run(code, OMP_STACKSIZE="200M").startswith(REFUSED)
    assert run(code, OMP_STACKSIZE="256K").startswith("[True, True, True] 0 ")


@needs_threads
@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user without processes of his own")
def test_no_more_processes_is_a_warning_and_serial_work():
    code = """
import pickle, copyreg, linecache, traceback  # no file is read once this is somebody else
os.setgid(54321); os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
"""
    assert run(code + REFUSAL).startswith(REFUSED)


@needs_threads
def test_a_warning_that_is_an_error_is_raised_after_the_work():
    code = (
        LITTLE_ROOM.format(megabytes=6)
        + """
out = np.zeros_like(logits)
warnings.simplefilter("error")
try:
    ll.softmax(logits, axis=1, out=out)
except RuntimeWarning as warning:
    print("refused" in str(warning), np.array_equal(out, ll.softmax(logits, axis=1, num_threads=1)), compute())
"""
    )
    assert run(code) == "True True True"


OUT_OF_MEMORY = """
big = np.ones((64, 1 << 18), np.float32)  # 64 MB
small = np.ones((64, 1 << 18), np.uint8)
labels = np.zeros(64, int)
state = ll.LogSumExp().update(np.ones((3, 4)))
compute()
untouched = big.copy()
loss = np.full((), 77, np.float32)
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (20 << 20), resource.RLIM_INFINITY))
def fails(call):
    try:
        call()
    except MemoryError:
        return bool(loss == 77)
    return False
calls = [
    lambda: ll.cross_entropy_value_and_grad(big, labels, out=loss),
    lambda: ll.cross_entropy_value_and_grad(big, big, out=loss),
    lambda: ll.bce_with_logits_value_and_grad(big, small, out=loss),
    lambda: ll.sigmoid_focal_loss_value_and_grad(big, small, out=loss),
    lambda: ll.mean_squared_error_value_and_grad(big, small, out=loss),
    lambda: ll.bce_with_logits(big, small, reduction="none"),
    lambda: ll.softmax(big, axis=1),
    lambda: ll.log_softmax(big, axis=0),
    lambda: ll.softmax_vjp(big, big),
    lambda: ll.log_softmax_vjp(big, big),
    lambda: ll.logsumexp_value_and_grad(big),
    lambda: ll.softmax(small, axis=1),  # made float64 first
]
print([fails(call) for call in calls].count(True), len(calls))
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert np.array_equal(big, untouched)
ll.softmax(big, axis=1, out=big)  # needs nothing
print(np.allclose(big, 2.0**-18, rtol=1e-6), compute())
"""


def test_out_of_memory_is_a_memory_error():
    first, second = run(OUT_OF_MEMORY).splitlines()
    failed, calls = first.split()
    assert failed == calls
    assert second == "True True"


# ------------------------------------------------------------------------------------------------------------- signals


def test_control_c_is_answered_when_the_call_ends():
    code = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
big = np.ones((64, 1 << 18), np.float32)
print("ready", flush=True)
try:
    while True:
        begin = time.perf_counter()
        ll.softmax(big, axis=1, out=big, num_threads=1)
except KeyboardInterrupt:
    print(time.perf_counter() - begin < 5, compute(), flush=True)
"""
    environment = os.environ | FOUR_THREADS
    with subprocess.Popen(
        [sys.executable, "-c", SETUP + code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
            output, errors = child.communicate(timeout=30)
        finally:
            child.kill()
    assert output == "True True\n", errors
    assert child.returncode == 0


def test_a_signal_handler_may_call_the_library():
    code = """
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(compute()))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
same = [compute() for _ in range(100)]
signal.setitimer(signal.ITIMER_REAL, 0)
print(all(same), all(seen), len(seen) > 0)
"""
    assert run(code) == "True True True"


def test_the_interpreter_ends_while_a_daemon_thread_computes():
    code = """
def forever():
    while True:
        compute()
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.1)
print("end")
"""
    assert run(code) == "end"
