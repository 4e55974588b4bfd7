"""What there is to sign of versions, and signatures that come for versions which are there already."""

from __future__ import annotations

from dataclasses import dataclass

from interlock.errors import FailedPrecondition, NotTrusted
from interlock.model import Version, VersionState
from interlock.statement import MAX_STATEMENT, Signed, SignedStatement, Statement, differs
from interlock.types import ModelRef
from interlock_registry.domain import Attempt, NewVersion
from interlock_registry.registry import Registry

from interlock_server.control.adoption import Adoption
from interlock_server.control.database import Database
from interlock_server.control.mutations import Mutations
from interlock_server.trust.keeper import Trust


@dataclass(frozen=True, slots=True)
class Stated:
    """A version, what there is to sign of it, and what was signed."""

    version: Version
    statement: Statement
    signed: tuple[Signed, ...]


def statement_of(new: NewVersion) -> Statement:
    """Return what there is to sign of a version that is about to be registered."""
    return Statement(
        model=new.model,
        artifact=new.manifest.digest,
        files=new.manifest.sources,
        signature=new.signature,
        config=new.config,
    )


class Signing:
    """The use cases about signatures."""

    def __init__(self, database: Database, mutations: Mutations, adoption: Adoption, trust: Trust) -> None:
        self._database = database
        self._mutations = mutations
        self._adoption = adoption
        self._trust = trust

    async def stated(self, ref: ModelRef) -> Stated:
        """Return what there is to sign of a version; raises ModelNotFound, VersionNotFound, AliasNotFound."""

        def read(registry: Registry) -> Stated:
            version = registry.version(ref)
            manifest = registry.manifest(version.model, version.version)
            statement = Statement(
                model=version.model,
                artifact=version.digest,
                files=manifest.sources,
                signature=version.signature,
                config=version.config,
            )
            return Stated(version, statement, registry.signed(version.model, version.version))

        found = await self._database.read(read)
        return Stated(self._trust.named(found.version), found.statement, found.signed)

    async def sign(self, attempt: Attempt, signed: SignedStatement) -> Version:
        """Keep a signature of a version; raises NotTrusted where it would count for nothing, VersionNotFound."""
        ref = ModelRef(attempt.model, version=attempt.version)

        async def work() -> str:
            await self._check(ref, signed)
            await self._adoption.adopt(await self._database.write(lambda registry: registry.sign(attempt, signed)))
            return "{}"

        await self._mutations.run(attempt, work)
        return self._trust.named(await self._database.read(lambda registry: registry.version(ref)))

    async def _check(self, ref: ModelRef, signed: SignedStatement) -> None:
        check_size(signed.statement)
        self._trust.check(ref.model, signed)
        found = await self.stated(ref)
        if found.version.state is VersionState.DELETED:
            raise FailedPrecondition(f"{ref} was deleted; there is nothing to sign")
        why = differs(Statement.from_bytes(signed.statement), found.statement)
        if why:
            raise NotTrusted(f"the signature is not about {ref}: {why}", facts={"key": signed.key})


def check_size(statement: bytes) -> None:
    """Refuse a statement that is too long to be kept; raises FailedPrecondition."""
    if len(statement) > MAX_STATEMENT:
        raise FailedPrecondition(
            f"what there is to sign has {len(statement)} bytes, and {MAX_STATEMENT} are kept at most: "
            "save the model's data in fewer files"
        )
