"""Idempotency keys in a transaction: what one brings back, and what comes with a fresh one."""

from __future__ import annotations

from interlock.errors import Aborted, IdempotencyKeyReused

from interlock_registry import attempts, documents
from interlock_registry.domain import Attempt, Recalled
from interlock_registry.sql.reader import Reader


def recalled(reader: Reader, attempt: Attempt) -> Recalled | None:
    """Read what is kept under an attempt's key; raises IdempotencyKeyReused."""
    kept = reader.recall(attempt) if attempt.idempotency_key else None
    if kept is None:
        return None
    if kept.request_hash != attempt.request_hash:
        raise IdempotencyKeyReused(attempt.idempotency_key)
    return Recalled(refusal=documents.read_refusal(kept.answer)) if kept.refused else Recalled(kept.answer)


def check_fresh(reader: Reader, attempt: Attempt) -> None:
    """Let an attempt through that may be made and has had no answer yet.

    Raises InvalidName, InvalidArgument, IdempotencyKeyReused, Aborted (another replica answered it meanwhile).
    """
    attempts.check(attempt)
    if recalled(reader, attempt) is not None:
        raise Aborted(
            f"the request with idempotency key {attempt.idempotency_key!r} was answered meanwhile, by another "
            "replica; repeat it to get that answer",
            facts={"key": attempt.idempotency_key},
        )
