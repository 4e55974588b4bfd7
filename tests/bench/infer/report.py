"""What a run found, as JSON for machines and as tables for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.grid import Cell, Grid
from tests.bench.infer.measure import Measured
from tests.bench.infer.targets import INTERLOCK
from tests.bench.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run; each figure is the median of the rounds, and servers took turns within each round."""

    machine: Machine
    rounds: int
    seconds: float
    measured: tuple[Measured, ...]
    every_round: tuple[Measured, ...]

    def write(self, path: Path) -> None:
        """Write it as JSON, and the table beside it as Markdown."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")
        path.with_suffix(".md").write_text(grid(self).markdown())


def grid(report: Report) -> Grid:
    """Return the figures, and Interlock's cost as a multiple of each other server's in the same run."""
    ours = {each.in_flight: each.cpu_us for each in report.measured if each.target == INTERLOCK}
    return Grid(
        title=f"A tiny model (10-20-10), {report.rounds} rounds of {report.seconds:g} s, medians",
        header=[
            "in flight",
            "server",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "server CPU µs",
            "Interlock over it",
            "others",
        ],
        rows=[
            [
                Cell(str(each.in_flight)),
                Cell(each.target),
                Cell(f"{each.rate:.0f}"),
                Cell(f"{each.p50_ms:.2f}"),
                Cell(f"{each.p99_ms:.2f}"),
                Cell(f"{each.cpu_us:.0f}"),
                Cell("" if each.target == INTERLOCK else f"{ours[each.in_flight] / each.cpu_us:.2f}"),
                Cell(f"{each.others_cores:.2f}"),
            ]
            for each in report.measured
        ],
        names=2,
    )
