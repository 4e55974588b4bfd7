"""Uploads: the header is checked, the files are received into a directory of their own. Nothing is trusted."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from interlock.errors import DeadlineExceeded, InvalidArgument, NotProven, StorageFull, TooLarge, Violation
from interlock.locations import MAX_LOCATION, check_graph_size, is_plain_location
from interlock.model import FileRole, ServingConfig, UploadFile, UploadHeader
from interlock.types import model_name
from interlock_registry import disk
from interlock_registry.tool import SideFile

from interlock_server.control.metrics import ControlMetrics
from interlock_server.settings import Settings

MAX_NOTE: Final = 8 * 1024
MAX_TAGS: Final = 64
MAX_TAG: Final = 256
MAX_FILES: Final = 4096
_MAX_QUEUE_DELAY_US: Final = 10_000_000
_MAX_BATCH_SIZE: Final = 65_536
_MAX_INSTANCES: Final = 64
_MAX_QUEUE_SIZE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Upload:
    """Files that have arrived whole, in a directory of their own."""

    header: UploadHeader
    folder: Path

    @property
    def model(self) -> Path:
        """Where the graph lies."""
        return self.folder / _name(FileRole.MODEL, 0)

    @property
    def golden(self) -> Path | None:
        """Where the golden samples lie, if there are any."""
        given = any(file.role is FileRole.GOLDEN for file in self.header.files)
        return self.folder / _name(FileRole.GOLDEN, 0) if given else None

    @property
    def files(self) -> tuple[SideFile, ...]:
        """Where what the model keeps outside of its graph lies."""
        return tuple(SideFile(file.name, path) for file, path in self.paths() if file.role is FileRole.DATA)

    @property
    def model_bytes(self) -> int:
        """Bytes of the graph and its data together."""
        return sum(file.size_bytes for file in self.header.files if file.role is not FileRole.GOLDEN)

    def paths(self) -> Iterator[tuple[UploadFile, Path]]:
        """Yield each file with where it lies."""
        for index, file in enumerate(self.header.files):
            yield file, self.folder / _name(file.role, index)

    def discard(self) -> None:
        """Remove the directory. Idempotent."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _name(role: FileRole, index: int) -> str:
    """Return a file's name here; never the sender's, which is not used as a path."""
    return {FileRole.MODEL: "model.onnx", FileRole.GOLDEN: "golden.npz"}.get(role, f"data-{index}")


