"""Garbage collection: find the files that nobody needs, and remove those whose grace period is over.

It is safe beside running servers and registrations: `inventory` has the argument, `garbage` the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.domain import Attempt
from interlock_registry.garbage import Cause, FileKind, Garbage, judge
from interlock_registry.inventory import Inventory

GRACE_S: Final = 24 * 3600.0
"""Longer than any upload, and than a backup of the registry takes: one that is restored finds its blobs."""

_BATCH: Final = 64
"""Blobs taken away in one transaction: nobody waits for it longer than for some dozens of renames."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at the artifact store found."""

    due: tuple[Garbage, ...]
    """What may go now."""
    waiting: tuple[Garbage, ...]
    """What may go when its grace period is over."""
    kept: int
    """How many blobs are needed."""
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed."""

    removed: tuple[Garbage, ...]
    spared: tuple[Garbage, ...]
    """What was garbage at the survey and is needed again, or written anew."""


class Collector:
    """Collects the garbage of one artifact store; every call blocks."""

    def __init__(
        self,
        blobs: Inventory,
        store: LocalArtifactStore,
        *,
        grace_s: float = GRACE_S,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Take the registry's view of the blobs and the store; `grace_s` is how long garbage is left alone."""
        self._blobs = blobs
        self._store = store
        self._grace_s = grace_s
        self._clock = clock

    def survey(self) -> Survey:
        """Look what is garbage; changes nothing. Raises RegistryUnavailable, Unavailable."""
        # The files first: what is stored after this look is not in it, whatever the registry says by then.
        files = tuple(self._store.files())
        names = [file.digest for file in files if file.is_blob]
        referenced = self._blobs.referenced(names)
        loose = [name for name in names if name not in referenced]
        garbage = judge(
            files,
            referenced=referenced,
            held=self._blobs.held(loose),
            last_uses=self._blobs.last_uses(loose),
            grace_s=self._grace_s,
        )
        now = self._clock()
        kept = [file for file in files if file.kind is FileKind.BLOB and file.name in referenced]
        return Survey(
            due=tuple(each for each in garbage if each.due <= now),
            waiting=tuple(each for each in garbage if each.due > now),
            kept=len(kept),
            kept_bytes=sum(file.size_bytes for file in kept),
        )

    def collect(self, attempt: Attempt) -> Collected:
        """Remove what may go now, with an event for each part of it; a second run finishes what was interrupted.

        Blobs are taken away inside the transaction that finds that nobody needs them, and dropped when it is committed.
        Where that fails they are put back: the database may have let go of the lock without our knowing.
        """
        self._store.put_back()
        due = self.survey().due
        leftovers = [each for each in due if each.cause is Cause.UNFINISHED]
        self._store.drop(each.file for each in leftovers)
        removed: list[Garbage] = list(leftovers)
        blobs = [each for each in due if each.cause is not Cause.UNFINISHED]
        for start in range(0, len(blobs), _BATCH):
            batch = blobs[start : start + _BATCH]
            try:
                taken = set(self._blobs.condemn(attempt, [each.file for each in batch], self._store.condemn))
            except BaseException:
                self._store.put_back()
                raise
            self._store.drop(taken)
            removed += [each for each in batch if each.file in taken]
        gone = {each.file.name for each in removed}
        return Collected(removed=tuple(removed), spared=tuple(each for each in due if each.file.name not in gone))
