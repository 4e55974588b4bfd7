"""What one servable has answered since it was loaded: the numbers behind ModelStatistics and the metrics.

Each lane of the servable's batcher counts for itself, and no two runs are in one lane at the same time: so counting
takes no lock. Whoever asks adds the lanes up; what is counted meanwhile may be in one sum and not yet in another.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock_server.worker.work import Ran

SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper bounds of the buckets of durations."""
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds of the buckets of rows in a run."""


@dataclass(frozen=True, slots=True)
class Duration:
    """So many occasions, and the time that they took together."""

    count: int
    total_s: float


@dataclass(frozen=True, slots=True)
class BatchStatistics:
    """The runs of one size."""

    rows: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class Distribution:
    """How often a value fell into each bucket, the last one being above all bounds, and the sum of all values."""

    counts: tuple[int, ...]
    total: float

    def __add__(self, other: Distribution) -> Distribution:
        return Distribution(
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)), self.total + other.total
        )


@dataclass(frozen=True, slots=True)
class ServableStatistics:
    """A servable's numbers at one moment; durations count requests."""

    last_inference: float
    """Seconds since 1970; 0 where there was none."""
    rows: int
    executions: int
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    batches: tuple[BatchStatistics, ...]
    """By rows, ascending."""


@dataclass(frozen=True, slots=True)
class Distributions:
    """What the metrics show of the requests that were answered."""

    request_s: Distribution
    queue_s: Distribution
    run_s: Distribution
    rows: Distribution
    by_alias: Mapping[str, int]
    """Requests by the alias through which they came."""

    def __add__(self, other: Distributions) -> Distributions:
        aliases = {**self.by_alias, **other.by_alias}
        return Distributions(
            self.request_s + other.request_s,
            self.queue_s + other.queue_s,
            self.run_s + other.run_s,
            self.rows + other.rows,
            {alias: self.by_alias.get(alias, 0) + other.by_alias.get(alias, 0) for alias in aliases},
        )


_NO_DURATIONS: Final = Distribution((0,) * (len(SECONDS) + 1), 0.0)
NOTHING: Final = Distributions(
    _NO_DURATIONS, _NO_DURATIONS, _NO_DURATIONS, Distribution((0,) * (len(ROWS) + 1), 0.0), {}
)


class _Runs:
    """The runs of one number of rows, in one lane."""

    __slots__ = ("infer_s", "input_s", "output_s", "requests", "runs")

    def __init__(self) -> None:
        self.runs = self.requests = 0
        self.input_s = self.infer_s = self.output_s = 0.0


class Tally:
    """What one lane has answered. One thread at a time counts."""

    __slots__ = (
        "by_alias",
        "infer_s",
        "input_s",
        "last",
        "output_s",
        "queue_counts",
        "queue_s",
        "request_counts",
        "row_counts",
        "rows",
        "run_counts",
        "runs",
        "total_s",
    )

    def __init__(self) -> None:
        self.last = 0.0
        self.rows = 0
        self.total_s = self.queue_s = self.input_s = self.infer_s = self.output_s = 0.0
        self.by_alias: dict[str, int] = {}
        self.runs: dict[int, _Runs] = {}
        self.request_counts = [0] * (len(SECONDS) + 1)
        self.queue_counts = [0] * (len(SECONDS) + 1)
        self.run_counts = [0] * (len(SECONDS) + 1)
        self.row_counts = [0] * (len(ROWS) + 1)

    def answered(
        self, alias: str, total_s: float, queue_s: float, output_s: float, rows: int, ran: Ran, *, first: bool
    ) -> None:
        """Count a request of so many rows that was answered `total_s` after it came, by this run."""
        run_s = ran.run_s
        self.rows += rows
        self.total_s += total_s
        self.queue_s += queue_s
        self.input_s += ran.input_s
        self.infer_s += run_s
        self.output_s += output_s
        self.by_alias[alias] = self.by_alias.get(alias, 0) + 1
        self.request_counts[bisect_left(SECONDS, total_s)] += 1
        self.queue_counts[bisect_left(SECONDS, queue_s)] += 1
        self.run_counts[bisect_left(SECONDS, run_s)] += 1
        self.row_counts[bisect_left(ROWS, ran.rows)] += 1
        runs = self.runs.get(ran.rows)
        if runs is None:
            runs = self.runs[ran.rows] = _Runs()
        runs.requests += 1
        runs.output_s += output_s
        if first:
            self.last = time.time()
            runs.runs += 1
            runs.input_s += ran.input_s
            runs.infer_s += run_s


class Statistics:
    """Counts what a servable answers. Thread-safe."""

    def __init__(self, lanes: int = 1) -> None:
        self.lanes: Final = tuple(Tally() for _ in range(lanes))
        self._lock = threading.Lock()
        self._fail = 0
        self._fail_s = 0.0

    def failed(self, total_s: float) -> None:
        """Count a request that failed `total_s` after it came."""
        with self._lock:
            self._fail += 1
            self._fail_s += total_s

    def snapshot(self) -> ServableStatistics:
        """Return the numbers as they are now."""
        lanes = self.lanes
        success = sum(sum(lane.request_counts) for lane in lanes)
        batches = tuple(self._batch(rows) for rows in sorted({rows for lane in lanes for rows in list(lane.runs)}))
        with self._lock:
            fail = Duration(self._fail, self._fail_s)
        return ServableStatistics(
            last_inference=max(lane.last for lane in lanes),
            rows=sum(lane.rows for lane in lanes),
            executions=sum(batch.compute_infer.count for batch in batches),
            success=Duration(success, sum(lane.total_s for lane in lanes)),
            fail=fail,
            queue=Duration(success, sum(lane.queue_s for lane in lanes)),
            compute_input=Duration(success, sum(lane.input_s for lane in lanes)),
            compute_infer=Duration(success, sum(lane.infer_s for lane in lanes)),
            compute_output=Duration(success, sum(lane.output_s for lane in lanes)),
            batches=batches,
        )

    def _batch(self, rows: int) -> BatchStatistics:
        found = [runs for lane in self.lanes if (runs := lane.runs.get(rows)) is not None]
        count = sum(runs.runs for runs in found)
        return BatchStatistics(
            rows,
            Duration(count, sum(runs.input_s for runs in found)),
            Duration(count, sum(runs.infer_s for runs in found)),
            Duration(count, sum(runs.output_s for runs in found)),
        )

    def distributions(self) -> Distributions:
        """Return what the metrics show, as it is now."""
        total = NOTHING
        for lane in self.lanes:
            total += Distributions(
                Distribution(tuple(lane.request_counts), lane.total_s),
                Distribution(tuple(lane.queue_counts), lane.queue_s),
                Distribution(tuple(lane.run_counts), lane.infer_s),
                Distribution(
                    tuple(lane.row_counts), float(sum(n * each.requests for n, each in list(lane.runs.items())))
                ),
                dict(lane.by_alias),
            )
        return total
