"""The tables: one row per cell and way of giving the output, the peers' times beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from settings import title

OURS = "logitloss"
TARGET_RATIO = {"native": 3.0, "avx2": 1.5}  # by what everybody is limited to
TARGET_BOUND = 0.80
TARGET_CALL_SECONDS = 1.5e-6
SUMMARY = [  # rows of the short table above the long one, which docs/benchmarks.md repeats
    *(
        name
        for shape in ("512x128256", "4096x1000", "65536x64", "1000000x10", "1000000x3")
        for name in (
            f"CE loss+grad {shape} float32, grad_out",
            f"CE loss+grad {shape} float32, in place",
            f"CE loss {shape} float32",
            f"log-sum-exp {shape} float32",
        )
    ),
    "BCE loss+grad 10000000 float32, grad_out",
    "BCE loss 10000000 float32",
]


@dataclass
class Row:
    """One way of running logitloss on a cell, against everybody else's time for the cell."""

    cell: dict
    variant: str  # "", "out", "grad_out" or "in place"
    seconds: float
    bound: float | None  # seconds that moving the bytes takes
    arithmetic_bound: float | None  # seconds that its exponentials, logarithms and divisions take
    peers: dict[str, float]
    target_ratio: float

    @property
    def name(self) -> str:
        return f"{self.cell['name']}{', ' + self.variant if self.variant else ''}"

    @property
    def bandwidth(self) -> float | None:
        return self.bound / self.seconds if self.bound else None

    @property
    def arithmetic(self) -> float | None:
        return self.arithmetic_bound / self.seconds if self.arithmetic_bound else None

    @property
    def of_bound(self) -> float | None:
        """Share of the larger of both bounds."""
        return max(filter(None, (self.bandwidth, self.arithmetic)), default=None)

    @property
    def ratio(self) -> float | None:
        """How many times faster than the fastest peer."""
        return min(self.peers.values()) / self.seconds if self.peers else None

    @property
    def on_target(self) -> bool:
        if self.cell["family"] == "call":
            return self.seconds <= TARGET_CALL_SECONDS
        return (self.ratio or 0) >= self.target_ratio or (self.of_bound or 0) >= TARGET_BOUND


def rows(setting: dict) -> list[Row]:
    result = []
    for cell in setting["cells"]:
        seconds = {name: median(times) for name, times in cell["seconds"].items()}
        peers = {name: s for name, s in seconds.items() if not name.startswith((OURS, "bound"))}
        for name, own in seconds.items():
            if name.startswith(OURS):
                bound = seconds.get("bound in place" if name in cell["in_place"] else "bound")
                arithmetic = seconds.get("bound of arithmetic")
                variant = name.removeprefix(OURS).strip()
                result.append(Row(cell, variant, own, bound, arithmetic, peers, target_ratio(setting)))
    return result


def chosen_rows(setting: dict, names: list[str]) -> list[Row]:
    """The rows of these names, in their order, as far as they were measured."""
    by_name = {row.name: row for row in rows(setting)}
    return [by_name[name] for name in names if name in by_name]


def target_ratio(setting: dict) -> float:
    return TARGET_RATIO[setting.get("isa", "native")]


def peer_names(setting: dict) -> list[str]:
    timed = {name for row in rows(setting) for name in row.peers}
    return [name for name in setting["contestants"] if name in timed]


def markdown(results: dict) -> str:
    return "\n".join(line for setting in results["settings"] for line in section(setting))


def section(setting: dict) -> list[str]:
    everything = rows(setting)
    summary = chosen_rows(setting, SUMMARY)
    met = sum(row.on_target for row in everything)
    target = f"{target_ratio(setting):g} times the fastest peer, or {TARGET_BOUND:.0%} of the larger bound"
    return [
        f"## {title(setting)}",
        "",
        *(f"- {name}: {value}" for name, value in setting["environment"].items()),
        "",
        "Medians of rounds; in brackets how many times longer a peer takes.",
        "",
        *(["In short:", "", *table(setting, summary), "", "All cells:", ""] if summary else []),
        *table(setting, everything),
        "",
        f"On target ({target}): {met} of {len(everything)} rows.",
        *left_out(setting),
        "",
    ]


def table(setting: dict, chosen: list[Row]) -> list[str]:
    peers = peer_names(setting)
    titles = ["cell", "logitloss", "of bandwidth", "of arithmetic", "of bound", "x fastest peer", *peers, "target"]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in chosen:
        columns = [
            row.name,
            duration(row.seconds),
            *(f"{share:.0%}" if share else "" for share in (row.bandwidth, row.arithmetic, row.of_bound)),
            f"{row.ratio:.1f}" if row.ratio else "",
            *(f"{duration(row.peers[p])} ({row.peers[p] / row.seconds:.1f}x)" if p in row.peers else "" for p in peers),
            "yes" if row.on_target else "NO",
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def left_out(setting: dict) -> list[str]:
    """What was not timed and why, said once per reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in setting["missing"].items():
        reasons.setdefault(f"{name} is missing ({reason})", [])
    for cell in setting["cells"]:
        for name, reason in cell["excluded"].items():
            reasons.setdefault(f"{name} {reason}", []).append(cell["name"])
    return [f"- Not timed: {reason}{': ' * bool(cells)}{', '.join(cells)}" for reason, cells in reasons.items()]


def duration(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= (0.1 if unit == "ms" else 1.0) or unit == "us":
            return f"{seconds * factor:.3g} {unit}"
    raise AssertionError("unreachable")


def exit_code(results: dict) -> int:
    """1 if a result was wrong, or if logitloss refused a cell."""
    reasons = [
        (name, reason)
        for setting in results["settings"]
        for cell in setting["cells"]
        for name, reason in cell["excluded"].items()
    ]
    return int(any(reason.startswith("WRONG") or name.startswith(OURS) for name, reason in reasons))
