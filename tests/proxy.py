"""A network between callers and a server that loses what it should carry: it stands still, delays, and cuts."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 1400
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: closing sends RST, and what was not sent is lost."""


class Proxy:
    """Passes connections on to an address. `cuts` says after how many bytes each of the first ones is reset."""

    def __init__(self, target: str, *, delay_s: float = 0.0, cuts: Iterable[int] = ()) -> None:
        host, _, port = target.rpartition(":")
        self._target: Final = (host, int(port))
        self._delay_s: Final = delay_s
        self._cuts: Final[Iterator[int]] = iter(cuts)
        self._listener: Final = socket.create_server(("127.0.0.1", 0))
        self._moving = threading.Event()
        self._moving.set()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self.address: Final = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut = 0
        """Connections that were reset."""
        self.begun = 0
        """Connections that were taken."""
        self._thread: Final = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stand_still(self) -> None:
        """Carry nothing more, and tell nobody: both ends go on believing in the connection."""
        self._moving.clear()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            line = _Line(caller, socket.create_connection(self._target), next(self._cuts, None))
            with self._lock:
                self._lines.append(line)
                self.begun += 1
            for source, sink in ((line.caller, line.server), (line.server, line.caller)):
                thread = threading.Thread(target=self._carry, args=(line, source, sink), daemon=True)
                line.threads.append(thread)
                thread.start()

    def _carry(self, line: _Line, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                self._moving.wait()
                if self._delay_s:
                    self._closed.wait(self._delay_s)
                if (allowed := line.allowed(len(data))) < len(data):
                    sink.sendall(data[:allowed])
                    with self._lock:
                        self.cut += 1
                    break
                sink.sendall(data)
        except OSError:
            pass  # the other direction has ended the connection
        line.reset()

    def close(self) -> None:
        """Cut everything. Idempotent."""
        self._closed.set()
        self._moving.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)
        for line in self._lines:
            line.reset()
            for thread in line.threads:
                thread.join(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Line:
    """One connection and the one behind it."""

    def __init__(self, caller: socket.socket, server: socket.socket, most: int | None) -> None:
        self.caller = caller
        self.server = server
        self.threads: list[threading.Thread] = []
        self._left = most
        self._lock = threading.Lock()

    def allowed(self, count: int) -> int:
        """Return how many of so many bytes may still pass."""
        with self._lock:
            if self._left is None:
                return count
            allowed = min(self._left, count)
            self._left -= allowed
            return allowed

    def reset(self) -> None:
        """End both connections as if their hosts had crashed. Idempotent."""
        with self._lock:
            for each in (self.caller, self.server):
                if each.fileno() >= 0:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RD)  # wakes the thread that reads it; the reset comes with close
                    each.close()
