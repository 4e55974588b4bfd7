"""Queries of one transaction: rows in, values out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from interlock.errors import DataLoss, ModelNotFound, VersionNotFound
from interlock.model import Alias, Event, Model, Version
from sqlalchemy import Connection, Select, Table, func, select

from interlock_registry import chain
from interlock_registry.chain import Head, Link
from interlock_registry.domain import AliasRecord, Attempt, DesiredModel, EpochState, KeptAnswer, Route, Target
from interlock_registry.sql import rows
from interlock_registry.sql import tables as t
from interlock_registry.sql.desired import desired_models

_CHAIN_BATCH = 500
_KEYS_BATCH = 500


class Reader:
    """What a transaction can tell; every method sees the same moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- the epoch row ---

    def state(self) -> EpochState:
        """Return the incarnation and the epoch."""
        row = self._connection.execute(select(t.epoch.c.incarnation, t.epoch.c.epoch)).one_or_none()
        if row is None:
            raise DataLoss("the registry has lost its epoch row; restore the registry from a backup")
        return EpochState(incarnation=row.incarnation, epoch=row.epoch)

    def head(self) -> Head:
        """Return the recorded end of the event chain."""
        row = self._connection.execute(select(t.epoch.c.event_seq, t.epoch.c.event_hash)).one()
        return Head(seq=row.event_seq, hash=row.event_hash)

    # --- models and versions ---

    def model_exists(self, name: str) -> bool:
        """Tell whether a model of exactly that name is there."""
        return self._connection.execute(select(t.models.c.name).where(t.models.c.name == name)).first() is not None

    def name_folding_to(self, folded: str) -> str | None:
        """Return the model whose name is that but for its case."""
        return self._connection.execute(
            select(t.models.c.name).where(t.models.c.folded_name == folded)
        ).scalar_one_or_none()

    def models(self, *, after: str, limit: int) -> tuple[Model, ...]:
        """List models by name."""
        counted = (
            select(t.versions.c.model, func.count().label("versions")).group_by(t.versions.c.model).subquery("counted")
        )
        found = self._connection.execute(
            select(t.models, counted.c.versions)
            .outerjoin(counted, counted.c.model == t.models.c.name)
            .where(t.models.c.name > after)
            .order_by(t.models.c.name)
            .limit(limit)
        ).all()
        aliases: dict[str, list[Alias]] = defaultdict(list)
        for alias in self.aliases([row.name for row in found]):
            aliases[alias.model].append(alias)
        return tuple(
            Model(
                name=row.name,
                created_at=row.created_at,
                versions=row.versions or 0,
                newest=row.next_version - 1,
                aliases=tuple(aliases[row.name]),
            )
            for row in found
        )

    def version(self, model: str, number: int) -> Version:
        """Return a version; raises ModelNotFound, VersionNotFound."""
        row = self._connection.execute(
            _versions().where(t.versions.c.model == model, t.versions.c.version == number)
        ).one_or_none()
        if row is None:
            raise VersionNotFound(model, number) if self.model_exists(model) else ModelNotFound(model)
        return self._versions_of(model, [row])[0]

    def versions(self, model: str, *, below: int | None, limit: int) -> tuple[Version, ...]:
        """List versions, newest first; raises ModelNotFound."""
        if not self.model_exists(model):
            raise ModelNotFound(model)
        query = _versions().where(t.versions.c.model == model).order_by(t.versions.c.version.desc()).limit(limit)
        if below is not None:
            query = query.where(t.versions.c.version < below)
        return self._versions_of(model, self._connection.execute(query).all())

    def uses(self, model: str, number: int) -> tuple[str, ...]:
        """Say what refers to a version, in words."""
        found = []
        live = set()
        for alias in self.aliases([model]):
            if alias.version == number:
                live.add(alias.alias)
                found.append(f"alias {alias.alias!r} points at it")
            elif number in alias.stack:
                found.append(f"it is in the stack of alias {alias.alias!r}")
        for route in self.routes([model]):
            if route.alias not in live and any(target.version == number for target in route.targets):
                found.append(f"the route of alias {route.alias!r} leads to it")
        if number in self.pins([model])[model]:
            found.append(f"it is pinned (`interlock unpin {model} {number}`)")
        return tuple(found)

    # --- aliases ---

    def aliases(self, models: Sequence[str] | None = None) -> tuple[Alias, ...]:
        """List the aliases of some models, or of all, by model and name."""
        stacks: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row in self._of(select(t.alias_stack).order_by(t.alias_stack.c.position), t.alias_stack, models):
            stacks[row.model, row.alias].append(row.version)
        query = select(t.aliases).where(t.aliases.c.version.is_not(None)).order_by(t.aliases.c.model, t.aliases.c.alias)
        return tuple(
            Alias(
                model=row.model,
                alias=row.alias,
                version=row.version,
                generation=row.generation,
                stack=tuple(stacks[row.model, row.alias]),
                updated_at=row.updated_at,
            )
            for row in self._of(query, t.aliases, models)
        )

    def pins(self, models: Sequence[str] | None = None) -> Mapping[str, Sequence[int]]:
        """Return the pinned versions of some models, or of all, by model; none for any other name."""
        found: dict[str, list[int]] = defaultdict(list)
        for row in self._of(select(t.pins).order_by(t.pins.c.version), t.pins, models):
            found[row.model].append(row.version)
        return found

    def routes(self, models: Sequence[str] | None = None) -> tuple[Route, ...]:
        """List the routes of some models, or of all, by model and alias."""
        targets: dict[tuple[str, str], list[Target]] = defaultdict(list)
        for row in self._of(select(t.route_targets).order_by(t.route_targets.c.version), t.route_targets, models):
            targets[row.model, row.alias].append(Target(version=row.version, weight=row.weight, shadow=row.shadow))
        query = select(t.routes).order_by(t.routes.c.model, t.routes.c.alias)
        return tuple(
            Route(
                model=row.model,
                alias=row.alias,
                generation=row.generation,
                targets=tuple(targets[row.model, row.alias]),
            )
            for row in self._of(query, t.routes, models)
        )

    def alias_record(self, model: str, alias: str) -> AliasRecord:
        """Return what is stored of an alias, be it there or not; raises ModelNotFound."""
        if not self.model_exists(model):
            raise ModelNotFound(model)
        row = self._connection.execute(
            select(t.aliases).where(t.aliases.c.model == model, t.aliases.c.alias == alias)
        ).one_or_none()
        if row is None:
            return AliasRecord(model=model, alias=alias, version=0, generation=0)
        stack = self._connection.execute(
            select(t.alias_stack.c.version)
            .where(t.alias_stack.c.model == model, t.alias_stack.c.alias == alias)
            .order_by(t.alias_stack.c.position)
        ).scalars()
        return AliasRecord(
            model=model, alias=alias, version=row.version or 0, generation=row.generation, stack=tuple(stack)
        )

    # --- what should be served ---

    def desired(self, models: Sequence[str] | None = None, *, keep_depth: int) -> tuple[DesiredModel, ...]:
        """Return what should be served of some models, or of all, by name; a model that is not there is left out."""
        return desired_models(
            self._connection,
            self._names(models),
            aliases=self.aliases(models),
            routes=self.routes(models),
            pins=self.pins(models),
            keep_depth=keep_depth,
        )

    # --- idempotency ---

    def recall(self, attempt: Attempt) -> KeptAnswer | None:
        """Return what is kept under an attempt's key."""
        keys = t.idempotency_keys.c
        row = self._connection.execute(
            select(t.idempotency_keys).where(
                keys.actor == attempt.actor,
                keys.action == attempt.action.value,
                keys.key == attempt.idempotency_key,
            )
        ).one_or_none()
        if row is None:
            return None
        return KeptAnswer(request_hash=row.request_hash, answer=row.answer, refused=row.refused)

    # --- events ---

    def events(self, model: str | None, *, until: datetime | None, below: int | None, limit: int) -> tuple[Event, ...]:
        """List events, newest first."""
        query = select(t.events).order_by(t.events.c.seq.desc()).limit(limit)
        if model is not None:
            query = query.where(t.events.c.model == model)
        if until is not None:
            query = query.where(t.events.c.time <= until)
        if below is not None:
            query = query.where(t.events.c.seq < below)
        return tuple(chain.read(rows.link(row)) for row in self._connection.execute(query))

    def links(self) -> Iterator[Link]:
        """Yield the whole chain from its beginning, a batch at a time."""
        last = 0
        while True:
            query = select(t.events).where(t.events.c.seq > last).order_by(t.events.c.seq).limit(_CHAIN_BATCH)
            batch = [rows.link(row) for row in self._connection.execute(query)]
            yield from batch
            if len(batch) < _CHAIN_BATCH:
                return
            last = batch[-1].seq

    # --- inside ---

    def _of(
        self, query: Select[tuple[object, ...]], table: Table, models: Sequence[str] | None
    ) -> Iterator[rows.AnyRow]:
        if models is None:
            yield from self._connection.execute(query)
            return
        for start in range(0, len(models), _KEYS_BATCH):
            yield from self._connection.execute(query.where(table.c.model.in_(models[start : start + _KEYS_BATCH])))

    def _names(self, models: Sequence[str] | None) -> tuple[str, ...]:
        query = select(t.models.c.name).order_by(t.models.c.name)
        if models is not None:
            query = query.where(t.models.c.name.in_(models))
        return tuple(self._connection.execute(query).scalars())

    def _versions_of(self, model: str, found: Sequence[rows.AnyRow]) -> tuple[Version, ...]:
        if not found:
            return ()
        names: dict[int, list[str]] = defaultdict(list)
        for alias in self.aliases([model]):
            names[alias.version].append(alias.alias)
        pinned = self.pins([model])[model]
        return tuple(rows.version(row, aliases=names[row.version], pinned=row.version in pinned) for row in found)


def _versions() -> Select[tuple[object, ...]]:
    golden = t.golden_samples
    return select(t.versions, golden.c.samples).outerjoin(
        golden, (golden.c.model == t.versions.c.model) & (golden.c.version == t.versions.c.version)
    )
