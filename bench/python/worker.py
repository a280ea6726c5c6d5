"""Measures cells in one process under one setting of threads, allocator and instruction set. Started by run.py."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def restrict_to_cpus(count: int) -> None:
    """As many CPUs as threads, for libraries (XLA) that cannot be told otherwise. Before they are imported."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def main() -> None:
    task = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        restrict_to_cpus(task["threads"])

    import contestants
    import environment
    from measure import Measurement

    modules, missing = contestants.load(task["peers"])
    for module in modules:
        module.prepare(task["threads"])
    measured = Measurement(modules, task).run()
    report = {
        **measured,
        **{name: task[name] for name in ("threads", "allocator", "isa")},
        "contestants": [module.NAME for module in modules],
        "missing": {**missing, **measured["missing"]},
        "environment": environment.describe(modules),
    }
    Path(task["output"]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
