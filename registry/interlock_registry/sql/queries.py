"""The queries of the reader, built once: in a rollback, building them anew would cost more than running them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from interlock.chain import OK
from interlock.model import EventFilter
from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select, tuple_

from interlock_registry.sql import tables as t
from interlock_registry.sql.pairs import Among

AnySelect = Select[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class ByModel:
    """A query over rows that belong to models, for each way to choose these."""

    all: AnySelect
    one: AnySelect
    """Binds `model`."""
    some: AnySelect
    """Binds `models`."""


def _by_model(query: AnySelect, column: ColumnElement[str]) -> ByModel:
    return ByModel(
        all=query,
        one=query.where(column == bindparam("model")),
        some=query.where(column.in_(bindparam("models", expanding=True))),
    )


EPOCH: Final[AnySelect] = select(t.epoch)
EPOCH_LOCKED: Final[AnySelect] = EPOCH.with_for_update()

NAMES: Final = _by_model(select(t.models.c.name, t.models.c.next_version).order_by(t.models.c.name), t.models.c.name)
STANDING: Final[AnySelect] = (
    select(t.models.c.name, t.versions.c.version, t.versions.c.state)
    .outerjoin(t.versions, t.versions.c.model == t.models.c.name)
    .order_by(t.models.c.name, t.versions.c.version)
)
NAME_FOLDING_TO: Final[AnySelect] = select(t.models.c.name).where(t.models.c.folded_name == bindparam("folded"))

_counted: Final = (
    select(func.count()).where(t.versions.c.model == t.models.c.name).correlate(t.models).scalar_subquery()
)
"""Of each model that is listed: to count them all and then list some would read every version there is."""
MODELS: Final = _by_model(select(t.models, _counted.label("versions")).order_by(t.models.c.name), t.models.c.name)
NAMES_AFTER: Final[AnySelect] = (
    select(t.models.c.name)
    .where(t.models.c.name > bindparam("after"))
    .order_by(t.models.c.name)
    .limit(bindparam("limit"))
)

_stack: Final = (t.alias_stack.c.model == t.aliases.c.model) & (t.alias_stack.c.alias == t.aliases.c.alias)
_ALIASES: Final[AnySelect] = (
    select(t.aliases, t.alias_stack.c.version.label("stacked"))
    .outerjoin(t.alias_stack, _stack)
    .order_by(t.aliases.c.model, t.aliases.c.alias, t.alias_stack.c.position)
)
"""An alias has one row for each version in its stack, oldest first, or one row where the stack is empty."""
STACKED: Final[AnySelect] = select(t.alias_stack.c.model, t.alias_stack.c.alias).limit(1)
"""An alias that can be rolled back, if there is any."""
ALIASES: Final = _by_model(_ALIASES.where(t.aliases.c.version.is_not(None)), t.aliases.c.model)
ALIAS: Final[AnySelect] = _ALIASES.where(
    t.aliases.c.model == bindparam("model"), t.aliases.c.alias == bindparam("alias")
)

_route: Final = (t.route_targets.c.model == t.routes.c.model) & (t.route_targets.c.alias == t.routes.c.alias)
ROUTES: Final = _by_model(
    select(t.routes, t.route_targets.c.version, t.route_targets.c.weight, t.route_targets.c.shadow)
    .join(t.route_targets, _route)
    .order_by(t.routes.c.model, t.routes.c.alias, t.route_targets.c.version),
    t.routes.c.model,
)
"""A route has one row for each target."""

PINS: Final = _by_model(select(t.pins).order_by(t.pins.c.model, t.pins.c.version), t.pins.c.model)

_golden: Final = (t.golden_samples.c.model == t.versions.c.model) & (t.golden_samples.c.version == t.versions.c.version)
# Written so that the database looks through the damage, of which there is hardly ever any, and not through the blobs.
_damage: Final = (
    select(t.damaged_blobs.c.why)
    .where(
        or_(
            t.damaged_blobs.c.digest == t.golden_samples.c.digest,
            select(1)
            .where(
                t.artifact_blobs.c.artifact == t.versions.c.digest,
                t.artifact_blobs.c.digest == t.damaged_blobs.c.digest,
            )
            .correlate(t.versions, t.damaged_blobs)
            .exists(),
        )
    )
    .order_by(t.damaged_blobs.c.digest)
    .limit(1)
    .correlate(t.versions, t.golden_samples)
    .scalar_subquery()
    .label("damage")
)
_VERSIONS: Final[AnySelect] = (
    select(t.versions, t.golden_samples.c.samples, _damage)
    .outerjoin(t.golden_samples, _golden)
    .where(t.versions.c.model == bindparam("model"))
)
VERSION: Final[AnySelect] = _VERSIONS.where(t.versions.c.version == bindparam("version"))
VERSIONS: Final[AnySelect] = (
    _VERSIONS.where(t.versions.c.version < bindparam("below"))
    .order_by(t.versions.c.version.desc())
    .limit(bindparam("limit"))
)
CANDIDATES: Final[AnySelect] = select(
    t.versions.c.model, t.versions.c.version, t.versions.c.state, t.versions.c.signature
).where(t.versions.c.model == bindparam("model"), t.versions.c.version.in_((bindparam("target"), bindparam("serving"))))
"""The version that an alias is to move to, and the one that it serves."""
_DESIRED: Final[AnySelect] = (
    select(
        t.versions,
        t.artifacts.c.manifest,
        t.golden_samples.c.digest.label("golden_digest"),
        t.golden_samples.c.size_bytes.label("golden_size_bytes"),
        _damage,
    )
    .join(t.artifacts, t.artifacts.c.digest == t.versions.c.digest)
    .outerjoin(t.golden_samples, _golden)
    .order_by(t.versions.c.model, t.versions.c.version)
)
DESIRED_OF_ONE: Final[AnySelect] = _DESIRED.where(
    t.versions.c.model == bindparam("model"), t.versions.c.version.in_(bindparam("numbers", expanding=True))
)
DESIRED_OF_SOME: Final[AnySelect] = _DESIRED.where(Among(t.versions.c.model, t.versions.c.version))

MANIFEST: Final[AnySelect] = (
    select(t.versions.c.model, t.versions.c.version, t.versions.c.digest, t.artifacts.c.manifest)
    .join(t.artifacts, t.artifacts.c.digest == t.versions.c.digest)
    .where(t.versions.c.model == bindparam("model"), t.versions.c.version == bindparam("version"))
)
ARTIFACT: Final[AnySelect] = select(t.artifacts.c.digest).where(t.artifacts.c.digest == bindparam("digest"))

ANSWER: Final[AnySelect] = select(t.idempotency_keys).where(
    t.idempotency_keys.c.actor == bindparam("actor"),
    t.idempotency_keys.c.action == bindparam("action"),
    t.idempotency_keys.c.key == bindparam("key"),
)

_MOVES: Final = ("promote", "rollback", "alias.remove")
_REFUSED: Final = "refused"


def events(where: EventFilter) -> AnySelect:
    """List the events that a filter lets through, in its order; binds `beyond` (where a page begins) and `limit`."""
    seq = t.events.c.seq
    query = select(t.events).where(seq > bindparam("beyond") if where.oldest_first else seq < bindparam("beyond"))
    for condition in _conditions(where):
        query = query.where(condition)
    return query.order_by(seq if where.oldest_first else seq.desc()).limit(bindparam("limit"))


def _conditions(where: EventFilter) -> Iterator[ColumnElement[bool]]:
    events = t.events.c
    if where.model is not None:
        yield events.model == where.model
    if where.alias is not None:
        yield events.alias == where.alias
    if where.version is not None:
        yield (events.to_version == where.version) | (events.from_version == where.version)
    if where.action is not None:
        yield events.action == where.action
    if where.actor is not None:
        yield events.actor.icontains(where.actor, autoescape=True)
    if where.outcome is not None:
        yield events.outcome != OK if where.outcome == _REFUSED else events.outcome == where.outcome
    if where.since is not None:
        yield events.time >= where.since
    if where.until is not None:
        yield events.time <= where.until
    if where.before is not None:
        yield events.seq < where.before
    if where.after is not None:
        yield events.seq > where.after


def aliases_at(model: str | None) -> AnySelect:
    """List the last move of each alias up to a moment, of one model or of all.

    Binds `at`, `limit`, and `after_model` and `after_alias` where a page begins. A promote to where the alias is
    already moves nothing.
    """
    moves = t.events.c
    last = (
        select(func.max(moves.seq).label("seq"))
        .where(
            moves.action.in_(_MOVES),
            moves.outcome == OK,
            moves.from_version != moves.to_version,
            moves.time <= bindparam("at"),
        )
        .group_by(moves.model, moves.alias)
    )
    if model is not None:
        last = last.where(moves.model == model)
    found = last.subquery("last")
    return (
        select(t.events)
        .join(found, found.c.seq == t.events.c.seq)
        .where(
            t.events.c.action != "alias.remove",
            tuple_(t.events.c.model, t.events.c.alias) > tuple_(bindparam("after_model"), bindparam("after_alias")),
        )
        .order_by(t.events.c.model, t.events.c.alias)
        .limit(bindparam("limit"))
    )


EVENT_HASH: Final[AnySelect] = select(t.events.c.hash).where(t.events.c.seq == bindparam("seq"))
EVENTS_AFTER: Final[AnySelect] = (
    select(t.events).where(t.events.c.seq > bindparam("after")).order_by(t.events.c.seq).limit(bindparam("limit"))
)
