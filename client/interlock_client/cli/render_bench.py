"""A benchmark as tables and sentences; the page shows the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import RenderableType
from rich.table import Table

from interlock_client.bench.histogram import Spread
from interlock_client.bench.result import BenchResult, LoadResult, VersionResult, remarks
from interlock_client.cli.cells import clean, moment, size

LOADS: Final = ("load", "requests/s", "rows/s", "failed", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "client")
VERSIONS: Final = ("load", "version", "answers", "p50 ms", "p99 ms", "queue p50", "p99", "run p50", "p99", "rows a run")


def bench(found: BenchResult) -> Sequence[RenderableType]:
    """Return what a terminal shows."""
    parts: list[RenderableType] = [headline(found), _table(LOADS, loads(found)), _table(VERSIONS, versions(found), 2)]
    return [*parts, *(f"note: {clean(each)}" for each in remarks(found))]


def headline(found: BenchResult) -> str:
    """Say what was asked, of whom and when."""
    each = "request" if found.rows == 1 else f"request of {found.rows} rows"
    ways = f"{found.processes} × {found.connections}" if found.processes > 1 else str(found.connections)
    connections = "connection" if ways == "1" else "connections"
    return clean(
        f"{found.ref} at {found.address}, {moment(found.taken)}: {', '.join(found.inputs)}; "
        f"{size(found.request_bytes)} a {each}, {ways} {connections}"
    )


def loads(found: BenchResult) -> Sequence[Sequence[str]]:
    """Return a row for each load."""
    return [
        (
            str(each.load),
            f"{each.rate:.1f}",
            f"{each.rows_rate:.1f}",
            str(each.failed),
            *(millis(x) for x in _quantiles(each.latency)),
            f"{each.client_cores:.2f} cores",
        )
        for each in found.loads
    ]


def _quantiles(spread: Spread) -> Sequence[float]:
    if not spread.count:
        return [-1.0] * 5
    return [spread.p50_s, spread.p90_s, spread.p99_s, spread.p999_s, spread.max_s]


def versions(found: BenchResult) -> Sequence[Sequence[str]]:
    """Return a row for each version that answered a load."""
    return [_version(each, version) for each in found.loads for version in each.versions]


def _version(load: LoadResult, found: VersionResult) -> Sequence[str]:
    if found.queue is not None and found.run is not None:
        split = [found.queue.p50_s, found.queue.p99_s, found.run.p50_s, found.run.p99_s]
    elif load.server is not None:
        split = [load.server.queue_s, -1.0, load.server.run_s, -1.0]
    else:
        split = [-1.0] * 4
    return (
        str(load.load),
        found.version or "?",
        str(found.latency.count),
        millis(found.latency.p50_s),
        millis(found.latency.p99_s),
        *(millis(each) for each in split),
        f"{load.server.rows_per_run:.1f}" if load.server is not None else "-",
    )


def millis(seconds: float) -> str:
    """Write a duration as milliseconds with three digits that count; - where there is none."""
    value = seconds * 1e3
    if value < 0:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < words else "right")
    for line in lines:
        table.add_row(*map(clean, line))
    return table
