"""What can be asked of the registry. Each answer is of one moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from interlock import chain
from interlock.chain import ChainReport
from interlock.errors import AliasNotFound, ModelNotFound
from interlock.model import Alias, AliasAt, Event, EventFilter, Model, Version
from interlock.statement import Signed
from interlock.types import STABLE, ModelRef, alias_name

from interlock_registry import paging, planning
from interlock_registry.approvals import Consent, check_consent
from interlock_registry.domain import (
    AliasRecord,
    Attempt,
    ChainPart,
    Committed,
    Desired,
    DesiredModel,
    DesiredVersion,
    EpochState,
    ModelStanding,
    Move,
    Page,
    Recalled,
)
from interlock_registry.keys import recalled
from interlock_registry.manifest import Manifest
from interlock_registry.sql.database import Database
from interlock_registry.sql.reader import Reader
from interlock_registry.stack import Position

EVERY: Final = EventFilter()
"""The filter that lets every event through."""


class RegistryReader:
    """Every method may raise RegistryUnavailable, and DataLoss where what is stored cannot be."""

    def __init__(self, database: Database, *, keep_depth: int) -> None:
        self._database = database
        self._keep_depth = keep_depth

    def keep(self, depth: int) -> None:
        """Count so many earlier versions of each alias among those to be loaded, from the next read on."""
        self._keep_depth = depth

    # --- what should be served ---

    def state(self) -> EpochState:
        """Return how far the registry is: cheap, for polling."""
        return self._database.read(lambda reader: reader.state())

    def desired(self) -> Desired:
        """Return what should be served, all of it."""

        def work(reader: Reader) -> Desired:
            state = reader.state()
            models = reader.desired(keep_depth=self._keep_depth)
            return Desired(state.incarnation, state.epoch, models, reader.credentials.valid(datetime.now(UTC)))

        return self._database.read(work)

    def desired_model(self, name: str) -> DesiredModel:
        """Return what should be served of one model; raises ModelNotFound."""

        def work(reader: Reader) -> DesiredModel:
            found = reader.desired([name], keep_depth=self._keep_depth)
            if not found:
                raise ModelNotFound(name)
            return found[0]

        return self._database.read(work)

    def committed(self, name: str) -> Committed:
        """Return one model with the epoch that it is of; raises ModelNotFound."""

        def work(reader: Reader) -> Committed:
            found = reader.desired([name], keep_depth=self._keep_depth)
            if not found:
                raise ModelNotFound(name)
            return Committed(reader.state().epoch, found[0])

        return self._database.read(work)

    def desired_version(self, model: str, version: int) -> DesiredVersion:
        """Return all that it takes to load a version, wanted or not; raises ModelNotFound, VersionNotFound."""
        return self._database.read(lambda reader: reader.desired_version(model, version))

    # --- the catalogue ---

    def models(
        self, page_size: int = 0, page_token: str = "", *, sees: Callable[[str], bool] = lambda name: True
    ) -> Page[Model]:
        """List the models that whoever asks `sees`, by name; `page_size` 0 is 100, at most 1000.

        Neither the page nor its token tells that there are others. Raises InvalidArgument.
        """
        size, after = paging.page_size(page_size), paging.name_after(page_token)

        def work(reader: Reader) -> tuple[Model, ...]:
            return reader.models(reader.model_names(sees, after=after, limit=size + 1))

        return paging.page(self._database.read(work), size, lambda model: model.name)

    def versions(self, model: str, page_size: int = 0, page_token: str = "") -> Page[Version]:
        """List a model's versions, newest first, tombstones too; raises ModelNotFound, InvalidArgument."""
        size, below = paging.page_size(page_size), paging.number_below(page_token)
        found = self._database.read(lambda reader: reader.versions(model, below=below, limit=size + 1))
        return paging.page(found, size, lambda version: str(version.version))

    def standing(self) -> tuple[ModelStanding, ...]:
        """List every model by name, with the numbers of its versions: all in one answer, and no more than that."""
        return self._database.read(lambda reader: reader.standing())

    def version(self, ref: ModelRef) -> Version:
        """Return the version that a ref means; raises ModelNotFound, VersionNotFound, AliasNotFound."""

        def work(reader: Reader) -> Version:
            if ref.version is not None:
                return reader.version(ref.model, ref.version)
            record = reader.alias_record(ref.model, ref.alias or STABLE)
            if not record.version:
                raise AliasNotFound(record.model, record.alias)
            return reader.version(ref.model, record.version)

        return self._database.read(work)

    def manifest(self, model: str, version: int) -> Manifest:
        """Return the manifest of a version's artifact, a deleted one's too; raises ModelNotFound, VersionNotFound."""
        return self._database.read(lambda reader: reader.manifest(model, version))

    def signed(self, model: str, version: int) -> tuple[Signed, ...]:
        """Return what was signed of a version, the oldest first."""
        found = self._database.read(lambda reader: reader.signatures.of({model: [version]}))
        return found.get((model, version), ())

    def alias(self, model: str, alias: str) -> Alias | None:
        """Return an alias, or None where the model has none of that name."""
        found = self._database.read(lambda reader: reader.aliases([model]))
        return next((each for each in found if each.alias == alias), None)

    # --- history ---

    def events(self, where: EventFilter = EVERY, *, page_size: int = 0, page_token: str = "") -> Page[Event]:
        """List the events that a filter lets through, newest first unless it says otherwise; raises InvalidArgument."""
        size, beyond = paging.page_size(page_size), paging.number_below(page_token)
        found = self._database.read(lambda reader: reader.events(where, beyond=beyond, limit=size + 1))
        return paging.page(found, size, lambda event: str(event.seq))

    def aliases_at(
        self, at: datetime, model: str | None = None, *, page_size: int = 0, page_token: str = ""
    ) -> Page[AliasAt]:
        """List where aliases pointed at a moment (aware), by model and alias, from the events up to then.

        Raises InvalidArgument.
        """
        size, after = paging.page_size(page_size), paging.alias_after(page_token)
        found = self._database.read(lambda reader: reader.aliases_at(model, at, after=after, limit=size + 1))
        return paging.page(found, size, paging.alias_key)

    def chain_after(self, seq: int, *, page_size: int = 0) -> ChainPart:
        """Return the links that follow an event, and the recorded end of the chain at the same moment."""
        size = paging.page_size(page_size)
        return self._database.read(lambda reader: ChainPart(reader.links_after(seq, limit=size), reader.head()))

    def verify_chain(self) -> ChainReport:
        """Check the whole history for changed, missing, inserted or reordered events."""
        return self._database.read(lambda reader: chain.verify(reader.links(), head=reader.head()))

    def recall(self, attempt: Attempt) -> Recalled | None:
        """Return what this very attempt got before under its key; None where it has no key, or is new.

        Raises IdempotencyKeyReused where the key came with another request.
        """
        if not attempt.idempotency_key:
            return None
        return self._database.read(lambda reader: recalled(reader, attempt))

    # --- planning ---

    def plan_promote(
        self,
        model: str,
        version: int,
        alias: str = STABLE,
        *,
        expected_generation: int | None = None,
        allow_breaking: bool = False,
        consent: Consent | None = None,
    ) -> Move:
        """Say what a promote would do, and change nothing.

        `consent` is what policy asks of others. Raises ModelNotFound, VersionNotFound, InvalidName, GenerationConflict,
        VersionNotServable, IncompatibleSignature, ApprovalRequired.
        """
        alias_name(alias)

        def work(reader: Reader) -> Move:
            record = reader.alias_record(model, alias)
            planning.check_generation(record, expected_generation)
            move = plan(reader, record, planning.after_promote(record, version), allow_breaking=allow_breaking)
            check_consent(reader, record, version, consent, datetime.now(UTC))
            return move

        return self._database.read(work)

    def plan_rollback(
        self,
        model: str,
        alias: str = STABLE,
        to_version: int = 0,
        *,
        expected_generation: int | None = None,
        allow_breaking: bool = False,
    ) -> Move:
        """Say what a rollback would do, and change nothing; `to_version` 0 is the top of the stack.

        Raises ModelNotFound, AliasNotFound, GenerationConflict, NothingToRollBack, NotInStack, IncompatibleSignature.
        """

        def work(reader: Reader) -> Move:
            record = reader.alias_record(model, alias)
            planning.check_generation(record, expected_generation)
            return plan(reader, record, planning.after_rollback(record, to_version), allow_breaking=allow_breaking)

        return self._database.read(work)


def plan(reader: Reader, record: AliasRecord, after: Position, *, allow_breaking: bool) -> Move:
    """Plan the move of an alias to a position, with what the transaction says of both versions."""
    found = reader.candidates(record.model, after.live, record.version)
    serving = found[record.version] if record.version else None
    return planning.plan_move(record, after, target=found[after.live], serving=serving, allow_breaking=allow_breaking)
