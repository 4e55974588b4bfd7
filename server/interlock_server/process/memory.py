"""Whether the kernel killed a process for want of memory: it counts those kills, and says so nowhere else.

Standard library only.
"""

from __future__ import annotations

import os
import re
import signal
from typing import Final

KILLED: Final = "killed by the kernel, as there was no memory left"
_COUNT: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class MemoryWatch:
    """Remembers how many processes the kernel has killed for want of memory: in this cgroup, else on this machine."""

    def __init__(self, proc: str = "/proc", cgroups: str = "/sys/fs/cgroup") -> None:
        self._path = _counter(proc, cgroups)
        self._before = self._count()

    def why_killed(self, status: int) -> str:
        """Say why a process ended with a status; "" where it was not for want of memory."""
        now = self._count()
        more, self._before = now > self._before, now
        return KILLED if more and status == -signal.SIGKILL else ""

    def _count(self) -> int:
        try:
            with open(self._path) as file:
                found = _COUNT.search(file.read())
        except OSError:  # a kernel that does not count
            return 0
        return int(found[1]) if found else 0


def _counter(proc: str, cgroups: str) -> str:
    """Return the file that counts the kills nearest to this process."""
    try:
        with open(os.path.join(proc, "self/cgroup")) as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    candidates: list[str] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if not controllers:
            candidates += [os.path.join(cgroups, inside, "memory.events"), os.path.join(cgroups, "memory.events")]
        elif "memory" in controllers.split(","):
            # In a container the path may be the host's, and the mount the container's own group.
            candidates += [
                os.path.join(cgroups, "memory", inside, "memory.oom_control"),
                os.path.join(cgroups, "memory", "memory.oom_control"),
            ]
    for each in candidates:
        try:
            with open(each) as file:
                if _COUNT.search(file.read()):
                    return each
        except OSError:
            continue
    return os.path.join(proc, "vmstat")
