"""What can be done to the registry: one transaction, one event each.

Decisions are made by pure code over what the transaction reads; the statements say again, in their WHERE clauses, what
was decided upon. Refusals leave no trace but the event that `refuse` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from interlock.chain import OK
from interlock.errors import (
    Aborted,
    AliasNotFound,
    AlreadyExists,
    FailedPrecondition,
    GenerationConflict,
    InterlockError,
    NotFound,
    VersionInUse,
    VersionNotServable,
)
from interlock.model import Version, VersionState
from interlock.statement import Signed, SignedStatement
from interlock.types import model_name

from interlock_registry import attempts, documents, keys, planning, recording, rehearsal
from interlock_registry.approvals import Approvals, Consent, check_consent
from interlock_registry.credentials import Credentials
from interlock_registry.documents import VersionAnswer
from interlock_registry.domain import (
    Attempt,
    Committed,
    DesiredModel,
    Move,
    Moved,
    NewVersion,
    Recalled,
    Registered,
    check_transition,
)
from interlock_registry.examining import examine
from interlock_registry.fleet_registry import Fence, Fleet, guard
from interlock_registry.fsck import Finding
from interlock_registry.granting import Granting
from interlock_registry.inventory import HELD_S, Inventory
from interlock_registry.keys import recalled
from interlock_registry.reading import RegistryReader, plan
from interlock_registry.recording import record_move
from interlock_registry.sql.database import Database
from interlock_registry.sql.writer import Writer

KEYS_KEPT_S: Final = 7 * 24 * 3600.0
"""How long answers are kept under their idempotency keys."""


def _now() -> datetime:
    return datetime.now(UTC)


class Registry(RegistryReader):
    """Models, versions, aliases and their history, in SQL. Any thread may use it; every call blocks."""

    def __init__(self, database: Database, *, keep_depth: int, clock: Callable[[], datetime]) -> None:
        super().__init__(database, keep_depth=keep_depth)
        self._clock = clock
        self._granting = Granting(database)
        self.fleet = Fleet(database, clock)
        """What the replicas on this registry tell each other."""
        self.credentials = Credentials(database, clock)
        """Who is known to the servers on this registry."""
        self.approvals = Approvals(database, clock, self._granting)
        """Who has approved which moves of aliases."""
        self.blobs = Inventory(database, clock)
        """What is known of blobs: who needs them, which are damaged."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        keep_depth: int = 1,
        migrate: bool = True,
        backup_dir: Path | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> Registry:
        """Open the database at `url`, making or updating its schema; an older SQLite file is copied first.

        `keep_depth` is how much of each alias's stack stays loaded; `backup_dir` takes the copy (default: beside the
        file). Raises StartupRefused where this program must not use it, RegistryUnavailable where nobody can.
        """
        database = Database(url)
        try:
            database.prepare(may_migrate=migrate, backup_dir=backup_dir)
        except BaseException:
            database.close()
            raise
        return cls(database, keep_depth=keep_depth, clock=clock)

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        self._database.close()

    # --- versions ---

    def register(self, new: NewVersion, attempt: Attempt, *, holder: str = "") -> Registered:
        """Make an upload, whose blobs are stored, the next version of its model, and the model on first use.

        The attempt's version is the one that the new one was made of, if there is such.

        `holder` has held the blobs since before they were stored, and lets go of them in the same transaction; without
        one nobody else may collect garbage meanwhile. Raises InvalidName, AlreadyExists (a model whose name differs
        only in case), Aborted (the blobs are not held any more).
        """
        model_name(new.model)
        if attempt.model != new.model:
            raise ValueError(f"the attempt is on model {attempt.model!r}, the version of {new.model!r}")

        def work(writer: Writer) -> Registered:
            now = self._begin(writer, attempt)
            if holder and not writer.blobs.release(holder):
                raise Aborted(f"storing the blobs took more than {HELD_S:g} s, they may be gone again; repeat it")
            if not writer.model_exists(new.model):
                twin = writer.name_folding_to(new.model.casefold())
                if twin is not None:
                    raise AlreadyExists(
                        f"model name {new.model!r} differs only in case from {twin!r}, which exists; use {twin!r}, "
                        "or a name of its own",
                        facts={"model": new.model, "existing": twin},
                    )
                writer.insert_model(new.model, now)
            number = writer.take_number(new.model)
            writer.insert_version(new, number, actor=attempt.actor, now=now)
            if new.signed is not None:
                writer.signatures.put(new.model, number, Signed(new.signed, now, attempt.actor))
            answer = VersionAnswer(model=new.model, version=number).to_json()
            detail = "" if new.signed is None else f"signed by key {new.signed.key}"
            epoch = recording.record(
                writer, attempt, now, from_version=attempt.version, to_version=number, answer=answer, detail=detail
            )
            committed = self._committed(writer, attempt, epoch)
            return Registered(writer.version(new.model, number), committed)

        return self._granting.run(attempt, work)

    def retire(self, attempt: Attempt) -> Committed:
        """Take a version out of use for good; raises VersionInUse, VersionNotFound, FailedPrecondition."""

        def work(writer: Writer) -> Committed:
            now = self._begin(writer, attempt)
            uses = writer.uses(attempt.model, attempt.version)
            if uses:
                raise VersionInUse(attempt.model, attempt.version, "; ".join(uses))
            version = self._step(writer, attempt, now, to=VersionState.RETIRED)
            epoch = recording.record(writer, attempt, now, to_version=version.version, answer=_answer(version))
            return self._committed(writer, attempt, epoch)

        return self._granting.run(attempt, work)

    def sign(self, attempt: Attempt, signed: SignedStatement) -> Committed:
        """Keep what somebody has signed of a version; raises VersionNotFound, FailedPrecondition (it was deleted)."""

        def work(writer: Writer) -> Committed:
            now = self._begin(writer, attempt)
            version = writer.version(attempt.model, attempt.version)
            if version.state is VersionState.DELETED:
                raise FailedPrecondition(f"{version.model}@{version.version} was deleted; there is nothing to sign")
            writer.signatures.put(attempt.model, attempt.version, Signed(signed, now, attempt.actor))
            epoch = recording.record(
                writer,
                attempt,
                now,
                to_version=version.version,
                answer=_answer(version),
                detail=f"signed by key {signed.key}",
            )
            return self._committed(writer, attempt, epoch)

        return self._granting.run(attempt, work)

    def delete(self, attempt: Attempt) -> Committed:
        """Turn a retired version into a tombstone that keeps its number.

        Raises VersionInUse (not retired), VersionNotFound, FailedPrecondition.
        """

        def work(writer: Writer) -> Committed:
            now = self._begin(writer, attempt)
            version = self._step(writer, attempt, now, to=VersionState.DELETED)
            epoch = recording.record(writer, attempt, now, to_version=version.version, answer=_answer(version))
            return self._committed(writer, attempt, epoch)

        return self._granting.run(attempt, work)

    # --- aliases ---

    def commit_move(
        self,
        move: Move,
        attempt: Attempt,
        answer: str,
        fence: Fence | None = None,
        consent: Consent | None = None,
    ) -> Committed:
        """Move an alias as planned: the point of no return of a promote or a rollback.

        `answer` (JSON) is what the attempt's idempotency key will recall. Raises GenerationConflict where the alias
        has moved since, VersionNotServable where the target was retired since, ApprovalRequired where the `consent`
        that policy asks for is not there (any more), and what the `fence` of a fleet does.
        """

        def work(writer: Writer) -> Committed:
            now = self._begin(writer, attempt)
            target = writer.candidates(move.model, move.to_version, 0)[move.to_version]
            if target.state is not VersionState.VALIDATED:
                raise VersionNotServable(move.model, move.to_version, target.state.value)
            record = writer.alias_record(move.model, move.alias)
            planning.check_generation(record, move.generation_before)
            check_consent(writer, record, move.to_version, consent, now)
            if fence is not None:
                guard(writer, move, fence)
            epoch = record_move(writer, attempt, now, move, record, answer=answer)
            return self._committed(writer, attempt, epoch)

        return self._granting.run(attempt, work)

    def roll_back(
        self,
        attempt: Attempt,
        answer: Callable[[Move], str],
        *,
        ready: Set[int],
        fence: Fence | None = None,
        expected_generation: int | None = None,
        allow_breaking: bool = False,
    ) -> Recalled | Move | Moved:
        """Look for the attempt's key, plan and, where the target is one of the `ready` versions, commit: in one visit.

        For any other target nothing is written and the plan returned. `answer` makes what the key will recall. Raises
        what `plan_rollback` and `commit_move` raise.
        """

        def work(writer: Writer) -> Recalled | Move | Moved:
            kept = recalled(writer, attempt)
            if kept is not None:
                return kept
            attempts.check(attempt)
            record = writer.alias_record(attempt.model, attempt.alias)
            planning.check_generation(record, expected_generation)
            move = plan(writer, record, planning.after_rollback(record, attempt.version), allow_breaking=allow_breaking)
            if move.to_version not in ready:
                return move
            if fence is not None:
                guard(writer, move, fence)
            now = self._clock()
            return Moved(move, record_move(writer, attempt, now, move, record, answer=answer(move)), now)

        found = self._database.write(work)
        if isinstance(found, Moved):
            self._granting.note(attempt)
        return found

    def rehearse(self) -> bool:
        """Do some rollback and undo it, so that the next is quick; False where there is none to do."""
        return rehearsal.rehearse(self._database, self._clock())

    def remove_alias(self, attempt: Attempt, *, expected_generation: int | None = None) -> Committed:
        """Remove an alias with its stack and route; raises ModelNotFound, AliasNotFound, GenerationConflict."""

        def work(writer: Writer) -> Committed:
            now = self._begin(writer, attempt)
            record = writer.alias_record(attempt.model, attempt.alias)
            planning.check_generation(record, expected_generation)
            if not record.version:
                raise AliasNotFound(attempt.model, attempt.alias)
            if not writer.remove_alias(record, now):
                raise GenerationConflict(attempt.model, attempt.alias, record.generation, record.generation + 1)
            epoch = recording.record(writer, attempt, now, from_version=record.version, answer="{}")
            return self._committed(writer, attempt, epoch)

        return self._granting.run(attempt, work)

    # --- pins ---

    def pin(self, attempt: Attempt) -> Committed:
        """Keep a version loaded without an alias; pinning it again changes nothing.

        Raises VersionNotServable, VersionNotFound, ModelNotFound.
        """

        def work(writer: Writer) -> Committed:
            now = self._begin(writer, attempt)
            version = writer.version(attempt.model, attempt.version)
            if version.state is not VersionState.VALIDATED:
                raise VersionNotServable(attempt.model, attempt.version, version.state.value)
            changes = writer.insert_pin(attempt.model, attempt.version, now)
            epoch = recording.record(
                writer, attempt, now, to_version=version.version, answer=_answer(version), changes=changes
            )
            return self._committed(writer, attempt, epoch)

        return self._granting.run(attempt, work)

    def unpin(self, attempt: Attempt) -> Committed:
        """Stop keeping a version for its own sake; raises NotFound where it is not pinned."""

        def work(writer: Writer) -> Committed:
            now = self._begin(writer, attempt)
            version = writer.version(attempt.model, attempt.version)
            if not writer.delete_pin(attempt.model, attempt.version):
                raise NotFound(
                    f"version {attempt.version} of {attempt.model!r} is not pinned; "
                    f"`interlock versions {attempt.model}` shows which are",
                    facts={"model": attempt.model, "version": str(attempt.version)},
                )
            epoch = recording.record(writer, attempt, now, to_version=version.version, answer=_answer(version))
            return self._committed(writer, attempt, epoch)

        return self._granting.run(attempt, work)

    # --- refusals and housekeeping ---

    def refuse(self, attempt: Attempt, error: InterlockError) -> bool:
        """Write the one event of an attempt that was refused, and keep a refusal by the domain under its key.

        False where it was granted here before: what goes wrong after its transaction refuses nothing.
        """
        if self._granting.granted(attempt):
            return False

        def work(writer: Writer) -> None:
            now = self._clock()
            keeps = bool(attempt.idempotency_key) and attempts.is_final(error) and attempts.is_storable(attempt)
            if keeps and writer.recall(attempt) is None:
                writer.remember(attempt, documents.write_refusal(error), refused=True, now=now)
            writer.record(
                attempts.draft(attempt, now, to_version=attempt.version, outcome=error.reason, detail=error.message),
                changes=False,
            )

        self._database.write(work)
        return True

    def remark(self, attempt: Attempt, detail: str) -> None:
        """Write the event of a change that was made outside of the registry."""
        self._database.write(
            lambda writer: writer.record(
                attempts.draft(attempt, self._clock(), outcome=OK, detail=detail), changes=False
            )
        )

    def findings(self) -> tuple[Finding, ...]:
        """Check all that is stored, and return what is not as it must be."""
        now = self._clock()
        return self._database.read(lambda reader: examine(reader, now))

    def forget_answers(self, *, older_than_s: float = KEYS_KEPT_S) -> int:
        """Drop what is kept under idempotency keys for longer than that; returns how many answers."""
        before = self._clock() - timedelta(seconds=older_than_s)
        return self._database.write(lambda writer: writer.forget(before=before), durable=False)

    # --- inside ---

    def _begin(self, writer: Writer, attempt: Attempt) -> datetime:
        keys.check_fresh(writer, attempt)
        return self._clock()

    def _step(self, writer: Writer, attempt: Attempt, now: datetime, *, to: VersionState) -> Version:
        version = writer.version(attempt.model, attempt.version)
        check_transition(attempt.model, attempt.version, state=version.state, to=to)
        if not writer.set_state(attempt.model, attempt.version, state=version.state, to=to, now=now):
            raise Aborted(f"version {attempt.version} of {attempt.model!r} was changed meanwhile; look and try again")
        return version

    def _committed(self, writer: Writer, attempt: Attempt, epoch: int) -> Committed:
        return Committed(epoch, self._desired(writer, attempt.model))

    def _desired(self, writer: Writer, model: str) -> DesiredModel:
        return writer.desired([model], keep_depth=self._keep_depth)[0]


def _answer(version: Version) -> str:
    return VersionAnswer(model=version.model, version=version.version).to_json()
