"""What limits the threads of a large call from outside: binding, places, affinity masks, cgroup quotas, small stacks.

Each in a fresh process: the OpenMP runtime reads its variables, and binds the main thread, when it is loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from child import SETTINGS, run_python

import logitloss as ll

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only"),
    pytest.mark.skipif(
        ll._core.threading_backend() == "serial", reason="this build has no threads (LOGITLOSS_THREADING=serial)"
    ),
]

CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
FEW = CPUS[:2]
PRINT_THREADS = "import logitloss as ll; print(ll.get_num_threads())"
PRINT_SHARE = """
import threading
import numpy as np
import logitloss as ll
seen = [ll.get_num_threads()]
ll.logsumexp(np.zeros((300, 1000), np.float32), axis=-1)  # now there are workers, each bound to a place of its own
seen.append(ll.get_num_threads())
thread = threading.Thread(target=lambda: seen.append(ll.get_num_threads()))
thread.start(); thread.join()
print(*seen)
"""

LISTS = {
    "GOMP_CPU_AFFINITY": " ".join(map(str, FEW)),
    "OMP_PLACES": ",".join(f"{{{cpu}}}" for cpu in FEW),
}
BINDINGS = [
    {},
    {"OMP_PROC_BIND": "true"},
    {"OMP_PROC_BIND": "false"},
    {"OMP_PROC_BIND": "close"},
    {"OMP_PROC_BIND": "spread,close"},
    {"OMP_PLACES": "cores"},
    {"OMP_PLACES": "threads"},
    {"OMP_PLACES": "sockets"},
    {"OMP_PLACES": LISTS["OMP_PLACES"]},
    {"GOMP_CPU_AFFINITY": LISTS["GOMP_CPU_AFFINITY"]},
    {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"},
    {"OMP_PROC_BIND": "true", "GOMP_CPU_AFFINITY": LISTS["GOMP_CPU_AFFINITY"]},
    {"OMP_PROC_BIND": "spread", "OMP_PLACES": LISTS["OMP_PLACES"]},
    {"OMP_PROC_BIND": "false", "OMP_PLACES": "cores"},
]


def cpus_of(binding: dict[str, str]) -> int:
    """What a binding leaves: the CPUs that a list names, if it counts, else all of this process."""
    listed = any(value in LISTS.values() for value in binding.values()) and binding.get("OMP_PROC_BIND") != "false"
    return len(FEW) if listed else len(CPUS)


def name_of(binding: dict[str, str]) -> str:
    return "-".join(f"{name}={value}" for name, value in binding.items()) or "unbound"


@pytest.mark.parametrize("binding", BINDINGS, ids=name_of)
def test_binding_leaves_the_threads_that_there_are_cpus_for(binding):
    expected = str(cpus_of(binding))
    assert run_python(PRINT_SHARE, OMP_NUM_THREADS="64", **binding).split() == [expected] * 3


@pytest.mark.parametrize("binding", BINDINGS, ids=name_of)
def test_an_affinity_mask_counts_under_any_binding(binding):
    # What taskset does: the mask is there before the OpenMP runtime is.
    pinned = f"import os; os.sched_setaffinity(0, {{{FEW[0]}}}); "
    assert run_python(pinned + PRINT_THREADS, OMP_NUM_THREADS="64", **binding) == "1"


def test_a_list_of_one_cpu_is_one_thread():
    for variable, value in (("GOMP_CPU_AFFINITY", str(FEW[0])), ("OMP_PLACES", f"{{{FEW[0]}}}")):
        assert run_python(PRINT_THREADS, OMP_NUM_THREADS="64", **{variable: value}) == "1"


def test_a_mask_that_changes_counts_from_then_on():
    code = f"""
