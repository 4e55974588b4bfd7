"""Data that an upload keeps beside its graph: in which file a tensor's is, and where in it. Nothing is trusted."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from interlock.errors import InvalidModel
from interlock.locations import is_plain_location
from onnx import TensorProto

from interlock_registry.tool.job import SideFile
from interlock_registry.tool.text import printable

_KEYS: Final = frozenset({"location", "offset", "length", "checksum"})
_TYPED: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_ADDRESS: Final = "_ORT_MEM_ADDR_"
_CHUNK: Final = 1 << 20
_MAX_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the elements of one tensor lie."""

    file: SideFile
    offset: int
    size_bytes: int


class SideFiles:
    """The files that were uploaded with a graph, mapped while the context lasts."""

    def __init__(self, files: Sequence[SideFile]) -> None:
        self._files = {each.location: each for each in files}
        self._sizes = {each.location: each.path.stat().st_size for each in files}
        self._checked: dict[str, str] = {}
        self._maps: dict[str, mmap.mmap] = {}
        self._used: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._maps.clear()  # not closed: an error on its way may still hold a view

    def find(self, tensor: TensorProto, size_bytes: int, where: str) -> Extent:
        """Return where a tensor of that many bytes lies; raises InvalidModel for all that is not plain and whole."""
        entries = {each.key: each.value for each in tensor.external_data}
        if tensor.data_location != TensorProto.EXTERNAL or len(entries) != len(tensor.external_data):
            raise _refused(f"{where} contradicts itself about where its data lies")
        if unknown := sorted(entries.keys() - _KEYS):
            raise _refused(f"{where} describes its data with {printable(unknown[0])!r}, which means nothing in ONNX")
        if tensor.raw_data or any(len(getattr(tensor, field)) for field in _TYPED):
            raise _refused(f"{where} has its data both in the model and in another file")
        file = self._file(entries.get("location", ""), where)
        offset = _number(entries.get("offset", "0"), "offset", where)
        length = _number(entries["length"], "length", where) if "length" in entries else size_bytes
        if length != size_bytes:
            raise _refused(
                f"{where} takes {size_bytes} bytes by its shape, its length in {file.location!r} is {length}"
            )
        if offset + length > self._sizes[file.location]:
            raise _refused(
                f"{where} ends at byte {offset + length} of {file.location!r}, which has {self._sizes[file.location]}: "
                "the file is cut off or of another export"
            )
        if "checksum" in entries:
            self._check(file, entries["checksum"], where)
        return Extent(file, offset, length)

    def read(self, extent: Extent) -> memoryview:
        """Return the bytes of an extent, mapped; it lives as long as this object."""
        if not extent.size_bytes:
            return memoryview(b"")
        location = extent.file.location
        if location not in self._maps:
            with extent.file.path.open("rb") as file:
                self._maps[location] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        return memoryview(self._maps[location])[extent.offset : extent.offset + extent.size_bytes]

    def check_all_used(self) -> None:
        """Raise InvalidModel for a file that no tensor refers to: it belongs to another export."""
        for location in sorted(self._files.keys() - self._used):
            raise _refused(f"no tensor of the model refers to the file {location!r}; leave it out")

    def _file(self, location: str, where: str) -> SideFile:
        shown = printable(location)[:200]
        if _ADDRESS in location:
            raise _refused(f"{where} names an address in memory, not a file")
        if not is_plain_location(location):
            raise _refused(
                f"{where} keeps its data in {shown!r}; only files in the model's own directory or below it are taken: "
                "save the model again with its data beside it"
            )
        if location not in self._files:
            raise _refused(
                f"{where} keeps its data in the file {shown!r}, which was not uploaded; put it beside the model"
            )
        self._used.add(location)
        return self._files[location]

    def _check(self, file: SideFile, claimed: str, where: str) -> None:
        if file.location not in self._checked:
            # What ONNX prescribes for this key, and nothing that anybody relies on: files are announced by sha256.
            hasher = hashlib.sha1(usedforsecurity=False)
            with file.path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    hasher.update(chunk)
            self._checked[file.location] = hasher.hexdigest()
        if claimed.lower() != self._checked[file.location]:
            raise _refused(
                f"{where} says that {file.location!r} has the SHA-1 {printable(claimed)[:80]!r}, but it has "
                f"{self._checked[file.location]}: the file is damaged or of another export"
            )


def _number(text: str, key: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise _refused(f"{where} has the {key} {printable(text)[:40]!r}, which is no number of bytes")
    return int(text)


def _refused(text: str) -> InvalidModel:
    return InvalidModel(text, check="external-data")
