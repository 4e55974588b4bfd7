"""Statements of one write transaction. Each says what must be so in its WHERE clause and tells whether it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from itertools import takewhile

from interlock.chain import ChainHead
from interlock.errors import DataLoss
from interlock.model import VersionState
from sqlalchemy import Connection

from interlock_registry import chain, documents, planning
from interlock_registry.chain import Draft
from interlock_registry.domain import AliasRecord, Attempt, Move, NewVersion, Route
from interlock_registry.sql import commands as c
from interlock_registry.sql import queries as q
from interlock_registry.sql.blobs import BlobWriter
from interlock_registry.sql.reader import Reader


class Writer(Reader):
    """A transaction that holds the epoch row from its first statement on: writers never interleave."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        row = self._sparing.row(q.EPOCH_LOCKED, {})
        if row is None:
            raise DataLoss("the registry has lost its epoch row; restore the registry from a backup")
        self._epoch: int = row.epoch
        self._head = ChainHead(seq=row.event_seq, hash=row.event_hash)
        self.recorded: ChainHead | None = None
        """The event that this transaction has appended, if any."""

    @property
    def blobs(self) -> BlobWriter:
        """What is known of blobs, and to be noted."""
        return BlobWriter(self._connection)

    # --- the one event, and the epoch ---

    def record(self, draft: Draft, *, changes: bool) -> int:
        """Append the event of this transaction, raise the epoch if desired state `changes`; returns the epoch."""
        link = chain.seal(draft, after=self._head)
        filed = {field.name: getattr(link.filed, field.name) for field in fields(link.filed)}
        self._sparing.change(c.INSERT_EVENT, {"seq": link.seq, **filed, "body": link.body, "hash": link.hash})
        self._epoch += 1 if changes else 0
        self._head = self.recorded = ChainHead(seq=link.seq, hash=link.hash)
        self._sparing.change(
            c.SET_HEAD, {"epoch": self._epoch, "event_seq": self._head.seq, "event_hash": self._head.hash}
        )
        return self._epoch

    def has(self, recorded: ChainHead) -> bool:
        """Tell whether that very event was committed."""
        row = self._connection.execute(q.EVENT_HASH, {"seq": recorded.seq}).one_or_none()
        return row is not None and row.hash == recorded.hash

    # --- models and versions ---

    def insert_model(self, name: str, now: datetime) -> None:
        """Make a model without versions."""
        self._connection.execute(
            c.INSERT_MODEL, {"name": name, "folded_name": name.casefold(), "next_version": 1, "created_at": now}
        )

    def take_number(self, model: str) -> int:
        """Take the next version number of a model; none is ever given out twice."""
        following: int = self._connection.execute(c.TAKE_NUMBER, {"the_model": model}).scalar_one()
        return following - 1

    def insert_version(self, new: NewVersion, number: int, *, actor: str, now: datetime) -> None:
        """Make a version, with its artifact unless another version has the same, and its golden samples."""
        digest = new.manifest.digest
        if self._connection.execute(q.ARTIFACT, {"digest": digest}).first() is None:
            self._connection.execute(
                c.INSERT_ARTIFACT,
                {
                    "digest": digest,
                    "manifest": new.manifest.to_json(),
                    "size_bytes": new.manifest.size_bytes,
                    "created_at": now,
                },
            )
            self.blobs.index(digest, new.manifest.blobs)
        self._connection.execute(
            c.INSERT_VERSION,
            {
                "model": new.model,
                "version": number,
                "state": VersionState.VALIDATED.value,
                "digest": digest,
                "size_bytes": new.size_bytes or new.manifest.size_bytes,
                "signature": documents.write_signature(new.signature),
                "config": documents.write_config(new.config),
                "tolerances": documents.write_tolerances(new.tolerances),
                "proven": new.proven,
                "joinable": new.joinable,
                "note": new.note,
                "tags": documents.write_tags(new.tags),
                "report": new.report_json,
                "created_at": now,
                "created_by": actor,
            },
        )
        if new.golden is not None:
            self._connection.execute(
                c.INSERT_GOLDEN,
                {
                    "model": new.model,
                    "version": number,
                    "digest": new.golden.digest,
                    "size_bytes": new.golden.size_bytes,
                    "samples": new.golden_samples,
                },
            )

    def set_state(self, model: str, number: int, *, state: VersionState, to: VersionState, now: datetime) -> bool:
        """Move a version from one state to another; False where it is not in the first."""
        the_row = {"the_model": model, "the_version": number, "the_state": state.value}
        found = self._connection.execute(c.SET_STATE, {**the_row, "to": to.value, "now": now})
        return found.rowcount == 1

    # --- aliases ---

    def move_alias(self, move: Move, record: AliasRecord, now: datetime) -> bool:
        """Point an alias, found as `record`, as planned; False where it is not where the plan found it."""
        values = {"version": move.to_version, "generation": move.generation_after, "updated_at": now}
        the_row = {
            "the_model": move.model,
            "the_alias": move.alias,
            "the_generation": move.generation_after - 1,
        }
        if record.generation == 0 and move.generation_after == 1:
            self._sparing.change(c.INSERT_ALIAS, {"model": move.model, "alias": move.alias, **values})
            moved = True
        elif move.from_version:
            moved = self._sparing.change(c.MOVE_ALIAS, {**the_row, "the_version": move.from_version, **values}) == 1
        else:
            moved = self._sparing.change(c.REVIVE_ALIAS, {**the_row, **values}) == 1
        if moved:
            self._set_stack(record, move.stack_after)
            self._set_route(planning.route_after(move))
        return moved

    def remove_alias(self, record: AliasRecord, now: datetime) -> bool:
        """Remove an alias, its stack and its route; False where it is not at the record's generation."""
        the_row = {"the_model": record.model, "the_alias": record.alias}
        removed = self._connection.execute(
            c.REMOVE_ALIAS,
            {**the_row, "the_generation": record.generation, "generation": record.generation + 1, "updated_at": now},
        )
        self._set_stack(record, ())
        self._connection.execute(c.DELETE_TARGETS, the_row)
        self._connection.execute(c.DELETE_ROUTE, the_row)
        return removed.rowcount == 1

    # --- pins ---

    def insert_pin(self, model: str, number: int, now: datetime) -> bool:
        """Pin a version; False where it is pinned."""
        if number in self.pins([model])[model]:
            return False
        self._connection.execute(c.INSERT_PIN, {"model": model, "version": number, "created_at": now})
        return True

    def delete_pin(self, model: str, number: int) -> bool:
        """Unpin a version; False where it is not pinned."""
        return self._connection.execute(c.DELETE_PIN, {"the_model": model, "the_version": number}).rowcount == 1

    # --- idempotency ---

    def remember(self, attempt: Attempt, answer: str, *, refused: bool, now: datetime) -> None:
        """Keep the answer to an attempt under its key."""
        self._sparing.change(
            c.INSERT_ANSWER,
            {
                "actor": attempt.actor,
                "action": attempt.action.value,
                "key": attempt.idempotency_key,
                "request_hash": attempt.request_hash,
                "answer": answer,
                "refused": refused,
                "created_at": now,
            },
        )

    def forget(self, *, before: datetime) -> int:
        """Drop the answers that were kept before a moment; returns how many."""
        return self._connection.execute(c.DELETE_ANSWERS, {"before": before}).rowcount

    # --- inside ---

    def _set_stack(self, record: AliasRecord, stack: Sequence[int]) -> None:
        # Only what differs is written: a stack may be long, a move touches its end.
        pairs = zip(record.stack, stack, strict=False)
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if len(record.stack) > kept:
            self._sparing.change(
                c.CUT_STACK, {"the_model": record.model, "the_alias": record.alias, "the_position": kept}
            )
        for position, version in enumerate(stack[kept:], start=kept):
            self._sparing.change(
                c.INSERT_STACK,
                {"model": record.model, "alias": record.alias, "position": position, "version": version},
            )

    def _set_route(self, route: Route) -> None:
        the_row = {"the_model": route.model, "the_alias": route.alias}
        if self._sparing.change(c.SET_ROUTE, {**the_row, "to": route.generation}):
            self._sparing.change(c.DELETE_TARGETS, the_row)
        else:
            self._sparing.change(
                c.INSERT_ROUTE, {"model": route.model, "alias": route.alias, "generation": route.generation}
            )
        for each in route.targets:
            self._sparing.change(
                c.INSERT_TARGETS,
                {
                    "model": route.model,
                    "alias": route.alias,
                    "version": each.version,
                    "weight": each.weight,
                    "shadow": each.shadow,
                },
            )
