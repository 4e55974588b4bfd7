"""Output that somebody else is to read: whoever does not read it makes nobody wait for ever."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Final

PATIENCE_S: Final = 5.0
"""How long stdout may go unread until whoever writes goes on, and leaves the rest for the next time."""
_SLICE_S: Final = 0.1
_AT_ONCE: Final = select.PIPE_BUF
"""A pipe that takes anything takes so much, and without something of others in between."""


class PatientOutput:
    """Writes to a descriptor; what is not taken in time is kept, and goes first the next time.

    Any thread may use it.
    """

    def __init__(self, descriptor: int, patience_s: float) -> None:
        """Take how long nothing may be read before writing is given up; it may be changed at any time."""
        self.patience_s = patience_s
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._rest = b""

    @property
    def left(self) -> int:
        """How many bytes wait to be read."""
        return len(self._rest)

    def put(self, data: bytes) -> None:
        """Add bytes and write; the bytes are taken on even where TimeoutError is raised."""
        with self._lock:
            self._rest += data
        self.drain()

    def drain(self) -> None:
        """Write what is left; raises TimeoutError, OSError."""
        with self._lock:
            since = time.monotonic()
            while self._rest:
                if not self._is_writable():
                    if time.monotonic() - since >= self.patience_s:
                        raise TimeoutError(
                            f"nobody has read stdout for {self.patience_s:g} s: {len(self._rest)} bytes wait to be read"
                        )
                    continue
                whole_lines = self._rest.rfind(b"\n", 0, _AT_ONCE) + 1
                self._rest = self._rest[os.write(self._descriptor, self._rest[: whole_lines or _AT_ONCE]) :]
                since = time.monotonic()

    def _is_writable(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(min(_SLICE_S, self.patience_s) * 1000))
