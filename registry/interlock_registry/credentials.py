"""Who is known to the registry's servers. Every change is one transaction with one event, and moves the epoch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from interlock.access import Credential, Grant, Proof, credential_name, new_token, token_key
from interlock.chain import OK
from interlock.errors import AlreadyExists, InvalidArgument, NotFound

from interlock_registry import attempts
from interlock_registry.domain import Attempt
from interlock_registry.sql.database import Database
from interlock_registry.sql.writer import Writer


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token; its text is nowhere else."""

    token: str = field(repr=False)
    credential: Credential


class Credentials:
    """Issues, lists and revokes. Any thread may use it; every call blocks."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> tuple[Credential, ...]:
        """Return every credential, revoked and expired ones too."""
        return self._database.read(lambda reader: reader.credentials.all())

    def issue(self, attempt: Attempt, name: str, grants: Sequence[Grant], *, lifetime_s: float | None) -> Issued:
        """Make a token; raises InvalidArgument, AlreadyExists (a valid one has that name: rotate it)."""
        credential_name(name)
        token = new_token()

        def work(writer: Writer) -> Credential:
            now = self._clock()
            if any(each.is_valid(now) for each in writer.credentials.called(Proof.TOKEN, name)):
                raise AlreadyExists(
                    f"there is a valid token {name!r}; `interlock token rotate {name}` replaces its secret, "
                    f"`interlock token revoke {name}` ends it",
                    facts={"name": name},
                )
            return self._add(
                writer, attempt, _new(Proof.TOKEN, name, token_key(token), grants, attempt, now, lifetime_s)
            )

        return Issued(token, self._database.write(work))

    def rotate(self, attempt: Attempt, name: str, *, overlap_s: float, lifetime_s: float | None) -> Issued:
        """Make a new secret with the grants of a valid token, which ends after the overlap; raises NotFound."""
        token = new_token()

        def work(writer: Writer) -> Credential:
            now = self._clock()
            valid = [each for each in writer.credentials.called(Proof.TOKEN, name) if each.is_valid(now)]
            if not valid:
                raise NotFound(f"there is no valid token {name!r}; `interlock token list` shows those there are")
            ends = now + timedelta(seconds=overlap_s)
            for old in valid:
                if overlap_s <= 0:
                    writer.credentials.end(old.id, expires=old.expires_at, revoked=now)
                elif old.expires_at is None or old.expires_at > ends:
                    writer.credentials.end(old.id, expires=ends, revoked=None)
            newest = valid[-1]
            new = _new(Proof.TOKEN, newest.name, token_key(token), newest.grants, attempt, now, lifetime_s)
            return self._add(writer, attempt, new)

        return Issued(token, self._database.write(work))

    def allow(
        self, attempt: Attempt, identity: str, grants: Sequence[Grant], *, lifetime_s: float | None
    ) -> Credential:
        """Know the holder of a certificate by a name in it; raises InvalidArgument, AlreadyExists."""
        credential_name(identity)

        def work(writer: Writer) -> Credential:
            now = self._clock()
            if any(each.is_valid(now) for each in writer.credentials.called(Proof.CERTIFICATE, identity)):
                raise AlreadyExists(
                    f"{identity!r} is allowed already; `interlock identity revoke {identity}` ends that"
                )
            return self._add(
                writer, attempt, _new(Proof.CERTIFICATE, identity, identity, grants, attempt, now, lifetime_s)
            )

        return self._database.write(work)

    def revoke(self, attempt: Attempt, proof: Proof, called: str) -> tuple[Credential, ...]:
        """End every valid credential with an id or a name; raises NotFound."""

        def work(writer: Writer) -> tuple[Credential, ...]:
            now = self._clock()
            valid = tuple(each for each in writer.credentials.called(proof, called) if each.is_valid(now))
            if not valid:
                raise NotFound(f"no valid {proof.value} has the id or the name {called!r}")
            for each in valid:
                writer.credentials.end(each.id, expires=each.expires_at, revoked=now)
            self._note(writer, attempt, now, ", ".join(f"{each.name} ({each.id})" for each in valid))
            return valid

        return self._database.write(work)

    def _add(self, writer: Writer, attempt: Attempt, new: Credential) -> Credential:
        writer.credentials.insert(new)
        self._note(writer, attempt, new.created_at, f"{new.name} ({new.id}): {' '.join(map(str, new.grants))}")
        return new

    def _note(self, writer: Writer, attempt: Attempt, now: datetime, detail: str) -> None:
        writer.record(attempts.draft(attempt, now, outcome=OK, detail=detail), changes=True)


def _new(
    proof: Proof,
    name: str,
    key: str,
    grants: Sequence[Grant],
    attempt: Attempt,
    now: datetime,
    lifetime_s: float | None,
) -> Credential:
    if not grants:
        raise InvalidArgument("a credential needs a role: --role ROLE or --role ROLE:GLOB")
    return Credential(
        id=uuid.uuid4().hex[:12],
        proof=proof,
        name=name,
        key=key,
        grants=tuple(dict.fromkeys(grants)),
        created_at=now,
        created_by=attempt.actor,
        expires_at=None if lifetime_s is None else now + timedelta(seconds=lifetime_s),
    )
