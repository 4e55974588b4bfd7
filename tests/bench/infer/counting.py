"""What it costs a request to be counted: metrics are made of its version's statistics, when they are asked for."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Final

from interlock_server.worker.statistics import Statistics
from interlock_server.worker.work import Ran, Work

from tests.bench.infer.line import Line

_TARGET_US: Final = 2.0
_ROUNDS: Final = 9
_CALLS: Final = 100_000


def counting(folder: Path, seconds: float) -> list[Line]:
    """Count as the engine counts each answer, without the rest of it; `seconds` has no bearing on it."""
    return [_line("each request its own run", 1), _line("runs of 8 requests", 8)]


def _line(case: str, requests: int) -> Line:
    found_us = median(_once(requests) for _ in range(_ROUNDS))
    return Line(
        part="counting",
        case=case,
        server="statistics and metrics",
        cpu_us=found_us,
        ratio=found_us / _TARGET_US,
        over=f"{_TARGET_US:g} µs",
        target=1.0,
        note=f"{found_us:.2f} µs a request, the caches warm",
    )


class _Nothing(Work):
    """The first of a run."""

    def answer(self, outputs: object, ran: Ran) -> None:
        """Do nothing."""

    def refuse(self, error: object) -> None:
        """Do nothing."""


def _once(requests: int) -> float:
    """Return the processor time of counting one request, in microseconds."""
    statistics = Statistics()
    ran = Ran(time.monotonic(), 1e-6, 8e-6, requests, _Nothing([], rows=1, deadline=0.0), 0)
    before = time.process_time()
    for number in range(_CALLS):
        # As the engine does, a look-up of the lane among it.
        statistics.lanes[ran.lane].answered("stable", 120e-6, 30e-6, 5e-6, 1, ran, first=number % requests == 0)
    return (time.process_time() - before) / _CALLS * 1e6
