"""What a run found, as JSON for machines and as a table for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

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
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def table(report: Report) -> Table:
    """Return the figures, and each server's cost as a share of Interlock's in the same run."""
    sketch = Table(title=f"A tiny model (10-20-10), {report.rounds} rounds of {report.seconds:g} s, medians")
    for name in ("in flight", "server"):
        sketch.add_column(name)
    for name in (
        "requests/s",
        "p50 ms",
        "p99 ms",
        "server CPU µs per request",
        "Interlock's CPU over it",
        "other work, cores",
    ):
        sketch.add_column(name, justify="right")
    ours = {each.in_flight: each.cpu_us for each in report.measured if each.target == INTERLOCK}
    shown = -1
    for each in report.measured:
        sketch.add_row(
            str(each.in_flight) if each.in_flight != shown else "",
            each.target,
            f"{each.rate:.0f}",
            f"{each.p50_ms:.2f}",
            f"{each.p99_ms:.2f}",
            f"{each.cpu_us:.0f}",
            "" if each.target == INTERLOCK else f"{ours[each.in_flight] / each.cpu_us:.2f}",
            f"{each.others_cores:.2f}",
        )
        shown = each.in_flight
    return sketch
