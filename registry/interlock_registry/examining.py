"""Hold everything that is stored in SQL against the rules of `fsck`, as it is at one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from interlock import chain
from interlock.model import Alias, AliasAt

from interlock_registry import fsck
from interlock_registry.domain import AliasPlace, Route
from interlock_registry.fsck import Finding, ModelPicture
from interlock_registry.inventory import HELD_S
from interlock_registry.sql.reader import Reader

_BATCH: Final = 500
_EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


def examine(reader: Reader, now: datetime) -> tuple[Finding, ...]:
    """Return what is not as it must be."""
    found: list[Finding] = []
    report = chain.verify(reader.links(), head=reader.head())
    if not report.is_whole:
        found.append(fsck.broken_chain(report.why, report.broken_at))
    examination = reader.examination
    found += [fsck.dangling(table, count) for table, count in examination.dangling().items()]
    found += [fsck.unreadable(ref, why) for ref, why in examination.unreadable()]
    found += [finding for artifact in examination.artifacts() for finding in fsck.check_artifact(artifact)]
    found += [finding for model in _models(reader) for finding in fsck.check_model(model)]
    held = examination.held_since_before(now - timedelta(seconds=HELD_S))
    if held:
        found.append(fsck.dead_holds(held))
    return tuple(found)


def _models(reader: Reader) -> Iterator[ModelPicture]:
    states = reader.examination.states()
    aliases: dict[str, list[Alias]] = defaultdict(list)
    for alias in reader.aliases():
        aliases[alias.model].append(alias)
    routes: dict[str, list[Route]] = defaultdict(list)
    for route in reader.routes():
        routes[route.model].append(route)
    history: dict[str, list[AliasAt]] = defaultdict(list)
    for place in _history(reader):
        history[place.model].append(place)
    pins = reader.pins()
    for name, following in reader.examination.next_versions().items():
        yield ModelPicture(
            name=name,
            next_version=following,
            states=states.get(name, {}),
            aliases=aliases[name],
            routes=routes[name],
            pins=pins[name],
            history=history[name],
        )


def _history(reader: Reader) -> Iterator[AliasAt]:
    after = AliasPlace()
    while True:
        found = reader.aliases_at(None, _EVER, after=after, limit=_BATCH)
        yield from found
        if len(found) < _BATCH:
            return
        after = AliasPlace(found[-1].model, found[-1].alias)
