"""How an alias moves. Pure.

The versions that an alias served before the live one form a stack. A promote pushes the live version, a rollback pops.
Naming a version that is in the stack pops down to it, so a second rollback goes further back, never forward.
"""

from __future__ import annotations

from dataclasses import dataclass

from interlock.errors import NothingToRollBack, NotInStack


@dataclass(frozen=True, slots=True)
class Position:
    """Where an alias is."""

    live: int
    stack: tuple[int, ...] = ()
    """What it served before, oldest first."""


def promoted(position: Position | None, version: int) -> Position:
    """Return where a promote of `version` leads; None is an alias that does not exist."""
    if position is None:
        return Position(version)
    if version == position.live:
        return position
    if version in position.stack:
        return _popped(position, version)
    return Position(version, (*position.stack, position.live))


def rolled_back(position: Position, to_version: int, *, model: str, alias: str) -> Position:
    """Return where a rollback leads: to the top of the stack (`to_version` 0), or down to a version in it.

    Rolling back to the live version changes nothing, so that two people may give the same order.
    Raises NothingToRollBack, NotInStack.
    """
    if to_version == position.live:
        return position
    if to_version and to_version not in position.stack:
        raise NotInStack(model, alias, to_version, position.stack)
    if not position.stack:
        raise NothingToRollBack(model, alias, position.live)
    return _popped(position, to_version or position.stack[-1])


def _popped(position: Position, version: int) -> Position:
    return Position(version, position.stack[: position.stack.index(version)])
