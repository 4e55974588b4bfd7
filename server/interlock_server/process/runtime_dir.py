"""The directory of the unix sockets: made at each start, locked while it is used, swept if it was left behind.

Standard library only. A supervisor that is killed cannot remove it; the next one on the same data directory does.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final, Self

from interlock_server.process.boot import switch_socket, worker_socket

log = logging.getLogger("interlock.supervisor")

_PREFIX: Final = "interlock-"
_LOCK: Final = "lock"
_MAX_SOCKET_PATH: Final = 107


class RuntimeDirRefused(Exception):
    """There is no place for the unix sockets; the message says why and what to do."""


class RuntimeDir:
    """A directory for this server alone, until close() or the end of the process."""

    def __init__(self, path: str, lock: int, note: Path) -> None:
        self.path: Final = path
        self._lock = lock
        self._note = note

    @classmethod
    def make(cls, workers: int, note: Path, *, parent: Path | None = None) -> Self:
        """Make one, and write its path into `note`, of which the caller is the only user; raises RuntimeDirRefused.

        What `note` named before is removed if nobody uses it any more. `parent` is by default the system's directory
        for temporary files.
        """
        _sweep(note)
        try:
            made = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        except OSError as error:
            raise RuntimeDirRefused(f"no temporary directory can be made ({error}); set TMPDIR to one") from error
        longest = switch_socket(worker_socket(made, workers - 1))
        if len(os.fsencode(longest)) > _MAX_SOCKET_PATH:
            os.rmdir(made)
            raise RuntimeDirRefused(
                f"the socket {longest!r} would have too long a path (unix allows {_MAX_SOCKET_PATH} bytes); "
                "set TMPDIR to a directory with a shorter name"
            )
        lock = os.open(os.path.join(made, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            note.write_text(made)
        except OSError as error:
            log.warning("a kill -9 would leave %s behind: %s cannot be written (%s)", made, note, error)
        return cls(made, lock, note)

    def close(self) -> None:
        """Remove it. Idempotent."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1
        with contextlib.suppress(OSError):
            self._note.unlink()


def _sweep(note: Path) -> None:
    """Remove what a supervisor that was killed has left, be it only surely ours and surely unused."""
    try:
        path = note.read_text()
    except (OSError, UnicodeDecodeError):
        return
    if not os.path.basename(path).startswith(_PREFIX):
        return
    try:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return
        lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # it has gone, or is none of ours
        return
    try:
        # The data directory may be a copy, and its original's server live: then the lock is held.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    else:
        shutil.rmtree(path, ignore_errors=True)
        log.info("removed %s, which a server that was killed had left", path)
    finally:
        os.close(lock)
