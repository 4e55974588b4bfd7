"""The data directory: its layout and its one lock. Standard library only."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


class DataDirRefused(Exception):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """Where everything of an embedded server lies."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite registry."""
        return self.root / "registry.db"

    @property
    def blobs(self) -> Path:
        """Immutable bytes by sha256."""
        return self.root / "blobs"

    @property
    def state(self) -> Path:
        """Last-known-good snapshots, backups, the replica's id."""
        return self.root / "state"

    @property
    def runtime_note(self) -> Path:
        """Where the directory of the unix sockets is, while a server runs or after one was killed."""
        return self.root / "state" / "runtime-dir"

    @property
    def uploads(self) -> Path:
        """Uploads in progress; emptied at each start."""
        return self.root / "state" / "uploads"

    @property
    def downloads(self) -> Path:
        """Versions that are put together for somebody; emptied at each start."""
        return self.root / "state" / "downloads"

    def create(self) -> None:
        """Make what is missing; raises DataDirRefused."""
        try:
            for folder in (self.root, self.blobs, self.root / "derived", self.state, self.uploads, self.downloads):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.state / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise DataDirRefused(
                f"the data directory {str(self.root)!r} cannot be written ({error.strerror}); "
                "mend its permissions or choose another with --data"
            ) from error


class DataLock:
    """Holds a data directory against a second server, until close() or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, data: DataDir) -> Self:
        """Take the lock; raises DataDirRefused with the holder's process id."""
        path = data.root / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirRefused(
                f"the lock file {str(path)!r} cannot be opened ({error.strerror}); "
                "mend the data directory or choose another with --data"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise DataDirRefused(f"{str(data.root)!r} cannot be locked ({error.strerror})") from error
            raise DataDirRefused(
                f"the data directory {str(data.root)!r} is in use by the server with process id {holder or '?'}; "
                "stop it or choose another with --data"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
