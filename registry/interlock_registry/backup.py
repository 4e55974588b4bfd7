"""Backups: a registry and every blob that it names, in a directory of their own, and back again.

The database is copied before the blobs. Blobs never change, so whatever the copy names is there to be taken, unless it
was deleted and collected in between: then the copy is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from interlock.errors import DataLoss, StartupRefused, Unavailable

from interlock_registry import disk
from interlock_registry.artifacts import Incoming, LocalArtifactStore
from interlock_registry.manifest import Blob
from interlock_registry.registry import Registry
from interlock_registry.sql import copying

_FORMAT: Final = 1
_BATCH: Final = 64
_ATTEMPTS: Final = 10
"""Each but the first keeps what it copies from being collected: only what goes between two of its steps is missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupDocument:
    """What a backup says of itself; written last, so that a backup without it is not one."""

    format: int
    made_at: str
    program: str
    database: str
    """"file", or "elsewhere" where the operator dumps it."""
    incarnation: str
    epoch: int
    blobs: int
    blob_bytes: int
    trusted_keys: str = ""
    """sha256 of the file of trusted keys, which has it in its name; "" without one."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a backup or a restore has moved."""

    document: BackupDocument
    lost: tuple[str, ...]
    """Digests of blobs that are gone or damaged where they came from."""


class Backup:
    """A directory that holds one backup; a later one into the same directory copies only what is new."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "registry.db"
        self._document = folder / "backup.json"
        self._begun = folder / ".interlock-backup"

    @property
    def store(self) -> LocalArtifactStore:
        """Its blobs."""
        return LocalArtifactStore(self.folder / "blobs")

    @property
    def is_finished(self) -> bool:
        """Whether a backup into it was ever finished."""
        return self._document.exists()

    def read(self) -> BackupDocument:
        """Return what it says of itself; raises StartupRefused where it is none, or none that was finished."""
        try:
            document = BackupDocument(**json.loads(self._document.read_text()))
        except FileNotFoundError as error:
            raise StartupRefused(
                f"{str(self.folder)!r} holds no finished backup; name the directory that `interlock backup` wrote"
            ) from error
        except (OSError, TypeError, ValueError) as error:
            raise StartupRefused(f"{str(self._document)!r} cannot be read: {error}") from error
        if document.format != _FORMAT:
            raise StartupRefused(
                f"the backup {str(self.folder)!r} has format {document.format}, this program reads {_FORMAT}: "
                "restore it with the release that made it"
            )
        return document

    def trusted_keys(self) -> str | None:
        """Return the text of the trusted keys, None where it has none; raises DataLoss, StartupRefused."""
        digest = self.read().trusted_keys
        if not digest:
            return None
        path = self._keys(digest)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise DataLoss(f"the backup's trusted keys {str(path)!r} cannot be read: {error.strerror}") from error
        if hashlib.sha256(text).hexdigest() != digest:
            raise DataLoss(f"the backup's trusted keys {str(path)!r} are damaged: their sha256 is not the name's")
        return text.decode()

    def _keys(self, digest: str) -> Path:
        return self.folder / f"trusted-keys-{digest}.json"

    def check_free(self) -> None:
        """Refuse a directory that holds something else; raises StartupRefused."""
        if self._document.exists() or self._begun.exists():
            return  # one that is there, or was interrupted
        if self.folder.exists() and any(self.folder.iterdir()):
            raise StartupRefused(f"{str(self.folder)!r} is not empty and holds no backup; name another directory")

    def save(
        self,
        registry: Registry,
        url: str,
        source: LocalArtifactStore,
        *,
        program: str,
        trusted_keys: str | None = None,
    ) -> Transfer:
        """Copy a registry and its blobs; a server may be running on them. Raises RegistryUnavailable, StorageFull.

        `trusted_keys` is the text of that file, None where there is none.
        Of a database that is no file only the blobs are copied; it must have been dumped before. What fails half-way
        leaves an earlier backup as it was, and is finished by the next. Raises StartupRefused where another one is
        being written there.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                return self._save(registry, url, source, program=program, trusted_keys=trusted_keys)
        except OSError as error:
            raise disk.failure(error, f"the backup {self.folder}") from error

    def _save(
        self, registry: Registry, url: str, source: LocalArtifactStore, *, program: str, trusted_keys: str | None
    ) -> Transfer:
        target = self.store
        with self._moment(registry, url) as frozen:
            state, blobs = frozen.registry.state(), frozen.blobs
            lost = _move(blobs, source, target)
            for _ in range(_ATTEMPTS - 1):
                if not (lost and frozen.is_copy) or registry.blobs.live_users(lost):
                    break
                frozen.renew()
                state, blobs = frozen.registry.state(), frozen.blobs
                with _held(registry, blobs):
                    lost = _move(blobs, source, target)
            frozen.keep()
        document = BackupDocument(
            format=_FORMAT,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            program=program,
            database="file" if copying.is_file(url) else "elsewhere",
            incarnation=state.incarnation,
            epoch=state.epoch,
            blobs=len(blobs) - len(lost),
            blob_bytes=sum(each.size_bytes for each in blobs if each.digest not in lost),
            trusted_keys="" if trusted_keys is None else hashlib.sha256(trusted_keys.encode()).hexdigest(),
        )
        if trusted_keys is not None:
            _replace(self._keys(document.trusted_keys), trusted_keys)
        _replace(self._document, json.dumps(asdict(document), indent=2) + "\n")
        for path in self.folder.glob("trusted-keys-*"):  # of the backup that was here before
            if path != self._keys(document.trusted_keys):
                path.unlink()
        return Transfer(document, lost)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep another backup out: each would remove the half-made copy of the other."""
        lock = os.open(self._begun, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StartupRefused(
                    f"another backup is being written to {str(self.folder)!r}; wait for it, or name another directory"
                ) from error
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _moment(self, registry: Registry, url: str) -> Iterator[_Frozen]:
        frozen = _Frozen(registry, url if copying.is_file(url) else "", self.database)
        try:
            frozen.renew()
            yield frozen
        finally:
            frozen.close()

    def put_back(self, url: str, database: Path, target: LocalArtifactStore, *, partial: bool) -> Transfer:
        """Put the blobs and then the database back, as a new incarnation; the database appears whole or not at all.

        Raises DataLoss where a blob is gone or damaged, unless `partial`; StartupRefused, StorageFull.
        """
        try:
            return self._put_back(url, database, target, partial=partial)
        except OSError as error:
            raise disk.failure(error, f"the data directory {database.parent}") from error

    def _put_back(self, url: str, database: Path, target: LocalArtifactStore, *, partial: bool) -> Transfer:
        document = self.read()
        if document.database != "file":
            with _opened(url) as registry:
                lost = _put_blobs(registry, self.store, target, partial=partial)
            copying.begin_anew(url)
            return Transfer(document, lost)
        new = database.with_name(f".{database.name}.restored")
        copying.copy_database(_url(self.database), new)
        copying.begin_anew(_url(new))
        with _opened(_url(new)) as registry:
            lost = _put_blobs(registry, self.store, target, partial=partial)
        copying.put_in_place(new, database)
        return Transfer(document, lost)


class _Frozen:
    """A registry as it was at one moment: a copy of its file, or itself where there is none."""

    def __init__(self, live: Registry, url: str, target: Path) -> None:
        self._url = url
        self._target = target
        self._new = target.with_name(f".{target.name}.new")
        self.registry = live
        self.is_copy = bool(url)

    @property
    def blobs(self) -> list[Blob]:
        return list(_live(self.registry))

    def renew(self) -> None:
        """Take the moment anew."""
        if self.is_copy:
            self.close()
            copying.copy_database(self._url, self._new)
            self.registry = Registry.open(_url(self._new), migrate=False)

    def keep(self) -> None:
        """Make the copy the backup's."""
        if self.is_copy:
            self.registry.close()
            copying.put_in_place(self._new, self._target)

    def close(self) -> None:
        """Close the copy and remove it, unless it is kept. Idempotent."""
        if self.is_copy and self._new.exists():
            self.registry.close()
            copying.remove_database(self._new)


