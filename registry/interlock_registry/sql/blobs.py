"""What the registry knows of blobs: who refers to them, who counts on them, which are damaged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from interlock.model import VersionState
from interlock.types import ModelRef
from sqlalchemy import Connection, Select, bindparam, delete, insert, select, union, union_all

from interlock_registry.garbage import LastUse
from interlock_registry.manifest import Blob
from interlock_registry.sql import tables as t

_Query = Select[tuple[object, ...]]

_BATCH: Final = 500
_DELETED: Final = VersionState.DELETED.value

_PARTS: Final = (
    select(
        t.artifact_blobs.c.digest,
        t.artifact_blobs.c.size_bytes,
        t.versions.c.model,
        t.versions.c.version,
        t.versions.c.state,
        t.versions.c.state_changed_at,
    ).join(t.versions, t.versions.c.digest == t.artifact_blobs.c.artifact),
    select(
        t.golden_samples.c.digest,
        t.golden_samples.c.size_bytes,
        t.versions.c.model,
        t.versions.c.version,
        t.versions.c.state,
        t.versions.c.state_changed_at,
    ).join(
        t.versions,
        (t.versions.c.model == t.golden_samples.c.model) & (t.versions.c.version == t.golden_samples.c.version),
    ),
)
"""Every use of a blob by a version: in its artifact, and as its golden samples. The first column is the digest."""

_ALIVE: Final = t.versions.c.state != _DELETED
_AMONG: Final = tuple(each.where(each.selected_columns[0].in_(bindparam("digests", expanding=True))) for each in _PARTS)
REFERENCED: Final = union(*(each.where(_ALIVE).with_only_columns(each.selected_columns[0]) for each in _AMONG))
USES: Final = union_all(*_AMONG)
LIVE_USERS: Final = union(
    *(each.where(_ALIVE).with_only_columns(t.versions.c.model, t.versions.c.version) for each in _AMONG)
).order_by("model", "version")
_after: Final = tuple(
    each.where(_ALIVE, each.selected_columns[0] > bindparam("after"))
    .with_only_columns(each.selected_columns[0], each.selected_columns[1])
    .distinct()
    .order_by(each.selected_columns[0])
    .limit(bindparam("limit"))
    .subquery()
    for each in _PARTS
)
LIVE_BLOBS: Final = union(*(select(each) for each in _after)).order_by("digest").limit(bindparam("limit"))
HELD: Final = select(t.held_blobs.c.digest).where(t.held_blobs.c.digest.in_(bindparam("digests", expanding=True)))
DAMAGED: Final = select(t.damaged_blobs).order_by(t.damaged_blobs.c.digest)

INSERT_BLOBS: Final = insert(t.artifact_blobs)
UNINDEX: Final = delete(t.artifact_blobs).where(t.artifact_blobs.c.artifact == bindparam("the_artifact"))
INSERT_HELD: Final = insert(t.held_blobs)
RELEASE: Final = delete(t.held_blobs).where(t.held_blobs.c.holder == bindparam("the_holder"))
EXPIRE: Final = delete(t.held_blobs).where(t.held_blobs.c.created_at < bindparam("before"))
INSERT_DAMAGED: Final = insert(t.damaged_blobs)
DELETE_DAMAGED: Final = delete(t.damaged_blobs).where(t.damaged_blobs.c.digest == bindparam("the_digest"))


class BlobReader:
    """Queries over blobs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def referenced(self, digests: Sequence[str]) -> frozenset[str]:
        """Return which of them belong to a version that is not deleted."""
        return frozenset(
            str(digest)
            for batch in _batches(digests)
            for digest in self._connection.execute(REFERENCED, {"digests": batch}).scalars()
        )

    def held(self, digests: Sequence[str]) -> frozenset[str]:
        """Return on which of them a running registration counts."""
        return frozenset(
            str(digest)
            for batch in _batches(digests)
            for digest in self._connection.execute(HELD, {"digests": batch}).scalars()
        )

    def last_uses(self, digests: Sequence[str]) -> Mapping[str, LastUse]:
        """Return of those that only deleted versions have which these are, and when the last one was deleted."""
        versions: dict[str, list[ModelRef]] = defaultdict(list)
        until: dict[str, datetime] = {}
        alive: set[str] = set()
        for batch in _batches(digests):
            for row in self._connection.execute(USES, {"digests": batch}):
                if row.state != _DELETED or row.state_changed_at is None:
                    alive.add(row.digest)
                    continue
                versions[row.digest].append(ModelRef(row.model, version=row.version))
                until[row.digest] = max(row.state_changed_at, until.get(row.digest, row.state_changed_at))
        return {
            digest: LastUse(tuple(found), until[digest]) for digest, found in versions.items() if digest not in alive
        }

    def live_users(self, digests: Sequence[str]) -> tuple[ModelRef, ...]:
        """Return the versions, but for deleted ones, that any of them belongs to."""
        found = {
            ModelRef(str(row.model), version=int(row.version))
            for batch in _batches(digests)
            for row in self._connection.execute(LIVE_USERS, {"digests": batch})
        }
        return tuple(sorted(found, key=lambda ref: (ref.model, ref.version or 0)))

    def live(self, *, after: str, limit: int) -> tuple[Blob, ...]:
        """List the blobs of versions that are not deleted, by digest."""
        found = self._connection.execute(LIVE_BLOBS, {"after": after, "limit": limit})
        return tuple(Blob(digest=row.digest, size_bytes=row.size_bytes) for row in found)

    def damaged(self) -> Mapping[str, str]:
        """Return what is wrong with the blobs of which something is known to be, by digest."""
        return {row.digest: row.why for row in self._connection.execute(DAMAGED)}


class BlobWriter(BlobReader):
    """Statements over blobs in one write transaction."""

    def index(self, artifact: str, blobs: Sequence[Blob]) -> None:
        """Note which blobs an artifact consists of, and no others."""
        self._connection.execute(UNINDEX, {"the_artifact": artifact})
        self._connection.execute(
            INSERT_BLOBS,
            [{"artifact": artifact, "digest": each.digest, "size_bytes": each.size_bytes} for each in blobs],
        )

    def hold(self, holder: str, digests: Sequence[str], now: datetime) -> None:
        """Keep these blobs, be they there or not yet, and no others, from being collected for a holder."""
        self.release(holder)  # it may come twice, the first answer having been lost
        rows = [{"holder": holder, "digest": digest, "created_at": now} for digest in dict.fromkeys(digests)]
        if rows:
            self._connection.execute(INSERT_HELD, rows)

    def release(self, holder: str) -> bool:
        """Let go of what a holder holds; False where it holds nothing (any more)."""
        return self._connection.execute(RELEASE, {"the_holder": holder}).rowcount > 0

    def expire(self, *, before: datetime) -> int:
        """Let go of what was held since before a moment: its holder has died. Returns how many blobs."""
        return self._connection.execute(EXPIRE, {"before": before}).rowcount

    def mark_damaged(self, digest: str, why: str, now: datetime) -> bool:
        """Note that a blob is damaged; False where that is known."""
        if digest in self.damaged():
            return False
        self._connection.execute(INSERT_DAMAGED, {"digest": digest, "why": why, "found_at": now})
        return True

    def clear_damage(self, digest: str) -> bool:
        """Note that a blob is whole or gone; False where nothing else was known."""
        return self._connection.execute(DELETE_DAMAGED, {"the_digest": digest}).rowcount > 0


def _batches(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), _BATCH):
        yield digests[start : start + _BATCH]