class Uploads:
    """Receives uploads."""

    def __init__(self, settings: Settings, folder: Path, metrics: ControlMetrics) -> None:
        self._settings = settings
        self._folder = folder
        self._metrics = metrics
        self._sources: set[_Source] = set()
        """Of the uploads that are being received."""

    def sweep(self) -> None:
        """Remove what a predecessor that was killed left half-way."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._folder.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)

    def check(self, header: UploadHeader) -> None:
        """Refuse what need not be received; raises InvalidArgument, InvalidModel, NotProven, TooLarge, StorageFull."""
        model_name(header.model)
        roles = [file.role for file in header.files]
        if roles.count(FileRole.MODEL) != 1 or roles.count(FileRole.GOLDEN) > 1:
            raise _invalid(
                "files", "an upload is one model file, the data files that it refers to, and at most one golden file"
            )
        if len(roles) > MAX_FILES:
            raise _invalid(
                "files", f"the upload has {len(roles)} files; at most {MAX_FILES} are taken: save all data in one"
            )
        if self._settings.require_golden and FileRole.GOLDEN not in roles:
            raise NotProven(header.model)
        for file in header.files:
            self._check_file(file)
        locations = [file.name for file in header.files if file.role is FileRole.DATA]
        if len(set(locations)) != len(locations):
            raise _invalid("files", "two data files of the upload have the same name")
        check_labels(header.note, header.tags)
        if header.config is not None:
            _check_config(header.config)
        needed = 2 * sum(file.size_bytes for file in header.files)
        free = shutil.disk_usage(self._folder).free
        coming = sum(each.coming for each in self._sources)
        if needed + coming > free:
            others = f", and other uploads are going to take {coming} of them" if coming else ""
            raise StorageFull(f"the upload needs {needed} bytes of disk, {free} are free{others}; {disk.MAKE_ROOM}")

    def _check_file(self, file: UploadFile) -> None:
        limit = self._settings.max_upload_bytes
        if file.size_bytes > limit:
            raise TooLarge(f"file {file.name!r}", file.size_bytes, limit, "max_upload_bytes")
        if file.role is FileRole.MODEL:
            check_graph_size(file.name, file.size_bytes)
        if file.size_bytes < 0 or len(file.sha256) != 64:
            raise _invalid("files", f"file {file.name!r} needs its size and its sha256 in hexadecimal")
        if file.role is FileRole.DATA and not is_plain_location(file.name):
            raise _invalid(
                "files",
                f"data file {file.name[:MAX_LOCATION]!r} is named by no plain path below the model's own directory; "
                "save the model again with its data beside it",
            )

    async def receive(self, header: UploadHeader, chunks: AsyncIterator[bytes]) -> Upload:
        """Write the files in the header's order, counting and hashing: the header is trusted in nothing.

        Raises DeadlineExceeded where nothing comes for as long as a request may take at most.
        """
        folder = self._folder / uuid.uuid4().hex
        upload = Upload(header, folder)
        announced = sum(file.size_bytes for file in header.files)
        source = _Source(chunks, announced, self._settings.max_deadline_s)
        self._sources.add(source)
        try:
            folder.mkdir(mode=0o700)
            for file, path in upload.paths():
                with path.open("xb") as target:
                    await self._receive_file(file, source, target)
            if await source.read(1):
                raise _invalid("chunk", "more bytes came than the header announced")
        except OSError as error:
            upload.discard()
            raise disk.failure(error, f"the folder of uploads {self._folder}") from error
        except BaseException:
            upload.discard()
            raise
        finally:
            self._sources.remove(source)
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


class _Source:
    """Chunks of any size as a stream to read from."""

    def __init__(self, chunks: AsyncIterator[bytes], announced: int, patience_s: float) -> None:
        self._chunks = chunks
        self._announced = announced
        self._patience_s = patience_s
        self._rest = memoryview(b"")
        self._given = 0

    @property
    def coming(self) -> int:
        """Bytes that were announced and not yet read."""
        return max(0, self._announced - self._given)

    async def read(self, limit: int) -> memoryview:
        """Return at most `limit` bytes, none at the end; raises DeadlineExceeded."""
        try:
            async with asyncio.timeout(self._patience_s):
                while not self._rest:
                    try:
                        self._rest = memoryview(await anext(self._chunks))
                    except StopAsyncIteration:
                        return self._rest
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"nothing of the upload came for {self._patience_s:g} s, after {self._given} bytes; send it again"
            ) from error
        taken, self._rest = self._rest[:limit], self._rest[limit:]
        self._given += len(taken)
        return taken


def _write(target: BinaryIO, hasher: hashlib._Hash, data: memoryview) -> None:
    target.write(data)
    hasher.update(data)


def _sync(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())


def check_labels(note: str, tags: Mapping[str, str]) -> None:
    """Refuse a note or tags that cannot be kept whole; raises InvalidArgument."""
    if len(note.encode()) > MAX_NOTE:
        raise _invalid("note", f"the note is over {MAX_NOTE} bytes")
    if "\0" in note:
        raise _invalid("note", "the note has a NUL character, which cannot be kept; send text")
    if len(tags) > MAX_TAGS or any(len(k) > MAX_TAG or len(v) > MAX_TAG for k, v in tags.items()):
        raise _invalid("tags", f"at most {MAX_TAGS} tags of at most {MAX_TAG} characters each side are kept")


def _check_config(config: ServingConfig) -> None:
    for name, value, low, high in (
        ("max_batch_size", config.max_batch_size, 0, _MAX_BATCH_SIZE),
        ("max_queue_delay_us", config.max_queue_delay_us, 0, _MAX_QUEUE_DELAY_US),
        ("max_queue_size", config.max_queue_size, 1, _MAX_QUEUE_SIZE),
        ("instances", config.instances, 1, _MAX_INSTANCES),
    ):
        if not low <= value <= high:
            raise _invalid(f"config.{name}", f"{name} is {value}; between {low} and {high} is possible")
    for size in config.preferred_batch_sizes:
        if not 1 <= size <= config.max_batch_size:
            what = (
                f"preferred_batch_sizes has {size}; between 1 and max_batch_size ({config.max_batch_size}) is possible"
            )
            raise _invalid("config.preferred_batch_sizes", what)


def _invalid(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(what, violations=[Violation(field, what)])
