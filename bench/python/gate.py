"""Did a change make logitloss slower? Ratios to NumPy and to the build of the previous commit, with their spread.

    python bench/python/gate.py                the logitloss that is installed, and the last commit's
    python bench/python/gate.py --against v1   and that of another commit; HEAD: before changes not committed yet

Each build runs in a process of its own, because two extension modules of one name do not fit into one. They are on the
same CPUs and take turns, sample by sample: while one computes, the other waits for its pipe. Times on a shared machine
say little and these ratios a bit more, so nothing fails because of them: the exit code is 1 if a result is wrong, or
if logitloss cannot be measured at all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles

from cells import Cell, cell
from report import duration
from runner import Runner, interleave, settle
from settings import environment
from worker import restrict_to_cpus

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("CMakeLists.txt", "pyproject.toml", "cmake", "cpp", "python")  # what can change how fast it is
SLOWER = 0.95  # of the previous commit's speed, by three quarters of the rounds


def cells() -> list[Cell]:
    """About a million elements each, where NumPy has the function: every family, and every way of walking rows."""
    cross_entropy = cell("cross-entropy", "cross_entropy_value_and_grad", (1024, 1000))
    return [
        *(cell("log-sum-exp", "logsumexp", shape) for shape in ((1024, 1000), (100_000, 10), (1, 1_000_000))),
        cell("softmax", "softmax", (1024, 1000)),
        cell("cross-entropy", "cross_entropy", (1024, 1000)),
        *(replace(cross_entropy, shape=shape) for shape in ((8, 128256), (1024, 1000), (16384, 64), (100_000, 3))),
        replace(cross_entropy, shape=(8, 64, 40, 40), axis=1),
        replace(cross_entropy, target="soft"),
        replace(cross_entropy, dtype="float64"),
        cell("BCE", "bce_with_logits_value_and_grad", (1_000_000,)),
        cell("probabilities", "cross_entropy_from_probs", (1024, 1000), options={"eps": 1e-7}),
        cell("information", "kl_divergence", (1024, 1000)),
        cell("regression", "mean_squared_error_value_and_grad", (1_000_000,)),
        cell("metrics", "accuracy", (1024, 1000)),
        *(cell("call", operation, (1, 10)) for operation in ("logsumexp", "cross_entropy_value_and_grad")),
    ]


def main() -> int:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        packages, remark = build(arguments.against, Path(folder))
        print(remark, flush=True)
        builds = {"this": Build(arguments)}
        if packages:
            builds["previous"] = Build(arguments, packages)
        print(f"{builds['this'].description}; {arguments.threads} thread(s), {arguments.rounds} rounds", flush=True)
        print("\n".join(header(arguments.against if packages else None)), flush=True)
        rows = []
        for number, measured in enumerate(cells()):
            rows.append(measure(builds, number, measured, arguments.rounds))
            print(rows[-1].text(), flush=True)
    print("\n".join(verdict(rows, arguments.against)))
    return int(any(row.wrong for row in rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ratios to NumPy and to the build of the previous commit.")
    parser.add_argument("--against", default="HEAD~1", metavar="COMMIT", help="the previous commit; HEAD~1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sample", type=float, default=0.005, metavar="SECONDS", help="least time of one sample")
    parser.add_argument("--serve", metavar="PACKAGES", help=argparse.SUPPRESS)  # what Build starts
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments)
        sys.exit()
    if arguments.rounds < 2:
        parser.error(f"--rounds: got {arguments.rounds}, expected at least 2: a spread is wanted")
    return arguments


# ------------------------------------------------------------------------------------------------ the previous build


def build(commit: str, folder: Path) -> tuple[Path | None, str]:
    """Where logitloss of `commit` can be imported from, or None; and what to say about it."""
    name = git("log", "-1", "--format=%h %s", commit)
    if name.returncode:
        return None, f"This clone has no {commit}: compared with NumPy alone."
    if git("diff", "--quiet", commit, "--", *BUILT_FROM).returncode == 0:
        return None, f"{commit} is built from the same files: compared with NumPy alone."
    tree, packages = folder / "tree", folder / "packages"
    archive = git("archive", f"--output={folder / 'tree.tar'}", commit)
    if archive.returncode:
        raise RuntimeError(archive.stderr)
    shutil.unpack_archive(folder / "tree.tar", tree)
    variables = dict(os.environ)
    if shutil.which("ccache"):
        variables |= {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--no-build-isolation", f"--target={packages}", str(tree)]
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return None, f"{commit} could not be built: compared with NumPy alone."
    return packages, f"{commit} is {name.stdout.strip()}"


def git(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


# ---------------------------------------------------------------------------------------------- one process a build


class Build:
    """A process that has imported one build of logitloss, and does what it is asked to."""

    def __init__(self, arguments: argparse.Namespace, packages: Path | None = None):
        command = [sys.executable, __file__, "--serve", str(packages or ""), f"--sample={arguments.sample}"]
        self.process = subprocess.Popen(
            [*command, f"--threads={arguments.threads}"],
            env=environment(arguments.threads, "default", "native", inherited=dict(os.environ)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.description = self.reply()["description"]

    def ask(self, **question) -> dict:
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return self.reply()

    def reply(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process with a build of logitloss ended with code {self.process.wait()}")
        return json.loads(line)


@dataclass
class Contestant:
    """One of the functions that a build's process can time."""

    build: Build
    name: str

    def sample(self) -> float:
        return self.build.ask(sample=self.name)["seconds"]


