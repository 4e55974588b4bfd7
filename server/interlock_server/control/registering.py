"""Register: receive files, have them validated in a sandboxed child, store the blobs, make the version visible."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from interlock.errors import InvalidArgument, NotProven, RegistryUnavailable, StorageFull, TooLarge, Violation
from interlock.model import FileRole, ServingConfig, UploadFile, UploadHeader, Version
from interlock.quantization import Quantization
from interlock.types import ModelRef, model_name
from interlock_registry import canonical
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.documents import VersionAnswer
from interlock_registry.domain import Attempt, NewVersion, Registered
from interlock_registry.manifest import Blob, Manifest, SourceFile
from interlock_registry.tool import ToolLimits, ValidateJob, ValidateReport, validate

from interlock_server.control.database import Database
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.mutations import Mutations
from interlock_server.control.switching import Switching
from interlock_server.settings import Settings

MAX_NOTE: Final = 8 * 1024
MAX_TAGS: Final = 64
MAX_TAG: Final = 256
_ABANDONED_S: Final = 24 * 3600.0
_MAX_QUEUE_DELAY_US: Final = 10_000_000
_MAX_BATCH_SIZE: Final = 65_536
_MAX_QUEUE_SIZE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """Files that have arrived whole, in a directory of their own."""

    header: UploadHeader
    folder: Path

    def path(self, role: FileRole) -> Path | None:
        """Return where the file of a role lies."""
        if any(file.role is role for file in self.header.files):
            return self.folder / _NAMES[role]
        return None

    def discard(self) -> None:
        """Remove the directory. Idempotent."""
        shutil.rmtree(self.folder, ignore_errors=True)


_NAMES: Final = {FileRole.MODEL: "model.onnx", FileRole.GOLDEN: "golden.npz"}
"""Never the sender's names: they are not used as paths."""


