"""Decide what a promote or a rollback would do, from what was read. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from interlock.errors import AliasNotFound, GenerationConflict, IncompatibleSignature, VersionNotServable
from interlock.model import Alias, VersionState
from interlock.types import breaking_changes

from interlock_registry.domain import AliasRecord, Candidate, DesiredModel, Move, Moved, Route, Target
from interlock_registry.stack import Position, promoted, rolled_back

_WHOLE_WEIGHT: Final = 100


def check_generation(record: AliasRecord, expected: int | None) -> None:
    """Compare an alias with what the caller saw (0: it must not exist); raises GenerationConflict."""
    if expected is not None and expected != record.visible_generation:
        raise GenerationConflict(record.model, record.alias, expected, record.visible_generation)


def after_promote(record: AliasRecord, version: int) -> Position:
    """Return where a promote leads."""
    return promoted(_position(record), version)


def after_rollback(record: AliasRecord, to_version: int) -> Position:
    """Return where a rollback leads; raises AliasNotFound, NothingToRollBack, NotInStack."""
    position = _position(record)
    if position is None:
        raise AliasNotFound(record.model, record.alias)
    return rolled_back(position, to_version, model=record.model, alias=record.alias)


def plan_move(
    record: AliasRecord, after: Position, *, target: Candidate, serving: Candidate | None, allow_breaking: bool
) -> Move:
    """Plan the move of an alias to `after`, whose live version is `target`.

    Raises VersionNotServable, and IncompatibleSignature unless breaking callers of `serving` is allowed.
    """
    if target.state is not VersionState.VALIDATED:
        raise VersionNotServable(target.model, target.version, target.state.value)
    breaking = breaking_changes(serving.signature, target.signature) if serving else ()
    if serving and breaking and not allow_breaking:
        raise IncompatibleSignature(target.model, target.version, serving.version, breaking)
    return Move(
        model=record.model,
        alias=record.alias,
        from_version=record.version,
        to_version=after.live,
        stack_after=after.stack,
        generation_before=record.visible_generation,
        generation_after=record.generation + (0 if after.live == record.version else 1),
        breaking=breaking,
    )


def route_after(move: Move) -> Route:
    """Return where an alias leads once a move is committed: all of its traffic to one version."""
    return Route(
        model=move.model,
        alias=move.alias,
        generation=move.generation_after,
        targets=(Target(move.to_version, _WHOLE_WEIGHT),),
    )


def model_after(model: DesiredModel, moved: Moved) -> DesiredModel:
    """Return a model as the move of an alias that it had leaves it; what should be loaded stays as it was."""
    move = moved.move
    alias = Alias(
        model=move.model,
        alias=move.alias,
        version=move.to_version,
        generation=move.generation_after,
        stack=move.stack_after,
        updated_at=moved.at,
    )
    return replace(
        model,
        aliases=tuple(alias if each.alias == move.alias else each for each in model.aliases),
        routes=tuple(route_after(move) if each.alias == move.alias else each for each in model.routes),
    )


def _position(record: AliasRecord) -> Position | None:
    return Position(record.version, record.stack) if record.version else None
