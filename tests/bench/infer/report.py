"""What a run found, as JSON for machines and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.infer.line import Line, grid
from tests.bench.infer.measure import Measured
from tests.bench.infer.targets import BARE, ECHO
from tests.bench.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run; figures of the tiny model are medians of the rounds, in which servers took turns."""

    machine: Machine
    rounds: int
    seconds: float
    measured: tuple[Measured, ...]
    every_round: tuple[Measured, ...]
    lines: tuple[Line, ...]

    def write(self, path: Path) -> None:
        """Write it as JSON, and the table beside it as Markdown."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")
        path.with_suffix(".md").write_text(grid(self.lines).markdown())


def tiny(measured: Sequence[Measured]) -> list[Line]:
    """Return the tiny model's figures as lines: the cost of each server over that of the echo and of the bare one."""
    cost = {(each.target, each.in_flight): each.cpu_us for each in measured}
    return [
        Line(
            part="tiny",
            case=f"{each.in_flight} in flight",
            server=each.target,
            rate=each.rate,
            p50_ms=each.p50_ms,
            p99_ms=each.p99_ms,
            cpu_us=each.cpu_us,
            failed=each.failed,
            ratio=None if each.target == ECHO else each.cpu_us / cost[ECHO, each.in_flight],
            over="" if each.target == ECHO else "CPU of the echo",
            target=0.65 if each.target.endswith(" core") and each.in_flight >= 8 else None,
            note=_over_bare(each, cost[BARE, each.in_flight]),
        )
        for each in measured
    ]


def _over_bare(each: Measured, bare_us: float) -> str:
    return "" if each.target in (ECHO, BARE) else f"{each.cpu_us / bare_us:.2f} × the bare server"
