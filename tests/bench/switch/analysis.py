"""From what the clients saw and when the switches were, to figures. Pure: no clock, no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from tests.bench.load.records import Records, Times

WINDOW_S: Final = 0.25
"""Before and after a commit."""
SETTLE_S: Final = 0.35
"""After a switch, until the time counts as quiet again."""
_RESAMPLES: Final = 400
_ENOUGH: Final = 30
"""Requests that a window needs for a p99 of its own."""

PROMOTE: Final = "promote"
ROLLBACK: Final = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchEvent:
    """One promote or rollback as the operator saw it, on the clock of the records."""

    action: str
    started: float
    acknowledged: float
    from_version: int
    to_version: int
    resident: bool
    prepare_s: float
    commit_s: float
    lagging: int


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Spread:
    """How a time is spread, in milliseconds."""

    median_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of the requests that began in some windows, taken together."""

    windows: int
    requests: int
    p50_ms: float
    p99_ms: float
    ratio: float
    """p99 over that of the quiet windows."""
    ratio_low: float
    ratio_high: float
    """95 % of what the ratio is when windows are drawn again with replacement: how much of it is chance."""
    typical: float
    """Median over the windows of p99 over that of the quiet window just before each: a burst of other work spoils one
    window of many. NaN where windows hold too few requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One model under one load."""

    load: str
    seconds: float
    others_cores: float
    """Cores that other work on the machine took meanwhile."""
    answered: int
    failed: int
    wrong: int
    stale: int
    """Requests that were sent after a switch was acknowledged and still got the version before it."""
    rate: float
    slowest_second: int
    """Answers in the whole second that had the fewest."""
    promotes: int
    rollbacks: int
    lagging: int
    not_resident: int
    """Rollbacks that had to load their target."""
    rollback_ack: Spread
    rollback_commit: Spread
    promote_ack: Spread
    promote_prepare: Spread
    promote_commit: Spread
    last_old_after_start: Spread
    """From the start of a rollback to the last answer of the version before it, on any connection."""
    last_old_after_ack: Spread
    """The same from its acknowledgement; negative where the last old answer came first."""
    quiet: Latency
    around_rollback: Latency
    around_promote: Latency
    during_prepare: Latency


def figures(
    load: str, records: Records, events: Sequence[SwitchEvent], begin: float, end: float, others_cores: float
) -> Figures:
    """Judge a load that ran from `begin` to `end`."""
    promotes = [event for event in events if event.action == PROMOTE]
    rollbacks = [event for event in events if event.action == ROLLBACK]
    if not promotes or not rollbacks:
        raise ValueError("a promote and a rollback are needed to judge them")
    quiet = quiet_windows(events, begin)
    lags = [last_old_answer(records, event, after, end) for event, after in _with_next(events) if event in rollbacks]
    return Figures(
        load=load,
        seconds=end - begin,
        others_cores=others_cores,
        answered=len(records.started),
        failed=records.count("failed"),
        wrong=records.count("wrong"),
        stale=stale(records, events, end),
        rate=float(np.count_nonzero((records.ended >= begin) & (records.ended < end)) / (end - begin)),
        slowest_second=slowest_second(records.ended, begin, end),
        promotes=len(promotes),
        rollbacks=len(rollbacks),
        lagging=sum(event.lagging for event in events),
        not_resident=sum(not event.resident for event in rollbacks),
        rollback_ack=spread([event.acknowledged - event.started for event in rollbacks]),
        rollback_commit=spread([event.commit_s for event in rollbacks]),
        promote_ack=spread([event.acknowledged - event.started for event in promotes]),
        promote_prepare=spread([event.prepare_s for event in promotes]),
        promote_commit=spread([event.commit_s for event in promotes]),
        last_old_after_start=spread([last - event.started for last, event in zip(lags, rollbacks, strict=True)]),
        last_old_after_ack=spread([last - event.acknowledged for last, event in zip(lags, rollbacks, strict=True)]),
        quiet=latency(records, quiet, quiet),
        around_rollback=latency(records, [around(event) for event in rollbacks], quiet),
        around_promote=latency(records, [around(event) for event in promotes], quiet),
        during_prepare=latency(records, [preparing(event) for event in promotes], quiet),
    )


# --- windows ---


