"""A load process that costs next to nothing, so that what a server does with too much is the server's doing.

It takes the orders of `interlock bench`'s own load processes and reports as they do, but writes HTTP/2 by hand: the
requests that are due in the same millisecond are one array of bytes, in which only the numbers of the streams differ.
Of answers it looks at nothing but where they end and whether they have a message. Like any gRPC client it keeps back
what is over the limit of the server's streams, tells the server how long each request has left, and resets those whose
time has passed.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from interlock.types import Array
from interlock_client.bench.__main__ import READY
from interlock_client.bench.plan import Order, Turn, due
from interlock_client.bench.tally import NOT_SENT, Tally

from tests.raw_http2 import ACK, END_HEADERS, END_STREAM, FRAME, METHOD, PREFACE, Kind, frame, text

_TICK_S: Final = 0.001
_AT_ONCE: Final = 64
"""Requests of one array: the others' answers are read between two."""
_UNREAD: Final = 1 << 20
"""Bytes that may wait to be sent; a server that does not take them gets no more."""
_MAX_STREAMS, _CANCEL = 3, 8
_MANY_BYTES: Final = (1 << 31) - 1 - 65535
_REFUSED: Final = "REFUSED"
"""Ended by the server without an answer. Which status that is stands in compressed headers, which are not read."""
_LATE: Final = "DEADLINE_EXCEEDED"
_FIELDS: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
_LITERAL, _REMEMBERED, _INDEXED = 0x00, 0x40, 0x80
_FIRST_DYNAMIC: Final = 62
"""Of HPACK's table: what was remembered last."""


class Line:
    """One connection: what waits, what is on its way, and what comes."""

    def __init__(self, address: str, requests: Sequence[bytes], timeout_s: float) -> None:
        host, _, port = address.rpartition(":")
        self._socket: Final = socket.create_connection((host, int(port)), timeout=10.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        messages = [struct.pack(">BI", 0, len(each)) + each for each in requests]
        self._longest: Final = max(map(len, messages))
        assert self._longest <= FRAME, "a request is one frame here"
        self._messages: Final = itertools.cycle(messages)
        self._timeout_s: Final = timeout_s
        self._most = 100
        self._room = 65535
        self._next = 3
        self._rest = b""
        self._out = bytearray(PREFACE + frame(Kind.SETTINGS, 0, 0, b""))
        self._out += frame(Kind.WINDOW_UPDATE, 0, 0, struct.pack(">I", _MANY_BYTES))
        # The first stream teaches the server the fields that all others name by their index; it is never finished.
        taught = b"".join(bytes([_REMEMBERED]) + text(name) + text(value) for name, value in _FIELDS)
        self._out += frame(Kind.HEADERS, END_HEADERS, 1, taught) + _reset(1)
        self._known: Final = bytes(_INDEXED | _FIRST_DYNAMIC + place for place in reversed(range(len(_FIELDS))))
        self.waiting: Final[deque[float]] = deque()
        self._open: Final[dict[int, float]] = {}
        """Streams by number, with when each was due; ascending, both."""
        self._answered: Final[set[int]] = set()
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def idle(self) -> bool:
        return not (self.waiting or self._open)

    def step(self, tally: Tally) -> int:
        """Give up what is too late, send what may be sent, and take what has come; returns how many have ended."""
        now = time.monotonic()
        ended = self._give_up(now, tally)
        while (many := self._may_send()) > 0:
            self._write(many, now, tally)
        self._flush()
        return ended + self._read(tally)

    def _give_up(self, now: float, tally: Tally) -> int:
        ended = 0
        while self.waiting and self.waiting[0] + self._timeout_s <= now:
            tally.failed(self.waiting.popleft(), NOT_SENT, "the server did not take it in time")
            ended += 1
        late = list(itertools.takewhile(lambda item: item[1] + self._timeout_s <= now, self._open.items()))
        for stream, moment in late:
            del self._open[stream]
            self._answered.discard(stream)
            self._out += _reset(stream)
            tally.failed(moment, _LATE, "no answer in time")
        return ended + len(late)

    def _may_send(self) -> int:
        if len(self._out) >= _UNREAD:
            return 0
        return min(len(self.waiting), self._most - len(self._open), self._room // self._longest, _AT_ONCE)

    def _write(self, many: int, now: float, tally: Tally) -> None:
        message = next(self._messages)
        moments = [self.waiting.popleft() for _ in range(many)]
        left_ms = max(1, round((moments[0] + self._timeout_s - now) * 1000))
        block = self._known + bytes([_LITERAL]) + text("grpc-timeout") + text(f"{left_ms:07d}m")
        one = frame(Kind.HEADERS, END_HEADERS, 0, block) + frame(Kind.DATA, END_STREAM, 0, message)
        streams = np.arange(self._next, self._next + 2 * many, 2, dtype=">u4")
        self._out += _numbered(one, 9 + len(block), streams).tobytes()
        self._next += 2 * many
        self._room -= many * len(message)
        for stream, moment in zip(streams.tolist(), moments, strict=True):
            self._open[stream] = moment
            tally.sent(moment, now)

    def _flush(self) -> None:
        while self._out:
            try:
                del self._out[: self._socket.send(self._out)]
            except BlockingIOError:
                return

    def _read(self, tally: Tally) -> int:
        try:
            data = self._rest + self._socket.recv(1 << 20)
        except BlockingIOError:
            return 0
        at, ended, now = 0, 0, time.monotonic()
        while at + 9 <= len(data):
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big")
            if kind == Kind.DATA:
                self._answered.add(stream)
            elif (kind == Kind.HEADERS and flags & END_STREAM) or kind == Kind.RST_STREAM:
                ended += self._ended(stream, now, tally)
            elif not stream:
                self._take(kind, flags, data[at + 9 : end])
            at = end
        self._rest = data[at:]
        return ended

    def _ended(self, stream: int, now: float, tally: Tally) -> int:
        moment = self._open.pop(stream, None)
        answered = stream in self._answered
        self._answered.discard(stream)
        if moment is None:
            return 0
        if answered:
            tally.answered(moment, now, "", None, None)
        else:
            tally.failed(moment, _REFUSED, "ended without an answer")
        return 1

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        """Take what is about the connection."""
        if kind == Kind.SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == _MAX_STREAMS:
                    self._most = value
            self._out += frame(Kind.SETTINGS, ACK, 0, b"")
        elif kind == Kind.PING and not flags & ACK:
            self._out += frame(Kind.PING, ACK, 0, payload)
        elif kind == Kind.WINDOW_UPDATE:
            self._room += int.from_bytes(payload, "big")
        elif kind == Kind.GOAWAY:
            raise ConnectionError("the server says that it goes away")

    def close(self) -> None:
        self._socket.close()


def _numbered(one: bytes, second: int, streams: Array) -> Array:
    """Repeat two frames, the second of which begins at a place, for each of these streams."""
    many = np.tile(np.frombuffer(one, np.uint8), (len(streams), 1))
    number = streams.view(np.uint8).reshape(-1, 4)
    for begin in (0, second):
        many[:, begin + 5 : begin + 9] = number
    return many


def _reset(stream: int) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))


