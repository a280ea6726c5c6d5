"""What an installation contains: metadata, annotations, the command line."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import numpy as np
from child import printed_path, run_python, start_python

import logitloss as ll

ROOT = Path(__file__).parents[2]


def test_one_version_everywhere():
    in_cmake = re.search(r"project\(logitloss VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert ll.__version__ == metadata.version("logitloss") == in_cmake[1]


def test_numpy_is_the_only_dependency():
    required = [name for name in metadata.requires("logitloss") if "extra ==" not in name]
    assert [re.match(r"\w+", name)[0] for name in required] == ["numpy"]


def test_import_needs_nothing_but_numpy():
    others = ["ml_dtypes", "scipy", "torch", "threadpoolctl", "sklearn", "matplotlib"]
    code = f"import sys; sys.modules.update(dict.fromkeys({others})); import logitloss; print(logitloss.__version__)"
    assert run_python(code) == ll.__version__


def test_every_public_name_exists_and_has_a_docstring():
    assert sorted(set(ll.__all__)) == sorted(ll.__all__)
    for name in ll.__all__:
        if not name.startswith("__"):
            assert getattr(ll, name).__doc__, name


def test_the_package_is_typed():
    installed = {path.name for path in Path(ll.__file__).parent.iterdir()}
    stubs = {path.name for path in (ROOT / "python" / "logitloss").glob("*.pyi")}
    assert stubs
    assert installed >= stubs | {"py.typed"}


def test_source_is_ascii_where_the_rules_say_so():
    for path in [*ROOT.glob("cpp/**/*.[chi]*"), *ROOT.glob("python/bindings/*.cpp"), *ROOT.glob("tests/cpp/*.cpp")]:
        assert path.read_text(encoding="utf-8").isascii(), path


# ------------------------------------------------------------------------------------------------- python -m logitloss


def test_show_config_says_what_runs(capsys):
    ll.show_config()
    out = capsys.readouterr().out
    for fact in (ll.__version__, ll.isa(), f"{ll.get_num_threads()} (", np.__version__):
        assert fact in out
    from_the_command = start_python("-m", "logitloss").stdout
    assert [line.split()[0] for line in out.splitlines()] == [line.split()[0] for line in from_the_command.splitlines()]


def test_the_command_prints_folders_that_hold_what_it_says():
    assert (printed_path("--includes") / "logitloss" / "logitloss.hpp").is_file()
    assert (printed_path("--cmakedir") / "logitlossConfig.cmake").is_file()
    assert (printed_path("--pkgconfigdir") / "logitloss.pc").is_file()
    assert (printed_path("--prefix") / "lib" / "liblogitloss.a").is_file()


def test_the_command_refuses_unknown_options():
    done = start_python("-m", "logitloss", "--nonsense")
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
