"""Where and with what a measurement was made."""

from __future__ import annotations

import os
import platform
import shlex
import time
from pathlib import Path
from types import ModuleType

import numpy as np
from settings import INSTRUCTION_SETS

import logitloss as ll

# Variables that begin like this change what is measured.
TELLING_VARIABLES = (
    *("MALLOC_", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE", "NUMPY_MADVISE_HUGEPAGE", "LD_PRELOAD"),
    *INSTRUCTION_SETS["avx2"],
)


def describe(modules: list[ModuleType]) -> dict[str, str]:
    versions = {module.NAME: module.VERSION for module in modules}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "CPU": cpu_model(),
        "CPUs": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} used"
        f" of {os.cpu_count()}",
        "caches": ", ".join(caches()) or "unknown",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "transparent huge pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "instruction set": f"{ll.isa()} (available: {', '.join(ll.available_isas())})",
        "threads": str(ll.get_num_threads()),
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"Python": platform.python_version(), "NumPy": np.__version__, **versions}.items()
            if name != "numpy"
        ),
        "environment variables": " ".join(
            f"{name}={shlex.quote(value)}" for name, value in os.environ.items() if name.startswith(TELLING_VARIABLES)
        )
        or "none",
    }


def cpu_model() -> str:
    for line in read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def caches() -> list[str]:
    found = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (kind := read(index / "type")) != "Instruction":
            found.append(f"L{read(index / 'level')}{'d' if kind == 'Data' else ''} {read(index / 'size')}")
    return found


def read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"
