"""SIGHUP, on the supervisor's side: have the settings read again, and tell the children. Standard library only.

A fresh interpreter reads flags, variables and file as the start did, for the supervisor imports no parser that a file
could break. Its outcome is one file; the children read the settings from another one, which is replaced whole.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Final

log = logging.getLogger("interlock.supervisor")

_READER: Final = "interlock_server.reloading"
_READ_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What `interlock serve` was called with, to be read again."""

    flags: dict[str, str | int | float | bool] = field(default_factory=dict)
    config: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of reading the settings again."""

    settings_json: str = ""
    """The settings from now on; "" where nothing changes."""
    refused: str = ""
    """Why the old ones stay."""
    changed: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    """Settings that were changed but need a restart; their old values stay."""


def current_settings(runtime_dir: str) -> str:
    """Return the path of the file that holds the settings as they were reloaded last."""
    return os.path.join(runtime_dir, "settings.json")


class Reload:
    """One reading of the settings, in a process of its own."""

    def __init__(self, launch: Launch, settings_json: str, runtime_dir: str) -> None:
        """Start it from the main thread; its end is noticed by SIGCHLD."""
        self._path = os.path.join(runtime_dir, "reload.json")
        self._deadline = time.monotonic() + _READ_WITHIN_S
        self._process = subprocess.Popen(
            [sys.executable, "-m", _READER, self._path], stdin=subprocess.PIPE, process_group=0
        )
        assert self._process.stdin is not None
        handed = json.dumps({"launch": asdict(launch), "settings": json.loads(settings_json)})
        try:
            self._process.stdin.write(handed.encode())
            self._process.stdin.close()
        except BrokenPipeError:
            log.warning("the reader of the settings died before it knew what to read")

    def outcome(self) -> Outcome | None:
        """Return how it ended; None while it runs."""
        status = self._process.poll()
        if status is None:
            if time.monotonic() < self._deadline:
                return None
            self.close()
            return Outcome(refused=f"they were not read within {_READ_WITHIN_S:g} s")
        if status != 0:
            return Outcome(refused=f"the process that reads them ended with status {status}")
        with open(self._path, "rb") as file:
            found = json.load(file)
        os.unlink(self._path)
        return Outcome(found["settings_json"], found["refused"], tuple(found["changed"]), tuple(found["fixed"]))

    def close(self) -> None:
        """End it. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def publish(settings_json: str, runtime_dir: str) -> None:
    """Put settings where the children look for them when SIGHUP comes."""
    path = current_settings(runtime_dir)
    new = f"{path}.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(settings_json)
    os.replace(new, path)
