"""Two pictures: how many times longer each peer takes, and where the cells lie under the machine's roofs."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from report import peer_names, rows, target_ratio
from settings import title

MARKERS = "osD^vPX*"


def draw_ratios(results: dict, path: Path) -> None:
    settings = results["settings"]
    tables = [rows(setting) for setting in settings]
    figure, panels = plt.subplots(
        1, len(settings), squeeze=False, layout="constrained",
        figsize=(5 + 5 * len(settings), 2 + 0.19 * max(map(len, tables))),
    )  # fmt: skip
    for panel, setting, table in zip(panels[0], settings, tables, strict=True):
        for marker, peer in zip(MARKERS, peer_names(setting), strict=False):
            points = [(row.peers[peer] / row.seconds, place) for place, row in enumerate(table) if peer in row.peers]
            panel.plot(*zip(*points, strict=True), marker, markersize=4.5, label=peer)
        panel.axvline(1, color="black", linewidth=0.8)
        panel.axvline(target_ratio(setting), color="grey", linewidth=0.8, linestyle="--")
        panel.set(
            xscale="log", xlabel="time of the peer / time of logitloss", title=title(setting), ylim=(len(table), -1)
        )
        panel.set_yticks(range(len(table)), [row.name for row in table], fontsize=6)
        panel.grid(axis="both", alpha=0.25)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="upper right", fontsize=8)
    save(figure, path)


def draw_roofline(results: dict, path: Path) -> None:
    """Useful operations per second over operations per byte that must move; nominal counts, see cells.py."""
    settings = results["settings"]
    figure, panels = plt.subplots(1, len(settings), squeeze=False, layout="constrained", figsize=(7 * len(settings), 5))
    for panel, setting in zip(panels[0], settings, strict=True):
        table = [row for row in rows(setting) if row.bound]
        families = list(dict.fromkeys(row.cell["family"] for row in table))
        for marker, family in zip(MARKERS, families, strict=False):
            chosen = [row for row in table if row.cell["family"] == family]
            points = [(intensity(row), row.cell["flops"] / row.seconds / 1e9) for row in chosen]
            panel.plot(*zip(*points, strict=True), marker, markersize=4, alpha=0.7, label=family)
        draw_roofs(panel, setting, table)
        panel.set(xscale="log", yscale="log", title=title(setting))
        panel.set(xlabel="operations per byte moved", ylabel="GFLOP/s (useful)")
        panel.grid(which="both", alpha=0.2)
        if table:
            panel.legend(fontsize=8)
    save(figure, path)


def draw_roofs(panel, setting: dict, table: list) -> None:
    """The flat roof, and a slope for the bandwidth of the cell that moves most: memory, not cache."""
    peak = setting["peak_flops"] / 1e9
    panel.axhline(peak, color="black", linewidth=0.8, label=f"float32 matrix product, {peak:.0f} GFLOP/s")
    if not table:
        return
    largest = max(table, key=moved)
    slope = moved(largest) / largest.bound / 1e9
    ends = [min(map(intensity, table)) / 2, peak / slope]
    panel.plot(ends, [slope * x for x in ends], color="grey", linewidth=1, label=f"memory, {slope:.0f} GB/s")


def moved(row) -> int:
    return row.cell["read"] + row.cell["write"]


def intensity(row) -> float:
    return row.cell["flops"] / moved(row)


def save(figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
