"""What every attempt has in common: limits on its texts, its event, and which refusals are kept. Pure."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

from interlock.errors import (
    AlreadyExists,
    ApprovalRequired,
    FailedPrecondition,
    IdempotencyKeyReused,
    InterlockError,
    InvalidArgument,
    NotFound,
    PrepareFailed,
    Violation,
)
from interlock.model import MutationOptions
from interlock.types import alias_name, model_name

from interlock_registry.chain import MAX_TEXT, Draft
from interlock_registry.domain import Action, Attempt

_MAX_KEY: Final = 256
_MAX_ACTOR: Final = 256
_REHEARSED: Final = frozenset({Action.PROMOTE, Action.ROLLBACK})
_MOVING: Final = _REHEARSED | {Action.REMOVE_ALIAS}


def check(attempt: Attempt) -> None:
    """Let an attempt through whose names are valid and whose texts can be kept whole.

    Raises InvalidName, InvalidArgument.
    """
    model_name(attempt.model)
    if attempt.alias:
        alias_name(attempt.alias)
    violations = _violations(attempt)
    if violations:
        raise InvalidArgument(violations[0].description, violations=violations)


def check_rehearsal(action: Action, options: MutationOptions) -> None:
    """Let through what is to be done, and what can be tried out; raises FailedPrecondition."""
    if options.dry_run and action not in _REHEARSED:
        raise FailedPrecondition(f"{action.value} has no dry run; `interlock show` and `interlock log` tell the state")


def check_options(action: Action, options: MutationOptions) -> None:
    """Let options through that an action can keep to; raises InvalidArgument."""
    if options.expected_generation is not None and action not in _MOVING:
        what = f"{action.value} moves no alias, so no generation can be expected of one; leave expected_generation out"
        raise InvalidArgument(what, violations=[Violation("options.expected_generation", what)])
    if not 0 <= options.wait_s < math.inf:
        what = f"wait_s is {options.wait_s}; give a number of seconds, 0 for not at all"
        raise InvalidArgument(what, violations=[Violation("options.wait_s", what)])


def is_storable(attempt: Attempt) -> bool:
    """Tell whether an attempt's texts can be kept whole; in the event of a refused one they are cut."""
    return not _violations(attempt)


def is_final(error: InterlockError) -> bool:
    """Tell whether the domain itself refused: only such refusals are kept under idempotency keys."""
    if isinstance(error, IdempotencyKeyReused | PrepareFailed | ApprovalRequired):
        return False  # the same request may well succeed later
    return isinstance(error, InvalidArgument | NotFound | AlreadyExists | FailedPrecondition)


def draft(
    attempt: Attempt, now: datetime, *, outcome: str, from_version: int = 0, to_version: int = 0, detail: str = ""
) -> Draft:
    """Make the event of an attempt."""
    return Draft(
        time=now,
        actor=attempt.actor,
        action=attempt.action.value,
        model=attempt.model,
        alias=attempt.alias,
        from_version=from_version,
        to_version=to_version,
        reason=attempt.reason,
        request_id=attempt.request_id,
        outcome=outcome,
        detail=detail,
    )


def _violations(attempt: Attempt) -> tuple[Violation, ...]:
    limits = (
        ("idempotency_key", attempt.idempotency_key, _MAX_KEY),
        ("actor", attempt.actor, _MAX_ACTOR),
        ("reason", attempt.reason, MAX_TEXT),
        ("request_id", attempt.request_id, MAX_TEXT),
    )
    too_long = tuple(
        Violation(field, f"{field} has {len(text)} characters; up to {limit} are kept, so shorten it")
        for field, text, limit in limits
        if len(text) > limit
    )
    if "\0" in attempt.idempotency_key:
        return (*too_long, Violation("idempotency_key", "idempotency_key has a NUL character; use printable ones"))
    return too_long