def quiet_windows(events: Sequence[SwitchEvent], begin: float) -> list[Window]:
    """Return the time before each switch in which nothing was happening."""
    ends = [begin, *(event.acknowledged + SETTLE_S for event in events[:-1])]
    windows = [Window(start, event.started - WINDOW_S) for start, event in zip(ends, events, strict=True)]
    return [window for window in windows if window.end > window.start]


def around(event: SwitchEvent) -> Window:
    """Return the commit of a switch with what lies `WINDOW_S` before and after it."""
    return Window(event.acknowledged - event.commit_s - WINDOW_S, event.acknowledged + WINDOW_S)


def preparing(event: SwitchEvent) -> Window:
    """Return the time in which the target was loaded and proven."""
    committing = event.acknowledged - event.commit_s
    return Window(committing - event.prepare_s, committing)


def _with_next(events: Sequence[SwitchEvent]) -> list[tuple[SwitchEvent, SwitchEvent | None]]:
    return [*pairwise(events), (events[-1], None)]


# --- answers ---


def stale(records: Records, events: Sequence[SwitchEvent], end: float) -> int:
    """Count requests sent after an acknowledgement, before the next switch, that got another version.

    One that was in flight when the next switch began may have got that one's version.
    """
    found = 0
    for event, after in _with_next(events):
        sent = (records.sent > event.acknowledged) & (records.sent < (end if after is None else after.started))
        other = sent & (records.version != event.to_version)
        if after is not None:
            other &= (records.ended < after.started) | (records.version != after.to_version)
        found += int(np.count_nonzero(other))
    return found


def last_old_answer(records: Records, event: SwitchEvent, after: SwitchEvent | None, end: float) -> float:
    """Return when the last answer of the version before a switch came; its start where none came after that."""
    until = end if after is None else after.started
    old = (records.version == event.from_version) & (records.ended >= event.started) & (records.sent < until)
    return float(records.ended[old].max(initial=event.started))


def slowest_second(ended: Times, begin: float, end: float) -> int:
    """Return the fewest answers that came in any whole second."""
    seconds = int(end - begin)
    if seconds < 1:
        return 0
    counts, _ = np.histogram(ended, bins=seconds, range=(begin, begin + seconds))
    return int(counts.min())


# --- latency ---


def spread(seconds: Sequence[float]) -> Spread:
    """Return median, p99 and maximum in milliseconds."""
    array = np.asarray(seconds) * 1e3
    return Spread(float(np.median(array)), float(np.percentile(array, 99)), float(array.max()))


def latency(records: Records, windows: Sequence[Window], quiet: Sequence[Window]) -> Latency:
    """Judge the requests that began in `windows` against those that began in `quiet`."""
    here = _latencies(records, windows)
    there = _latencies(records, quiet)
    if not here or not there:
        return Latency(len(windows), 0, *([float("nan")] * 6))
    everything = np.concatenate(here)
    generator = np.random.default_rng(5)
    ratios = [_p99(_redrawn(here, generator)) / _p99(_redrawn(there, generator)) for _ in range(_RESAMPLES)]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Latency(
        windows=len(windows),
        requests=len(everything),
        p50_ms=float(np.percentile(everything, 50)) * 1e3,
        p99_ms=_p99(everything) * 1e3,
        ratio=_p99(everything) / _p99(np.concatenate(there)),
        ratio_low=float(low),
        ratio_high=float(high),
        typical=_typical(records, windows, quiet),
    )


def _typical(records: Records, windows: Sequence[Window], quiet: Sequence[Window]) -> float:
    ratios: list[float] = []
    for window in windows:
        before = [each for each in quiet if each.start < window.start]
        here, there = (_latencies(records, each) for each in ([window], before[-1:]))
        if here and there and min(len(here[0]), len(there[0])) >= _ENOUGH:
            ratios.append(_p99(here[0]) / _p99(there[0]))
    return float(np.median(ratios)) if ratios else float("nan")


def _latencies(records: Records, windows: Sequence[Window]) -> list[Times]:
    parts = [_began_in(records.started, window) for window in windows]
    return [records.ended[part] - records.started[part] for part in parts if part.stop > part.start]


def _began_in(started: Times, window: Window) -> slice:
    first, last = np.searchsorted(started, [window.start, window.end])
    return slice(int(first), max(int(first), int(last)))


def _redrawn(parts: Sequence[Times], generator: np.random.Generator) -> Times:
    return np.concatenate([parts[index] for index in generator.integers(0, len(parts), len(parts))])


def _p99(array: Times) -> float:
    return float(np.percentile(array, 99))
