"""What the examples that draw have in common: matplotlib if it is there, and files that the same data always give."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLORS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5aa8", "#b8860b", "#444444")


def argument_parser(description: str, file: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--plot", type=Path, default=Path(file), help=f"where to draw (default: {file})")
    return parser


def draw(path: Path, rows: int, columns: int, fill: Callable[[Any, Any], None]) -> None:
    """Calls fill(pyplot, axes) for a grid of axes and saves it; says so where matplotlib is missing."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print(f"matplotlib is not installed: {path} was not drawn")
        return
    figure, axes = plt.subplots(rows, columns, figsize=(3.6 * columns, 3.1 * rows), squeeze=False)
    fill(plt, axes)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
    print(f"Drawn: {path}")
