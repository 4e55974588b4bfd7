"""One measurement: a load of so many requests in flight on one server."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from tests.bench.infer.targets import MODEL, Target
from tests.bench.load.fleet import Load
from tests.bench.machine import busy, cpu_s, others_cores

_WARM_S: Final = 0.7
_MARGIN_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one load on one server gave."""

    target: str
    in_flight: int
    answered: int
    failed: int
    wrong: int
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of all of the server's processes, per request, in microseconds."""
    others_cores: float
    """Cores that other work on the machine took meanwhile."""


def measure(target: Target, in_flight: int, questions: Path, folder: Path, seconds: float) -> Measured:
    """Keep `in_flight` requests in flight for so long, after a short warm-up."""
    load = Load(
        address=target.address,
        model=MODEL,
        questions=questions,
        folder=folder,
        clients=in_flight,
        processes=min(2, in_flight),
        max_s=seconds + _MARGIN_S,
        checked=target.checked,
    )
    with load:
        time.sleep(_WARM_S)
        everyone = [os.getpid(), *target.pids, *load.pids]
        before, cpu_before = busy(everyone), cpu_s(target.pids)
        time.sleep(seconds)
        after, cpu_after = busy(everyone), cpu_s(target.pids)
        records = load.stop()
    inside = (records.ended >= before.at) & (records.ended < after.at)
    answered = int(np.count_nonzero(inside))
    latency_ms = (records.ended[inside] - records.started[inside]) * 1e3
    return Measured(
        target=target.name,
        in_flight=in_flight,
        answered=answered,
        failed=records.count("failed"),
        wrong=records.count("wrong"),
        rate=answered / (after.at - before.at),
        p50_ms=float(np.percentile(latency_ms, 50)),
        p99_ms=float(np.percentile(latency_ms, 99)),
        cpu_us=(cpu_after - cpu_before) / answered * 1e6,
        others_cores=others_cores(before, after),
    )


def middle(rounds: Sequence[Measured]) -> Measured:
    """Return the medians of several rounds of the same measurement, and the sums of what they count."""
    first = rounds[0]
    return Measured(
        target=first.target,
        in_flight=first.in_flight,
        answered=sum(each.answered for each in rounds),
        failed=sum(each.failed for each in rounds),
        wrong=sum(each.wrong for each in rounds),
        rate=median(each.rate for each in rounds),
        p50_ms=median(each.p50_ms for each in rounds),
        p99_ms=median(each.p99_ms for each in rounds),
        cpu_us=median(each.cpu_us for each in rounds),
        others_cores=median(each.others_cores for each in rounds),
    )
