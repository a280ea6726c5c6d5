"""The documents: the reference is what the docstrings say, and what is named or linked exists."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import logitloss as ll

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = [path for folder in ("cpp", "python") for path in (ROOT / folder).rglob("*.[chi]*") if path.is_file()]

# Modules that users import by name; each has a page of that name.
OPTIONAL = ["boosting", "dask", "jax", "mpi", "torch"]

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@pytest.fixture(scope="module")
def generator():
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("generate_api", ROOT / "docs" / "generate_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_reference_is_what_the_docstrings_say(generator):
    written = {path: path.read_text(encoding="utf-8") for path in generator.FOLDER.glob("*.md")}
    assert written == generator.pages(), "run python docs/generate_api.py"


def public_names(owner: ModuleType) -> dict[str, object]:
    """Those of `__all__`, and in the place of a module those of its own."""
    names = {name: getattr(owner, name) for name in owner.__all__ if not name.startswith("__")}
    for name in [name for name, value in names.items() if inspect.ismodule(value)]:
        names |= public_names(names.pop(name))
    return names


@pytest.mark.parametrize("module", ["logitloss", *(f"logitloss.{page}" for page in OPTIONAL)])
def test_every_public_function_has_an_entry_with_its_arguments_and_an_example(generator, module):
    owner = pytest.importorskip(module, exc_type=ModuleNotFoundError)
    entries = {}
    for path, text in generator.pages().items():
        if path.stem == module.removeprefix("logitloss.") or (owner is ll and path.stem not in OPTIONAL):
            for entry in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
                entries[entry.split("\n", 1)[0]] = entry
    public = public_names(owner)
    assert sorted(entries) == sorted(public)
    for name, entry in entries.items():
        if owner is ll or not inspect.isclass(public[name]):  # these are made by functions, or belong to other packages
            assert ">>>" in entry, name
            described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", entry, flags=re.MULTILINE))))
            assert described >= set(inspect.signature(public[name]).parameters), name


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@every_document
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        file, _, part = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert not part or part in anchors(there), target


@every_document
def test_functions_that_are_named_exist(path):
    for name in re.findall(r"\bll\.([A-Za-z_]\w*)", path.read_text(encoding="utf-8")):
        assert hasattr(ll, name), name


@pytest.mark.parametrize("document", ["README.md", "HACKING.md", "CONTRIBUTING.md"])
def test_paths_that_are_named_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:cpp|python|tests|bench|docs|examples|cmake)/[\w./-]*)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_hacking_lists_every_note():
    note = re.compile(r"Note \[([^\]]+)\](?=:)")
    in_source = {name for path in SOURCES for name in note.findall(path.read_text(encoding="utf-8"))}
    listed = set(re.findall(r"^\| \[([^\]]+)\]", (ROOT / "HACKING.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert in_source
    assert listed == in_source


def test_every_note_that_is_cited_is_written():
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    assert set(re.findall(r"Note \[([^\]]+)\]", text)) == set(re.findall(r"Note \[([^\]]+)\](?=:)", text))


def exists(name: str) -> bool:
    """Whether a test (file, file::function or file::Suite.Name) or a step of the CI exists."""
    if name.startswith("CI `"):
        steps = re.findall(r"^ *step ([\w-]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
        return name.removeprefix("CI `") in steps
    file, _, test = name.partition("::")
    path = ROOT / "tests" / ("cpp" if file.endswith(".cpp") else "python") / file
    if not path.is_file():
        return False
    suite, _, case = test.partition(".")
    definition = rf"^(?:TYPED_)?TEST\w*\({suite}, {case}\)" if case else rf"^def {test}\("
    return not test or re.search(definition, path.read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.skipif(not (ROOT / ".ci" / "run").is_file(), reason="an sdist has no .ci")
def test_every_promise_names_tests_that_exist():
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| (.*) \| (.*) \|$", text, re.MULTILINE) if row[1] != "Held by"]
    assert len(rows) > 50
    for promise, held_by in rows:
        tests = re.findall(r"CI `[\w-]+|test_[^`]+|\w+_test\.cpp[^`]+", held_by)
        assert tests, promise
        assert [test for test in tests if not exists(test)] == [], promise
