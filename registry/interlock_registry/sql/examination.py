"""What `fsck` reads: everything, past the code that trusts it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from interlock.errors import DataLoss
from interlock.model import VersionState
from interlock.types import ModelRef
from sqlalchemy import Connection, func, literal, select, tuple_

from interlock_registry import documents
from interlock_registry.fsck import ArtifactPicture
from interlock_registry.sql import rows
from interlock_registry.sql import tables as t

_BATCH: Final = 200


class Examination:
    """Queries of one transaction over everything that is stored."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next_versions(self) -> Mapping[str, int]:
        """Return the number that each model would give out next, by model."""
        query = select(t.models.c.name, t.models.c.next_version).order_by(t.models.c.name)
        return {row.name: row.next_version for row in self._connection.execute(query)}

    def states(self) -> Mapping[str, Mapping[int, VersionState]]:
        """Return the state of every version, by model and number."""
        found: dict[str, dict[int, VersionState]] = defaultdict(dict)
        query = select(t.versions.c.model, t.versions.c.version, t.versions.c.state)
        for row in self._connection.execute(query):
            found[row.model][row.version] = VersionState(row.state)
        return found

    def unreadable(self) -> Iterator[tuple[ModelRef, str]]:
        """Yield the versions whose rows hold what cannot be read, and why."""
        key = tuple_(t.versions.c.model, t.versions.c.version)
        query = (
            select(t.versions, literal(0).label("samples"), literal("").label("damage"))
            .order_by(t.versions.c.model, t.versions.c.version)
            .limit(_BATCH)
        )
        last = ("", 0)
        while True:
            found = self._connection.execute(query.where(key > last)).all()
            for row in found:
                try:
                    rows.version(row, aliases=(), pinned=False)
                    documents.read_tolerances(row.tolerances)
                except DataLoss as error:
                    yield ModelRef(row.model, version=row.version), error.message
            if len(found) < _BATCH:
                return
            last = (found[-1].model, found[-1].version)

    def artifacts(self) -> Iterator[ArtifactPicture]:
        """Yield every artifact."""
        query = select(t.artifacts.c.digest, t.artifacts.c.manifest).order_by(t.artifacts.c.digest).limit(_BATCH)
        last = ""
        while True:
            found = self._connection.execute(query.where(t.artifacts.c.digest > last)).all()
            indexed: dict[str, dict[str, int]] = defaultdict(dict)
            blobs = select(t.artifact_blobs).where(t.artifact_blobs.c.artifact.in_([row.digest for row in found]))
            for row in self._connection.execute(blobs):
                indexed[row.artifact][row.digest] = row.size_bytes
            for row in found:
                yield ArtifactPicture(row.digest, row.manifest, indexed[row.digest])
            if len(found) < _BATCH:
                return
            last = found[-1].digest

    def held_since_before(self, moment: datetime) -> int:
        """Count the blobs that are held since before a moment."""
        query = select(func.count()).select_from(t.held_blobs).where(t.held_blobs.c.created_at < moment)
        return int(self._connection.execute(query).scalar_one())

    def dangling(self) -> Mapping[str, int]:
        """Count the rows that refer to nothing, by table; PostgreSQL has none."""
        if self._connection.dialect.name != "sqlite":
            return {}
        found: dict[str, int] = defaultdict(int)
        for row in self._connection.exec_driver_sql("PRAGMA foreign_key_check"):
            found[str(row[0])] += 1
        return found
