"""Four eyes: approvals that an alias may move on to a version, and whether there are enough of them.

They bind to a version's number and to its bytes. One counts until it expires, while it is not taken back, and while
whoever gave it could give it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from interlock.access import Permission, Powers
from interlock.approval import Approval, ApprovalState, approvers
from interlock.chain import OK
from interlock.errors import ApprovalRequired, NotFound, PermissionDenied, VersionNotServable
from interlock.model import Version, VersionState

from interlock_registry import attempts, keys, paging
from interlock_registry.documents import ApprovalAnswer
from interlock_registry.domain import AliasRecord, Attempt, GivenApproval, Page
from interlock_registry.granting import Granting
from interlock_registry.sql.database import Database
from interlock_registry.sql.reader import Reader
from interlock_registry.sql.writer import Writer

_NO_BOUND: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Consent:
    """What a promote needs: so many approvals by others than its author and whoever requests it."""

    needed: int
    requester: str


class Approvals:
    """Gives, takes back and lists. Any thread may use it; every call blocks."""

    def __init__(self, database: Database, clock: Callable[[], datetime], granting: Granting) -> None:
        self._database = database
        self._clock = clock
        self._granting = granting

    def give(self, attempt: Attempt, *, lifetime_s: float) -> str:
        """Approve, as the attempt's actor, that its alias may move on to its version; returns the answer (JSON).

        Raises PermissionDenied (the version is the actor's own), VersionNotServable, ModelNotFound, VersionNotFound.
        """

        def work(writer: Writer) -> str:
            now = self._begin(writer, attempt)
            version = writer.version(attempt.model, attempt.version)
            if version.state is not VersionState.VALIDATED:
                raise VersionNotServable(attempt.model, attempt.version, version.state.value)
            if attempt.actor == version.created_by:
                raise PermissionDenied(
                    f"{attempt.actor} registered version {version.version} of {version.model!r} and cannot approve it: "
                    "that is for somebody else",
                    facts={"caller": attempt.actor, "model": version.model, "version": str(version.version)},
                )
            expires = now + timedelta(seconds=lifetime_s)
            self._note(writer, attempt, now, f"artifact {version.digest}, until {expires.isoformat()}")
            assert writer.recorded is not None
            new = GivenApproval(
                seq=writer.recorded.seq,
                model=version.model,
                version=version.version,
                alias=attempt.alias,
                digest=version.digest,
                approver=attempt.actor,
                reason=attempt.reason,
                given_at=now,
                expires_at=expires,
            )
            writer.approvals.insert(new)
            return self._remember(writer, attempt, new.seq, now)

        return self._granting.run(attempt, work)

    def withdraw(self, attempt: Attempt) -> str:
        """Take back what the attempt's actor has approved; returns the answer (JSON). Raises NotFound."""

        def work(writer: Writer) -> str:
            now = self._begin(writer, attempt)
            own = [
                each
                for each in writer.approvals.of_move(attempt.model, attempt.version, attempt.alias)
                if each.approver == attempt.actor and each.withdrawn_at is None and now < each.expires_at
            ]
            if not own:
                raise NotFound(
                    f"{attempt.actor} has no approval to take back for version {attempt.version} of {attempt.model!r} "
                    f"as {attempt.alias!r}; `interlock approvals {attempt.model}` lists those there are",
                    facts={"caller": attempt.actor, "model": attempt.model, "version": str(attempt.version)},
                )
            for each in own:
                writer.approvals.withdraw(each.seq, now)
            self._note(writer, attempt, now, f"given by event {', '.join(str(each.seq) for each in own)}")
            return self._remember(writer, attempt, own[-1].seq, now)

        return self._granting.run(attempt, work)

    def one(self, seq: int) -> Approval:
        """Return the approval that an event gave; raises NotFound."""
        now = self._clock()

        def work(reader: Reader) -> Approval:
            found = reader.approvals.below(seq + 1, None, limit=1)
            if not found or found[0].seq != seq:
                raise NotFound(f"event {seq} gave no approval")
            return _judged(found[0], now, _standing(reader, now))

        return self._database.read(work)

    def all(self, model: str | None = None, *, page_size: int = 0, page_token: str = "") -> Page[Approval]:
        """List the approvals of a model, or of all, the newest first; raises InvalidArgument."""
        size, below = paging.page_size(page_size), paging.number_below(page_token)
        now = self._clock()

        def work(reader: Reader) -> list[Approval]:
            standing = _standing(reader, now)
            found = reader.approvals.below(_NO_BOUND if below is None else below, model, limit=size + 1)
            return [_judged(each, now, standing) for each in found]

        return paging.page(self._database.read(work), size, lambda approval: str(approval.seq))

    def _begin(self, writer: Writer, attempt: Attempt) -> datetime:
        keys.check_fresh(writer, attempt)
        return self._clock()

    def _note(self, writer: Writer, attempt: Attempt, now: datetime, detail: str) -> None:
        draft = attempts.draft(attempt, now, to_version=attempt.version, outcome=OK, detail=detail)
        writer.record(draft, changes=False)

    def _remember(self, writer: Writer, attempt: Attempt, seq: int, now: datetime) -> str:
        answer = ApprovalAnswer(seq).to_json()
        if attempt.idempotency_key:
            writer.remember(attempt, answer, refused=False, now=now)
        return answer


def check_consent(reader: Reader, record: AliasRecord, number: int, consent: Consent | None, now: datetime) -> None:
    """Let an alias move on to a version that enough others approve; raises ApprovalRequired.

    A way back needs none: not to what the alias serves, nor to what is in its stack.
    """
    if consent is None or number == record.version or number in record.stack:
        return
    version = reader.version(record.model, number)
    have = _approvers(reader, version, record.alias, consent, now)
    if len(have) < consent.needed:
        raise ApprovalRequired(
            record.model,
            number,
            record.alias,
            needed=consent.needed,
            have=have,
            author=version.created_by,
            requester=consent.requester,
        )


def _approvers(reader: Reader, version: Version, alias: str, consent: Consent, now: datetime) -> tuple[str, ...]:
    given = reader.approvals.of_move(version.model, version.version, alias)
    standing = _standing(reader, now)
    judged = [_judged(each, now, standing) for each in given]
    return approvers(judged, digest=version.digest, author=version.created_by, requester=consent.requester)


def _standing(reader: Reader, now: datetime) -> Mapping[str, Powers]:
    """Return what everybody who is known now may do, by the names that events have."""
    return {f"{each.proof.value}:{each.name}": Powers(each.grants) for each in reader.credentials.valid(now)}


def _judged(given: GivenApproval, now: datetime, standing: Mapping[str, Powers]) -> Approval:
    powers = standing.get(given.approver)
    if given.withdrawn_at is not None:
        state = ApprovalState.WITHDRAWN
    elif now >= given.expires_at:
        state = ApprovalState.EXPIRED
    elif powers is None or not powers.on(Permission.APPROVE, given.model):
        state = ApprovalState.VOID
    else:
        state = ApprovalState.COUNTS
    return Approval(
        seq=given.seq,
        model=given.model,
        version=given.version,
        alias=given.alias,
        digest=given.digest,
        approver=given.approver,
        reason=given.reason,
        given_at=given.given_at,
        expires_at=given.expires_at,
        withdrawn_at=given.withdrawn_at,
        state=state,
    )
