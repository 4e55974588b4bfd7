"""The statements of the writer, built once. Names that begin with `the_` bind what a row is found by."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Delete, Insert, Update, bindparam, delete, insert, null, update

from interlock_registry.sql import tables as t

INSERT_EVENT: Final[Insert] = insert(t.events)
SET_HEAD: Final[Update] = update(t.epoch)

INSERT_MODEL: Final[Insert] = insert(t.models)
TAKE_NUMBER: Final = (
    update(t.models)
    .where(t.models.c.name == bindparam("the_model"))
    .values(next_version=t.models.c.next_version + 1)
    .returning(t.models.c.next_version)
)
INSERT_ARTIFACT: Final[Insert] = insert(t.artifacts)
INSERT_VERSION: Final[Insert] = insert(t.versions)
INSERT_GOLDEN: Final[Insert] = insert(t.golden_samples)
SET_STATE: Final[Update] = (
    update(t.versions)
    .where(
        t.versions.c.model == bindparam("the_model"),
        t.versions.c.version == bindparam("the_version"),
        t.versions.c.state == bindparam("the_state"),
    )
    .values(state=bindparam("to"), state_changed_at=bindparam("now"))
)

INSERT_ALIAS: Final[Insert] = insert(t.aliases)
_SET_ALIAS: Final[Update] = update(t.aliases).where(
    t.aliases.c.model == bindparam("the_model"),
    t.aliases.c.alias == bindparam("the_alias"),
    t.aliases.c.generation == bindparam("the_generation"),
)
MOVE_ALIAS: Final[Update] = _SET_ALIAS.where(t.aliases.c.version == bindparam("the_version"))
REVIVE_ALIAS: Final[Update] = _SET_ALIAS.where(t.aliases.c.version.is_(None))
REMOVE_ALIAS: Final[Update] = _SET_ALIAS.where(t.aliases.c.version.is_not(None)).values(version=null())

CUT_STACK: Final[Delete] = delete(t.alias_stack).where(
    t.alias_stack.c.model == bindparam("the_model"),
    t.alias_stack.c.alias == bindparam("the_alias"),
    t.alias_stack.c.position >= bindparam("the_position"),
)
INSERT_STACK: Final[Insert] = insert(t.alias_stack)

SET_ROUTE: Final[Update] = (
    update(t.routes)
    .where(t.routes.c.model == bindparam("the_model"), t.routes.c.alias == bindparam("the_alias"))
    .values(generation=bindparam("to"))
)
INSERT_ROUTE: Final[Insert] = insert(t.routes)
DELETE_ROUTE: Final[Delete] = delete(t.routes).where(
    t.routes.c.model == bindparam("the_model"), t.routes.c.alias == bindparam("the_alias")
)
INSERT_TARGETS: Final[Insert] = insert(t.route_targets)
DELETE_TARGETS: Final[Delete] = delete(t.route_targets).where(
    t.route_targets.c.model == bindparam("the_model"), t.route_targets.c.alias == bindparam("the_alias")
)

INSERT_PIN: Final[Insert] = insert(t.pins)
DELETE_PIN: Final[Delete] = delete(t.pins).where(
    t.pins.c.model == bindparam("the_model"), t.pins.c.version == bindparam("the_version")
)

INSERT_ANSWER: Final[Insert] = insert(t.idempotency_keys)
DELETE_ANSWERS: Final[Delete] = delete(t.idempotency_keys).where(t.idempotency_keys.c.created_at < bindparam("before"))
