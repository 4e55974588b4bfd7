"""Where the bytes are: one flat directory of immutable blobs, each named by its sha256.

A blob appears under its name whole and synced or not at all, and is never overwritten, truncated or linked: a process
may have it mapped. Only files whose names begin with a dot are unfinished.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from interlock.errors import DataLoss, InterlockError

from interlock_registry import disk
from interlock_registry.garbage import CONDEMNED, FileKind, StoredFile
from interlock_registry.manifest import Blob, checked_digest

_CHUNK: Final = 1 << 20
_WRITERS: Final = 4
"""Files that are hashed and synced at a time: a disk takes several syncs in one go."""
_TEMPORARY: Final = ".incoming-"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that is to become a blob."""

    path: Path
    sha256: str


class LocalArtifactStore:
    """Blobs in a directory of this machine. Any thread or process may add; nobody changes."""

    def __init__(self, root: Path) -> None:
        """Use `root`, which is made (0700, with its parents) where it is not there."""
        self._root = root
        missing = [each for each in (root, *root.parents) if not each.exists()]
        for directory in reversed(missing):
            directory.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(directory.parent)
        if missing:
            root.chmod(0o700)

    def path(self, digest: str) -> Path:
        """Return where the blob of that digest is, or would be; raises InvalidArgument."""
        return self._root / checked_digest(digest)

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there; `verify` tells whether it is whole."""
        return self.path(digest).is_file()

    def add(self, source: Path, *, sha256: str, consume: bool = False) -> Blob:
        """Store the bytes of a file; as `add_all`."""
        return self.add_all([Incoming(source, sha256)], consume=consume)[0]

    def add_all(self, sources: Sequence[Incoming], *, consume: bool = False) -> tuple[Blob, ...]:
        """Store the bytes of files; they are all durable when this returns.

        They are hashed again on the way, and what is there already is not written twice. With `consume` the file
        itself becomes the blob where it is on the same filesystem, and is gone afterwards in any case.
        Raises DataLoss where the bytes are not those of `sha256`, StorageFull, Unavailable.
        """
        for each in sources:
            checked_digest(each.sha256)
        try:
            with ThreadPoolExecutor(min(_WRITERS, max(1, len(sources))), thread_name_prefix="blob") as pool:
                added = tuple(pool.map(lambda each: self._place(each, consume=consume), sources))
            # Also for blobs that were there: whoever wrote them may have died before this.
            _sync_directory(self._root)
            if consume:
                for each in sources:
                    each.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(error) from error
        return added

    def add_bytes(self, data: bytes) -> Blob:
        """Store bytes; they are durable when this returns. Raises StorageFull, Unavailable."""
        source = self._root / f"{_TEMPORARY}{uuid.uuid4().hex}"
        try:
            try:
                source.write_bytes(data)
                return self.add(source, sha256=hashlib.sha256(data).hexdigest(), consume=True)
            finally:
                source.unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(error) from error

    def verify(self, blob: Blob, *, pace: Callable[[int], None] = lambda count: None) -> None:
        """Read a blob and compare it with its name and size; raises DataLoss, Unavailable.

        `pace` is called with the bytes of each piece that was read, and may take its time.
        """
        path = self.path(blob.digest)
        try:
            size = path.stat().st_size
            if size != blob.size_bytes:
                raise _damaged(blob.digest, f"it has {size} bytes, not {blob.size_bytes}")
            found, _ = _hash(path, pace)
        except FileNotFoundError as error:
            raise _damaged(blob.digest, "its file is gone") from error
        except OSError as error:
            if error.errno in disk.DAMAGED:
                raise _damaged(blob.digest, f"the disk cannot read it ({error.strerror})") from error
            raise self._failure(error) from error
        if found != blob.digest:
            raise _damaged(blob.digest, f"its bytes have the sha256 {found}")

    def files(self) -> Iterator[StoredFile]:
        """Yield every file that is there, in no order; what disappears meanwhile may be left out."""
        with os.scandir(self._root) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield StoredFile(
                    name=entry.name,
                    kind=_kind(entry.name) if stat.S_ISREG(found.st_mode) else FileKind.UNKNOWN,
                    size_bytes=found.st_size,
                    changed_at=datetime.fromtimestamp(found.st_mtime, UTC),
                    inode=found.st_ino,
                    mode=stat.S_IMODE(found.st_mode),
                    links=found.st_nlink,
                )

    def condemn(self, file: StoredFile) -> bool:
        """Take a blob out of use at once; False where it is another file by now. A second time it does nothing.

        Only where nobody can begin to rely on the blob meanwhile. Until it is dropped it can be put back.
        """
        path, condemned = self.path(file.digest), self._condemned(file.digest)
        try:
            if path.stat(follow_symlinks=False).st_ino != file.inode:
                return False
            path.rename(condemned)
        except FileNotFoundError:
            return condemned.exists()
        except OSError as error:
            raise self._failure(error) from error
        return True

    def put_back(self) -> int:
        """Undo what condemned blobs and never dropped them; returns how many are back. Idempotent.

        Whoever did has failed or died, and nobody knows whether his transaction, by which the blobs were garbage, was
        committed. If it was, they are garbage still and the next collection takes them. It never waits for anybody and
        may run beside a collection, which then leaves that garbage to the next one.
        """
        back = 0
        try:
            for file in [each for each in self.files() if each.kind is FileKind.CONDEMNED]:
                condemned = self._root / file.name
                with suppress(FileNotFoundError, FileExistsError):  # dropped, or written anew, just now
                    os.link(condemned, self.path(file.digest), follow_symlinks=False)
                    back += 1
                condemned.unlink(missing_ok=True)
            if back:
                _sync_directory(self._root)
        except OSError as error:
            raise self._failure(error) from error
        return back

    def protect(self, digest: str) -> None:
        """Make a blob read-only again."""
        try:
            self.path(digest).chmod(0o400)
        except OSError as error:
            raise self._failure(error) from error

    def drop(self, files: Iterable[StoredFile]) -> None:
        """Remove unfinished files, and blobs that are condemned, for good. Idempotent."""
        try:
            for file in files:
                unfinished = file.kind is FileKind.INCOMING
                path = self._root / file.name if unfinished else self._condemned(file.digest)
                path.unlink(missing_ok=True)
            _sync_directory(self._root)
        except OSError as error:
            raise self._failure(error) from error

    def _condemned(self, digest: str) -> Path:
        return self._root / f"{CONDEMNED}{checked_digest(digest)}"

    def sweep_temporary(self, *, older_than_s: float = 0.0) -> int:
        """Remove what crashed writes left behind; returns how many files.

        Only what nobody writes any more: files of that age, or all of them before anybody adds.
        """
        unfinished = (each for each in self._root.iterdir() if each.name.startswith(_TEMPORARY))
        leftovers = [each for each in unfinished if not older_than_s or _age_s(each) >= older_than_s]
        for each in leftovers:
            each.unlink(missing_ok=True)
        return len(leftovers)

    def _place(self, incoming: Incoming, *, consume: bool) -> Blob:
        source, sha256 = incoming.path, incoming.sha256
        target = self.path(sha256)
        temporary = self._root / f"{_TEMPORARY}{uuid.uuid4().hex}"
        try:
            if self._is_whole(target):
                size = self._check_source(source, sha256)
            elif consume and source.stat(follow_symlinks=False).st_dev == self._root.stat().st_dev:
                size = self._check_source(source, sha256)
                source.rename(temporary)
                _seal(temporary)
                temporary.rename(target)
            else:
                size = _copy(source, temporary, sha256)
                _seal(temporary)
                temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)
        return Blob(digest=sha256, size_bytes=size)

    def _is_whole(self, target: Path) -> bool:
        # A damaged blob is replaced by the whole bytes that are at hand; who has the old one mapped keeps it.
        try:
            return target.is_file() and _hash(target)[0] == target.name
        except OSError as error:
            if error.errno in disk.DAMAGED:
                return False
            raise

    def _check_source(self, source: Path, sha256: str) -> int:
        found, size = _hash(source)
        if found != sha256:
            raise _mismatch(source, found, sha256)
        return size

    def _failure(self, error: OSError) -> InterlockError:
        return disk.failure(error, f"the artifact store {self._root}")


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # finished just now
        return 0.0


def _kind(name: str) -> FileKind:
    if _DIGEST.fullmatch(name):
        return FileKind.BLOB
    if name.startswith(_TEMPORARY):
        return FileKind.INCOMING
    was = name.removeprefix(CONDEMNED)
    return FileKind.CONDEMNED if was != name and _DIGEST.fullmatch(was) else FileKind.UNKNOWN


def _copy(source: Path, temporary: Path, sha256: str) -> int:
    hasher = hashlib.sha256()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as sink:

        def take(chunk: memoryview) -> None:
            hasher.update(chunk)
            _write_all(sink.fileno(), chunk)

        size = _read(source, take)
    if hasher.hexdigest() != sha256:
        raise _mismatch(source, hasher.hexdigest(), sha256)
    return size


def _write_all(descriptor: int, chunk: memoryview) -> None:
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


def _hash(path: Path, pace: Callable[[int], None] = lambda count: None) -> tuple[str, int]:
    hasher = hashlib.sha256()

    def take(chunk: memoryview) -> None:
        hasher.update(chunk)
        pace(len(chunk))

    size = _read(path, take)
    return hasher.hexdigest(), size


def _read(path: Path, take: Callable[[memoryview], None]) -> int:
    size = 0
    buffer = memoryview(bytearray(_CHUNK))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            take(buffer[:count])
            size += count
    return size


def _seal(path: Path) -> None:
    """Make a file durable and read-only. After a failed fsync its pages are lost, so nobody may try twice."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o400)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mismatch(source: Path, found: str, sha256: str) -> DataLoss:
    return DataLoss(
        f"the bytes of {source.name} changed on the way: they have the sha256 {found}, not {sha256}; send them again",
        facts={"found": found, "expected": sha256},
    )


def _damaged(digest: str, why: str) -> DataLoss:
    return DataLoss(
        f"blob {digest} is damaged: {why}; register the same file again or restore a backup", facts={"digest": digest}
    )
