"""Statements of one write transaction. Each says what must be so in its WHERE clause and tells whether it was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile

from interlock.errors import DataLoss
from interlock.model import VersionState
from sqlalchemy import Connection, delete, func, insert, select, update

from interlock_registry import chain, documents
from interlock_registry.chain import Draft, Head
from interlock_registry.domain import Attempt, Move, NewVersion, Target
from interlock_registry.sql import tables as t
from interlock_registry.sql.reader import Reader


class Writer(Reader):
    """A transaction that holds the epoch row from its first statement on: writers never interleave."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        row = connection.execute(select(t.epoch).with_for_update()).one_or_none()
        if row is None:
            raise DataLoss("the registry has lost its epoch row; restore the registry from a backup")
        self._epoch: int = row.epoch
        self._head = Head(seq=row.event_seq, hash=row.event_hash)

    # --- the one event, and the epoch ---

    def record(self, draft: Draft, *, changes: bool) -> int:
        """Append the event of this transaction, raise the epoch if desired state `changes`; returns the epoch."""
        link = chain.seal(draft, after=self._head)
        self._connection.execute(
            insert(t.events).values(seq=link.seq, time=link.time, model=link.model, body=link.body, hash=link.hash)
        )
        self._epoch += 1 if changes else 0
        self._head = Head(seq=link.seq, hash=link.hash)
        self._connection.execute(
            update(t.epoch).values(epoch=self._epoch, event_seq=self._head.seq, event_hash=self._head.hash)
        )
        return self._epoch

    # --- models and versions ---

    def insert_model(self, name: str, now: datetime) -> None:
        """Make a model without versions."""
        self._connection.execute(
            insert(t.models).values(name=name, folded_name=name.casefold(), next_version=1, created_at=now)
        )

    def take_number(self, model: str) -> int:
        """Take the next version number of a model; none is ever given out twice."""
        following: int = self._connection.execute(
            update(t.models)
            .where(t.models.c.name == model)
            .values(next_version=t.models.c.next_version + 1)
            .returning(t.models.c.next_version)
        ).scalar_one()
        return following - 1

    def insert_version(self, new: NewVersion, number: int, *, actor: str, now: datetime) -> None:
        """Make a version, with its artifact unless another version has the same, and its golden samples."""
        digest = new.manifest.digest
        if self._connection.execute(select(t.artifacts.c.digest).where(t.artifacts.c.digest == digest)).first() is None:
            self._connection.execute(
                insert(t.artifacts).values(
                    digest=digest, manifest=new.manifest.to_json(), size_bytes=new.manifest.size_bytes, created_at=now
                )
            )
        self._connection.execute(
            insert(t.versions).values(
                model=new.model,
                version=number,
                state=VersionState.VALIDATED.value,
                digest=digest,
                size_bytes=new.size_bytes or new.manifest.size_bytes,
                signature=documents.write_signature(new.signature),
                config=documents.write_config(new.config),
                tolerances=documents.write_tolerances(new.tolerances),
                proven=new.proven,
                joinable=new.joinable,
                note=new.note,
                tags=documents.write_tags(new.tags),
                report=new.report_json,
                created_at=now,
                created_by=actor,
            )
        )
        if new.golden is not None:
            self._connection.execute(
                insert(t.golden_samples).values(
                    model=new.model,
                    version=number,
                    digest=new.golden.digest,
                    size_bytes=new.golden.size_bytes,
                    samples=new.golden_samples,
                )
            )

    def set_state(self, model: str, number: int, *, state: VersionState, to: VersionState) -> bool:
        """Move a version from one state to another; False where it was in neither."""
        found = self._connection.execute(
            update(t.versions)
            .where(t.versions.c.model == model, t.versions.c.version == number, t.versions.c.state == state.value)
            .values(state=to.value)
        )
        return found.rowcount == 1

    # --- aliases ---

    def move_alias(self, move: Move, now: datetime) -> bool:
        """Point an alias as planned; False where it is not where the plan found it."""
        before = move.generation_after - 1
        if before == 0:
            if self.alias_record(move.model, move.alias).generation:
                return False
            self._connection.execute(
                insert(t.aliases).values(
                    model=move.model,
                    alias=move.alias,
                    version=move.to_version,
                    generation=move.generation_after,
                    updated_at=now,
                )
            )
        else:
            where = t.aliases.c.version == move.from_version if move.from_version else t.aliases.c.version.is_(None)
            moved = self._connection.execute(
                update(t.aliases)
                .where(
                    t.aliases.c.model == move.model,
                    t.aliases.c.alias == move.alias,
                    t.aliases.c.generation == before,
                    where,
                )
                .values(version=move.to_version, generation=move.generation_after, updated_at=now)
            )
            if moved.rowcount != 1:
                return False
        self._set_stack(move.model, move.alias, move.stack_after)
        self._set_route(move.model, move.alias, move.generation_after, (Target(version=move.to_version, weight=100),))
        return True

    def remove_alias(self, model: str, alias: str, *, generation: int, now: datetime) -> bool:
        """Remove an alias, its stack and its route; False where it is not at that generation."""
        self._set_stack(model, alias, ())
        self._clear_route(model, alias)
        removed = self._connection.execute(
            update(t.aliases)
            .where(t.aliases.c.model == model, t.aliases.c.alias == alias, t.aliases.c.generation == generation)
            .values(version=None, generation=generation + 1, updated_at=now)
        )
        return removed.rowcount == 1

    # --- pins ---

    def insert_pin(self, model: str, number: int, now: datetime) -> bool:
        """Pin a version; False where it is pinned."""
        if number in self.pins([model])[model]:
            return False
        self._connection.execute(insert(t.pins).values(model=model, version=number, created_at=now))
        return True

    def delete_pin(self, model: str, number: int) -> bool:
        """Unpin a version; False where it is not pinned."""
        found = self._connection.execute(delete(t.pins).where(t.pins.c.model == model, t.pins.c.version == number))
        return found.rowcount == 1

    # --- idempotency ---

    def remember(self, attempt: Attempt, answer: str, *, refused: bool, now: datetime) -> None:
        """Keep the answer to an attempt under its key."""
        self._connection.execute(
            insert(t.idempotency_keys).values(
                actor=attempt.actor,
                action=attempt.action.value,
                key=attempt.idempotency_key,
                request_hash=attempt.request_hash,
                answer=answer,
                refused=refused,
                created_at=now,
            )
        )

    def forget(self, *, before: datetime) -> int:
        """Drop the answers that were kept before a moment; returns how many."""
        return self._connection.execute(
            delete(t.idempotency_keys).where(t.idempotency_keys.c.created_at < before)
        ).rowcount

    # --- replicas ---

    def see_replica(self, replica: str, *, address: str, epoch: int) -> None:
        """Note that a replica is alive, by the database's clock."""
        values = {"address": address, "epoch": epoch, "seen_at": func.now()}
        seen = self._connection.execute(update(t.replicas).where(t.replicas.c.replica == replica).values(values))
        if seen.rowcount == 0:
            self._connection.execute(insert(t.replicas).values(replica=replica, **values))

    # --- inside ---

    def _set_stack(self, model: str, alias: str, stack: Sequence[int]) -> None:
        # Only what differs is written: a stack may be long, a move touches its end.
        table = t.alias_stack.c
        found = self._connection.execute(
            select(table.version).where(table.model == model, table.alias == alias).order_by(table.position)
        ).scalars()
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(found, stack, strict=False)))
        self._connection.execute(
            delete(t.alias_stack).where(table.model == model, table.alias == alias, table.position >= kept)
        )
        if stack[kept:]:
            self._connection.execute(
                insert(t.alias_stack),
                [
                    {"model": model, "alias": alias, "position": position, "version": version}
                    for position, version in enumerate(stack[kept:], start=kept)
                ],
            )

    def _set_route(self, model: str, alias: str, generation: int, targets: Sequence[Target]) -> None:
        self._clear_route(model, alias)
        self._connection.execute(insert(t.routes).values(model=model, alias=alias, generation=generation))
        self._connection.execute(
            insert(t.route_targets),
            [
                {"model": model, "alias": alias, "version": each.version, "weight": each.weight, "shadow": each.shadow}
                for each in targets
            ],
        )

    def _clear_route(self, model: str, alias: str) -> None:
        targets, routes = t.route_targets.c, t.routes.c
        self._connection.execute(delete(t.route_targets).where(targets.model == model, targets.alias == alias))
        self._connection.execute(delete(t.routes).where(routes.model == model, routes.alias == alias))
