"""Whether a worker that answers is well. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

from interlock.v1 import worker_pb2

STUCK_FRONT_S: Final = 4.0
"""How long the thread that takes requests may be busy with one of them."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a worker's report says of how it feels."""

    front_stuck_s: float = 0.0
    """How long the thread that takes requests has been busy with one event; 0 while it waits for the next."""
    oldest_run: str = ""
    """The version whose run has lasted longest, as `model@number`; "" where nothing runs."""
    oldest_run_s: float = 0.0
    overdue: str = ""
    """The version whose run has gone on longest after the last caller stopped waiting for it."""
    overdue_s: float = 0.0
    loading: str = ""
    """The version that is being loaded."""
    loading_s: float = 0.0
    rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """What a worker may do before it is replaced."""

    overdue_s: float
    """How long a run may go on that nobody waits for and that has been told to end."""
    loading_s: float
    rss_bytes: int
    """0: any."""


@dataclass(frozen=True, slots=True)
class Ailment:
    """Why a worker must be replaced."""

    reason: str
    version: str = ""
    """The version that is to blame; "" where none is."""
    gently: bool = False
    """It may finish what it has begun."""


def examine(vitals: Vitals, limits: HealthLimits) -> Ailment | None:
    """Say whether a worker must be replaced, and why."""
    if vitals.front_stuck_s >= STUCK_FRONT_S:
        return Ailment(f"it has taken no request for {vitals.front_stuck_s:.1f} s")
    if vitals.overdue and vitals.overdue_s >= limits.overdue_s:
        return Ailment(
            f"a run of {vitals.overdue} goes on {vitals.overdue_s:.1f} s after it was told to end", vitals.overdue
        )
    if vitals.loading and vitals.loading_s >= limits.loading_s:
        return Ailment(f"loading {vitals.loading} has not ended for {vitals.loading_s:.1f} s", vitals.loading)
    if limits.rss_bytes and vitals.rss_bytes > limits.rss_bytes:
        return Ailment(
            f"it holds {vitals.rss_bytes:,} bytes of memory, more than max_worker_bytes {limits.rss_bytes:,}",
            gently=True,
        )
    return None


def vitals_message(vitals: Vitals) -> worker_pb2.Vitals:
    """Return vitals as a message."""
    return worker_pb2.Vitals(**asdict(vitals))


def vitals_value(message: worker_pb2.Vitals) -> Vitals:
    """Read vitals."""
    return Vitals(**{each.name: getattr(message, each.name) for each in fields(Vitals)})
