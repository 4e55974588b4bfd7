"""A client that speaks HTTP/2 by hand, to do what no gRPC library lets one do: not read, not finish, reset, bomb."""

from __future__ import annotations

import enum
import socket
import struct
import time
from types import TracebackType
from typing import Final, Self

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ACK, END_STREAM, END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE: Final = 4
_CANCEL: Final = 8
FRAME: Final = 16384


class Kind(enum.IntEnum):
    """What a frame is."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8


class RawConnection:
    """One connection; what arrives is only read when the test asks for it."""

    def __init__(self, address: str, *, window: int = 65535) -> None:
        """Connect; `window` is how many bytes of each answer the server may send before we take any."""
        host, _, port = address.rpartition(":")
        self._socket: Final = socket.create_connection((host, int(port)), timeout=60)
        self._windows: dict[int, int] = {0: 65535}
        self._initial = 65535
        self._next = 1
        self._rest = b""
        self.ended: set[int] = set()
        """Streams that the server has ended or reset."""
        self.refused = False
        """The server has said GOAWAY."""
        self.pongs = 0
        """Pings of ours that the server has answered."""
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)
        self._socket.sendall(PREFACE + frame(Kind.SETTINGS, 0, 0, settings))

    def call(self, method: str = METHOD, *, encoding: str = "", timeout: str = "", authorization: str = "") -> int:
        """Begin a call and return its stream."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self._initial
        fields = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost")]
        fields += [("te", "trailers"), ("content-type", "application/grpc")]
        fields += [("grpc-encoding", encoding)] if encoding else []
        fields += [("grpc-timeout", timeout)] if timeout else []
        fields += [("authorization", authorization)] if authorization else []
        block = b"".join(b"\0" + text(name) + text(value) for name, value in fields)
        self._socket.sendall(frame(Kind.HEADERS, END_HEADERS, stream, block))
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = True) -> int:
        """Send bytes of a request as fast as the server takes them, and return how many it took.

        Stops early where the server ends the stream.
        """
        before = len(data)
        while data and stream not in self.ended and not self.refused:
            room = min(self._windows[0], self._windows[stream], FRAME, len(data))
            if room <= 0:
                self.read(20.0)
                continue
            part, data = data[:room], data[room:]
            self._windows[0] -= room
            self._windows[stream] -= room
            self._socket.sendall(frame(Kind.DATA, END_STREAM if end and not data else 0, stream, part))
        return before - len(data)

    def ask(self, data: bytes, *, compressed: bool = False, encoding: str = "") -> int:
        """Make a whole unary call and return its stream."""
        stream = self.call(encoding=encoding)
        self.send(stream, struct.pack(">BI", compressed, len(data)) + data)
        return stream

    def reset(self, stream: int) -> None:
        """Cancel a call."""
        self._socket.sendall(frame(Kind.RST_STREAM, 0, stream, struct.pack(">I", _CANCEL)))

    def ping(self, timeout_s: float = 20.0) -> None:
        """Ping, and read until the server has answered or ended the connection; raises TimeoutError."""
        before, until = self.pongs, time.monotonic() + timeout_s
        self._socket.sendall(frame(Kind.PING, 0, 0, bytes(8)))
        while self.pongs == before and not self.refused:
            if time.monotonic() > until:
                raise TimeoutError(f"a ping was not answered within {timeout_s:g} s")
            self.read(1.0)

    def wait_ended(self, stream: int, timeout_s: float = 20.0) -> None:
        """Read until the server has ended a stream; raises TimeoutError."""
        until = time.monotonic() + timeout_s
        while stream not in self.ended and not self.refused:
            if time.monotonic() > until:
                raise TimeoutError(f"stream {stream} did not end within {timeout_s:g} s")
            self.read(1.0)

    def read(self, timeout_s: float = 0.0) -> None:
        """Take what has arrived, waiting so long for the first of it; a closed connection counts as refused."""
        self._socket.settimeout(timeout_s or 0.001)
        try:
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            return
        except ConnectionError:
            data = b""
        finally:
            self._socket.settimeout(20)
        if not data:
            self.refused = True
            return
        self._rest += data
        while len(self._rest) >= 9:
            length = int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < 9 + length:
                return
            kind, flags, stream = self._rest[3], self._rest[4], int.from_bytes(self._rest[5:9], "big")
            payload, self._rest = self._rest[9 : 9 + length], self._rest[9 + length :]
            self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == Kind.SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[at : at + 6])
                if key == _INITIAL_WINDOW_SIZE:
                    for each in self._windows:
                        self._windows[each] += value - self._initial if each else 0
                    self._initial = value
            self._socket.sendall(frame(Kind.SETTINGS, ACK, 0, b""))
        elif kind == Kind.PING and flags & ACK:
            self.pongs += 1
        elif kind == Kind.PING:
            self._socket.sendall(frame(Kind.PING, ACK, 0, payload))
        elif kind == Kind.WINDOW_UPDATE:
            self._windows[stream] = self._windows.get(stream, 0) + struct.unpack(">I", payload)[0]
        elif kind == Kind.GOAWAY:
            self.refused = True
        elif kind == Kind.RST_STREAM or (kind in (Kind.HEADERS, Kind.DATA) and flags & END_STREAM):
            self.ended.add(stream)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def frame(kind: Kind, flags: int, stream: int, payload: bytes) -> bytes:
    """Write a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def text(value: str) -> bytes:
    """Write a literal of HPACK: its length, and it as it is."""
    data = value.encode()
    assert len(data) < 127
    return bytes((len(data),)) + data