def flood(lines: Sequence[Line], order: Order, turn: Turn) -> Tally:
    """Make one load and return what it saw."""
    tally, window, load = Tally(turn.window), turn.window, turn.load
    before = os.times()
    time.sleep(max(0.0, window.start_s - time.monotonic()))
    moments: Iterator[float] = iter(())
    if load.concurrency:
        for _, line in zip(range(load.concurrency), itertools.cycle(lines), strict=False):
            line.waiting.append(window.start_s)
    else:
        moments = due(load, window.start_s, window.until_s, index=order.index, of=order.of, seed=order.seed)
    turns, coming = itertools.cycle(lines), next(moments, None)
    while coming is not None or not all(line.idle for line in lines):
        now = time.monotonic()
        while coming is not None and coming <= now:
            next(turns).waiting.append(coming)
            coming = next(moments, None)
        for line in lines:
            ended = line.step(tally)
            if load.concurrency and (now := time.monotonic()) < window.until_s:
                line.waiting.extend([now] * ended)
        if load.concurrency:
            if not any(line.waiting for line in lines):
                select.select(lines, [], [], _TICK_S)
        else:
            time.sleep(_TICK_S)
    after = os.times()
    tally.cpu_s = after.user + after.system - before.user - before.system
    return tally


def main() -> int:
    """Serve loads until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = Order.from_json(sys.stdin.readline())
    requests = [Path(name).read_bytes() for name in order.requests]
    lines = [Line(order.address, requests, order.timeout_s) for _ in range(order.connections)]
    print(READY, flush=True)
    for turn in sys.stdin:
        print(json.dumps(flood(lines, order, Turn.from_json(turn)).to_json()), flush=True)
    for line in lines:
        line.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
