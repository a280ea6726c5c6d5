"""Pictures: how many times longer each peer takes, in a few cells and in all; a roofline; the curves of scaling.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator
from report import chosen_rows, duration, peer_names, rows, target_ratio
from settings import title

MARKERS = "osD^vPX*"
PEERS = {  # the name in pictures and the colour, the same in all of them
    "torch": ("PyTorch", "tab:orange"),
    "torch_compile": ("torch.compile", "tab:red"),
    "jax": ("JAX (jitted)", "tab:blue"),
    "sklearn": ("scikit-learn", "tab:green"),
    "scipy": ("SciPy", "tab:purple"),
    "numpy": ("NumPy", "tab:gray"),
}
HEADLINE = {
    "CE loss+grad 512x128256 float32, grad_out": "cross-entropy with its gradient, 512 x 128,256",
    "CE loss+grad 4096x1000 float32, grad_out": "cross-entropy with its gradient, 4,096 x 1,000",
    "CE loss+grad 1000000x10 float32, grad_out": "cross-entropy with its gradient, 1,000,000 x 10",
    "log-sum-exp 4096x1000 float32": "log-sum-exp, 4,096 x 1,000",
    "BCE loss 10000000 float32": "binary cross-entropy, 10,000,000",
}
COLUMNS = 3


def draw(setting: dict, folder: Path, headline_folder: Path, suffix: str) -> list[Path]:
    """Draw what there are rows for, and return the files."""
    everything = rows(setting)
    pictures = {
        "headline": (draw_headline, chosen_rows(setting, list(HEADLINE))),
        "ratios": (draw_ratios, [row for row in everything if row.peers and row.variant != "in place"]),
        "roofline": (draw_roofline, [row for row in everything if row.bound]),
    }
    files = []
    for name, (draw_rows, table) in pictures.items():
        if table:
            files.append((headline_folder if name == "headline" else folder) / f"{name}{suffix}.png")
            draw_rows(setting, table, files[-1])
    return files


def draw_headline(setting: dict, table: list, path: Path) -> None:
    """A panel for each cell of HEADLINE, with a bar for each peer: how many times longer it takes."""
    peers = [[peer for peer in PEERS if peer in row.peers] for row in table]
    heights = [len(names) + 1 for names in peers]
    figure, panels = plt.subplots(
        len(table), 1, sharex=True, squeeze=False, layout="constrained",
        height_ratios=heights, figsize=(10, 1 + 0.3 * sum(heights)),
    )  # fmt: skip
    for panel, row, names in zip(panels[:, 0], table, peers, strict=True):
        ratios = [row.peers[name] / row.seconds for name in names]
        labels, colours = zip(*(PEERS[name] for name in names), strict=True)
        bars = panel.barh(labels, [ratio - 1 for ratio in ratios], left=1, color=colours)
        panel.bar_label(bars, [f"{ratio:.1f}" for ratio in ratios], padding=3)
        panel.set_title(f"{HEADLINE[row.name]}: {duration(row.seconds)}", loc="left", fontsize=11, fontweight="bold")
        panel.invert_yaxis()
        scale_of_ratios(panel)
        panel.margins(x=0.08)
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    about = setting["environment"]
    figure.suptitle(
        "How many times longer others take than logitloss\n"
        f"float32, {title(setting)}, {about['CPU']} with {about['instruction set'].split()[0]}"
    )
    panels[-1, 0].set_xlabel("time of the other library / time of logitloss (logarithmic)")
    save(figure, path)


def draw_ratios(setting: dict, table: list, path: Path) -> None:
    """A panel for each family: every cell once, into a given output where there is one, and sorted."""
    cells = {row.cell["name"]: row for row in table}  # the row with an output comes after the one without
    families: dict[str, list] = {}
    for row in sorted(cells.values(), key=lambda row: row.ratio):
        families.setdefault(row.cell["family"], []).append(row)
    columns: list[list[str]] = [[] for _ in range(COLUMNS)]
    for family in sorted(families, key=lambda family: -len(families[family])):
        min(columns, key=lambda column: sum(len(families[name]) + 3 for name in column)).append(family)
    columns = [column for column in columns if column]
    figure = plt.figure(figsize=(12.7, 12.7), layout="constrained")
    for part, column in zip(figure.subfigures(1, len(columns), squeeze=False)[0], columns, strict=True):
        heights = [len(families[family]) + 1 for family in column]
        panels = part.subplots(len(column), 1, squeeze=False, height_ratios=heights)[:, 0]
        for panel, family in zip(panels, column, strict=True):
            if family != "call":  # its target is a time
                panel.axvline(target_ratio(setting), color="black", linewidth=1, linestyle="--")
            draw_family(panel, families[family])
    figure.suptitle(
        f"Time of each peer / time of logitloss ({title(setting)})\n"
        "float32 unless said; sorted by the fastest peer; dashed: the target; red: cells that miss it"
    )
    timed = [PEERS[peer] for peer in PEERS if peer in peer_names(setting)]
    handles = [plt.Line2D([], [], color=colour, marker="o", linestyle="", label=label) for label, colour in timed]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(PEERS))
    save(figure, path)


def draw_family(panel, table: list) -> None:
    for peer, (_, colour) in PEERS.items():
        points = [(row.peers[peer] / row.seconds, place) for place, row in enumerate(table) if peer in row.peers]
        if points:
            panel.plot(*zip(*points, strict=True), "o", markersize=5, alpha=0.8, color=colour)
    panel.set_yticks(range(len(table)), [row.cell["name"].replace(" float32", "") for row in table], fontsize=7.5)
    for label, row in zip(panel.get_yticklabels(), table, strict=True):
        label.set_color("black" if row.on_target else "tab:red")
    panel.set_title(table[0].cell["family"], fontsize=10, fontweight="bold")
    panel.set_ylim(-0.7, len(table) - 0.3)
    panel.grid(axis="y", alpha=0.25)
    scale_of_ratios(panel)


def scale_of_ratios(panel) -> None:
    """Logarithmic, with a line where both take the same time."""
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter("")
    panel.grid(axis="x", alpha=0.25)


def draw_roofline(setting: dict, table: list, path: Path) -> None:
    """Useful operations per second over operations per byte that must move; nominal counts, see cells.py."""
    figure, panel = plt.subplots(layout="constrained", figsize=(9, 6))
    families = list(dict.fromkeys(row.cell["family"] for row in table))
    for marker, family in zip(MARKERS, families, strict=False):
        chosen = [row for row in table if row.cell["family"] == family]
        points = [(intensity(row), row.cell["flops"] / row.seconds / 1e9) for row in chosen]
        panel.plot(*zip(*points, strict=True), marker, markersize=4, alpha=0.7, label=family)
    # The flat roof, and a slope for the bandwidth of the cell that moves most: memory, not cache.
    peak = setting["peak_flops"] / 1e9
    largest = max(table, key=moved)
    slope = moved(largest) / largest.bound / 1e9
    ends = [min(map(intensity, table)) / 2, peak / slope]
    panel.axhline(peak, color="black", linewidth=0.8, label=f"float32 matrix product, {peak:.0f} GFLOP/s")
    panel.plot(ends, [slope * x for x in ends], color="grey", linewidth=1, label=f"memory, {slope:.0f} GB/s")
    panel.set(xscale="log", yscale="log", title=title(setting))
    panel.set(xlabel="operations per byte moved", ylabel="GFLOP/s (useful)")
    panel.grid(which="both", alpha=0.2)
    panel.legend(fontsize=8, loc="upper left")
    save(figure, path)


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
