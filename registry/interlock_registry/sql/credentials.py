"""Credentials in one transaction: rows in, values out."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from interlock.access import Credential, Grant, Proof
from sqlalchemy import Connection, Row, bindparam, insert, or_, select, update

from interlock_registry.sql import tables as t

_ALL: Final = select(t.credentials).order_by(t.credentials.c.created_at, t.credentials.c.id)
_CALLED: Final = _ALL.where(
    or_(t.credentials.c.id == bindparam("called"), t.credentials.c.name == bindparam("called")),
    t.credentials.c.proof == bindparam("the_proof"),
)
_VALID: Final = _ALL.where(
    t.credentials.c.revoked_at.is_(None),
    or_(t.credentials.c.expires_at.is_(None), t.credentials.c.expires_at > bindparam("now")),
)
_INSERT: Final = insert(t.credentials)
_END: Final = (
    update(t.credentials)
    .where(
        t.credentials.c.id == bindparam("the_id"),
        t.credentials.c.revoked_at.is_(None),
    )
    .values(expires_at=bindparam("expires"), revoked_at=bindparam("revoked"))
)


class CredentialRows:
    """What a transaction can tell and note of credentials."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> tuple[Credential, ...]:
        """Return every credential, the oldest first."""
        return tuple(map(_credential, self._connection.execute(_ALL)))

    def valid(self, now: datetime) -> tuple[Credential, ...]:
        """Return those that are neither revoked nor expired."""
        return tuple(map(_credential, self._connection.execute(_VALID, {"now": now})))

    def called(self, proof: Proof, text: str) -> tuple[Credential, ...]:
        """Return the credentials with an id, or a name."""
        return tuple(map(_credential, self._connection.execute(_CALLED, {"called": text, "the_proof": proof.value})))

    def insert(self, new: Credential) -> None:
        """Add one."""
        self._connection.execute(
            _INSERT,
            {
                "id": new.id,
                "proof": new.proof.value,
                "name": new.name,
                "key": new.key,
                "grants": " ".join(map(str, new.grants)),
                "created_at": new.created_at,
                "created_by": new.created_by,
                "expires_at": new.expires_at,
                "revoked_at": new.revoked_at,
            },
        )

    def end(self, id: str, *, expires: datetime | None, revoked: datetime | None) -> bool:
        """Let one that is not revoked end; False where it is."""
        found = self._connection.execute(_END, {"the_id": id, "expires": expires, "revoked": revoked})
        return found.rowcount == 1


def _credential(row: Row[tuple[object, ...]]) -> Credential:
    return Credential(
        id=row.id,
        proof=Proof(row.proof),
        name=row.name,
        key=row.key,
        grants=tuple(map(Grant.parse, row.grants.split())),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
