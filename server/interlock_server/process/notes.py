"""What each engine thread is about to run, in a file that outlives the process. Standard library only.

A worker that is ended by a signal in the middle of a run cannot say what it ran. So each thread notes it before, in its
own slot of a small mapped file: the version, and fingerprints of the requests; and takes it back after. Whoever finds
the worker dead reads the file.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SLOTS: Final = 2048
MOST: Final = 32
"""Requests of one run that are noted; those beyond are not."""
_SLOT_BYTES: Final = 512
_NAME_AT: Final = 16 + 8 * MOST
_MOST_NAME: Final = _SLOT_BYTES - _NAME_AT - 2
_HEAD: Final = struct.Struct("=QQ")
"""How many requests run, and the fingerprint of the whole of the only one; those of their parts follow."""
_COUNT: Final = struct.Struct("=Q")
_LENGTH: Final = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class Note:
    """One run that was under way."""

    version: str
    """As `model@number`."""
    parts: tuple[int, ...] = ()
    """A fingerprint of the first bytes of each request; none while the version was being loaded."""
    whole: int = 0
    """Of all bytes of the only request; 0 where that was not taken."""


class Slot:
    """One thread's place in the file."""

    __slots__ = ("_file", "_offset", "_words")

    def __init__(self, file: Notes, words: memoryview[int], offset: int) -> None:
        self._file = file
        self._words = words
        self._offset = offset

    def begin(self, part: int, whole: int = 0) -> None:
        """Note that a run of one request begins."""
        words = self._words
        words[2] = part
        words[1] = whole
        words[0] = 1

    def begin_many(self, parts: Sequence[int]) -> None:
        """Note that a run of several requests begins."""
        words = self._words
        count = min(len(parts), MOST)
        for index in range(count):
            words[2 + index] = parts[index]
        words[1] = 0
        words[0] = count

    def end(self) -> None:
        """Note that nothing runs."""
        self._words[0] = 0

    def close(self) -> None:
        """Give the place back. Idempotent."""
        self._file.free(self._offset)


class Notes:
    """The file of one worker process. Thread-safe."""

    def __init__(self, path: str) -> None:
        """Begin an empty file; raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(descriptor, SLOTS * _SLOT_BYTES)
            self._map = mmap.mmap(descriptor, SLOTS * _SLOT_BYTES)
        finally:
            os.close(descriptor)
        self._lock = threading.Lock()
        self._free = list(range((SLOTS - 1) * _SLOT_BYTES, -1, -_SLOT_BYTES))
        self._taken: set[int] = set()

    def slot(self, version: str) -> Slot | None:
        """Take a place for a version's thread; None where all are taken: its runs are not noted then."""
        name = version.encode()[:_MOST_NAME]
        with self._lock:
            if not self._free:
                return None
            offset = self._free.pop()
            self._taken.add(offset)
        _COUNT.pack_into(self._map, offset, 0)
        _LENGTH.pack_into(self._map, offset + _NAME_AT, len(name))
        start = offset + _NAME_AT + _LENGTH.size
        self._map[start : start + len(name)] = name
        words = memoryview(self._map)[offset : offset + _NAME_AT].cast("Q")
        return Slot(self, words, offset)

    def free(self, offset: int) -> None:
        """Take a place back."""
        with self._lock:
            if offset in self._taken:
                self._taken.remove(offset)
                _COUNT.pack_into(self._map, offset, 0)
                self._free.append(offset)


def read(path: str) -> tuple[Note, ...]:
    """Return the runs that a file tells of; raises OSError."""
    with open(path, "rb") as file:
        data = file.read()
    found: list[Note] = []
    for offset in range(0, len(data) - _SLOT_BYTES + 1, _SLOT_BYTES):
        count, whole = _HEAD.unpack_from(data, offset)
        if not 0 < count <= MOST:
            continue
        (length,) = _LENGTH.unpack_from(data, offset + _NAME_AT)
        start = offset + _NAME_AT + _LENGTH.size
        name = data[start : start + min(length, _MOST_NAME)].decode(errors="replace")
        parts = struct.unpack_from(f"={count}Q", data, offset + 16)
        found.append(Note(name, tuple(part for part in parts if part), whole))
    return tuple(found)
