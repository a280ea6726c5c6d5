"""Includes of cpp/src run downwards: from what a user calls to the arithmetic, as HACKING.md lists the rooms.

And what tests/mutations.py breaks is still where it says.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "cpp" / "src"

# A room may include itself and the rooms below it.
ROOMS = ["api", "losses", "logits", "traversal", "arguments", "layout", "runtime", "kernels"]
# isa/ compiles the kernels and is included by nobody; layout/half.hpp says what the bits of halves are.
BESIDE = {"isa": {"isa", "kernels", "layout"}}


def rooms_below(room: str) -> set[str]:
    return BESIDE.get(room) or set(ROOMS[ROOMS.index(room) :])


def includes(path: Path) -> set[str]:
    rooms = set(re.findall(r'^#include "([a-z_]+)/', path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    return rooms - {"logitloss"}


FILES = sorted(p for p in SOURCES.rglob("*") if p.suffix in {".cpp", ".hpp", ".inl"})


def test_every_file_is_in_a_room():
    assert len(FILES) > 40
    assert {p.relative_to(SOURCES).parts[0] for p in FILES} <= set(ROOMS) | set(BESIDE)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(SOURCES).as_posix())
def test_includes_run_downwards(path):
    room = path.relative_to(SOURCES).parts[0]
    assert includes(path) <= rooms_below(room), f"{room}/ may include {sorted(rooms_below(room))}"


@pytest.mark.parametrize("path", [p for p in FILES if "losses" in p.parts], ids=lambda p: p.name)
def test_a_loss_includes_no_other_family_but_what_it_is_built_on(path):
    """Losses on probabilities share the arguments of the losses on logits, and log-probabilities of ids are losses
    turned round; nothing else is shared between families."""
    family = path.parent.name
    found = set(re.findall(r'^#include "losses/([a-z_]+)/', path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    allowed = {"probabilities": {"cross_entropy", "binary", "probabilities"}, "token_logprobs": {"cross_entropy"}}
    assert found <= allowed.get(family, set()) | {family}


@pytest.mark.parametrize(
    "mutation", runpy.run_path(str(ROOT / "tests" / "mutations.py"))["MUTATIONS"], ids=lambda m: m.name
)
def test_a_mutation_finds_what_it_breaks(mutation):
    assert (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.old) == 1
