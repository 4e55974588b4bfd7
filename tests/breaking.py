"""A TCP proxy that breaks a connection at a chosen moment: before or after the server has seen certain bytes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import Enum
from typing import Self


class Break(Enum):
    """When a connection breaks, once."""

    BEFORE = "before the server sees the words"
    AFTER = "after it has answered them, and before the client sees the answer"


class Proxy:
    """Passes connections on to a port of this machine. Use it as a context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._armed: tuple[bytes, Break] | None = None
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.broken = 0

    def arm(self, words: bytes, when: Break) -> None:
        """Break the next connection whose client sends these bytes."""
        with self._lock:
            self._armed = (words, when)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        for each in self._open:
            each.close()

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                mute = threading.Event()
                self._start(self._forward, client, server, mute)
                self._start(self._back, server, client, mute)

    def _forward(self, client: socket.socket, server: socket.socket, mute: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                when = self._trip(data)
                if when is Break.BEFORE:
                    break
                if when is Break.AFTER:
                    mute.set()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _back(self, server: socket.socket, client: socket.socket, mute: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if mute.is_set():
                    break
                client.sendall(data)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _trip(self, data: bytes) -> Break | None:
        with self._lock:
            if self._armed is None or self._armed[0] not in data:
                return None
            when, self._armed = self._armed[1], None
            self.broken += 1
            return when
