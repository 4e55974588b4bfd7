"""What a run found, as JSON for machines and as a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.bench.machine import Machine
from tests.bench.switch.analysis import Figures, Latency, Spread
from tests.bench.switch.scenario import Outcome, Plan

ROLLBACK_MEDIAN_MS: Final = 10.0
COMMIT_RATIO: Final = 1.1
PREPARE_RATIO: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run."""

    machine: Machine
    plan: Plan
    outcomes: tuple[Outcome, ...]
    problems: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_finite(asdict(self)), indent=2) + "\n")


def _finite(value: object) -> object:
    """JSON has no NaN: a figure without requests is null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(report: Report) -> Table:
    """Return the figures side by side: one column per model and load."""
    sketch = Table(title=f"Switching under load: {report.plan.pairs} promote/rollback pairs per column")
    sketch.add_column("")
    columns: list[tuple[Figures, Outcome]] = []
    for outcome in report.outcomes:
        for each in (outcome.closed_loop, outcome.half_load):
            sketch.add_column(f"{outcome.model}\n{each.load}", justify="right")
            columns.append((each, outcome))
    for label, cell in _rows():
        sketch.add_row(label, *(cell(each, outcome) for each, outcome in columns))
    return sketch


_Cell = Callable[[Figures, Outcome], str]


def _rows() -> Sequence[tuple[str, _Cell]]:
    return [
        ("cores taken by other work meanwhile", lambda f, _: f"{f.others_cores:.2f}"),
        ("answered", lambda f, _: f"{f.answered}"),
        ("failed (0)", lambda f, _: _zero(f.failed)),
        ("wrong-version answers (0)", lambda f, _: _zero(f.wrong)),
        ("old version after the acknowledgement (0)", lambda f, _: _zero(f.stale)),
        ("answers/s", lambda f, _: f"{f.rate:.0f}"),
        ("slowest second (closed loop: minimum)", _slowest),
        ("rollback acknowledged, median · p99 ms (median ≤ 10)", lambda f, _: _ack(f.rollback_ack)),
        ("  of it the server's commit, median · p99 ms", lambda f, _: _spread(f.rollback_commit)),
        ("last old answer after its start, median · max ms", lambda f, _: _longest(f.last_old_after_start)),
        ("last old answer after its acknowledgement, median · max ms", lambda f, _: _longest(f.last_old_after_ack)),
        ("promote acknowledged, median · p99 ms", lambda f, _: _spread(f.promote_ack)),
        ("  of it PREPARE, median · p99 ms", lambda f, _: _spread(f.promote_prepare)),
        ("quiet p50 · p99 ms", lambda f, _: f"{f.quiet.p50_ms:.2f} · {f.quiet.p99_ms:.2f}"),
        ("  quiet over quiet p99 (chance)", lambda f, _: f"{f.quiet.ratio_low:.2f}–{f.quiet.ratio_high:.2f}"),
        (
            "rollback commit ± 250 ms, p99 over quiet (≤ 1.1) · typical",
            lambda f, _: _ratio(f.around_rollback, COMMIT_RATIO),
        ),
        ("promote commit ± 250 ms, with the end of its PREPARE · typical", lambda f, _: _ratio(f.around_promote)),
        ("during PREPARE, p99 over quiet (half load ≤ 1.5) · typical", _prepare),
    ]


def _zero(count: int) -> str:
    return "0" if count == 0 else f"[red]{count}[/red]"


def _slowest(figures: Figures, outcome: Outcome) -> str:
    if figures is not outcome.closed_loop:
        return f"{figures.slowest_second}"
    return _judged(f"{figures.slowest_second} (≥ {outcome.min_rate:g})", figures.slowest_second >= outcome.min_rate)


def _prepare(figures: Figures, outcome: Outcome) -> str:
    return _ratio(figures.during_prepare, PREPARE_RATIO if figures is outcome.half_load else None)


def _ack(spread: Spread) -> str:
    return _judged(_spread(spread), spread.median_ms <= ROLLBACK_MEDIAN_MS)


def _spread(spread: Spread) -> str:
    return f"{spread.median_ms:.1f} · {spread.p99_ms:.1f}"


def _longest(spread: Spread) -> str:
    return f"{spread.median_ms:.1f} · {spread.max_ms:.1f}"


def _ratio(latency: Latency, target: float | None = None) -> str:
    text = f"{latency.ratio:.2f} ({latency.ratio_low:.2f}–{latency.ratio_high:.2f})"
    if math.isfinite(latency.typical):
        text += f" · {latency.typical:.2f}"
    return text if target is None else _judged(text, latency.ratio <= target)


def _judged(text: str, met: bool) -> str:
    return f"[green]{text}[/green]" if met else f"[yellow]{text}[/yellow]"
