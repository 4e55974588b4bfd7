"""Quantize: have a narrower form of a version made in a sandboxed child, and admit it as any other upload."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from interlock.errors import DataLoss, FailedPrecondition, InvalidArgument, VersionNotServable
from interlock.model import FileRole, UploadFile, UploadHeader, Version, VersionState
from interlock.quantization import Form, Quantization, Quantized
from interlock.types import ModelRef
from interlock_registry import disk
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.documents import VersionAnswer
from interlock_registry.domain import Attempt, DesiredVersion
from interlock_registry.registry import Registry
from interlock_registry.tool import GOLDEN, MODEL, QuantizeJob, Sandbox, ToolLimits, quantize

from interlock_server.control.database import Database
from interlock_server.control.mutations import Mutations
from interlock_server.control.registering import Registering
from interlock_server.control.uploads import Upload, check_labels
from interlock_server.settings import Settings

PARENT_TAG: Final = "interlock.parent"
FORM_TAG: Final = "interlock.form"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeOrder:
    """What somebody wants made of which version."""

    ref: ModelRef
    form: Form
    atol: float | None
    """The form's where it is not stated, like rtol."""
    rtol: float | None
    note: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Parent:
    version: Version
    stored: DesiredVersion


class Quantizing:
    """The use case that makes versions of versions."""

    def __init__(
        self,
        settings: Settings,
        uploads: Path,
        artifacts: LocalArtifactStore,
        database: Database,
        mutations: Mutations,
        registering: Registering,
    ) -> None:
        self._settings = settings
        self._uploads = uploads
        self._artifacts = artifacts
        self._database = database
        self._mutations = mutations
        self._registering = registering
        self._one = asyncio.Semaphore(1)

    async def quantize(self, attempt: Attempt, order: QuantizeOrder) -> Quantized:
        """Make the next version of a model by quantizing one of its versions, and tell how the two compare.

        Raises ModelNotFound, VersionNotFound, AliasNotFound, VersionNotServable, FailedPrecondition (no golden
        samples), InvalidModel, GoldenMismatch, InvalidArgument, StorageFull, Unavailable.
        """
        stored = await self._mutations.run_planned(
            attempt, lambda registry: _look_up(registry, order), lambda parent: self._make(attempt, order, parent)
        )
        answer = VersionAnswer.from_json(stored)
        ref = ModelRef(answer.model, version=answer.version)
        version = await self._database.read(lambda registry: registry.version(ref))
        return Quantized(version, _report(version))

    async def _make(self, attempt: Attempt, order: QuantizeOrder, parent: _Parent) -> str:
        folder = self._uploads / uuid.uuid4().hex
        upload = Upload(UploadHeader(order.ref.model, ()), folder)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise disk.failure(error, f"the folder of uploads {self._uploads}") from error
        try:
            async with self._one:  # it may take as much memory and time as its limits allow
                report = await quantize(self._job(order, parent, folder), self._limits(parent.version))
            header = await asyncio.to_thread(_header, folder, order, parent.version)
            return await self._registering.admit(
                replace(attempt, version=parent.version.version), Upload(header, folder), report
            )
        finally:
            upload.discard()

    def _job(self, order: QuantizeOrder, parent: _Parent, folder: Path) -> QuantizeJob:
        golden = parent.stored.golden
        assert golden is not None  # _look_up has seen it
        return QuantizeJob(
            model=self._artifacts.path(parent.stored.graph.digest),
            golden=self._artifacts.path(golden.digest),
            out=folder,
            form=order.form,
            parent=parent.version.version,
            parent_bytes=parent.version.size_bytes,
            max_share=self._settings.quantize_max_share,
            atol=order.atol,
            rtol=order.rtol,
        )

    def _limits(self, parent: Version) -> ToolLimits:
        settings = self._settings
        limits = ToolLimits.for_model(parent.size_bytes, wall_s=settings.validate_wall_s, cpu_s=settings.validate_cpu_s)
        memory_bytes = settings.validate_memory_bytes or limits.memory_bytes
        return replace(limits, memory_bytes=memory_bytes, sandbox=Sandbox(settings.sandbox))


def _look_up(registry: Registry, order: QuantizeOrder) -> _Parent:
    check_labels(order.note, order.tags)
    reserved = [tag for tag in order.tags if tag in (PARENT_TAG, FORM_TAG)]
    if reserved:
        raise InvalidArgument(f"tag {reserved[0]!r} is written by the server; leave it out")
    version = registry.version(order.ref)
    if version.state is not VersionState.VALIDATED:
        raise VersionNotServable(version.model, version.version, version.state.value)
    stored = registry.desired_version(version.model, version.version)
    if stored.golden is None:
        raise FailedPrecondition(
            f"version {version.version} of {version.model!r} has no golden samples, so nothing would show what "
            "quantizing costs; register it again with --golden",
            facts={"model": version.model, "version": str(version.version)},
        )
    return _Parent(version, stored)


def _header(folder: Path, order: QuantizeOrder, parent: Version) -> UploadHeader:
    names = ((MODEL, FileRole.MODEL), (GOLDEN, FileRole.GOLDEN))
    return UploadHeader(
        model=parent.model,
        files=tuple(_file(folder / name, role, order.form) for name, role in names),
        config=parent.config,
        note=order.note or f"{order.form.value} of version {parent.version}",
        tags={**order.tags, PARENT_TAG: str(parent.version), FORM_TAG: order.form.value},
    )


def _file(path: Path, role: FileRole, form: Form) -> UploadFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return UploadFile(f"{form.value}-{path.name}", role, path.stat().st_size, digest)


def _report(version: Version) -> Quantization:
    try:
        return Quantization.from_json(json.loads(version.report_json)["quantization"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataLoss(
            f"the report of version {version.version} of {version.model!r} cannot be read: {error!r}"
        ) from error
