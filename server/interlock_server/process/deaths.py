"""Records of children that did not end well: how, and what they were running. Standard library only.

The supervisor writes them, one small file each, and the control process reads them: also one that was started after.
They go with the runtime directory when the server stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Final

from interlock_server.process import notes
from interlock_server.process.notes import Note

_MOST_KEPT: Final = 64
_SUFFIX: Final = ".death.json"


@dataclass(frozen=True, slots=True)
class Death:
    """One process that ended, or was ended because it hung."""

    name: str
    pid: int
    status: int
    """As a negative signal number, or an exit status."""
    at: float
    """On the monotonic clock, which all processes of a machine share."""
    running: tuple[Note, ...]
    cause: str = ""
    """Why it was killed, by whoever did so knowingly; "" where it ended by itself."""


def notes_path(runtime_dir: str, name: str) -> str:
    """Return where a worker notes what it runs."""
    return os.path.join(runtime_dir, f"{name}.notes")


def record(runtime_dir: str, name: str, pid: int, status: int, cause: str = "") -> Death:
    """Keep what is known of a process that has just been reaped, and why it was killed; raises OSError."""
    path = notes_path(runtime_dir, name)
    try:
        running = notes.read(path)
        os.unlink(path)
    except FileNotFoundError:
        running = ()
    death = Death(name, pid, status, time.monotonic(), running, cause)
    write(runtime_dir, death)
    return death


def write(runtime_dir: str, death: Death) -> None:
    """Keep a record, and not too many of them; raises OSError."""
    suffix = f".killed{_SUFFIX}" if death.cause else _SUFFIX
    path = os.path.join(runtime_dir, f"{death.at:020.6f}-{death.name}-{death.pid}{suffix}")
    with open(f"{path}.new", "w") as file:
        json.dump(asdict(death), file)
    os.replace(f"{path}.new", path)
    for name in _names(runtime_dir)[:-_MOST_KEPT]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(runtime_dir, name))


def read(runtime_dir: str) -> tuple[Death, ...]:
    """Return what is kept, oldest first; raises OSError."""
    found: list[Death] = []
    for name in _names(runtime_dir):
        try:
            with open(os.path.join(runtime_dir, name)) as file:
                told = json.load(file)
        except FileNotFoundError:  # dropped meanwhile, as one of too many
            continue
        running = tuple(Note(each["version"], tuple(each["parts"]), each["whole"]) for each in told.pop("running"))
        found.append(Death(**told, running=running))
    return tuple(found)


def forget(runtime_dir: str, version: str) -> None:
    """Drop the records of deaths in which a version was running; raises OSError."""
    for name, death in zip(_names(runtime_dir), read(runtime_dir), strict=False):
        if any(note.version == version for note in death.running):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(runtime_dir, name))


def _names(runtime_dir: str) -> list[str]:
    return sorted(name for name in os.listdir(runtime_dir) if name.endswith(_SUFFIX))
