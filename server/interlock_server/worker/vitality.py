"""How this worker feels: what its report says beside what it has loaded."""

from __future__ import annotations

import os
import time
from typing import Final

from interlock_server.front.seam import Front
from interlock_server.vitals import Vitals
from interlock_server.worker.batcher import Running
from interlock_server.worker.catalog import Catalog

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def take_vitals(catalog: Catalog, front: Front) -> Vitals:
    """Look at the thread that takes requests, at every run and load that is under way, and at the memory."""
    now = time.monotonic()
    runs = [(str(each.spec.key), running) for each in catalog.servables() if (running := each.running) is not None]
    oldest, oldest_run_s = _longest([(name, now - running.since) for name, running in runs])
    overdue, overdue_s = _longest([(name, _overdue_s(running, now)) for name, running in runs])
    loading = catalog.loading
    return Vitals(
        front_stuck_s=front.stuck_s,
        oldest_run=oldest,
        oldest_run_s=oldest_run_s,
        overdue=overdue,
        overdue_s=overdue_s,
        loading="" if loading is None else loading.version,
        loading_s=0.0 if loading is None else now - loading.since,
        rss_bytes=_rss_bytes(),
    )


def _longest(found: list[tuple[str, float]]) -> tuple[str, float]:
    name, seconds = max(found, key=lambda each: each[1], default=("", 0.0))
    return (name, seconds) if seconds > 0 else ("", 0.0)


def _overdue_s(running: Running, now: float) -> float:
    told = running.run.terminated_at
    return 0.0 if told is None else now - told


def _rss_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES
