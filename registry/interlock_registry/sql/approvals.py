"""Approvals in one transaction: rows in, values out."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update

from interlock_registry.domain import GivenApproval
from interlock_registry.sql import tables as t

_ROWS: Final[Select[tuple[object, ...]]] = select(t.approvals)
_OF_MOVE: Final = _ROWS.where(
    t.approvals.c.model == bindparam("the_model"),
    t.approvals.c.version == bindparam("the_version"),
    t.approvals.c.alias == bindparam("the_alias"),
).order_by(t.approvals.c.seq)
_BELOW: Final = (
    _ROWS.where(t.approvals.c.seq < bindparam("below")).order_by(t.approvals.c.seq.desc()).limit(bindparam("limit"))
)
_BELOW_OF_MODEL: Final = _BELOW.where(t.approvals.c.model == bindparam("the_model"))
_INSERT: Final = insert(t.approvals)
_WITHDRAW: Final = (
    update(t.approvals).where(t.approvals.c.seq == bindparam("the_seq")).values(withdrawn_at=bindparam("now"))
)


class ApprovalRows:
    """What a transaction can tell and note of approvals."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_move(self, model: str, version: int, alias: str) -> tuple[GivenApproval, ...]:
        """Return every approval of an alias's move to a version, the oldest first."""
        found = self._connection.execute(_OF_MOVE, {"the_model": model, "the_version": version, "the_alias": alias})
        return tuple(map(_given, found))

    def below(self, seq: int, model: str | None, *, limit: int) -> tuple[GivenApproval, ...]:
        """List approvals of a model, or of all, given before an event, the newest first."""
        bound: dict[str, object] = {"below": seq, "limit": limit}
        if model is None:
            return tuple(map(_given, self._connection.execute(_BELOW, bound)))
        return tuple(map(_given, self._connection.execute(_BELOW_OF_MODEL, {**bound, "the_model": model})))

    def insert(self, new: GivenApproval) -> None:
        """Add one."""
        self._connection.execute(
            _INSERT,
            {
                "seq": new.seq,
                "model": new.model,
                "version": new.version,
                "alias": new.alias,
                "digest": new.digest,
                "approver": new.approver,
                "reason": new.reason,
                "given_at": new.given_at,
                "expires_at": new.expires_at,
                "withdrawn_at": new.withdrawn_at,
            },
        )

    def withdraw(self, seq: int, now: datetime) -> None:
        """Note that one was taken back."""
        self._connection.execute(_WITHDRAW, {"the_seq": seq, "now": now})


def _given(row: Row[tuple[object, ...]]) -> GivenApproval:
    return GivenApproval(
        seq=row.seq,
        model=row.model,
        version=row.version,
        alias=row.alias,
        digest=row.digest,
        approver=row.approver,
        reason=row.reason,
        given_at=row.given_at,
        expires_at=row.expires_at,
        withdrawn_at=row.withdrawn_at,
    )
