"""What a benchmark found, as values: made from tallies, printed as tables, JSON and a page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from interlock_client.bench.histogram import Bucket, Histogram, Spread
from interlock_client.bench.plan import Load
from interlock_client.bench.statistics import ServerSide
from interlock_client.bench.tally import INTERVALS, Tally

_BUSY: Final = 0.9
"""Share of a core for each load process from which on the load may be the limit, not the server."""
_LATE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Failure:
    """Requests that ended otherwise than well, by gRPC status."""

    status: str
    count: int
    message: str
    """Of the first of them."""


@dataclass(frozen=True, slots=True)
class VersionResult:
    """What one version answered; "" where the server does not say which one it was."""

    version: str
    latency: Spread
    queue: Spread | None
    """Waiting on the server, as its answers say; None where they do not."""
    run: Spread | None


@dataclass(frozen=True, slots=True)
class Moment:
    """A part of the time: requests that were due in it."""

    at_s: float
    """From the start of the measurement to the middle of the part."""
    rate: float
    failed: int
    p50_s: float
    p99_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What one load found. Requests count whose turn came while it was measured, however late they were answered."""

    load: Load
    duration_s: float
    requests: int
    answered: int
    failed: int
    rate: float
    """Answers a second."""
    rows_rate: float
    latency: Spread
    """From when a request was due (open loop) or sent (closed loop) to its answer."""
    lag: Spread | None
    """How late an open loop's requests were sent; it is part of their latency."""
    versions: tuple[VersionResult, ...]
    failures: tuple[Failure, ...]
    server: ServerSide | None
    client_cores: float
    """Processor time of the load processes, over the time."""
    timeline: tuple[Moment, ...]
    histogram: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """A whole benchmark."""

    ref: str
    address: str
    taken: datetime
    inputs: tuple[str, ...]
    rows: int
    request_bytes: int
    processes: int
    connections: int
    warmup_s: float
    loads: tuple[LoadResult, ...]


def load_result(load: Load, tally: Tally, *, rows: int, warmup_s: float, server: ServerSide | None) -> LoadResult:
    """Sum up one load."""
    every = Histogram()
    for found in tally.versions.values():
        every.add(found.latency)
    failed = sum(tally.failures.values())
    window = tally.window
    duration_s = window.until_s - window.from_s
    return LoadResult(
        load=load,
        duration_s=duration_s,
        requests=len(every) + failed,
        answered=len(every),
        failed=failed,
        rate=len(every) / duration_s,
        rows_rate=len(every) * rows / duration_s,
        latency=every.spread(),
        lag=tally.lag.spread() if load.rate else None,
        versions=tuple(
            VersionResult(version, found.latency.spread(), _optional(found.queue), _optional(found.run))
            for version, found in sorted(tally.versions.items())
        ),
        failures=tuple(
            Failure(status, count, tally.reasons[status])
            for status, count in sorted(tally.failures.items(), key=lambda each: -each[1])
        ),
        server=server,
        client_cores=tally.cpu_s / (duration_s + warmup_s),
        timeline=_timeline(tally, duration_s),
        histogram=tuple(every.buckets()),
    )


def _optional(found: Histogram) -> Spread | None:
    return found.spread() if len(found) else None


def _timeline(tally: Tally, duration_s: float) -> tuple[Moment, ...]:
    length_s = duration_s / INTERVALS
    return tuple(
        Moment(
            at_s=(index + 0.5) * length_s,
            rate=len(interval.latency) / length_s,
            failed=interval.failed,
            p50_s=interval.latency.quantile_s(0.5),
            p99_s=interval.latency.quantile_s(0.99),
        )
        for index, interval in enumerate(tally.intervals)
    )


def remarks(found: BenchResult) -> tuple[str, ...]:
    """Return what a reader has to know before believing the figures."""
    said: list[str] = []
    for each in found.loads:
        if each.client_cores > _BUSY * found.processes:
            said.append(
                f"{each.load}: the load took {each.client_cores:.2f} cores in {_processes(found.processes)}, so it may "
                "be the limit, not the server; more --processes may help"
            )
        if each.lag is not None and each.lag.p99_s > _LATE_S:
            said.append(
                f"{each.load}: 1 % of the requests went out {each.lag.p99_s * 1e3:.0f} ms late or more, as this "
                "machine or the bound on unanswered requests held them up; their latency counts from their turn"
            )
        if each.answered and not any(x.queue for x in each.versions) and each.server is None:
            said.append(f"{each.load}: the server says nothing about queue and run time")
        said += [f"{each.load}: {x.count} × {x.status}: {x.message}" for x in each.failures]
    return tuple(said)


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"
