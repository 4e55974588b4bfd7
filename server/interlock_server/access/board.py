"""What each process of a replica has let callers take, in files that the others map: so a rate holds for all together.

Every process writes into its own file alone, and nobody waits for anybody. What two let through in the same moment may
be one more than there was; it is missing the next time. Standard library only.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SETS: Final = 1024
_WAYS: Final = 4
_WORDS: Final = 4
"""Of a cell: whose it is, how many were taken, how many were left after that, and when."""
_BYTES: Final = _SETS * _WAYS * _WORDS * 8


@dataclass(frozen=True, slots=True)
class Taken:
    """What the processes have let somebody take."""

    by_others: int
    left: float
    """The fewest that one of them, or this one before its last start, had left by now; infinity: none knows him."""


class Board:
    """One process's file, and those of the others. Not thread-safe."""

    def __init__(self, folder: str, name: str, others: Sequence[str]) -> None:
        """Go on with this process's file, or begin it; `others` are the names of the rest, which may come and go."""
        self._folder: Final = folder
        self._own: Final = _File(_path(folder, name), writes=True)
        self._missing = list(others)
        self._others: list[_File] = []

    def look(self, key: str, now: float, per_s: float) -> Taken:
        """Return what somebody was let take; what was left has grown by `per_s` since."""
        if self._missing:
            self._find()
        mark, count, left = _mark(key), 0, float("inf")
        for each in (self._own, *self._others):
            cell = each.cell(mark)
            if cell is not None:
                count += each.words[cell + 1] if each is not self._own else 0
                left = min(left, each.floats[cell + 2] + max(0.0, now - each.floats[cell + 3]) * per_s)
        return Taken(count, left)

    def take(self, key: str, left: float, now: float) -> None:
        """Tell the others that one more was taken, and how many are left."""
        mark, own = _mark(key), self._own
        cell = own.cell(mark)
        if cell is None:
            cell = own.oldest(mark)
            own.words[cell] = 0
            own.words[cell + 1] = 0
        own.words[cell + 1] += 1
        own.floats[cell + 2] = left
        own.floats[cell + 3] = now
        own.words[cell] = mark

    def close(self) -> None:
        """Give the files up. Idempotent."""
        for each in (self._own, *self._others):
            each.close()
        self._others = []

    def _find(self) -> None:
        for name in list(self._missing):
            try:
                self._others.append(_File(_path(self._folder, name), writes=False))
            except (FileNotFoundError, ValueError):  # it has not begun
                continue
            self._missing.remove(name)


@dataclass(frozen=True, slots=True)
class Boards:
    """A board for each kind of what is counted: callers that are known, and addresses whose callers are not."""

    callers: Board
    addresses: Board

    @classmethod
    def of(cls, folder: str, name: str, processes: Sequence[str]) -> Boards:
        """Begin the boards of one of a replica's processes."""

        def board(kind: str) -> Board:
            return Board(folder, f"{name}.{kind}", [f"{each}.{kind}" for each in processes if each != name])

        return cls(board("callers"), board("addresses"))

    def close(self) -> None:
        """Give the files up. Idempotent."""
        self.callers.close()
        self.addresses.close()


class _File:
    """A file that is mapped: sets of cells, and somebody's cell is one of his set."""

    def __init__(self, path: str, *, writes: bool) -> None:
        descriptor = os.open(path, (os.O_RDWR | os.O_CREAT if writes else os.O_RDONLY) | os.O_CLOEXEC, 0o600)
        try:
            if writes:
                os.ftruncate(descriptor, _BYTES)  # as long as it was: who has mapped it must not lose it
            protection = mmap.PROT_READ | mmap.PROT_WRITE if writes else mmap.PROT_READ
            self._memory = mmap.mmap(descriptor, _BYTES, prot=protection)
        finally:
            os.close(descriptor)
        self._view = memoryview(self._memory)
        self.words = self._view.cast("Q")
        self.floats = self._view.cast("d")

    def cell(self, mark: int) -> int | None:
        """Return where somebody's cell begins."""
        first = mark % _SETS * _WAYS * _WORDS
        for cell in range(first, first + _WAYS * _WORDS, _WORDS):
            if self.words[cell] == mark:
                return cell
        return None

    def oldest(self, mark: int) -> int:
        """Return the cell that somebody may have: the one of his set that was used longest ago."""
        first = mark % _SETS * _WAYS * _WORDS
        return min(range(first, first + _WAYS * _WORDS, _WORDS), key=lambda cell: self.floats[cell + 3])

    def close(self) -> None:
        """Unmap it. Idempotent."""
        for view in (self.words, self.floats, self._view):
            view.release()
        self._memory.close()


def _mark(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest(), "little") | 1


def _path(folder: str, name: str) -> str:
    return os.path.join(folder, f"{name}.rates")