class Registering:
    """The use case that makes versions."""

    def __init__(
        self,
        settings: Settings,
        uploads: Path,
        artifacts: LocalArtifactStore,
        database: Database,
        mutations: Mutations,
        switching: Switching,
        metrics: ControlMetrics,
    ) -> None:
        self._settings = settings
        self._uploads = uploads
        self._artifacts = artifacts
        self._database = database
        self._mutations = mutations
        self._switching = switching
        self._metrics = metrics
        self._validating = asyncio.Semaphore(1)

    def sweep(self) -> None:
        """Remove what a predecessor that was killed left half-way."""
        for leftover in self._uploads.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)
        # Another replica may be writing into a store that is shared: what is that old, nobody writes any more.
        self._artifacts.sweep_temporary(older_than_s=_ABANDONED_S if self._settings.artifacts else 0.0)

    async def register(self, attempt: Attempt, header: UploadHeader, chunks: AsyncIterator[bytes]) -> Version:
        """Take an upload and make it the next version of its model."""
        stored = await self._mutations.recall(attempt)
        if stored is None:
            async with self._mutations.refusing(attempt):
                self._check(header)
                upload = await self._receive(header, chunks)
            # As a task of its own: a caller that goes away must not take the files from under a running change.
            stored = await asyncio.shield(asyncio.ensure_future(self._admit_once(attempt, upload)))
        answer = VersionAnswer.from_json(stored)
        ref = ModelRef(answer.model, version=answer.version)
        return await self._database.read(lambda registry: registry.version(ref))

    async def _admit_once(self, attempt: Attempt, upload: Upload) -> str:
        try:
            return await self._mutations.run(attempt, lambda: self.admit(attempt, upload))
        finally:
            upload.discard()

    def _check(self, header: UploadHeader) -> None:
        model_name(header.model)
        roles = [file.role for file in header.files]
        if roles.count(FileRole.MODEL) != 1 or roles.count(FileRole.GOLDEN) > 1:
            raise _invalid("files", "an upload is one model file and at most one golden file")
        if self._settings.require_golden and FileRole.GOLDEN not in roles:
            raise NotProven(header.model)
        for file in header.files:
            if file.size_bytes > self._settings.max_upload_bytes:
                raise TooLarge(
                    f"file {file.name!r}", file.size_bytes, self._settings.max_upload_bytes, "max_upload_bytes"
                )
            if file.size_bytes < 0 or len(file.sha256) != 64:
                raise _invalid("files", f"file {file.name!r} needs its size and its sha256 in hexadecimal")
        check_labels(header.note, header.tags)
        if header.config is not None:
            _check_config(header.config)
        needed = 2 * sum(file.size_bytes for file in header.files)
        free = shutil.disk_usage(self._uploads).free
        if needed > free:
            raise StorageFull(f"the upload needs {needed} bytes of disk, {free} are free; make room and repeat it")

    async def _receive(self, header: UploadHeader, chunks: AsyncIterator[bytes]) -> Upload:
        """Write the files in the header's order, counting and hashing: the header is trusted in nothing."""
        folder = self._uploads / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        upload = Upload(header, folder)
        try:
            source = _Source(chunks)
            for file in header.files:
                with (folder / _NAMES[file.role]).open("xb") as target:
                    await self._receive_file(file, source, target)
            if await source.read(1):
                raise _invalid("chunk", "more bytes came than the header announced")
        except OSError as error:
            upload.discard()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("the disk is full; make room and repeat the upload") from error
            raise
        except BaseException:
            upload.discard()
            raise
        return upload

    async def _receive_file(self, file: UploadFile, source: _Source, target: BinaryIO) -> None:
        hasher = hashlib.sha256()
        left = file.size_bytes
        while left:
            data = await source.read(left)
            if not data:
                raise _invalid("chunk", f"file {file.name!r} ended {left} bytes before its announced size")
            left -= len(data)
            self._metrics.uploaded(len(data))
            await asyncio.to_thread(_write, target, hasher, data)
        if hasher.hexdigest() != file.sha256.lower():
            raise _invalid("files", f"file {file.name!r} hashes to {hasher.hexdigest()}, announced was {file.sha256}")
        await asyncio.to_thread(_sync, target)

    async def admit(self, attempt: Attempt, upload: Upload, quantization: Quantization | None = None) -> str:
        """Validate files that are here, store them and make the version visible; return the answer to keep.

        A quantized version is held to the tolerance that was granted to it, whatever uploads may ask for.
        """
        model, golden = upload.path(FileRole.MODEL), upload.path(FileRole.GOLDEN)
        assert model is not None  # _check has seen it
        async with self._validating:  # a validation may take as much memory and time as its limits allow
            report = await validate(self._job(model, golden, quantization), self._limits(model))
        new = self._new_version(upload, report, quantization)
        digests = [blob.digest for blob in (*new.manifest.blobs, *([new.golden] if new.golden else []))]
        async with self._holding(digests) as holder:
            await asyncio.to_thread(self._store, upload, new)
            await self._mend(digests, attempt)
            registered: Registered = await self._database.write(
                lambda registry: registry.register(new, attempt, holder=holder)
            )
        await self._switching.adopt(registered.committed)
        return VersionAnswer(model=registered.version.model, version=registered.version.version).to_json()

    def _job(self, model: Path, golden: Path | None, quantization: Quantization | None) -> ValidateJob:
        cap = self._settings.tolerance_cap if quantization is None else quantization.tolerance
        return ValidateJob(model=model, golden=golden, tolerance_caps={"CPU": cap, "CUDA": cap})

    def _limits(self, model: Path) -> ToolLimits:
        settings = self._settings
        limits = ToolLimits.for_model(
            model.stat().st_size, wall_s=settings.validate_wall_s, cpu_s=settings.validate_cpu_s
        )
        if settings.validate_memory_bytes:
            return ToolLimits(
                wall_s=limits.wall_s,
                cpu_s=limits.cpu_s,
                memory_bytes=settings.validate_memory_bytes,
                file_bytes=limits.file_bytes,
            )
        return limits

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
        """Move the files among the blobs; the store hashes them again, since a child has been at them."""
        for file in upload.header.files:
            self._artifacts.add(upload.folder / _NAMES[file.role], sha256=file.sha256.lower(), consume=True)
        document = upload.folder / "manifest.json"
        document.write_text(new.manifest.to_json())
        self._artifacts.add(document, sha256=new.manifest.document.digest, consume=True)

    async def _mend(self, digests: Sequence[str], attempt: Attempt) -> None:
        """Note that blobs are whole that were damaged: storing them has replaced what was there."""
        damaged = await self._database.read(lambda registry: registry.blobs.damaged())
        mended = [digest for digest in digests if digest in damaged]
        if mended:
            await self._database.write(
                lambda registry: registry.blobs.mend(mended, actor=attempt.actor, request_id=attempt.request_id)
            )

    def _new_version(self, upload: Upload, report: ValidateReport, quantization: Quantization | None) -> NewVersion:
        header = upload.header
        default = ServingConfig(
            max_batch_size=self._settings.max_batch_size, max_queue_size=self._settings.max_queue_size
        )
        blobs = {file.role: Blob(file.sha256.lower(), file.size_bytes) for file in header.files}
        sources = tuple(
            SourceFile(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256.lower()) for file in header.files
        )
        manifest = Manifest(graph=blobs[FileRole.MODEL], sources=sources)
        return NewVersion(
            model=header.model,
            manifest=manifest,
            golden=blobs.get(FileRole.GOLDEN),
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
            size_bytes=manifest.graph.size_bytes,
        )


class _Source:
    """Chunks of any size as a stream to read from."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    async def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes, none at the end."""
        while not self._rest:
            try:
                self._rest = await anext(self._chunks)
            except StopAsyncIteration:
                return b""
        taken, self._rest = self._rest[:limit], self._rest[limit:]
        return taken


def _write(target: BinaryIO, hasher: hashlib._Hash, data: bytes) -> None:
    target.write(data)
    hasher.update(data)


def _sync(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())


def check_labels(note: str, tags: Mapping[str, str]) -> None:
    """Refuse a note or tags that cannot be kept whole; raises InvalidArgument."""
    if len(note.encode()) > MAX_NOTE:
        raise _invalid("note", f"the note is over {MAX_NOTE} bytes")
    if len(tags) > MAX_TAGS or any(len(k) > MAX_TAG or len(v) > MAX_TAG for k, v in tags.items()):
        raise _invalid("tags", f"at most {MAX_TAGS} tags of at most {MAX_TAG} characters each side are kept")


def _check_config(config: ServingConfig) -> None:
    for name, value, low, high in (
        ("max_batch_size", config.max_batch_size, 0, _MAX_BATCH_SIZE),
        ("max_queue_delay_us", config.max_queue_delay_us, 0, _MAX_QUEUE_DELAY_US),
        ("max_queue_size", config.max_queue_size, 1, _MAX_QUEUE_SIZE),
    ):
        if not low <= value <= high:
            raise _invalid(f"config.{name}", f"{name} is {value}; between {low} and {high} is possible")


def _invalid(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(what, violations=[Violation(field, what)])
