"""What every granted attempt leaves behind in its transaction: its event, its answer, and the move of an alias."""

from __future__ import annotations

from datetime import datetime

from interlock.chain import OK
from interlock.errors import GenerationConflict

from interlock_registry import attempts
from interlock_registry.domain import AliasRecord, Attempt, Move
from interlock_registry.sql.writer import Writer


def record(
    writer: Writer,
    attempt: Attempt,
    now: datetime,
    *,
    answer: str,
    from_version: int = 0,
    to_version: int = 0,
    changes: bool = True,
    detail: str = "",
) -> int:
    """Write the event of an attempt, and `answer` (JSON) under its key; returns the epoch.

    `changes` says whether something else should be served from now on, which raises the epoch.
    """
    if attempt.idempotency_key:
        writer.remember(attempt, answer, refused=False, now=now)
    draft = attempts.draft(attempt, now, from_version=from_version, to_version=to_version, outcome=OK, detail=detail)
    return writer.record(draft, changes=changes)


def record_move(writer: Writer, attempt: Attempt, now: datetime, move: Move, found: AliasRecord, *, answer: str) -> int:
    """Move an alias, found as `found`, as planned, with its event; returns the epoch. Raises GenerationConflict."""
    if not move.is_noop and not writer.move_alias(move, found, now):
        raise GenerationConflict(move.model, move.alias, move.generation_before, found.visible_generation)
    return record(
        writer,
        attempt,
        now,
        answer=answer,
        from_version=move.from_version,
        to_version=move.to_version,
        changes=not move.is_noop,
    )
