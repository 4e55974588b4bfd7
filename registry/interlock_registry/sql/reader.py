"""Queries of one transaction: rows in, values out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

from interlock import chain
from interlock.chain import ChainHead, Link
from interlock.errors import DataLoss, ModelNotFound, VersionNotFound
from interlock.model import Alias, AliasAt, Event, EventFilter, Model, Version, VersionState
from sqlalchemy import Connection

from interlock_registry.domain import (
    AliasPlace,
    AliasRecord,
    Attempt,
    Candidate,
    DesiredModel,
    DesiredVersion,
    EpochState,
    KeptAnswer,
    ModelStanding,
    Route,
)
from interlock_registry.keep import keep_set
from interlock_registry.manifest import Manifest
from interlock_registry.sql import queries as q
from interlock_registry.sql import rows
from interlock_registry.sql.approvals import ApprovalRows
from interlock_registry.sql.blobs import BlobReader
from interlock_registry.sql.credentials import CredentialRows
from interlock_registry.sql.examination import Examination
from interlock_registry.sql.fleet import FleetRows
from interlock_registry.sql.pairs import pairs
from interlock_registry.sql.signatures import SignatureRows
from interlock_registry.sql.sparing import SparingConnection

_CHAIN_BATCH: Final = 500
_MODELS_BATCH: Final = 500
_NO_BOUND: Final = (1 << 63) - 1


class Reader:
    """What a transaction can tell; every method sees the same moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sparing = SparingConnection(connection)

    @property
    def blobs(self) -> BlobReader:
        """What is known of blobs."""
        return BlobReader(self._connection)

    @property
    def fleet(self) -> FleetRows:
        """What is known of replicas and rollouts, at the same moment."""
        return FleetRows(self._connection)

    @property
    def credentials(self) -> CredentialRows:
        """Who is known."""
        return CredentialRows(self._connection)

    @property
    def approvals(self) -> ApprovalRows:
        """What was approved."""
        return ApprovalRows(self._connection)

    @property
    def signatures(self) -> SignatureRows:
        """Who has signed what."""
        return SignatureRows(self._connection)

    @property
    def examination(self) -> Examination:
        """Everything that is stored, to be examined."""
        return Examination(self._connection)

    # --- the epoch row ---

    def state(self) -> EpochState:
        """Return the incarnation and the epoch."""
        row = self._epoch_row()
        return EpochState(incarnation=row.incarnation, epoch=row.epoch)

    def head(self) -> ChainHead:
        """Return the recorded end of the event chain."""
        row = self._epoch_row()
        return ChainHead(seq=row.event_seq, hash=row.event_hash)

    # --- models and versions ---

    def model_exists(self, name: str) -> bool:
        """Tell whether a model of exactly that name is there."""
        return self._connection.execute(q.NAMES.one, {"model": name}).first() is not None

    def name_folding_to(self, folded: str) -> str | None:
        """Return the model whose name is that but for its case."""
        row = self._connection.execute(q.NAME_FOLDING_TO, {"folded": folded}).one_or_none()
        return None if row is None else row.name

    def model_names(self, sees: Callable[[str], bool], *, after: str, limit: int) -> tuple[str, ...]:
        """List in order the names that come after one, of models that `sees` lets through."""
        found: list[str] = []
        while len(found) < limit:
            batch = self._connection.execute(q.NAMES_AFTER, {"after": after, "limit": _MODELS_BATCH}).all()
            found += [row.name for row in batch if sees(row.name)]
            if len(batch) < _MODELS_BATCH:
                break
            after = batch[-1].name
        return tuple(found[:limit])

    def models(self, names: Sequence[str]) -> tuple[Model, ...]:
        """Return models, in the order of their names."""
        found = list(self._of(q.MODELS, names))
        aliases: dict[str, list[Alias]] = defaultdict(list)
        for alias in self.aliases(names):
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

    def standing(self) -> tuple[ModelStanding, ...]:
        """List every model by name, with the numbers of its versions."""
        found: list[ModelStanding] = []
        for name, group in groupby(self._connection.execute(q.STANDING), key=lambda row: row.name):
            numbers: dict[str, list[int]] = defaultdict(list)
            for row in group:
                numbers[row.state or ""].append(row.version)
            found.append(
                ModelStanding(
                    name, tuple(numbers[VersionState.VALIDATED.value]), tuple(numbers[VersionState.RETIRED.value])
                )
            )
        return tuple(found)

    def version(self, model: str, number: int) -> Version:
        """Return a version; raises ModelNotFound, VersionNotFound."""
        row = self._connection.execute(q.VERSION, {"model": model, "version": number}).one_or_none()
        if row is None:
            raise self._no_version(model, number)
        return self._whole(model, [row])[0]

    def versions(self, model: str, *, below: int | None, limit: int) -> tuple[Version, ...]:
        """List versions, newest first; raises ModelNotFound."""
        found = self._connection.execute(
            q.VERSIONS, {"model": model, "below": _NO_BOUND if below is None else below, "limit": limit}
        ).all()
        if not found and not self.model_exists(model):
            raise ModelNotFound(model)
        return self._whole(model, found)

    def candidates(self, model: str, target: int, serving: int) -> Mapping[int, Candidate]:
        """Return what a plan needs to know of the version that an alias is to move to, and of the one that it serves.

        `serving` is 0 where there is none. Raises ModelNotFound, VersionNotFound.
        """
        found = self._sparing.rows(q.CANDIDATES, {"model": model, "target": target, "serving": serving})
        candidates = {row.version: rows.candidate(row) for row in found}
        for number in (target, serving or target):
            if number not in candidates:
                raise self._no_version(model, number)
        return candidates

    def uses(self, model: str, number: int) -> tuple[str, ...]:
        """Say what refers to a version, in words."""
        found = []
        live = set()
        for alias in self.aliases([model]):
            if alias.version == number:
                live.add(alias.alias)
                instead = f"promote another, or `interlock alias rm {model} {alias.alias}`"
                found.append(f"alias {alias.alias!r} points at it ({instead})")
            elif number in alias.stack:
                found.append(f"it is in the stack of alias {alias.alias!r}")
        for route in self.routes([model]):
            if route.alias not in live and any(target.version == number for target in route.targets):
                found.append(f"the route of alias {route.alias!r} leads to it")
        if number in self.pins([model])[model]:
            found.append(f"it is pinned (`interlock unpin {model} {number}`)")
        return tuple(found)

    # --- aliases, routes, pins: of some models, or of all ---

    def aliases(self, models: Sequence[str] | None = None) -> tuple[Alias, ...]:
        """List aliases, by model and name."""
        found = groupby(self._of(q.ALIASES, models), key=lambda row: (row.model, row.alias))
        return tuple(rows.alias(tuple(group)) for _, group in found)

    def alias_record(self, model: str, alias: str) -> AliasRecord:
        """Return what is stored of an alias, be it there or not; raises ModelNotFound."""
        found = self._sparing.rows(q.ALIAS, {"model": model, "alias": alias})
        if found:
            return rows.alias_record(found)
        if not self.model_exists(model):
            raise ModelNotFound(model)
        return AliasRecord(model=model, alias=alias, version=0, generation=0)

    def stacked_alias(self) -> AliasRecord | None:
        """Return some alias that can be rolled back; None where there is none."""
        row = self._connection.execute(q.STACKED).one_or_none()
        return None if row is None else self.alias_record(row.model, row.alias)

    def routes(self, models: Sequence[str] | None = None) -> tuple[Route, ...]:
        """List routes, by model and alias."""
        found = groupby(self._of(q.ROUTES, models), key=lambda row: (row.model, row.alias))
        return tuple(rows.route(tuple(group)) for _, group in found)

    def pins(self, models: Sequence[str] | None = None) -> Mapping[str, Sequence[int]]:
        """Return the pinned versions by model; none for any other name."""
        found: dict[str, list[int]] = defaultdict(list)
        for row in self._of(q.PINS, models):
            found[row.model].append(row.version)
        return found

    # --- what should be served ---

    def desired(self, models: Sequence[str] | None = None, *, keep_depth: int) -> tuple[DesiredModel, ...]:
        """Return what should be served of some models, or of all, by name; a model that is not there is left out."""
        newest = {row.name: row.next_version - 1 for row in self._of(q.NAMES, models)}
        aliases: dict[str, list[Alias]] = defaultdict(list)
        for alias in self.aliases(models):
            aliases[alias.model].append(alias)
        routes: dict[str, list[Route]] = defaultdict(list)
        for route in self.routes(models):
            routes[route.model].append(route)
        pins = self.pins(models)
        keep = {name: keep_set(aliases[name], routes[name], pins[name], depth=keep_depth) for name in newest}
        specs: dict[str, list[DesiredVersion]] = {name: [] for name in newest}
        signed = self.signatures.of(keep)
        for row in self._desired_rows(keep):
            specs[row.model].append(rows.desired_version(row, signed.get((row.model, row.version), ())))
        return tuple(
            DesiredModel(
                name=name,
                newest=number,
                aliases=tuple(aliases[name]),
                routes=tuple(routes[name]),
                pins=tuple(pins[name]),
                keep=tuple(specs[name]),
            )
            for name, number in newest.items()
        )

    def _desired_rows(self, keep: Mapping[str, Sequence[int]]) -> Iterator[rows.AnyRow]:
        if len(keep) == 1:
            ((model, numbers),) = keep.items()
            yield from self._connection.execute(q.DESIRED_OF_ONE, {"model": model, "numbers": list(numbers)})
            return
        yield from self._connection.execute(q.DESIRED_OF_SOME, {"wanted": pairs(keep)})

    def desired_version(self, model: str, number: int) -> DesiredVersion:
        """Return all that it takes to load a version; raises ModelNotFound, VersionNotFound."""
        row = self._connection.execute(q.DESIRED_OF_ONE, {"model": model, "numbers": [number]}).one_or_none()
        if row is None:
            raise self._no_version(model, number)
        signed = self.signatures.of({model: [number]})
        return rows.desired_version(row, signed.get((model, number), ()))

    def manifest(self, model: str, number: int) -> Manifest:
        """Return what a version's artifact consists of; raises ModelNotFound, VersionNotFound."""
        row = self._connection.execute(q.MANIFEST, {"model": model, "version": number}).one_or_none()
        if row is None:
            raise self._no_version(model, number)
        return rows.manifest(row)

    # --- idempotency ---

    def recall(self, attempt: Attempt) -> KeptAnswer | None:
        """Return what is kept under an attempt's key."""
        key = {"actor": attempt.actor, "action": attempt.action.value, "key": attempt.idempotency_key}
        row = self._sparing.row(q.ANSWER, key)
        if row is None:
            return None
        return KeptAnswer(request_hash=row.request_hash, answer=row.answer, refused=row.refused)

    # --- events ---

    def events(self, where: EventFilter, *, beyond: int | None, limit: int) -> tuple[Event, ...]:
        """List events in the filter's order, from beyond a sequence number on."""
        if beyond is None:
            beyond = 0 if where.oldest_first else _NO_BOUND
        found = self._connection.execute(q.events(where), {"beyond": beyond, "limit": limit})
        return tuple(chain.read(rows.link(row)) for row in found)

    def aliases_at(self, model: str | None, at: datetime, *, after: AliasPlace, limit: int) -> tuple[AliasAt, ...]:
        """List where aliases pointed at a moment, by model and alias, from beyond a place on."""
        found = self._connection.execute(
            q.aliases_at(model), {"at": at, "after_model": after.model, "after_alias": after.alias, "limit": limit}
        )
        return tuple(rows.alias_at(row) for row in found)

    def links(self) -> Iterator[Link]:
        """Yield the whole chain from its beginning, a batch at a time."""
        last = 0
        while True:
            found = self.links_after(last, limit=_CHAIN_BATCH)
            yield from found
            if len(found) < _CHAIN_BATCH:
                return
            last = found[-1].seq

    def links_after(self, seq: int, *, limit: int) -> tuple[Link, ...]:
        """Return the part of the chain that follows an event."""
        found = self._connection.execute(q.EVENTS_AFTER, {"after": seq, "limit": limit})
        return tuple(map(rows.link, found))

    # --- inside ---

    def _epoch_row(self) -> rows.AnyRow:
        row = self._connection.execute(q.EPOCH).one_or_none()
        if row is None:
            raise DataLoss("the registry has lost its epoch row; restore the registry from a backup")
        return row

    def _no_version(self, model: str, number: int) -> ModelNotFound | VersionNotFound:
        return VersionNotFound(model, number) if self.model_exists(model) else ModelNotFound(model)

    def _of(self, query: q.ByModel, models: Sequence[str] | None) -> Iterator[rows.AnyRow]:
        if models is None:
            yield from self._connection.execute(query.all)
        elif len(models) == 1:
            yield from self._connection.execute(query.one, {"model": models[0]})
        else:
            for start in range(0, len(models), _MODELS_BATCH):
                yield from self._connection.execute(query.some, {"models": models[start : start + _MODELS_BATCH]})

    def _whole(self, model: str, found: Sequence[rows.AnyRow]) -> tuple[Version, ...]:
        if not found:
            return ()
        names: dict[int, list[str]] = defaultdict(list)
        for alias in self.aliases([model]):
            names[alias.version].append(alias.alias)
        pinned = self.pins([model])[model]
        signed = self.signatures.names(model, [row.version for row in found])
        return tuple(
            rows.version(
                row,
                aliases=names[row.version],
                pinned=row.version in pinned,
                signed_by=signed.get(row.version, ()),
            )
            for row in found
        )
