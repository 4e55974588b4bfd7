"""Which files an ONNX model keeps data in: read from its bytes, without the onnx package and without loading weights.

The file is walked field by field as protocol buffers prescribe; what is not on the way to a location is jumped over.
What cannot be read this way is nobody's business here: the server looks at the model and says what is wrong with it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from interlock.errors import InvalidModel
from interlock.locations import check_graph_size, is_plain_location

_MAX_DEPTH: Final = 200
_MAX_NAMED: Final = 5

# Field numbers of onnx.proto: of a message, those that lead to tensors, and to which message each of them is.
_PATHS: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_ENTRY_KEY: Final = 1
_ENTRY_VALUE: Final = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def data_files(model: Path) -> Mapping[str, Path]:
    """Return the files that a model keeps data in, by location; raises InvalidModel for one that may not be sent.

    A model must not make its sender upload other files of his: only what lies in its directory, or below it, is taken.
    """
    found = {location: model.parent / location for location in sorted(locations(model))}
    # A cache of downloads may hold links to where all files of a model lie together.
    homes = {model.parent.resolve(), model.resolve().parent}
    for location, path in found.items():
        if not is_plain_location(location) or not any(home in path.resolve().parents for home in homes):
            raise InvalidModel(
                f"{model.name} keeps data in {location[:200]!r}, outside of its own directory, which is not sent; "
                "save it again with its data beside it (onnx.save(..., save_as_external_data=True))",
                check="external-data",
            )
    missing = [location for location, path in found.items() if not path.is_file()]
    if missing:
        more = f" and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
        raise InvalidModel(
            f"{model.name} keeps data in {', '.join(map(repr, missing[:_MAX_NAMED]))}{more}, which is not beside it; "
            "put the files where they were when it was saved",
            check="external-data",
        )
    return found


def locations(model: Path) -> frozenset[str]:
    """Return the locations that a model's tensors name; none where it cannot be read as a model.

    Raises InvalidModel for a file that cannot be read, or is too large to be a graph.
    """
    try:
        with model.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            check_graph_size(model.name, size)
            if size == 0:
                return frozenset()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return frozenset(_walk(data, 0, len(data), "model", 0))
    except OSError as error:
        raise InvalidModel(f"model file {str(model)!r} cannot be read: {error.strerror}", check="file") from error
    except _Unreadable:
        return frozenset()


class _Unreadable(Exception):
    """These bytes are no protocol buffer message."""


def _walk(data: mmap.mmap, start: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise _Unreadable
    if kind == "entry":
        yield from _location(data, start, end)
        return
    paths = _PATHS[kind]
    for number, begin, stop in _fields(data, start, end):
        if number in paths:
            yield from _walk(data, begin, stop, paths[number], depth + 1)


def _location(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    texts = {number: data[begin:stop] for number, begin, stop in _fields(data, start, end)}
    if texts.get(_ENTRY_KEY) == b"location":
        yield texts.get(_ENTRY_VALUE, b"").decode(errors="replace")


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number and the extent of each field that is made of bytes."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if not tag >> 3:  # nobody's, and a large file of zeros would be walked for minutes
            raise _Unreadable
        if wire == _BYTES:
            length, at = _varint(data, at, end)
            if length > end - at:
                raise _Unreadable
            yield tag >> 3, at, at + length
            at += length
        elif wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise _Unreadable


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Unreadable
