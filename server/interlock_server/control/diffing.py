"""Diff: what the registry knows of two versions, and what a sandboxed child finds out about their bytes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.diff import AnswerComparison, VersionDiff
from interlock.errors import DataLoss, DeadlineExceeded, InvalidModel, ResourceExhausted
from interlock.golden import DEFAULT_TOLERANCES
from interlock.model import VersionState
from interlock.types import ModelRef
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.comparison import Measured, VersionContents, compare
from interlock_registry.domain import DesiredVersion
from interlock_registry.manifest import Blob
from interlock_registry.registry import Registry
from interlock_registry.tool import DiffJob, DiffSide, Sandbox, ToolLimits, diff

from interlock_server.control.database import Database
from interlock_server.settings import Settings

_WAITING: Final = 8
"""Requests that may wait for their turn; one more is refused."""
_RESERVE: Final = 0.1
"""Share of the time that is left for starting a child, loading a model and reading its report."""
_MEMORY: Final = 256 << 20
"""What a child needs beside the model and the golden samples."""


@dataclass(frozen=True, slots=True)
class _Side:
    contents: VersionContents
    load: DesiredVersion

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What a child reads."""
        manifest, golden = self.contents.manifest, self.load.golden
        return (manifest.graph, *(each.blob for each in manifest.tensors), *((golden,) if golden is not None else ()))

    @property
    def golden(self) -> str:
        return self.load.golden.digest if self.load.golden is not None else ""

    def job(self, folder: Path) -> DiffSide:
        """Write the manifest into a folder and return what a child is told."""
        manifest = folder / f"{self.contents.version.version}.json"
        manifest.write_text(self.contents.manifest.to_json())
        return DiffSide(
            version=self.contents.version.version,
            manifest=manifest,
            golden=self.golden,
            joinable=self.load.joinable,
        )


class Diffing:
    """The use case that compares versions."""

    def __init__(self, settings: Settings, artifacts: LocalArtifactStore, database: Database) -> None:
        self._settings = settings
        self._artifacts = artifacts
        self._database = database
        self._running = 0
        self._waiting = 0
        self._ended = asyncio.Event()

    async def diff(self, before: ModelRef, after: ModelRef) -> VersionDiff:
        """Compare two versions; raises what finding them raises, ResourceExhausted, DeadlineExceeded, DataLoss."""
        old, new = await self._database.read(lambda registry: (_side(registry, before), _side(registry, after)))
        return compare(old.contents, new.contents, await self._measured(old, new))

    async def _measured(self, old: _Side, new: _Side) -> Measured:
        for side in (old, new):
            version = side.contents.version
            if version.state is VersionState.DELETED:
                return _nothing(f"version {version.version} is deleted, and its weights may be gone")
        if old.contents.version.digest == new.contents.version.digest and old.golden == new.golden:
            return _nothing("both versions are made of the same files")
        async with self._turn():
            await asyncio.to_thread(self._check_there, (*old.blobs, *new.blobs))
            with tempfile.TemporaryDirectory(prefix="interlock-diff-") as folder:
                return await self._ask(old, new, Path(folder))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._is_full and self._waiting >= _WAITING:
            raise ResourceExhausted(
                f"{self._settings.max_diffs} diffs run and {_WAITING} wait already; try again in a while, or raise the "
                "server's setting max_diffs",
                retry_after_s=self._settings.diff_timeout_s / 4,
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.diff_timeout_s):
                while self._is_full:
                    self._ended.clear()
                    await self._ended.wait()
                self._running += 1
        except TimeoutError as error:
            raise ResourceExhausted(
                f"no diff ended within {self._settings.diff_timeout_s:g} s; try again later",
                retry_after_s=self._settings.diff_timeout_s / 4,
            ) from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._running -= 1
            self._ended.set()

    @property
    def _is_full(self) -> bool:
        return self._running >= self._settings.max_diffs  # which a reload may have changed

    def _check_there(self, blobs: tuple[Blob, ...]) -> None:
        for blob in blobs:
            if not self._artifacts.has(blob.digest):
                raise DataLoss(
                    f"the blob {blob.digest} is not in the artifact store; register the file again or restore a backup",
                    facts={"digest": blob.digest},
                )

    async def _ask(self, old: _Side, new: _Side, folder: Path) -> Measured:
        wall_s = self._settings.diff_timeout_s
        half_s = wall_s * (1 - _RESERVE) / 2
        tolerance = old.load.tolerances.get("CPU", DEFAULT_TOLERANCES["CPU"])
        job = DiffJob(
            folder=self._artifacts.path(old.contents.manifest.graph.digest).parent,
            before=old.job(folder),
            after=new.job(folder),
            tolerance=tolerance,
            weights_s=half_s,
            answers_s=half_s,
        )
        golden = sum(each.size_bytes for side in (old, new) for each in (side.load.golden,) if each is not None)
        model = ToolLimits.for_model(new.contents.manifest.size_bytes, wall_s=wall_s, cpu_s=int(wall_s) + 1)
        limits = ToolLimits(
            wall_s=wall_s,
            cpu_s=int(wall_s) + 1,
            memory_bytes=model.memory_bytes + 4 * golden + _MEMORY,
            file_bytes=1 << 20,
            sandbox=Sandbox(self._settings.sandbox),
        )
        try:
            return await diff(job, limits)
        except InvalidModel as error:
            raise _failure(error, limits) from error


def _side(registry: Registry, ref: ModelRef) -> _Side:
    version = registry.version(ref)
    return _Side(
        VersionContents(version, registry.manifest(version.model, version.version)),
        registry.desired_version(version.model, version.version),
    )


def _nothing(why: str) -> Measured:
    return Measured(
        figures={}, unmeasured={}, golden=AnswerComparison(0, why=why), replayed=AnswerComparison(0, why=why)
    )


def _failure(error: InvalidModel, limits: ToolLimits) -> Exception:
    """Say what the end of a child means for a diff: the model itself was found good when it was registered."""
    match error.facts.get("check"):
        case "time":
            return DeadlineExceeded(
                f"comparing the versions took longer than {limits.wall_s:g} s and was stopped; the server's setting "
                "diff_timeout_s raises the limit"
            )
        case "memory":
            return ResourceExhausted(
                f"comparing the versions needed more than its {limits.memory_bytes >> 20} MiB of memory; "
                "the golden samples are too big to be compared on this machine"
            )
        case _:
            return error
