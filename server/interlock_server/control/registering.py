"""Register: receive files, have them validated in a sandboxed child, store the blobs, make the version visible."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from interlock import canonical
from interlock.errors import RegistryUnavailable
from interlock.model import FileRole, ServingConfig, UploadHeader, Version
from interlock.quantization import Quantization
from interlock.statement import SignedStatement, SourceFile
from interlock.types import ModelRef
from interlock_registry.artifacts import Incoming, LocalArtifactStore
from interlock_registry.documents import VersionAnswer
from interlock_registry.domain import Attempt, NewVersion, Registered
from interlock_registry.manifest import Blob
from interlock_registry.tool import PARTS, Sandbox, ToolLimits, Validated, ValidateJob, validate

from interlock_server.control.adoption import Adoption
from interlock_server.control.database import Database
from interlock_server.control.deriving import Deriving
from interlock_server.control.mutations import Mutations
from interlock_server.control.signing import check_size, statement_of
from interlock_server.control.uploads import Upload, Uploads
from interlock_server.settings import Settings
from interlock_server.trust.keeper import Trust

Ask = Callable[[bytes], Awaitable[bytes]]
"""Has a statement signed by whoever sends an upload, and returns the signature."""


@dataclass(frozen=True, slots=True)
class Signing:
    """The sender of an upload signs what is made of it."""

    key: str
    """The id of his key."""
    ask: Ask


_ABANDONED_S: Final = 24 * 3600.0


class Registering:
    """The use case that makes versions."""

    def __init__(
        self,
        settings: Settings,
        uploads: Uploads,
        artifacts: LocalArtifactStore,
        database: Database,
        mutations: Mutations,
        adoption: Adoption,
        deriving: Deriving,
        trust: Trust,
    ) -> None:
        self._settings = settings
        self._uploads = uploads
        self._artifacts = artifacts
        self._database = database
        self._mutations = mutations
        self._adoption = adoption
        self._deriving = deriving
        self._trust = trust
        self._validating = asyncio.Semaphore(1)

    def sweep(self) -> None:
        """Remove what a predecessor that was killed left half-way, and put back what it was about to collect."""
        self._artifacts.put_back()
        self._uploads.sweep()
        # Another replica may be writing into a store that is shared: what is that old, nobody writes any more.
        self._artifacts.sweep_temporary(older_than_s=_ABANDONED_S if self._settings.artifacts else 0.0)

    async def register(
        self, attempt: Attempt, header: UploadHeader, chunks: AsyncIterator[bytes], signing: Signing | None = None
    ) -> Version:
        """Take an upload and make it the next version of its model, signed where its sender signs."""
        stored = await self._mutations.recall(attempt)
        if stored is None:
            async with self._mutations.refusing(attempt):
                self._uploads.check(header)
                if signing is None:
                    self._trust.demand(header.model)
                else:
                    self._trust.expect(header.model, signing.key)
                upload = await self._uploads.receive(header, chunks)
            # As a task of its own: a caller that goes away must not take the files from under a running change.
            stored = await asyncio.shield(asyncio.ensure_future(self._admit_once(attempt, upload, signing)))
        answer = VersionAnswer.from_json(stored)
        ref = ModelRef(answer.model, version=answer.version)
        return self._trust.named(await self._database.read(lambda registry: registry.version(ref)))

    async def _admit_once(self, attempt: Attempt, upload: Upload, signing: Signing | None) -> str:
        try:
            return await self._mutations.run(attempt, lambda: self.admit(attempt, upload, signing=signing))
        finally:
            upload.discard()

    async def admit(
        self,
        attempt: Attempt,
        upload: Upload,
        quantization: Quantization | None = None,
        signing: Signing | None = None,
    ) -> str:
        """Validate files that are here, store them and make the version visible; return the answer to keep.

        A quantized version is held to the tolerance that was granted to it, whatever uploads may ask for.
        """
        async with self._validating:  # a validation may take as much memory and time as its limits allow
            validated = await validate(self._job(upload, quantization), self._limits(upload))
        new = self._new_version(upload.header, validated, quantization)
        if signing is not None:
            new = replace(new, signed=await self._signed(new, signing))
        digests = [blob.digest for blob in (*new.manifest.blobs, *([new.golden] if new.golden else []))]
        async with self._holding(digests) as holder:
            await asyncio.to_thread(self._store, upload, new)
            await self._mend(digests, attempt)
            registered: Registered = await self._database.write(
                lambda registry: registry.register(new, attempt, holder=holder)
            )
        await self._adoption.adopt(registered.committed)
        await self._deriving.registered(registered.version.model, registered.version.version)
        return VersionAnswer(model=registered.version.model, version=registered.version.version).to_json()

    async def _signed(self, new: NewVersion, signing: Signing) -> SignedStatement:
        statement = statement_of(new).to_bytes()
        check_size(statement)
        signed = SignedStatement(signing.key, statement, await signing.ask(statement))
        self._trust.check(new.model, signed)
        return signed

    def _job(self, upload: Upload, quantization: Quantization | None) -> ValidateJob:
        cap = self._settings.tolerance_cap if quantization is None else quantization.tolerance
        return ValidateJob(
            model=upload.model,
            golden=upload.golden,
            files=upload.files,
            tolerance_caps={"CPU": cap, "CUDA": cap},
        )

    def _limits(self, upload: Upload) -> ToolLimits:
        settings = self._settings
        limits = ToolLimits.for_model(
            upload.model_bytes, wall_s=settings.validate_wall_s, cpu_s=settings.validate_cpu_s
        )
        memory_bytes = settings.validate_memory_bytes or limits.memory_bytes
        return replace(limits, memory_bytes=memory_bytes, sandbox=Sandbox(settings.sandbox))

    @asynccontextmanager
    async def _holding(self, digests: Sequence[str]) -> AsyncIterator[str]:
        """Keep blobs from being collected until the version that needs them is visible, or given up."""
        holder = uuid.uuid4().hex
        await self._database.write(lambda registry: registry.blobs.hold(holder, digests))
        try:
            yield holder
        except BaseException:
            with contextlib.suppress(RegistryUnavailable):  # then they are let go in an hour
                await self._database.write(lambda registry: registry.blobs.release(holder))
            raise

    def _store(self, upload: Upload, new: NewVersion) -> None:
        """Move what the child wrote among the blobs; the store hashes all of it again."""
        document = new.manifest.document
        parts = upload.model.parent / PARTS
        files = [Incoming(parts / blob.digest, blob.digest) for blob in new.manifest.blobs if blob != document]
        if new.golden is not None and upload.golden is not None:
            files.append(Incoming(upload.golden, new.golden.digest))
        self._artifacts.add_all(files, consume=True)
        self._artifacts.add_bytes(new.manifest.to_json().encode())

    async def _mend(self, digests: Sequence[str], attempt: Attempt) -> None:
        """Note that blobs are whole that were damaged: storing them has replaced what was there."""
        damaged = await self._database.read(lambda registry: registry.blobs.damaged())
        mended = [digest for digest in digests if digest in damaged]
        if mended:
            await self._database.write(
                lambda registry: registry.blobs.mend(mended, actor=attempt.actor, request_id=attempt.request_id)
            )

    def _new_version(self, header: UploadHeader, validated: Validated, quantization: Quantization | None) -> NewVersion:
        report = validated.report
        default = ServingConfig(
            max_batch_size=self._settings.max_batch_size, max_queue_size=self._settings.max_queue_size
        )
        golden = next((file for file in header.files if file.role is FileRole.GOLDEN), None)
        sources = tuple(
            SourceFile(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256.lower()) for file in header.files
        )
        manifest = replace(validated.manifest, sources=sources)
        return NewVersion(
            model=header.model,
            manifest=manifest,
            golden=None if golden is None else Blob(golden.sha256.lower(), golden.size_bytes),
            golden_samples=report.golden_samples,
            signature=report.signature,
            config=header.config or default,
            proven=report.proven,
            joinable=report.joinable,
            tolerances=report.tolerances,
            note=header.note,
            tags=header.tags,
            report_json=canonical.dumps(
                report.to_json() | ({} if quantization is None else {"quantization": quantization.to_json()})
            ),
            size_bytes=manifest.size_bytes,
        )
