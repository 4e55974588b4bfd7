"""How many cores this process may use: by its affinity, and by the CPU quota of its control groups.

Python and ONNX Runtime know of the first only, as of 3.11 and 1.31. Threads beyond the quota use it up the sooner: then
all of them, the one that takes calls too, stand still for the rest of the period, which is 100 ms as a rule.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Cores:
    """What a process may use of the machine's cores."""

    allowed: int
    """By its affinity."""
    quota: float | None = None
    """How many cores' time its control groups give it; None: any."""

    @property
    def whole(self) -> int:
        """How many threads can run all the time; 1 at least."""
        return self.allowed if self.quota is None else max(1, min(self.allowed, math.floor(self.quota)))


@dataclass(frozen=True, slots=True)
class Threads:
    """How many threads the runs of a version have in a worker, and why."""

    count: int
    reason: str


def threads(cores: Cores, workers: int, asked: int) -> Threads:
    """Share out the cores among so many workers; `asked` is the setting intra_op_threads, 0 where it says nothing."""
    if asked:
        return Threads(asked, "the setting intra_op_threads")
    seen = f"{cores.allowed} core{'s' if cores.allowed > 1 else ''}"
    if cores.quota is not None and cores.quota < cores.allowed:
        seen += f", of whose time the CPU quota gives {cores.quota:g}"
    return Threads(max(1, cores.whole // workers), f"{seen}, for {workers} workers" if workers > 1 else seen)


def quota(limit: str, period: str) -> float | None:
    """Read a limit on processor time and its period, as the kernel writes them; None where there is none."""
    try:
        # "max" in the second version of control groups, -1 in the first.
        given, of = int(limit), int(period)
    except ValueError:
        return None
    return given / of if given > 0 and of > 0 else None


def quota_files(groups: str) -> Sequence[tuple[PurePosixPath, ...]]:
    """Return where the limits of a process are told that is in these groups (the text of /proc/self/cgroup).

    Paths are relative to where control groups are mounted; one path is of the second version's file, two are of the
    first's limit and period. A limit above counts for all that is below it. In a container the groups' paths may be the
    host's, and what is mounted the container's own group: its files are at the top then.
    """
    found: list[tuple[PurePosixPath, ...]] = []
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            if not controllers:
                found.append((group / "cpu.max",))
            elif "cpu" in controllers.split(","):
                folder = PurePosixPath("cpu") / group
                found.append((folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"))
    return tuple(dict.fromkeys(found))


def usable(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> Cores:
    """Return what this process may use now."""
    try:
        groups = (proc / "self" / "cgroup").read_text()
    except OSError:  # a kernel without control groups
        groups = ""
    found = [_quota(cgroups, files) for files in quota_files(groups)]
    return Cores(len(os.sched_getaffinity(0)), min((each for each in found if each is not None), default=None))


def _quota(cgroups: Path, files: Sequence[PurePosixPath]) -> float | None:
    try:
        words = " ".join((cgroups / each).read_text() for each in files).split()
    except OSError:  # the top has no limits; another version's files; what is outside the container
        return None
    return quota(words[0], words[1]) if len(words) == 2 else None
