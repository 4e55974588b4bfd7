"""Where log lines go: to a descriptor, without ever making whoever logs wait for whoever reads. Standard library only.

A file takes lines at once. Anything else (a pipe, a terminal, a socket) may have a reader who stops reading: a thread
writes there, from a queue that is bounded by its bytes. What does not fit, or cannot be written, is lost and counted.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from typing import Final

MOST_BYTES: Final = 1 << 20
"""What may wait to be written."""
_PATIENCE_S: Final = 1.0
"""How long an ending process waits for its last lines to be taken."""


class LogSink:
    """Takes lines on any thread. `dropped` counts those that were lost."""

    def __init__(self, descriptor: int, *, most_bytes: int = MOST_BYTES) -> None:
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self._direct = _is_file(descriptor)
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self.waiting_bytes = 0
        """Of what waits, with what is being written."""
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def put(self, line: bytes) -> bool:
        """Write a line, or have it written; False where it was lost."""
        with self._changed:
            if self._direct:
                return self._count(self._write(line))
            if self.waiting_bytes + len(line) > self._most_bytes:
                return self._count(False)
            self._lines.append(line)
            self.waiting_bytes += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return True

    def flush(self, timeout_s: float = _PATIENCE_S) -> None:
        """Wait until everything is written, but not for ever: somebody may have stopped reading."""
        with self._changed:
            self._changed.wait_for(lambda: self.waiting_bytes == 0, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines))
                line = self._lines.popleft()
            written = self._write(line)
            with self._changed:
                self._count(written)
                self.waiting_bytes -= len(line)
                self._changed.notify_all()

    def _count(self, written: bool) -> bool:
        self.dropped += not written
        return written

    def _write(self, line: bytes) -> bool:
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody else has made the descriptor so
                select.select([], [self._descriptor], [], _PATIENCE_S)
            except OSError:  # no room on the disk, nobody at the other end: only a number can tell
                return False
        return True


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False
