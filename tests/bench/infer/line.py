"""One row of the whole benchmark's table, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.grid import Cell, Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one case of one part gave; None where a figure means nothing there."""

    part: str
    case: str
    server: str
    rate: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    """Processor time of all of the server's processes (or the client, where that is the subject), per request."""
    others_cores: float | None = None
    """Cores that other work on the machine took meanwhile."""
    failed: int = 0
    ratio: float | None = None
    """Over what `over` names, taken in the same run."""
    over: str = ""
    target: float | None = None
    most: bool = True
    """The target is the most that the ratio may be, else the least."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the ratio keeps its target; None without one."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio <= self.target if self.most else self.ratio >= self.target


def grid(lines: Sequence[Line]) -> Grid:
    """Return all of them as one table."""
    return Grid(
        title="Inference",
        header=["part", "case", "server", "requests/s", "p50 ms", "p99 ms", "CPU µs", "ratio", "over", "note"],
        rows=[
            [
                Cell(each.part),
                Cell(each.case),
                Cell(each.server),
                Cell(_number(each.rate, 0)),
                Cell(_number(each.p50_ms, 2)),
                Cell(_number(each.p99_ms, 2)),
                Cell(_number(each.cpu_us, 0)),
                Cell(_ratio(each), each.met),
                Cell(each.over),
                Cell(", ".join(filter(None, (each.note, f"{each.failed} failed" if each.failed else "")))),
            ]
            for each in lines
        ],
        names=3,
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _ratio(line: Line) -> str:
    if line.ratio is None:
        return ""
    target = f" ({'≤' if line.most else '≥'} {line.target:g})" if line.target is not None else ""
    return f"{line.ratio:.2f}{target}"
