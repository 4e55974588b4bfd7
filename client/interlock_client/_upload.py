"""Uploads: files are hashed first, announced in a header and then sent in chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock import convert
from interlock.errors import InvalidArgument, InvalidGolden, InvalidModel
from interlock.model import FileRole, MutationOptions, ServingConfig, UploadFile, UploadHeader
from interlock.types import model_name
from interlock.v1 import admin_pb2

from interlock_client._outside import data_files

CHUNK: Final = 1024 * 1024
"""Bytes in one message at most."""

Progress = Callable[[int, int], None]
"""Called with bytes sent and bytes in all, after each chunk."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that is ready to be sent."""

    header: UploadHeader
    paths: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.header.files)


def plan(
    model: str,
    path: str | Path,
    *,
    golden: str | Path | None,
    config: ServingConfig | None,
    note: str,
    tags: Mapping[str, str] | None,
    options: MutationOptions,
) -> Upload:
    """Find the data files, hash all files and write the header; raises InvalidName, InvalidModel, InvalidGolden."""
    model_name(model)
    files = _files(Path(path), None if golden is None else Path(golden))
    header = UploadHeader(
        model=model,
        files=tuple(map(_announce, files)),
        config=config,
        note=note,
        tags=dict(tags or {}),
        options=options,
    )
    return Upload(header, tuple(file.path for file in files))


def announce(path: Path, golden: Path | None) -> tuple[UploadFile, ...]:
    """Find the data files of a model and hash all files; raises InvalidModel, InvalidGolden."""
    return tuple(map(_announce, _files(path, golden)))


def _files(path: Path, golden: Path | None) -> list[_File]:
    files = [_File(FileRole.MODEL, path.name, path)]
    files += [_File(FileRole.DATA, location, data) for location, data in data_files(path).items()]
    if golden is not None:
        files.append(_File(FileRole.GOLDEN, golden.name, golden))
    return files


@dataclass(frozen=True, slots=True)
class _File:
    role: FileRole
    name: str
    """As it is announced: a data file by the location that the model gives."""
    path: Path


def _announce(announced: _File) -> UploadFile:
    role, path = announced.role, announced.path
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        text = f"{role.value.lower()} file {str(path)!r} cannot be read: {error.strerror}"
        raise (InvalidGolden(text) if role is FileRole.GOLDEN else InvalidModel(text, check="file")) from error
    return UploadFile(announced.name, role, size, digest.hexdigest())


class Sender:
    """The messages of one upload, in order; iterate it once.

    gRPC iterates requests in a thread of its own, where an exception would only be logged. So a failure ends the
    stream early (the server refuses what is shorter than announced) and is kept for `check`.
    """

    def __init__(self, upload: Upload, progress: Progress | None) -> None:
        self._upload: Final = upload
        self._header: Final = admin_pb2.RegisterVersionRequest(header=convert.header(upload.header))
        self._progress: Final = progress
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[admin_pb2.RegisterVersionRequest]:
        """Yield the header, then the chunks of each file."""
        yield self._header
        try:
            sent = 0
            for path, announced in zip(self._upload.paths, self._upload.header.files, strict=True):
                for chunk in _chunks(path, announced.size_bytes):
                    yield admin_pb2.RegisterVersionRequest(chunk=chunk)
                    sent += len(chunk)
                    if self._progress is not None:
                        self._progress(sent, self._upload.size_bytes)
        except Exception as error:  # noqa: BLE001 - kept, and raised by check() in the caller's thread
            self._failure = error

    @property
    def failed(self) -> bool:
        """Whether something ended the stream early."""
        return self._failure is not None

    def check(self) -> None:
        """Raise what ended the stream early, if anything did."""
        if self._failure is not None:
            raise self._failure


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            left = size
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise InvalidArgument(f"{str(path)!r} was changed while it was uploaded; register it again")
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise InvalidArgument(f"{str(path)!r} cannot be read any more: {error.strerror}") from error
