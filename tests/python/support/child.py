"""Fresh Python processes: for what is decided once per process, at import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Where this module lies, and the tests: a child imports them as a test does.
MODULES = (str(Path(__file__).parent), str(Path(__file__).parents[1]))

SETTINGS = (  # of the library and of what is below it
    "LOGITLOSS_ISA",
    "LOGITLOSS_NUM_THREADS",
    "LOGITLOSS_OVERSUBSCRIBE",
    "LOGITLOSS_STREAM_BYTES",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "OMP_STACKSIZE",
    "GOMP_CPU_AFFINITY",
)


def start_python(*arguments: str, timeout: float = 600, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python *arguments`` with none of the library's settings in its environment but `variables`."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | variables
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [*MODULES, environment.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def run_python(code: str, timeout: float = 600, **variables: str) -> str:
    """What `code` prints. It must succeed."""
    done = start_python("-c", code, timeout=timeout, **variables)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def program(name: str) -> str | None:
    """Path of a program, from the environment of this Python, activated or not, or from PATH."""
    return shutil.which(name, path=os.path.dirname(sys.executable)) or shutil.which(name)


def printed_path(option: str) -> Path:
    """A folder of the installation, as ``python -m logitloss`` prints it."""
    done = start_python("-m", "logitloss", option)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())
