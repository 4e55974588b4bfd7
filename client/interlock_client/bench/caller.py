"""The load generator of one process: few instructions for each request, so that it measures the server.

Requests are bytes made beforehand, answers are not decoded beyond the version that they name, nothing is retried, and
no thread waits for an answer: gRPC's own thread counts it and, in a closed loop, sends the next request.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from interlock.protocols import open_inference_pb2 as pb

from interlock_client._address import INFERENCE
from interlock_client._channel import dial
from interlock_client._infer import QUEUE_KEY, RUN_KEY
from interlock_client.bench.plan import Order, Turn, due
from interlock_client.bench.tally import NOT_SENT, UNREADABLE, Tally

METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
MAX_UNANSWERED: Final = 4096
"""Requests of an open loop that one process keeps in flight; beyond that the next one waits, and that counts."""
_CONNECT_S: Final = 10.0
_MARGIN_S: Final = 5.0

_LENGTH_DELIMITED: Final = 2
_VERSION_FIELD: Final = 2


class Caller:
    """Makes loads over connections of its own."""

    def __init__(self, order: Order, requests: Sequence[bytes]) -> None:
        self._order: Final = order
        line = dial(
            INFERENCE,
            order.address,
            retries=0,
            tls=order.tls,
            credentials=None,
            token=order.token,
            options=[("grpc.use_local_subchannel_pool", 1)],  # else all channels would share one connection
        )
        self._channels: Final = [line.channel() for _ in range(order.connections)]
        self._requests: Final = requests
        self._metadata: Final = line.metadata

    def connect(self) -> None:
        """Open the connections; raises grpc.FutureTimeoutError."""
        for channel in self._channels:
            grpc.channel_ready_future(channel).result(_CONNECT_S)

    def run(self, turn: Turn) -> Tally:
        """Make one load and return what it saw."""
        before_s = _cpu_s()
        lines = [
            _Line(channel, self._requests, turn, self._order.timeout_s, first, self._metadata)
            for first, channel in enumerate(self._channels)
        ]
        tally = Tally(turn.window)
        if turn.load.concurrency:
            self._closed(lines, turn)
        elif turn.load.rate:
            self._open(lines, turn, tally)
        for line in lines:
            tally.add(line.tally)
        tally.cpu_s = _cpu_s() - before_s
        return tally

    def _closed(self, lines: Sequence[_Line], turn: Turn) -> None:
        count = turn.load.concurrency
        ended = [threading.Event() for _ in range(count)]
        _sleep_until(turn.window.start_s)
        for slot, line in zip(ended, itertools.cycle(lines), strict=False):
            line.keep_asking(slot.set)
        until_s = turn.window.until_s + self._order.timeout_s + _MARGIN_S
        for slot in ended:
            slot.wait(max(0.0, until_s - time.monotonic()))

    def _open(self, lines: Sequence[_Line], turn: Turn, tally: Tally) -> None:
        places = threading.Semaphore(MAX_UNANSWERED)
        window, order = turn.window, self._order
        moments = due(turn.load, window.start_s, window.until_s, index=order.index, of=order.of, seed=order.seed)
        last_s = window.until_s + order.timeout_s
        for moment, line in zip(moments, itertools.cycle(lines), strict=False):
            _sleep_until(moment)
            if not places.acquire(timeout=max(0.0, last_s - time.monotonic())):
                why = f"{MAX_UNANSWERED} requests of this process were unanswered until the end"
                tally.failed(moment, NOT_SENT, why)
                continue
            tally.sent(moment, time.monotonic())
            line.ask(moment, places.release)
        for _ in range(MAX_UNANSWERED):
            places.acquire(timeout=max(0.0, last_s + _MARGIN_S - time.monotonic()))

    def close(self) -> None:
        """Disconnect."""
        for channel in self._channels:
            channel.close()


class _Line:
    """One connection's part of a load. Its answers come on one thread, the channel's own."""

    def __init__(
        self,
        channel: grpc.Channel,
        requests: Sequence[bytes],
        turn: Turn,
        timeout_s: float,
        first: int,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        self.tally: Final = Tally(turn.window)
        self._method: Final[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = channel.unary_unary(METHOD)
        self._requests: Final[Iterator[bytes]] = itertools.cycle([*requests[first:], *requests[:first]])
        self._timeout_s: Final = timeout_s
        self._metadata: Final = metadata
        self._until_s: Final = turn.window.until_s

    def ask(self, due_s: float, ended: Callable[[], object]) -> None:
        """Send the request that was due at a moment; `ended` is called after it is answered or has failed."""

        def answered(call: grpc.Future[bytes]) -> None:
            try:
                self._count(due_s, call)
            finally:
                ended()

        call = self._method.future(next(self._requests), timeout=self._timeout_s, metadata=self._metadata)
        call.add_done_callback(answered)

    def keep_asking(self, ended: Callable[[], object]) -> None:
        """Send one request after the other's answer until the time is over; then call `ended`."""

        def next_one() -> None:
            now = time.monotonic()
            if now < self._until_s:
                self.ask(now, next_one)
            else:
                ended()

        next_one()

    def _count(self, due_s: float, call: object) -> None:
        now = time.monotonic()
        assert isinstance(call, grpc.Call) and isinstance(call, grpc.Future)
        code = call.code()
        if code is not grpc.StatusCode.OK:
            self.tally.failed(due_s, code.name, call.details() or "")
            return
        queue_s = run_s = None
        for key, value in call.trailing_metadata() or ():
            if key == QUEUE_KEY:
                queue_s = int(value) / 1e6
            elif key == RUN_KEY:
                run_s = int(value) / 1e6
        try:
            version = answering_version(call.result())
        except (DecodeError, UnicodeDecodeError) as error:
            self.tally.failed(due_s, UNREADABLE, str(error))
        else:
            self.tally.answered(due_s, now, version, queue_s, run_s)


def answering_version(data: bytes) -> str:
    """Return the model_version of a serialised ModelInferResponse without decoding its tensors."""
    at = 0
    while at + 2 <= len(data) and data[at] & 7 == _LENGTH_DELIMITED and data[at + 1] < 0x80:
        end = at + 2 + data[at + 1]
        if data[at] >> 3 == _VERSION_FIELD:
            return data[at + 2 : end].decode()
        if data[at] >> 3 > _VERSION_FIELD:
            break
        at = end
    return pb.ModelInferResponse.FromString(data).model_version


def _sleep_until(moment: float) -> None:
    ahead = moment - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
