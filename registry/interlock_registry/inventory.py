"""What can be asked and said of blobs: who needs them, who counts on them, which are damaged.

A blob is collected in a write transaction that finds it neither referred to nor held. A registration holds its blobs
before it looks whether they are there, and lets go in the transaction that makes its version visible. Write
transactions have one order, so whichever comes first, no version is ever left without its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from interlock import chain
from interlock.errors import DataLoss
from interlock.types import ModelRef

from interlock_registry import attempts
from interlock_registry.domain import Action, Attempt
from interlock_registry.garbage import LastUse, StoredFile
from interlock_registry.manifest import Blob, Manifest
from interlock_registry.sql.database import Database
from interlock_registry.sql.writer import Writer

HELD_S: Final = 3600.0
"""How long a registration may hold blobs: storing takes seconds, and one that died must not hold them for ever."""


class Inventory:
    """The blobs that the registry knows. Any thread may use it; every call blocks and may raise RegistryUnavailable."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    # --- questions ---

    def referenced(self, digests: Sequence[str]) -> frozenset[str]:
        """Return which of them belong to a version that is not deleted."""
        return self._database.read(lambda reader: reader.blobs.referenced(digests))

    def held(self, digests: Sequence[str]) -> frozenset[str]:
        """Return on which of them a running registration counts."""
        return self._database.read(lambda reader: reader.blobs.held(digests))

    def last_uses(self, digests: Sequence[str]) -> Mapping[str, LastUse]:
        """Return of those that only deleted versions have which these are, and when the last one was deleted."""
        return self._database.read(lambda reader: reader.blobs.last_uses(digests))

    def live_users(self, digests: Sequence[str]) -> tuple[ModelRef, ...]:
        """Return the versions, but for deleted ones, that any of them belongs to."""
        return self._database.read(lambda reader: reader.blobs.live_users(digests))

    def live(self, *, after: str = "", limit: int = 500) -> tuple[Blob, ...]:
        """List the blobs of versions that are not deleted, by digest, from behind one on."""
        return self._database.read(lambda reader: reader.blobs.live(after=after, limit=limit))

    def damaged(self) -> Mapping[str, str]:
        """Return what is wrong with the blobs of which something is known to be, by digest."""
        return self._database.read(lambda reader: reader.blobs.damaged())

    # --- registrations ---

    def hold(self, holder: str, digests: Sequence[str]) -> None:
        """Keep blobs, be they there or not yet, from being collected until they are let go, for an hour at most."""
        now = self._clock()
        self._database.write(lambda writer: writer.blobs.hold(holder, digests, now), durable=False)

    def release(self, holder: str) -> bool:
        """Let go of what a holder holds; False where it holds nothing."""
        return self._database.write(lambda writer: writer.blobs.release(holder), durable=False)

    def expire(self) -> int:
        """Let go of what registrations hold that have died; returns how many blobs."""
        before = self._clock() - timedelta(seconds=HELD_S)
        return self._database.write(lambda writer: writer.blobs.expire(before=before), durable=False)

    def index_again(self, artifact: str) -> None:
        """Note anew which blobs an artifact consists of, as its manifest says; raises DataLoss."""

        def work(writer: Writer) -> None:
            text = next((each.manifest for each in writer.examination.artifacts() if each.digest == artifact), "")
            writer.blobs.index(artifact, Manifest.from_json(text).blobs)

        self._database.write(work)

    # --- collection ---

    def condemn(
        self, attempt: Attempt, files: Sequence[StoredFile], take_away: Callable[[StoredFile], bool]
    ) -> tuple[StoredFile, ...]:
        """Have those blobs taken away that nobody needs at this moment; returns which were, and writes one event.

        `take_away` runs inside the transaction, so it is quick, may come twice for a file, and says whether it did it.
        Where this raises, what it took away has to be put back: nobody knows whether the transaction was committed.
        """

        def work(writer: Writer) -> tuple[StoredFile, ...]:
            now = self._clock()
            writer.blobs.expire(before=now - timedelta(seconds=HELD_S))
            names = [file.digest for file in files]
            needed = writer.blobs.referenced(names) | writer.blobs.held(names)
            taken = tuple(file for file in files if file.digest not in needed and take_away(file))
            for file in taken:
                writer.blobs.clear_damage(file.digest)
            if taken:
                detail = f"removed {len(taken)} blobs of {sum(file.size_bytes for file in taken)} bytes"
                writer.record(attempts.draft(attempt, now, outcome=chain.OK, detail=detail), changes=False)
            return taken

        return self._database.write(work)

    # --- damage ---

    def mark_damaged(self, digest: str, why: str, *, actor: str, request_id: str) -> tuple[ModelRef, ...]:
        """Note that a blob is damaged, with one event for each model that has it; returns the versions that have it.

        What is known already or belongs to no version is not noted.
        """

        def work(writer: Writer) -> tuple[ModelRef, ...]:
            users = writer.blobs.live_users([digest])
            now = self._clock()
            if users and writer.blobs.mark_damaged(digest, why, now):
                damage = Attempt(action=Action.DAMAGE, actor=actor, request_id=request_id, model="")
                _record(writer, damage, users, now, outcome=DataLoss.reason, detail=why)
            return users

        return self._database.write(work)

    def mend(self, digests: Sequence[str], *, actor: str, request_id: str) -> tuple[str, ...]:
        """Note that blobs are whole, with one event for each model that has one; returns which were damaged before."""

        def work(writer: Writer) -> tuple[str, ...]:
            now = self._clock()
            mended = tuple(digest for digest in digests if writer.blobs.clear_damage(digest))
            for digest in mended:
                mend = Attempt(action=Action.MEND, actor=actor, request_id=request_id, model="")
                users = writer.blobs.live_users([digest])
                _record(writer, mend, users, now, outcome=chain.OK, detail=f"blob {digest} is whole again")
            return mended

        return self._database.write(work)


def _record(
    writer: Writer, attempt: Attempt, users: Sequence[ModelRef], now: datetime, *, outcome: str, detail: str
) -> None:
    """Write one event for each model, which names its newest version and counts the others."""
    for model, found in groupby(users, key=lambda ref: ref.model):
        numbers = [ref.version or 0 for ref in found]
        others = f"; {len(numbers)} versions have it" if len(numbers) > 1 else ""
        draft = attempts.draft(
            replace(attempt, model=model), now, to_version=numbers[-1], outcome=outcome, detail=f"{detail}{others}"
        )
        writer.record(draft, changes=True)