def serve(arguments: argparse.Namespace) -> None:
    """Answer the questions on stdin: {"prepare": number of a cell}, then any number of {"sample": contestant}."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that a library prints is a reply
    if hasattr(os, "sched_setaffinity"):
        restrict_to_cpus(arguments.threads)
    if arguments.serve:
        sys.path.insert(0, arguments.serve)
        # An editable install would be found before any path.
        sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "ScikitBuildRedirectingFinder"]
    import numpy as np

    import logitloss as ll

    if arguments.serve and not Path(ll.__file__).is_relative_to(arguments.serve):
        raise SystemExit(f"{ll.__file__} was imported, not the previous commit's")
    ll.set_num_threads(arguments.threads)
    description = f"logitloss {ll.__version__}, {ll.isa()}, NumPy {np.__version__}"
    print(json.dumps({"description": description}), file=replies, flush=True)
    runners: dict[str, Runner] = {}
    for line in sys.stdin:
        match json.loads(line):
            case {"prepare": number}:
                wrong, runners = prepare(cells()[number])
                reply = {"wrong": wrong}
            case {"sample": name}:
                runner = runners[name]
                if not runner.seconds:
                    runner.calibrate(arguments.sample)
                reply = {"seconds": runner.sample()}
                settle()  # its threads would take the CPUs from whoever is next
        print(json.dumps(reply), file=replies, flush=True)


def prepare(measured: Cell) -> tuple[str, dict[str, Runner]]:
    """What is wrong with logitloss's result, and the functions to be timed."""
    import problems
    from agreement import disagreement, first_line, sampled
    from contestants import logitloss as ours
    from contestants import numpy as theirs

    problem = problems.build(measured)
    try:
        own = ours.runners(problem)
        given = [name for name in own if name.endswith("out")]  # without the page faults of a fresh array
        runners = {"logitloss": own[given[0] if given else ours.NAME], **theirs.runners(problem)}
        results = [[sampled(part) for part in runner.first_result()] for runner in runners.values()]
    except Exception as error:  # an older version may refuse in any way
        return first_line(error), {}
    return disagreement(results[1], results[0], problem.dtype), runners


# -------------------------------------------------------------------------------------------------------- the table


@dataclass
class Row:
    name: str
    wrong: str = ""
    seconds: float = 0.0
    numpy: float = 0.0  # how many times longer NumPy takes
    previous: tuple[float, float, float] | None = None  # the previous build: lower quartile, median, upper quartile

    def text(self) -> str:
        if self.wrong:
            return f"{self.name:48} WRONG: {self.wrong}"
        columns = f"{self.name:48} {duration(self.seconds):>9} {self.numpy:>7.1f}x"
        if self.previous:
            low, middle, high = self.previous
            columns += f" {middle:>9.2f}x ({low:.2f} to {high:.2f})"
        return columns

    @property
    def slower(self) -> bool:
        return self.previous is not None and self.previous[2] < SLOWER


def measure(builds: dict[str, Build], number: int, measured: Cell, rounds: int) -> Row:
    wrong = {name: build.ask(prepare=number)["wrong"] for name, build in builds.items()}
    if wrong["this"]:
        return Row(measured.name, wrong["this"])
    contestants = {name: Contestant(build, "logitloss") for name, build in builds.items() if not wrong[name]}
    times = interleave({**contestants, "numpy": Contestant(builds["this"], "numpy")}, rounds)
    row = Row(measured.name, seconds=median(times["this"]), numpy=median(ratios(times, "numpy")))
    if "previous" in times:
        row.previous = tuple(quantiles(ratios(times, "previous"), n=4))
    return row


def ratios(times: dict[str, list[float]], other: str) -> list[float]:
    """How many times longer the other takes than this build, round by round."""
    return [theirs / ours for ours, theirs in zip(times["this"], times[other], strict=True)]


def header(previous: str | None) -> list[str]:
    columns = f"{'cell':48} {'logitloss':>9} {'NumPy':>8}" + (f" {previous:>10} (middle half)" if previous else "")
    return ["Medians; of the others, how many times longer they take.", "", columns]


def verdict(rows: list[Row], previous: str) -> list[str]:
    slower = [row.name for row in rows if row.slower]
    if not any(row.previous for row in rows):
        return []
    return [
        "",
        f"Slower than {previous} in three of four rounds, by more than {1 - SLOWER:.0%}: {len(slower)}",
        *slower,
    ]


if __name__ == "__main__":
    sys.exit(main())
