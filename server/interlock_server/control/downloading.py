"""Download: have a version put together in a sandboxed child, and hand its files out."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from interlock.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, StorageFull
from interlock.locations import is_plain_location
from interlock.model import FileRole, UploadFile, Version, VersionState
from interlock.types import ModelRef
from interlock_registry import disk
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.manifest import Blob, Manifest
from interlock_registry.tool import AssembleJob, Sandbox, ToolLimits, assemble

from interlock_server.control.database import Database
from interlock_server.settings import Settings

CHUNK: Final = 1 << 20
"""Bytes in one message at most."""
MOST_AT_ONCE: Final = 4
"""Downloads that may be going on: each takes a model's size of disk."""
_MAX_NAME: Final = 200
_GOLDEN_NAME: Final = "golden.npz"


@dataclass(frozen=True, slots=True)
class Download:
    """A version's files, put together for one caller."""

    version: Version
    files: tuple[UploadFile, ...]
    paths: tuple[Path, ...]
    """Where each of them lies, for as long as the caller listens."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of all files in their order."""
        for path in self.paths:
            with path.open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    yield chunk


class Downloading:
    """The use case that gives versions back."""

    def __init__(self, settings: Settings, folder: Path, artifacts: LocalArtifactStore, database: Database) -> None:
        self._settings = settings
        self._folder = folder
        self._artifacts = artifacts
        self._database = database
        self._going_on = 0
        self._assembling = asyncio.Semaphore(1)

    def sweep(self) -> None:
        """Remove what a predecessor that was killed left behind."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._folder.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)

    @asynccontextmanager
    async def download(
        self, ref: ModelRef, name: str, *, is_outside: bool, with_golden: bool = False
    ) -> AsyncIterator[Download]:
        """Put a version together as a file of that name, with its tensors in a second file where that is needed.

        `with_golden` adds its golden samples as they were registered.

        Raises ModelNotFound, VersionNotFound, AliasNotFound, FailedPrecondition, InvalidArgument, ResourceExhausted,
        StorageFull, DataLoss.
        """
        if not is_plain_location(name) or "/" in name or len(name) > _MAX_NAME:
            raise InvalidArgument(f"{name[:_MAX_NAME]!r} is no name of a file; give one such as 'model.onnx'")
        if self._going_on >= MOST_AT_ONCE:
            raise ResourceExhausted(f"{MOST_AT_ONCE} downloads are going on, which is the most; try again later")
        folder = self._folder / uuid.uuid4().hex
        self._going_on += 1
        try:
            yield await self._assemble(ref, name, is_outside, with_golden, folder)
        finally:
            self._going_on -= 1
            shutil.rmtree(folder, ignore_errors=True)

    async def _assemble(self, ref: ModelRef, name: str, is_outside: bool, with_golden: bool, folder: Path) -> Download:
        version = await self._database.read(lambda registry: registry.version(ref))
        if version.state is VersionState.DELETED:
            raise FailedPrecondition(f"{version.model}@{version.version} was deleted; its bytes are not kept")
        golden = await self._golden(version) if with_golden else ()
        manifest = await self._database.read(lambda registry: registry.manifest(version.model, version.version))
        job = await asyncio.to_thread(self._job, manifest, name, is_outside, folder)
        async with self._assembling:  # one may take several times the model's size of memory
            assembled = await assemble(job, self._limits(manifest.size_bytes))
        return Download(
            version=version,
            files=(
                *(UploadFile(each.name, each.role, each.size_bytes, each.sha256) for each in assembled.files),
                *(UploadFile(_GOLDEN_NAME, FileRole.GOLDEN, blob.size_bytes, blob.digest) for blob in golden),
            ),
            paths=(
                *(job.path(each.role) for each in assembled.files),
                *(self._artifacts.path(blob.digest) for blob in golden),
            ),
        )

    async def _golden(self, version: Version) -> tuple[Blob]:
        """Return where its golden samples are, whole; raises FailedPrecondition, DataLoss."""
        stored = await self._database.read(lambda registry: registry.desired_version(version.model, version.version))
        if stored.golden is None:
            raise FailedPrecondition(
                f"version {version.version} of {version.model!r} has no golden samples; leave them out",
                facts={"model": version.model, "version": str(version.version)},
            )
        await asyncio.to_thread(self._artifacts.verify, stored.golden)
        return (stored.golden,)

    def _job(self, manifest: Manifest, name: str, is_outside: bool, folder: Path) -> AssembleJob:
        needed, free = manifest.size_bytes, shutil.disk_usage(self._folder).free
        if needed > free:
            raise StorageFull(
                f"the download needs {needed} bytes of the server's disk, {free} are free; {disk.MAKE_ROOM}"
            )
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise disk.failure(error, f"the folder of downloads {self._folder}") from error
        return AssembleJob(
            graph=self._artifacts.path(manifest.graph.digest).absolute(),
            name=name,
            is_outside=is_outside,
            folder=folder.absolute(),
        )

    def _limits(self, size_bytes: int) -> ToolLimits:
        settings = self._settings
        limits = ToolLimits.for_model(size_bytes, wall_s=settings.validate_wall_s, cpu_s=settings.validate_cpu_s)
        memory_bytes = settings.validate_memory_bytes or limits.memory_bytes
        return replace(limits, memory_bytes=memory_bytes, sandbox=Sandbox(settings.sandbox))
