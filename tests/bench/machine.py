"""Where figures were taken, and what processes cost: a number without its machine means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
import interlock
import onnxruntime

_CPUCLOCK_SCHED: Final = 2
"""The kernel's clock of a process's processor time: nanoseconds, where /proc tells hundredths of a second."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_DISTURBING: Final = 0.2
"""Cores of other work from which on latency is theirs as much as ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a run ran on."""

    taken: str
    commit: str
    processor: str
    cores: int
    load_average: float
    """Over the minute before the run: other work on this machine makes figures worse."""
    kernel: str
    python: str
    interlock: str
    grpcio: str
    onnxruntime: str


def this_machine() -> Machine:
    """Look at the machine before a run."""
    return Machine(
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        load_average=os.getloadavg()[0],
        kernel=platform.release(),
        python=platform.python_version(),
        interlock=interlock.__version__,
        grpcio=grpc.__version__,
        onnxruntime=str(onnxruntime.__version__),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Return the commit of the checkout, "" where there is none."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Busy:
    """Processor seconds used up to a moment: by the whole machine, and by us."""

    at: float
    machine_s: float
    ours_s: float


def busy(pids: Sequence[int]) -> Busy:
    """Look at how busy the machine is, and these processes on it."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return Busy(time.monotonic(), (sum(fields) - idle) / _TICKS, cpu_s(pids))


def others_cores(before: Busy, after: Busy) -> float:
    """Return how many cores other work (and the hypervisor) took meanwhile: what spoils a measurement."""
    others_s = (after.machine_s - before.machine_s) - (after.ours_s - before.ours_s)
    return max(0.0, others_s / (after.at - before.at))


def warning(cores: float) -> str:
    """Say so where other work took so much that figures of time mean little; "" where it did not."""
    if cores <= _DISTURBING:
        return ""
    return f"other work took up to {cores:.2f} of this machine's cores meanwhile: times are worse than the server's"


def family(pid: int) -> list[int]:
    """Return a process and all of its descendants."""
    found = [pid]
    for each in found:
        with suppress(FileNotFoundError, ProcessLookupError):  # it or a thread of it ended meanwhile
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """Return the processor seconds, user and system, that processes have used so far."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):  # it died meanwhile: that shows in the answers, and must not end the measurement
            total += time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    return total
