"""Downloads: files come in chunks, are written beside their targets, checked, and then given their names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from interlock import convert
from interlock.errors import AlreadyExists, DataLoss, InternalError, InvalidArgument, NotTrusted, Unimplemented
from interlock.model import FileRole, UploadFile, Version
from interlock.types import ModelRef
from interlock.v1 import admin_pb2

from interlock_client._whole import NewFile

Progress = Callable[[int, int], None]
"""Called with bytes received and bytes in all, after each chunk."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version that was written to files."""

    version: Version
    paths: tuple[Path, ...]
    """The ONNX file, where it has one the file of its tensors beside it, and the golden samples if asked for."""


class Receiver:
    """The files of one download. Use it as a context manager: what is unfinished at its end is removed."""

    def __init__(
        self,
        ref: ModelRef,
        path: Path,
        *,
        overwrite: bool,
        external_data: bool,
        progress: Progress | None,
        golden: Path | None = None,
        verified: Version | None = None,
        require_signed: bool = False,
    ) -> None:
        """Look at the target before anything is asked of the server; raises AlreadyExists, InvalidArgument.

        `verified` is what the download must be of; with `require_signed` the server has to say that a signature counts.
        """
        if verified is not None:
            ref = ModelRef(verified.model, version=verified.version)
        self.request: Final = admin_pb2.DownloadVersionRequest(
            ref=str(ref), file_name=path.name, external_data=external_data, golden=golden is not None
        )
        self._path: Final = path
        self._golden: Final = golden
        self._overwrite: Final = overwrite
        self._progress: Final = progress
        self._verified: Final = verified
        self._require_signed: Final = require_signed
        self._pending: Final[list[_Pending]] = []
        if golden is not None and verified is not None:
            raise InvalidArgument("what a key has signed is checked of the model only; pull golden samples without it")
        if golden in (path, self._data_path()):
            raise InvalidArgument(f"the model and its golden samples cannot both be written to {str(golden)!r}")
        for each in (path, *([golden] if golden is not None else [])):
            if not each.parent.is_dir():
                raise InvalidArgument(f"the directory {str(each.parent)!r} is not there; make it, or choose another")
            self._check_free(each)

    def take(self, messages: Iterable[admin_pb2.DownloadVersionResponse]) -> Pulled:
        """Write what comes; the files have their names when this returns.

        Raises AlreadyExists, DataLoss where bytes were lost on the way, InvalidArgument where they cannot be written,
        NotTrusted.
        """
        stream = iter(messages)
        first = next(stream, admin_pb2.DownloadVersionResponse())
        if first.WhichOneof("part") != "header":
            raise InternalError("the download did not begin with its header; the server is at fault")
        version = convert.from_version(first.header.version)
        self._check_signed(version)
        files = [convert.from_file(each) for each in first.header.files]
        if self._golden is not None and not any(each.role is FileRole.GOLDEN for each in files):
            raise Unimplemented("this server is of a release that does not send golden samples back; pull without them")
        try:
            for file in files:
                self._pending.append(_Pending(self._target(file), file))
            total = sum(each.size_bytes for each in files)
            received = 0
            queue = iter(self._pending)
            current = next(queue, None)
            for message in stream:
                chunk = message.chunk
                while chunk:
                    while current is not None and not current.left:
                        current = next(queue, None)
                    if current is None:
                        raise DataLoss("more bytes came than were announced; pull it again")
                    chunk = current.write(chunk)
                received += len(message.chunk)
                if self._progress is not None:
                    self._progress(received, total)
            for each in self._pending:
                each.check()
            for each in reversed(self._pending):  # the graph last: it is of no use without its tensors
                each.commit(overwrite=self._overwrite)
        except OSError as error:
            raise InvalidArgument(f"{str(self._path)!r} cannot be written: {error.strerror}") from error
        return Pulled(version, tuple(each.target for each in self._pending))

    def _check_signed(self, version: Version) -> None:
        name, facts = f"{version.model}@{version.version}", {"model": version.model, "version": str(version.version)}
        seen = self._verified
        if seen is not None and (seen.model, seen.version, seen.digest, seen.signature, seen.config) != (
            version.model,
            version.version,
            version.digest,
            version.signature,
            version.config,
        ):
            raise NotTrusted(f"the server sends another {name} than the one that was verified", facts=facts)
        if self._require_signed and all(each.fault for each in version.signed_by):
            why = "; ".join(each.fault for each in version.signed_by) or "nobody has signed it"
            raise NotTrusted(
                f"{name} has no signature that counts with the server: {why}; nothing was written", facts=facts
            )

    def _data_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.data")

    def _target(self, file: UploadFile) -> Path:
        if file.role is FileRole.GOLDEN and self._golden is not None:
            return self._golden
        target = self._path if file.role is FileRole.MODEL else self._data_path()
        if file.name != target.name:
            raise InternalError(f"the server sent a file {file.name[:200]!r} that was not asked for; it is at fault")
        self._check_free(target)
        return target

    def _check_free(self, target: Path) -> None:
        if not self._overwrite and (target.exists() or target.is_symlink()):
            raise AlreadyExists(
                f"{str(target)!r} is there already; choose another name, or overwrite it (--force, overwrite=True)"
            )
        if target.exists() and not target.is_file():
            raise InvalidArgument(f"{str(target)!r} is no file that could be overwritten; choose another name")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._pending:
            each.discard()


class _Pending:
    """A file that is on its way."""

    def __init__(self, target: Path, announced: UploadFile) -> None:
        self.target: Final = target
        self.left = announced.size_bytes
        self._announced: Final = announced
        self._hasher: Final = hashlib.sha256()
        self._new: Final = NewFile(target)

    def write(self, chunk: bytes) -> bytes:
        """Write what belongs to this file, and return the rest."""
        mine, rest = chunk[: self.left], chunk[self.left :]
        self._new.file.write(mine)
        self._hasher.update(mine)
        self.left -= len(mine)
        return rest

    def check(self) -> None:
        """Raise DataLoss unless the file is whole; make it durable."""
        found = self._hasher.hexdigest()
        if self.left or found != self._announced.sha256:
            raise DataLoss(
                f"{self.target.name} did not arrive whole: it has the sha256 {found}, not {self._announced.sha256}; "
                "pull it again",
                facts={"found": found, "expected": self._announced.sha256},
            )
        self._new.finish()

    def commit(self, *, overwrite: bool) -> None:
        """Give the file its name; raises AlreadyExists where it was taken meanwhile."""
        try:
            self._new.commit(overwrite=overwrite)
        except FileExistsError as error:
            raise AlreadyExists(f"{str(self.target)!r} was made by somebody else meanwhile; choose another") from error

    def discard(self) -> None:
        """Remove what has not got its name. Idempotent."""
        self._new.discard()
