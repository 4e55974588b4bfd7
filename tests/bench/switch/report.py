"""What a run found, as JSON for machines and as tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.bench.grid import Cell, Grid
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
        """Write it as JSON, and the table beside it as Markdown."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_finite(asdict(self)), indent=2) + "\n")
        path.with_suffix(".md").write_text(grid(self).markdown())


def _finite(value: object) -> object:
    """JSON has no NaN: a figure without requests is null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def grid(report: Report) -> Grid:
    """Return the figures side by side: one column per model and load."""
    columns = [(each, outcome) for outcome in report.outcomes for each in (outcome.closed_loop, outcome.half_load)]
    return Grid(
        title=f"Switching under load: {report.plan.pairs} promote/rollback pairs per column",
        header=["", *(f"{outcome.model}\n{each.load}" for each, outcome in columns)],
        rows=[[Cell(label), *(cell(each, outcome) for each, outcome in columns)] for label, cell in _rows()],
    )


def _rows() -> Sequence[tuple[str, Callable[[Figures, Outcome], Cell]]]:
    return [
        ("cores taken by other work meanwhile", lambda f, _: Cell(f"{f.others_cores:.2f}")),
        ("answered", lambda f, _: Cell(f"{f.answered}")),
        ("failed (0)", lambda f, _: _zero(f.failed)),
        ("wrong-version answers (0)", lambda f, _: _zero(f.wrong)),
        ("old version after the acknowledgement (0)", lambda f, _: _zero(f.stale)),
        ("answers/s", lambda f, _: Cell(f"{f.rate:.0f}")),
        ("slowest second (closed loop: minimum)", _slowest),
        ("rollback acknowledged, median · p99 ms (median ≤ 10)", lambda f, _: _ack(f.rollback_ack)),
        ("of it the server's commit, median · p99 ms", lambda f, _: _spread(f.rollback_commit)),
        ("last old answer after its start, median · max ms", lambda f, _: _longest(f.last_old_after_start)),
        ("last old answer after its acknowledgement, median · max ms", lambda f, _: _longest(f.last_old_after_ack)),
        ("promote acknowledged, median · p99 ms", lambda f, _: _spread(f.promote_ack)),
        ("of it PREPARE, median · p99 ms", lambda f, _: _spread(f.promote_prepare)),
        ("quiet p50 · p99 ms", lambda f, _: Cell(f"{f.quiet.p50_ms:.2f} · {f.quiet.p99_ms:.2f}")),
        ("quiet over quiet p99: chance", lambda f, _: Cell(f"{f.quiet.ratio_low:.2f}–{f.quiet.ratio_high:.2f}")),
        ("rollback commit ± 250 ms, p99 over quiet (≤ 1.1) · typical", _rollback),
        ("promote commit ± 250 ms, with the end of its PREPARE · typical", lambda f, _: _ratio(f.around_promote)),
        ("during PREPARE, p99 over quiet (half load ≤ 1.5) · typical", _prepare),
    ]


def _zero(count: int) -> Cell:
    return Cell(f"{count}", count == 0)


def _slowest(figures: Figures, outcome: Outcome) -> Cell:
    if figures is not outcome.closed_loop:
        return Cell(f"{figures.slowest_second}")
    met = figures.slowest_second >= outcome.min_rate
    return Cell(f"{figures.slowest_second} (≥ {outcome.min_rate:g})", met)


def _rollback(figures: Figures, outcome: Outcome) -> Cell:
    return _ratio(figures.around_rollback, COMMIT_RATIO)


def _prepare(figures: Figures, outcome: Outcome) -> Cell:
    return _ratio(figures.during_prepare, PREPARE_RATIO if figures is outcome.half_load else None)


def _ack(spread: Spread) -> Cell:
    return Cell(_spread(spread).text, spread.median_ms <= ROLLBACK_MEDIAN_MS)


def _spread(spread: Spread) -> Cell:
    return Cell(f"{spread.median_ms:.1f} · {spread.p99_ms:.1f}")


def _longest(spread: Spread) -> Cell:
    return Cell(f"{spread.median_ms:.1f} · {spread.max_ms:.1f}")


def _ratio(latency: Latency, target: float | None = None) -> Cell:
    text = f"{latency.ratio:.2f} ({latency.ratio_low:.2f}–{latency.ratio_high:.2f})"
    if math.isfinite(latency.typical):
        text += f" · {latency.typical:.2f}"
    return Cell(text, None if target is None else latency.ratio <= target)
