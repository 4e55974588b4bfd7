"""The last snapshot that was good, on disk: a restart with the database down still serves.

The file is a line with the digest of the rest, and the snapshot as a protobuf message. Two generations are kept, so
that a crash while writing leaves the one before.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from interlock.v1 import worker_pb2

from interlock_server.snapshot import Snapshot
from interlock_server.snapshot_wire import snapshot_message, snapshot_value

log = logging.getLogger("interlock.lkg")

_MAGIC: Final = b"interlock-snapshot-1 "


class LastKnownGood:
    """Keeps the newest snapshot and the one before."""

    def __init__(self, folder: Path, database: str = "") -> None:
        """Take where the files are, and which database is served from: "" takes a snapshot of any."""
        self._folder = folder
        self._database = database
        self._current = folder / "last-known-good"
        self._previous = folder / "last-known-good.previous"
        self._refused: tuple[str, ...] = ()
        # A save whose waiting task was cancelled goes on; the next one must not write the same file beside it.
        self._writing = threading.Lock()

    @property
    def exists(self) -> bool:
        """Whether anything was ever saved."""
        return self._current.exists() or self._previous.exists()

    @property
    def foreign(self) -> str:
        """The database that the newest whole snapshot is of, where that is another; "" where it is not, or unknown."""
        found = next(self._whole(), None)
        return "" if found is None or self._is_ours(found) else found.database

    @property
    def refused(self) -> tuple[str, ...]:
        """Why snapshots that were there could not be taken; nothing since the last one that was saved."""
        return self._refused

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot so that a crash leaves it or its predecessor whole; raises OSError."""
        message = snapshot_message(snapshot)
        message.database = self._database
        body = message.SerializeToString(deterministic=True)
        with self._writing:
            self._write(body)
        self._refused = ()

    def _write(self, body: bytes) -> None:
        temporary = self._folder / ".last-known-good.new"
        with temporary.open("wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        if self._current.exists():
            os.replace(self._current, self._previous)
        os.replace(temporary, self._current)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load(self) -> Snapshot | None:
        """Return the newest snapshot that is whole and of this database, or None."""
        for message in self._whole():
            if not self._is_ours(message):
                self._refuse(
                    f"a last-known-good snapshot is of {message.database}, and not of {self._database}, which the "
                    "settings name: it is not served. Start with the database that it is of, or see that this one can "
                    "be reached"
                )
                continue
            try:
                return snapshot_value(message)
            except ValueError as error:
                self._refuse(f"a last-known-good snapshot is of another version of this program: {error}")
        return None

    def _refuse(self, why: str) -> None:
        log.error("%s", why)
        if why not in self._refused:
            self._refused += (why,)

    def _is_ours(self, message: worker_pb2.Snapshot) -> bool:
        """Take what does not say where it is from, as earlier releases wrote it, for ours."""
        return not (self._database and message.database) or message.database == self._database

    def _whole(self) -> Iterator[worker_pb2.Snapshot]:
        """Yield the snapshots that can be read, the newest first."""
        for path in (self._current, self._previous):
            try:
                head, _, body = path.read_bytes().partition(b"\n")
            except FileNotFoundError:
                continue
            except OSError as error:
                self._refuse(f"{path.name} cannot be read and is ignored: {error}")
                continue
            if head == _MAGIC + hashlib.sha256(body).hexdigest().encode():
                try:
                    yield worker_pb2.Snapshot.FromString(body)
                except DecodeError as error:
                    self._refuse(f"{path.name} is of another version of this program: {error}")
            else:
                self._refuse(f"{path.name} is damaged and ignored")
