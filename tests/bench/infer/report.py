"""What a run found, as JSON for machines and as a table for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.infer.line import Line, grid
from tests.bench.infer.tiny import Measured, Ratios
from tests.bench.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run; figures of the tiny model are medians of the rounds, in which servers took turns."""

    machine: Machine
    rounds: int
    seconds: float
    measured: tuple[Measured, ...]
    every_round: tuple[Measured, ...]
    ratios: tuple[Ratios, ...]
    lines: tuple[Line, ...]

    def write(self, path: Path) -> None:
        """Write it as JSON, and the table beside it as Markdown."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")
        path.with_suffix(".md").write_text(grid(self.lines).markdown())
