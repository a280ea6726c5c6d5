"""Which instruction set runs, on how many threads, and how the library was built."""

from __future__ import annotations

import importlib
import operator
import platform
from pathlib import Path

import numpy as np

from . import _core

try:
    # Both read environment variables. A bad value is reported now and not by some later call.
    _core.isa()
    _core.get_num_threads()
except ValueError as error:
    raise ImportError(f"logitloss cannot be used: {error}") from None


def isa() -> str:
    """Instruction set in use: ``"scalar"``, ``"avx2"``, ``"avx512"`` or ``"neon"``.

    It is the best one that this CPU runs, or the one that the environment variable ``LOGITLOSS_ISA`` names when
    logitloss is imported; a name that is unknown or that this CPU does not run is an ImportError. The choice changes
    speed only, never a bit of a result.

    Examples
    --------
    >>> import logitloss as ll
    >>> ll.isa() in ll.available_isas()
    True
    """
    return _core.isa()


def available_isas() -> list[str]:
    """Instruction sets that were built in and that this CPU runs, best first; ``"scalar"`` is always the last.

    Examples
    --------
    >>> import logitloss as ll
    >>> ll.available_isas()[-1]
    'scalar'
    """
    return list(_core.available_isas())


def set_num_threads(n: int) -> None:
    """Limit the threads of all later calls, made from whatever thread.

    Parameters
    ----------
    n : int
        At least 1. A number above what the machine allows is no error; `get_num_threads` tells what it comes to.

    Raises
    ------
    TypeError
        If `n` is no integer.
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> import logitloss as ll
    >>> before = ll.get_num_threads()
    >>> ll.set_num_threads(1)
    >>> ll.get_num_threads()
    1
    >>> ll.set_num_threads(before)
    """
    if isinstance(n, (bool, np.bool_)):
        raise TypeError("n: got a bool, expected an int >= 1")
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError(f"n: got {type(n).__name__}, expected an int >= 1") from None
    if n < 1:
        raise ValueError(f"n: got {n}, expected an int >= 1")
    _core.set_num_threads(min(n, 2**31 - 1))


def get_num_threads() -> int:
    """Threads that a large call made now from this thread would use.

    The smallest of: the limit set by `set_num_threads`, or at first by the environment variable
    ``LOGITLOSS_NUM_THREADS``; OpenMP's own limit for this thread (``OMP_NUM_THREADS``, ``threadpoolctl``); the CPUs
    this process may run on; whole CPUs of its cgroup quota. ``LOGITLOSS_OVERSUBSCRIBE=1`` lifts the last two.
    1 in a build without threads. The variables are read once, at import; one that
    says what it cannot is an ImportError.

    Examples
    --------
    >>> import logitloss as ll
    >>> ll.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def configuration() -> dict[str, str]:
    """What `show_config` prints, in its order."""
    return {
        "logitloss": _core.__version__,
        "instruction set": f"{isa()} (available: {', '.join(available_isas())})",
        "threads": f"{get_num_threads()} ({_core.threading_backend()})",
        "compiler": _core.compiler(),
        "NumPy": np.__version__,
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "package": str(Path(__file__).parent),
    }


def show_config() -> None:
    """Print version, instruction set, threads and compiler: what a bug report should say.

    Examples
    --------
    >>> import logitloss as ll
    >>> ll.show_config()
    logitloss        ...
    instruction set  ...
    threads          ...
    compiler         ...
    NumPy            ...
    Python           ...
    platform         ...
    package          ...
    """
    for name, value in configuration().items():
        print(f"{name:15}  {value}")


def _register_with_threadpoolctl() -> None:
    """Let threadpoolctl's limits hold for logitloss in every thread of the process.

    It limits OpenMP by itself, but only in the thread that asks for it.
    """
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")  # not by name: type checkers may not have it either
    except ImportError:
        return
    if not hasattr(threadpoolctl, "register"):  # before 3.2
        return

    class LogitlossController(threadpoolctl.LibController):  # type: ignore[misc,name-defined]
        user_api = "openmp"
        internal_api = "logitloss"
        filename_prefixes = ("_core",)
        check_symbols = ("logitloss_get_num_threads",)  # other packages, too, call their extension modules _core

        def get_num_threads(self) -> int:
            return int(self.dynlib.logitloss_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.logitloss_set_num_threads(num_threads)

        def get_version(self) -> str:
            return _core.__version__

    threadpoolctl.register(LogitlossController)


_register_with_threadpoolctl()
