"""A rollback that is done and undone.

What is used for the first time is compiled first, which takes many times what using it does: not while somebody waits
for the first rollback after a start.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Final

from interlock.errors import VersionNotServable

from interlock_registry import planning
from interlock_registry.domain import Action, Attempt
from interlock_registry.keys import recalled
from interlock_registry.reading import plan
from interlock_registry.recording import record_move
from interlock_registry.sql.database import Database
from interlock_registry.sql.writer import Writer

_REHEARSAL: Final = "rehearsal"


class _Undone(Exception):
    """Ends a rehearsal: a transaction that raises leaves no trace."""


def rehearse(database: Database, now: datetime) -> bool:
    """Do some rollback and undo it; False where there is none to do."""

    def work(writer: Writer) -> None:
        found = writer.stacked_alias()
        if found is None:
            return
        attempt = Attempt(
            action=Action.ROLLBACK,
            actor="interlock",
            request_id=_REHEARSAL,
            model=found.model,
            alias=found.alias,
            idempotency_key=_REHEARSAL,
        )
        recalled(writer, attempt)
        move = plan(writer, found, planning.after_rollback(found, 0), allow_breaking=True)
        record_move(writer, attempt, now, move, found, answer="{}")
        raise _Undone

    try:
        with suppress(VersionNotServable):  # that one has no way back; statements compiled in vain harm nobody
            database.write(work)
    except _Undone:
        return True
    return False
