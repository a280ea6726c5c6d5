"""Benchmarks of logitloss beside its peers: measures, prints tables, saves JSON and pictures.

    python bench/python/run.py                                  the whole table, with all CPUs; takes a while
    python bench/python/run.py --quick                          the same cells with fewer rows
    python bench/python/run.py --threads 1,2 --tuned            four tables: threads x allocator settings
    python bench/python/run.py --isa avx2                       everybody without AVX-512
    python bench/python/run.py --only "CE loss+grad 4096x1000"  cells with words that begin like this
    python bench/python/run.py --render results.json            table and pictures of an earlier run

What is committed comes from

    python bench/python/run.py --output bench/results/xeon-avx512 --headline docs/images

Every setting runs in a process of its own, and within it all contestants take turns. docs/benchmarks.md has the method.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import report
from contestants import PEERS
from settings import ALLOCATORS, INSTRUCTION_SETS, environment, title


def main() -> int:
    arguments = parse()
    if arguments.render:
        results = json.loads(Path(arguments.render).read_text())
    else:
        results = {"settings": [measure(arguments, setting) for setting in settings(arguments)]}
    output = Path(arguments.output)
    headline = Path(arguments.headline or output)
    for folder in (output, headline):
        folder.mkdir(parents=True, exist_ok=True)
    if not arguments.render:
        (output / "results.json").write_text(json.dumps(results, indent=1))
    table = report.markdown(results)
    (output / "results.md").write_text(table)
    print(table)
    print(f"Saved to {output}: results.json, results.md{draw(results, output, headline)}")
    return report.exit_code(results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Benchmarks of logitloss beside its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer rows in every cell")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cells or families, by words of the name")
    parser.add_argument("--threads", default=str(available_cpus()), help="one number or several: 1,2")
    parser.add_argument("--tuned", action="store_true", help="measure with a tuned glibc allocator as well")
    parser.add_argument("--isa", default="native", help="native, avx2 (the peers too), or both: native,avx2")
    parser.add_argument("--peers", default=",".join(p for p in PEERS if p != "torch_compile"), help=", ".join(PEERS))
    parser.add_argument("--torch-compile", action="store_true", help="add torch.compile, which compiles every cell")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sample", type=float, default=None, metavar="SECONDS", help="least time of one sample")
    parser.add_argument("--patience", type=float, default=2.0, metavar="SECONDS", help="calls of slow peers, at most")
    parser.add_argument("--output", default="bench-results", metavar="DIRECTORY")
    parser.add_argument("--headline", metavar="DIRECTORY", help="where headline.png goes, if not with the others")
    parser.add_argument("--render", metavar="JSON", help="measure nothing, render these results")
    arguments = parser.parse_args()
    arguments.threads = [int(n) for n in arguments.threads.split(",")]
    if not all(1 <= n <= available_cpus() for n in arguments.threads):
        parser.error(f"--threads: got {arguments.threads}, expected numbers from 1 to {available_cpus()}")
    arguments.isa = arguments.isa.split(",")
    if unknown := set(arguments.isa) - set(INSTRUCTION_SETS):
        parser.error(f"--isa: got {', '.join(sorted(unknown))}, expected some of {', '.join(INSTRUCTION_SETS)}")
    if arguments.rounds < 1:
        parser.error(f"--rounds: got {arguments.rounds}, expected at least 1")
    arguments.peers = [name for name in arguments.peers.split(",") if name]
    if arguments.torch_compile:
        arguments.peers.append("torch_compile")
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"--peers: got {', '.join(sorted(unknown))}, expected some of {', '.join(PEERS)}")
    if arguments.sample is None:
        arguments.sample = 0.001 if arguments.quick else 0.005
    return arguments


def available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def settings(arguments: argparse.Namespace) -> list[dict]:
    allocators = ALLOCATORS if arguments.tuned else ["default"]
    return [
        {"threads": threads, "allocator": allocator, "isa": isa}
        for isa in arguments.isa
        for allocator in allocators
        for threads in arguments.threads
    ]


def measure(arguments: argparse.Namespace, setting: dict) -> dict:
    """Run worker.py under this setting and return what it measured."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "result.json"
        task = {
            **setting,
            "output": str(output),
            **{name: getattr(arguments, name) for name in ("quick", "only", "peers", "rounds", "sample", "patience")},
        }
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), json.dumps(task)]
        code = subprocess.run(command, env=environment(**setting, inherited=dict(os.environ))).returncode
        if code:
            sys.exit(f"the measurement with {title(setting)} ended with code {code}")
        return json.loads(output.read_text())


def draw(results: dict, output: Path, headline: Path) -> str:
    """Draw the pictures of every setting, and return their names; those of the second setting end in -2, and so on."""
    try:
        import pictures
    except ImportError as error:
        return f" (no pictures: {error})"
    files = []
    for number, setting in enumerate(results["settings"], 1):
        files += pictures.draw(setting, output, headline, f"-{number}" if number > 1 else "")
    return "".join(f", {file.name}" for file in files)


if __name__ == "__main__":
    sys.exit(main())