@contextmanager
def _held(registry: Registry, blobs: Sequence[Blob]) -> Iterator[None]:
    holder = uuid.uuid4().hex
    registry.blobs.hold(holder, [each.digest for each in blobs])
    try:
        yield
    finally:
        registry.blobs.release(holder)


@contextmanager
def _opened(url: str) -> Iterator[Registry]:
    registry = Registry.open(url, migrate=False)
    try:
        yield registry
    finally:
        registry.close()


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    copying.sync(new)
    new.replace(path)
    copying.sync(path)


def _url(path: Path) -> str:
    return f"sqlite:///{quote(str(path.absolute()))}"


def _live(registry: Registry) -> Iterator[Blob]:
    after = ""
    while found := registry.blobs.live(after=after):
        yield from found
        after = found[-1].digest


def _put_blobs(
    registry: Registry, source: LocalArtifactStore, target: LocalArtifactStore, *, partial: bool
) -> tuple[str, ...]:
    lost = _move(list(_live(registry)), source, target)
    if lost and not partial:
        raise DataLoss(
            f"{len(lost)} blobs of the backup are gone or damaged, {lost[0]} first; nothing that serves was changed. "
            "--partial restores the rest",
            facts={"digest": lost[0]},
        )
    return lost


def _move(blobs: Sequence[Blob], source: LocalArtifactStore, target: LocalArtifactStore) -> tuple[str, ...]:
    """Copy blobs, hashing each on the way; return the digests of those that cannot be had whole."""
    lost: list[str] = []
    for batch in _batched(blobs):
        try:
            target.add_all([Incoming(source.path(each.digest), each.digest) for each in batch])
        except (DataLoss, Unavailable):
            lost += [each.digest for each in batch if not _moved(each, source, target)]
    return tuple(lost)


def _moved(blob: Blob, source: LocalArtifactStore, target: LocalArtifactStore) -> bool:
    try:
        source.verify(blob)
        target.add(source.path(blob.digest), sha256=blob.digest)
    except DataLoss:
        return False
    except Unavailable:
        if source.has(blob.digest):
            raise
        return False  # collected just now
    return True


def _batched(blobs: Sequence[Blob]) -> Iterator[Sequence[Blob]]:
    return (blobs[at : at + _BATCH] for at in range(0, len(blobs), _BATCH))
