"""Whether there is memory for one more version, before any worker begins to load it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock_server.placing import on_cpu

_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """What may be used."""

    available_bytes: int
    """What the machine, or the container, can give without swapping."""
    reserve_bytes: int = 0
    """What of that must stay free."""
    worker_bytes: int = 0
    """What a worker may hold; 0: any."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A worker, and what it holds: the live versions, the earlier ones that are kept, and itself."""

    worker: str
    resident_bytes: int


def sessions_of(instances: int, threads: int, *, cpu: bool) -> int:
    """Return how many sessions of a version take main memory in a worker whose runs have so many threads."""
    return len(on_cpu(instances, threads)) if cpu else 1


def why_not(session_bytes: int, sessions: int, holdings: Sequence[Holding], room: Room) -> str:
    """Say why a version with so many sessions does not fit into each of the workers; "" where it does. Pure.

    `session_bytes` was measured when the version was registered; 0 is unknown, and fits.
    """
    candidate_bytes = sessions * session_bytes
    each = f" in each of its {sessions} sessions" if sessions > 1 else ""
    takes = f"it takes {_mib(session_bytes)} of memory{each}, as measured when it was registered"
    free = "unpin what is not needed or lower keep_depth"
    for holding in holdings:
        if candidate_bytes and room.worker_bytes and holding.resident_bytes + candidate_bytes > room.worker_bytes:
            return (
                f"{takes}, and {holding.worker} holds {_mib(holding.resident_bytes)} with the live and the earlier "
                f"versions: together more than max_worker_bytes ({_mib(room.worker_bytes)}); {free}, or raise it"
            )
    needed = candidate_bytes * len(holdings)
    if needed and needed + room.reserve_bytes > room.available_bytes:
        times = f" in each of {len(holdings)} workers" if len(holdings) > 1 else ""
        return (
            f"{takes}{times}, and this machine has {_mib(room.available_bytes)} left beside the live and the earlier "
            f"versions, of which {_mib(room.reserve_bytes)} must stay free (setting memory_reserve_bytes); {free}, or "
            "give it more memory"
        )
    return ""


def _mib(count: int) -> str:
    return f"{count / _MIB:,.1f} MiB"


def available_bytes(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int:
    """Return what this machine can still give, or its container where that has a limit and less is left of it."""
    for line in meminfo.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            machine = int(rest.split()[0]) * 1024
            break
    else:
        raise OSError(f"{meminfo} says nothing of MemAvailable")
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        cached = next(
            int(line.split()[1])
            for line in (cgroup / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
    except (FileNotFoundError, NotADirectoryError):  # no container of its own
        return machine
    return machine if limit == "max" else max(0, min(machine, int(limit) - used + cached))
