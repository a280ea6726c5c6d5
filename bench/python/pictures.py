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


def draw_scaling(results: dict, path: Path) -> None:
    """A row for each number of threads: time per element by classes, and by rows for each operation."""
    curves = results["curves"]
    threads = list(dict.fromkeys(curve["threads"] for curve in curves))
    operations = list(dict.fromkeys(curve["operation"] for curve in curves))
    figure, panels = plt.subplots(
        len(threads), 1 + len(operations), squeeze=False, layout="constrained", sharey="row",
        figsize=(6.5 * (1 + len(operations)), 4.5 * len(threads)),
    )  # fmt: skip
    for number, row in zip(threads, panels, strict=True):
        chosen = [curve for curve in curves if curve["threads"] == number]
        by_classes = [curve for curve in chosen if curve["sweep"] == "classes"]
        draw_curves(row[0], by_classes, "classes", f"{number} thread(s), the same number of elements")
        for panel, operation in zip(row[1:], operations, strict=True):
            by_rows = [c for c in chosen if c["sweep"] != "classes" and c["operation"] == operation]
            draw_curves(panel, by_rows, "rows", f"{number} thread(s), {operation}")
        row[0].set_ylabel("nanoseconds per element")
    save(figure, path)


def draw_curves(panel, curves: list[dict], by: str, title: str) -> None:
    for curve in curves:
        points = [(point[by], point["nanoseconds per element"]) for point in curve["points"]]
        label = curve["operation"] if by == "classes" else curve["sweep"]
        panel.plot(*zip(*points, strict=True), ".-", markersize=4, linewidth=0.8, label=label)
    panel.set(xscale="log", yscale="log", xlabel=by, title=title)
    panel.grid(which="both", alpha=0.2)
    panel.legend(fontsize=8)


def save(figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
