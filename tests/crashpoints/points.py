"""Which system calls a change makes on its files, counted by strace, and a run that fails at one of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CALLS: Final = (
    *("write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "link", "linkat"),
    *("fchmod", "chmod", "fchmodat"),
)
_NAMES: Final = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "fchmod", "chmod")
FAULTS: Final = {
    "SIGKILL": CALLS,
    "EIO": ("fsync", "fdatasync", "write", "pwrite64"),
    "ENOSPC": ("write", "pwrite64", "ftruncate", "fallocate", "mkdir"),
    "EROFS": _NAMES,
}
"""What may go wrong, and at which calls."""
_LINE: Final = re.compile(r"(\d+) +(\w+)\((.*)")
_TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True)
class Point:
    """A moment in an operation: the n-th such call of whichever thread comes to it first."""

    call: str
    number: int
    fault: str

    @property
    def injection(self) -> str:
        """How strace is told."""
        what = "signal=KILL" if self.fault == "SIGKILL" else f"error={self.fault}"
        return f"inject={self.call}:{what}:when={self.number}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: int
    """Negative: the signal."""
    said: str
    stderr: str


def points(operation: str, folder: Path, trace: Path) -> list[Point]:
    """Perform an operation once, whole, and return every point of it."""
    outcome = _run(operation, folder, [*_strace(trace), "-y", "-e", f"trace={','.join(CALLS)}"])
    assert outcome.status == 0 and outcome.said.startswith("acknowledged"), outcome
    found = sorted(set(_touching(folder, trace.read_text().splitlines())))
    return [Point(call, number, fault) for fault, calls in FAULTS.items() for call, number in found if call in calls]


def run_to(point: Point, operation: str, folder: Path, trace: Path) -> Outcome:
    """Perform an operation and have it fail at a point."""
    return _run(operation, folder, [*_strace(trace), "-e", f"trace={point.call}", "-e", point.injection])


def run(operation: str, folder: Path) -> Outcome:
    """Perform an operation with nothing in its way."""
    return _run(operation, folder, [])


def perform_under(strace: Sequence[str], operation: str, folder: Path) -> Outcome:
    """Perform an operation, watched."""
    return _run(operation, folder, list(strace))


def _touching(folder: Path, lines: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the calls on files below a folder, numbered as strace does: for each thread by itself."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        thread, call, arguments = found.groups()
        counts[thread, call] += 1
        if str(folder) in arguments:
            yield call, counts[thread, call]


def _strace(trace: Path) -> list[str]:
    return ["strace", "-f", "-qq", "-o", str(trace)]


def _run(operation: str, folder: Path, before: list[str]) -> Outcome:
    done = subprocess.run(
        [*before, sys.executable, "-B", "-m", "tests.crashpoints.operations", operation, str(folder)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