import os
import logitloss as ll
seen = [ll.get_num_threads()]
os.sched_setaffinity(0, {{{FEW[0]}}}); seen.append(ll.get_num_threads())
os.sched_setaffinity(0, {set(CPUS)}); seen.append(ll.get_num_threads())
print(*seen)
"""
    assert run_python(code, OMP_NUM_THREADS="64") == f"{len(CPUS)} 1 {len(CPUS)}"


def test_settings_count_under_binding():
    settings = {"OMP_NUM_THREADS": "3", "LOGITLOSS_OVERSUBSCRIBE": "1"}
    for binding in ({"OMP_PROC_BIND": "true"}, {"OMP_PLACES": "cores"}, {"GOMP_CPU_AFFINITY": str(FEW[0])}):
        assert run_python(PRINT_THREADS, **binding, **settings) == "3"
        assert run_python(PRINT_THREADS, **binding, **settings, LOGITLOSS_NUM_THREADS="2") == "2"
        assert run_python(PRINT_THREADS, **binding, OMP_NUM_THREADS="1") == "1"


# ------------------------------------------------------------------------------------------------------------- cgroups


def run_with_quota(tmp_path, quota: int, binding: dict[str, str], before: str = "") -> str:
    """PRINT_THREADS where /sys/fs/cgroup gives 100 ms a period so many ms, in a mount namespace of its own."""
    (tmp_path / "cpu.max").write_text(f"{quota * 1000 if quota else 'max'} 100000\n")
    version_one = tmp_path / "cpu"
    version_one.mkdir(exist_ok=True)
    (version_one / "cpu.cfs_quota_us").write_text(f"{quota * 1000 or -1}\n")
    (version_one / "cpu.cfs_period_us").write_text("100000\n")
    script = 'mount --bind "$1" /sys/fs/cgroup || exit 77; shift; exec "$@"'
    command = ["sh", "-c", script, "sh", str(tmp_path), sys.executable, "-c", before + PRINT_THREADS]
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", *command],
        env=environment | {"OMP_NUM_THREADS": "64"} | binding,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no mount namespace to be had: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("binding", [{}, {"OMP_PROC_BIND": "true"}, {"OMP_PLACES": "cores"}], ids=name_of)
@pytest.mark.parametrize(("quota", "cpus"), [(100, 1), (50, 1), (190, 1), (200, 2), (0, 10**6)])
def test_never_more_than_the_cgroup_quota(quota, cpus, binding, tmp_path):
    if not os.path.isdir("/sys/fs/cgroup"):
        pytest.skip("nothing is mounted for cgroups")
    assert run_with_quota(tmp_path, quota, binding) == str(min(cpus, len(CPUS)))


def test_a_quota_and_a_mask(tmp_path):
    pinned = f"import os; os.sched_setaffinity(0, {{{FEW[0]}}}); "
    assert run_with_quota(tmp_path, 200, {}, pinned) == "1"


# -------------------------------------------------------------------------------------------------------------- stacks

CALL_ALL = """
import itertools
import warnings
import numpy as np
import logitloss as ll
from checks import spares
from functions import FUNCTIONS

caught = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *more: caught.append(category.__name__)
rng = np.random.default_rng(7)
different, calls = [], 0
inputs = list(itertools.product(((9000, 8), (70, 1000), (2, 70000)), (np.float32, np.float64), "CF"))
for shape, dtype, order in inputs[::5] if spares(ll.isa()) else inputs:
    for function in FUNCTIONS:
        arguments = {function.first: np.asarray(rng.random(shape).astype(dtype), order=order)}
        for name in function.others:
            indices = rng.integers(0, shape[1], shape if name == "ids" else shape[0])
            arguments[name] = indices if function.is_integer(name) else rng.random(shape)
        if function.needs_axis:
            arguments["axis"] = -1
        got, want = function.call(**arguments), function.call(**arguments, num_threads=1)
        calls += 1
        pairs = list(zip(got, want)) if isinstance(got, tuple) else [(got, want)]
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs if a is not None):
            different.append((function.name, dtype, shape, order))
print(calls > (100 if spares(ll.isa()) else 300), different, caught)
"""


@pytest.mark.parametrize("isa", ll.available_isas())
@pytest.mark.parametrize(("size", "warned"), [("32k", []), ("16k", ["RuntimeWarning"])])
def test_small_stacks_do(size, warned, isa):
    threads = {"OMP_NUM_THREADS": "3", "LOGITLOSS_OVERSUBSCRIBE": "1"}
    assert run_python(CALL_ALL, OMP_STACKSIZE=size, LOGITLOSS_ISA=isa, **threads) == f"True [] {warned}"
