"""`fsck`: hold the registry and the bytes in its store against the rules, and repair what loses nothing by it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Final

from interlock.errors import DataLoss, Unavailable

from interlock_registry import fsck
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.fsck import Finding, Repair
from interlock_registry.garbage import FileKind
from interlock_registry.manifest import Blob
from interlock_registry.registry import Registry

_PAGE: Final = 500


class Checker:
    """Checks one registry with its artifact store. A server may be running on them while nothing is repaired."""

    def __init__(self, registry: Registry, store: LocalArtifactStore, *, actor: str) -> None:
        """Take the parts; `actor` is who marks blobs as damaged or whole in the history."""
        self._registry = registry
        self._store = store
        self._actor = actor

    def check(self, *, read_blobs: bool = True, pace: Callable[[int], None] = lambda count: None) -> Iterator[Finding]:
        """Yield what is not as it must be; without `read_blobs` the blobs' sizes are checked and not their bytes.

        `pace` is called with the count of bytes of each piece that was read. Raises RegistryUnavailable, and OSError
        where the directory of the store cannot be read.
        """
        yield from self._registry.findings()
        files = tuple(self._store.files())
        for file in files:
            yield from fsck.check_file(file)
        sizes = {file.name: file.size_bytes for file in files if file.kind is FileKind.BLOB}
        marked = self._registry.blobs.damaged()
        whole: set[str] = set()
        broken: set[str] = set()
        for blob in self._live():
            try:
                if read_blobs or sizes.get(blob.digest) != blob.size_bytes:
                    self._store.verify(blob, pace=pace)
                    whole.add(blob.digest)
            except DataLoss as error:
                users = self._registry.blobs.live_users([blob.digest])
                if users:  # else it was deleted and collected since the list was made
                    broken.add(blob.digest)
                    yield fsck.damaged(blob.digest, error.message, users, known=blob.digest in marked)
            except Unavailable as error:
                broken.add(blob.digest)
                yield fsck.unread(blob.digest, error.message)
        needed = self._registry.blobs.referenced(list(sizes))
        for digest in marked:
            if digest in whole or (digest not in broken and digest not in needed):
                yield fsck.stale_mark(digest)
        yield from fsck.unneeded(files, needed | self._registry.blobs.held(list(sizes)))

    def repair(self, finding: Finding) -> bool:
        """Do what loses nothing; False where only people can. Only while no server runs on the data directory."""
        request_id = uuid.uuid4().hex
        blobs = self._registry.blobs
        match finding.repair:
            case None:
                return False
            case Repair.MARK:
                blobs.mark_damaged(finding.subject, finding.what, actor=self._actor, request_id=request_id)
            case Repair.CLEAR:
                blobs.mend([finding.subject], actor=self._actor, request_id=request_id)
            case Repair.REMOVE:
                self._store.drop(file for file in self._store.files() if file.name == finding.subject)
            case Repair.PUT_BACK:
                self._store.put_back()
            case Repair.RELEASE:
                blobs.expire()
            case Repair.INDEX:
                blobs.index_again(finding.subject)
            case Repair.PROTECT:
                self._store.protect(finding.subject)
        return True

    def _live(self) -> Iterator[Blob]:
        after = ""
        while page := self._registry.blobs.live(after=after, limit=_PAGE):
            yield from page
            after = page[-1].digest
