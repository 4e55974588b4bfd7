"""Where derived forms are: their graphs beside `blobs/` and `derived/`, so that they can refer into both.

ONNX Runtime follows external data only downwards from a graph's directory, and follows no link out of it. So a form's
graph lies in the parent of both folders: `derived-<key>.onnx`. Its changed tensors are `derived/<sha256>`, its
unchanged ones the artifact's `blobs/<sha256>`, and `derived/<key>.json` names them all; a form without that record is
a leftover. Nothing here is synced: what a crash tears is noticed by its digest, and made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.errors import DataLoss

from interlock_registry.derived import Form, Held
from interlock_registry.manifest import Blob

_log = logging.getLogger(__name__)

OWN: Final = "derived"
SHARED: Final = "blobs"
MADE: Final = "derived.onnx"
"""The name of the graph in the folder of a form that is being made."""
_RECORD: Final = ".json"
_UNFINISHED: Final = ".making-"
_GRAPH: Final = "derived-"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a form is made: names that nobody else uses, inside the directories that it will lie in."""

    folder: Path
    """For the form, and for files that go away with it."""
    graph: Path
    """Where to try the graph, in the directory that it will be loaded from."""

    @property
    def made(self) -> Path:
        """Where the graph is that is to be kept."""
        return self.folder / MADE

    def discard(self) -> None:
        """Remove what is left. Idempotent."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.graph.unlink(missing_ok=True)


def root_of(record: Path) -> Path:
    """Return the directory that a form's files are found from, given its record."""
    return record.parent.parent


def graph_of(record: Path) -> Path:
    """Return where the graph of a form is, given its record."""
    return root_of(record) / f"{_GRAPH}{record.stem}.onnx"


def files_of(root: Path, form: Form) -> tuple[tuple[Blob, Path], ...]:
    """Return every file of a form but its record, with its place: the graph, and all tensors."""
    own = tuple((blob, root / OWN / blob.digest) for blob in form.own)
    shared = tuple((blob, root / SHARED / blob.digest) for blob in form.shared)
    return ((form.graph, root / f"{_GRAPH}{form.key}.onnx"), *own, *shared)


class DerivedStore:
    """The derived forms of one data directory. One process writes; every method may block on the disk."""

    def __init__(self, root: Path) -> None:
        """Use `root`, the directory that holds `blobs/` and `derived/`; the latter is made."""
        self._root = root.absolute()
        self._own = self._root / OWN
        self._own.mkdir(mode=0o700, exist_ok=True)

    @property
    def root(self) -> Path:
        """The directory that graphs lie in, and that their tensors' locations begin at."""
        return self._root

    def record_path(self, key: str) -> Path:
        """Return where the record of the form of that key is."""
        return self._own / f"{key}{_RECORD}"

    def fault(self, form: Form, *, read: bool = True) -> str:
        """Say what is wrong with a form's files; "" where nothing is. Without `read` only their sizes are compared."""
        for blob, path in files_of(self._root, form):
            size = _size(path)
            if size != blob.size_bytes:
                what = "is gone" if size < 0 else f"has {size} bytes, not {blob.size_bytes}"
                return f"{path.name} {what}"
            if read and _sha256(path) != blob.digest:
                return f"{path.name} is damaged"
        return ""

    def is_whole(self, form: Form) -> bool:
        """Tell whether all files are there in their sizes; workers compare digests before they load them."""
        return self.record_path(form.key).is_file() and not self.fault(form, read=False)

    def workplace(self) -> Workplace:
        """Return a place to make a form in; the caller discards it."""
        self._own.mkdir(mode=0o700, exist_ok=True)
        folder = self._own / f"{_UNFINISHED}{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700)
        return Workplace(folder, self._root / f"{_UNFINISHED}{folder.name.removeprefix(_UNFINISHED)}.onnx")

    def add(self, form: Form, workplace: Workplace) -> None:
        """Take over a form whose graph and new tensors are in the workplace; raises OSError.

        A tensor that is there already is replaced: it was found damaged. Who has it mapped keeps what he had.
        """
        record = workplace.folder / "record"
        record.write_text(form.to_json())
        for blob in form.own:
            made = workplace.folder / blob.digest
            if made.is_file() and not made.is_symlink():
                _move(made, self._own / blob.digest)
        _move(workplace.made, graph_of(self.record_path(form.key)))
        record.rename(self.record_path(form.key))  # last: what it names is there

    def held(self) -> tuple[Held, ...]:
        """Return every form that has a record which can be read and names it."""
        found: list[Held] = []
        for path in sorted(self._own.glob(f"*{_RECORD}")):
            try:
                form = Form.from_json(path.read_text())
                if form.key != path.stem:
                    raise DataLoss(f"it is the record of the form {form.key}")
                found.append(Held(form, path.stat().st_mtime))
            except (OSError, UnicodeDecodeError, DataLoss) as error:
                _log.warning("%s is ignored: %s", path.name, error)
        return tuple(found)

    def touch(self, form: Form) -> None:
        """Note that a form is used now."""
        try:
            os.utime(self.record_path(form.key), (time.time(), time.time()))
        except FileNotFoundError:
            _log.debug("derived form %s is gone", form.key)  # who loads it falls back

    def drop(self, keys: Iterable[str]) -> None:
        """Remove forms, and every tensor that no other form has; who has one mapped keeps it.

        It may run beside the process that writes: what that one is making may then lack a tensor, and is made again.
        """
        for key in keys:
            self.record_path(key).unlink(missing_ok=True)
            graph_of(self.record_path(key)).unlink(missing_ok=True)
        self._own.mkdir(mode=0o700, exist_ok=True)
        needed = {blob.digest for each in self.held() for blob in each.form.own}
        for path in self._own.glob("*"):
            if _DIGEST.fullmatch(path.name) and path.name not in needed:
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what belongs to no form, and forms whose files are not all there. Only while none is being made."""
        self.drop(each.form.key for each in self.held() if not self.is_whole(each.form))
        for stray in self.strays():
            self.remove(stray)

    def strays(self) -> tuple[Path, ...]:
        """Return what is here and belongs to no form. While one is being made, its files are among them."""
        forms = [each.form for each in self.held()]
        mine = {self.record_path(form.key) for form in forms}
        mine |= {path for form in forms for _, path in files_of(self._root, form)}
        own = self._own.iterdir() if self._own.is_dir() else ()
        found = [*own, *self._root.glob(f"{_GRAPH}*.onnx"), *self._root.glob(f"{_UNFINISHED}*")]
        return tuple(sorted(path for path in found if path not in mine))

    def remove(self, stray: Path) -> None:
        """Remove what belongs to no form. Idempotent."""
        if stray.is_dir() and not stray.is_symlink():
            shutil.rmtree(stray, ignore_errors=True)
        else:
            stray.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    source.chmod(0o400)
    source.rename(target)


def _sha256(path: Path) -> str:
    """Return a file's digest; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        _log.warning("%s cannot be read: %s", path.name, error)
        return ""


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
