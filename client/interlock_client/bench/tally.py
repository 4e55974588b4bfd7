"""What a load saw: latencies by answering version, failures by status, and both over time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from interlock_client.bench.histogram import Histogram
from interlock_client.bench.plan import Window

INTERVALS: Final = 60
"""Parts of the time that are told apart."""
NOT_SENT: Final = "NOT_SENT"
"""The status of a request of an open loop that was due and never went out: too many before it were unanswered."""
UNREADABLE: Final = "UNREADABLE"
"""The status of an answer that is no message of the protocol."""


class VersionTally:
    """What one version answered."""

    __slots__ = ("latency", "queue", "run")

    def __init__(self) -> None:
        self.latency = Histogram()
        self.queue = Histogram()
        self.run = Histogram()
        """Both as the server says; empty where it does not."""


class Interval:
    """One part of the time, by when requests were due."""

    __slots__ = ("failed", "latency")

    def __init__(self) -> None:
        self.latency = Histogram()
        self.failed = 0


class Tally:
    """Counts what one thread saw of one load; `add` joins those of several."""

    def __init__(self, window: Window) -> None:
        self.window: Final = window
        self.versions: dict[str, VersionTally] = {}
        self.failures: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        """The first message of each status."""
        self.lag = Histogram()
        """How long after they were due the requests of an open loop went out."""
        self.intervals = [Interval() for _ in range(INTERVALS)]
        self.cpu_s = 0.0
        """Processor time of the load's own process."""

    def answered(self, due_s: float, ended_s: float, version: str, queue_s: float | None, run_s: float | None) -> None:
        """Count an answer, unless its request belongs to the warm-up."""
        if not self.window.holds(due_s):
            return
        found = self.versions.get(version)
        if found is None:
            found = self.versions[version] = VersionTally()
        found.latency.record(ended_s - due_s)
        if queue_s is not None:
            found.queue.record(queue_s)
        if run_s is not None:
            found.run.record(run_s)
        self._interval(due_s).latency.record(ended_s - due_s)

    def failed(self, due_s: float, status: str, reason: str) -> None:
        """Count a failure, unless its request belongs to the warm-up."""
        if not self.window.holds(due_s):
            return
        self.failures[status] = self.failures.get(status, 0) + 1
        self.reasons.setdefault(status, reason)
        self._interval(due_s).failed += 1

    def sent(self, due_s: float, now: float) -> None:
        """Count how late a request went out."""
        if self.window.holds(due_s):
            self.lag.record(now - due_s)

    def _interval(self, due_s: float) -> Interval:
        length_s = self.window.until_s - self.window.from_s
        return self.intervals[min(INTERVALS - 1, int((due_s - self.window.from_s) / length_s * INTERVALS))]

    def add(self, other: Tally) -> None:
        """Count all that another one counted."""
        for version, theirs in other.versions.items():
            ours = self.versions.setdefault(version, VersionTally())
            ours.latency.add(theirs.latency)
            ours.queue.add(theirs.queue)
            ours.run.add(theirs.run)
        for status, count in other.failures.items():
            self.failures[status] = self.failures.get(status, 0) + count
            self.reasons.setdefault(status, other.reasons[status])
        self.lag.add(other.lag)
        for mine, interval in zip(self.intervals, other.intervals, strict=True):
            mine.latency.add(interval.latency)
            mine.failed += interval.failed
        self.cpu_s += other.cpu_s

    def to_json(self) -> Mapping[str, object]:
        """Return it as JSON types, without the window."""
        return {
            "versions": {
                version: [found.latency.to_json(), found.queue.to_json(), found.run.to_json()]
                for version, found in self.versions.items()
            },
            "failures": {status: [count, self.reasons[status]] for status, count in self.failures.items()},
            "lag": self.lag.to_json(),
            "intervals": [[interval.latency.to_json(), interval.failed] for interval in self.intervals],
            "cpu_s": self.cpu_s,
        }

    @classmethod
    def from_json(cls, window: Window, found: Mapping[str, object]) -> Self:
        """Read what `to_json` made; raises ValueError."""
        made = cls(window)
        versions, failures, lag = found["versions"], found["failures"], found["lag"]
        intervals, cpu_s = found["intervals"], found["cpu_s"]
        if not (isinstance(versions, dict) and isinstance(failures, dict) and isinstance(lag, dict)):
            raise ValueError("this is no tally")
        if not (isinstance(intervals, list) and isinstance(cpu_s, float)):
            raise ValueError("this is no tally")
        for version, (latency, queue, run) in versions.items():
            tally = made.versions[version] = VersionTally()
            tally.latency, tally.queue = Histogram.from_json(latency), Histogram.from_json(queue)
            tally.run = Histogram.from_json(run)
        for status, (count, reason) in failures.items():
            made.failures[status], made.reasons[status] = int(count), str(reason)
        made.lag = Histogram.from_json(lag)
        for interval, (latency, failed) in zip(made.intervals, intervals, strict=True):
            interval.latency, interval.failed = Histogram.from_json(latency), int(failed)
        made.cpu_s = cpu_s
        return made
