"""``python -m logitloss``: what is installed, and where a C++ build finds it."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import _core
from ._config import show_config


def prefix() -> Path:
    """Folder of what was compiled: the package, and in an editable install the folder of the extension module."""
    package = Path(__file__).resolve().parent
    return package if (package / "include").is_dir() else Path(_core.__file__).resolve().parent


FOLDERS = {
    "prefix": ("", "folder that holds include/ and lib/ (CMake: -Dlogitloss_ROOT=...)"),
    "includes": ("include", "folder of the C++ headers"),
    "cmakedir": ("lib/cmake/logitloss", "folder of the CMake package (CMake: -Dlogitloss_DIR=...)"),
    "pkgconfigdir": ("lib/pkgconfig", "folder of logitloss.pc (PKG_CONFIG_PATH)"),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m logitloss", description="What is installed, and where a C++ build finds it."
    )
    for name, (_, meaning) in FOLDERS.items():
        parser.add_argument(f"--{name}", action="store_true", help=f"print the {meaning}")
    chosen = [name for name, is_asked_for in vars(parser.parse_args(arguments)).items() if is_asked_for]
    for name in chosen:
        print(prefix() / FOLDERS[name][0])
    if not chosen:
        show_config()


if __name__ == "__main__":
    main()
