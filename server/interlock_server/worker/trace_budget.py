"""How many more requests are to be traced: counted by one worker, or by all of a replica together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

_COUNT: Final = struct.Struct("<q")
_COMMON: Final = "-common"
"""No model has this name."""


class Budget(Protocol):
    """Counts down by the name of a model, "" for what all models share."""

    def put(self, name: str, count: int) -> None:
        """Let so many more requests be traced."""
        ...

    def take(self, name: str) -> bool:
        """Count one; False where none is left."""
        ...

    def left(self, name: str) -> int:
        """Return how many are left."""
        ...


class OwnBudget:
    """Of a worker that has no others beside it. Hold one lock around its methods."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}

    def put(self, name: str, count: int) -> None:
        """Let so many more requests be traced."""
        self._left[name] = count

    def take(self, name: str) -> bool:
        """Count one; False where none is left."""
        left = self.left(name)
        if left > 0:
            self._left[name] = left - 1
        return left > 0

    def left(self, name: str) -> int:
        """Return how many are left."""
        return self._left.get(name, 0)


class SharedBudget:
    """Of all workers of a replica: a file for each name, under the kernel's lock."""

    def __init__(self, folder: str) -> None:
        """Take a folder that the workers share."""
        self._folder = Path(folder)
        self._folder.mkdir(exist_ok=True)

    def put(self, name: str, count: int) -> None:
        """Let so many more requests be traced."""
        with self._open(name) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.pwrite(descriptor, _COUNT.pack(count), 0)

    def take(self, name: str) -> bool:
        """Count one; False where none is left, or where another worker counts at this moment."""
        with self._open(name) as descriptor, contextlib.suppress(BlockingIOError):
            # A request waits for no other worker, which may have been stopped in the middle.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left = _read(descriptor)
            if left > 0:
                os.pwrite(descriptor, _COUNT.pack(left - 1), 0)
                return True
        return False

    def left(self, name: str) -> int:
        """Return how many are left."""
        with self._open(name) as descriptor:
            return _read(descriptor)

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        descriptor = os.open(self._folder / (name or _COMMON), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _read(descriptor: int) -> int:
    data = os.pread(descriptor, _COUNT.size, 0)
    count: int = _COUNT.unpack(data)[0] if len(data) == _COUNT.size else 0
    return count
