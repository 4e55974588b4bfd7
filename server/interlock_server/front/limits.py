"""What every front keeps to, whatever it is built on."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from interlock.errors import ResourceExhausted, TooLarge

from interlock_server.front.seam import Limits

MAX_STREAM_BACKLOG: Final = 64
"""Messages that a slow reader of a stream may leave unread; then the oldest unread one is dropped."""
LARGE: Final = 1024 * 1024
"""Longer requests are taken on another thread: reading millions of typed values or strings takes seconds, and the
thread that takes calls also answers health, the control process and everybody else."""
LARGE_AT_ONCE: Final = 2
COUNTED: Final = 64 * 1024
"""Longer messages count towards the bytes that may be here at a time; counting short ones costs more than it saves:
the queues and the streams of a connection bound them."""
WALL: Final = 2
"""gRPC itself refuses messages over so many times the limit: without our details, but before all of it is received."""
_RETRY_AFTER_S: Final = 0.1
_PENDING: Final = 8192
"""Calls that gRPC has read and we have not taken yet."""
OVER: Final = "no answer within the server's deadline (settings default_deadline_s and max_deadline_s)"


def server_options(limits: Limits, max_message_bytes: int, max_connections: int) -> list[tuple[str, int]]:
    """Return the channel arguments that every listener of ours has."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.max_concurrent_streams", limits.max_streams),
        # It counts calls that have ended and whose memory is not given back yet, and so refuses callers who keep within
        # the limit.
        ("grpc.http.overload_protection", 0),
        # A connection that opens calls and resets them fills the list of those that wait to be taken: where that is
        # short, gRPC drops other callers' calls from it.
        ("grpc.server.max_pending_requests", _PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING),
        # The supervisor holds the port; a worker that is started again shares it with that reservation.
        ("grpc.so_reuseport", 1),
        # Real clients ping; without these gRPC answers with GOAWAY "too_many_pings".
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.min_ping_interval_s * 1000)),
        ("grpc.keepalive_time_ms", round(limits.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
        # gRPC gives any ping that it has sent for reasons of its own a minute, and a keepalive does with that one.
        ("grpc.http2.ping_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
    ]


def check_size(what: str, data: bytes, most: int) -> None:
    """Hold a message to the limit; raises TooLarge."""
    if len(data) > most:
        raise TooLarge(what, len(data), most, "max_message_bytes")


class Parked:
    """A large request that waits for a thread, and is let go of where its call ends before one comes."""

    __slots__ = ("_request",)

    def __init__(self, request: bytes) -> None:
        self._request: bytes | None = request

    def take(self) -> bytes | None:
        """Return it the first time, None from then on."""
        request, self._request = self._request, None
        return request


class Room:
    """Bytes of the longer messages, requests and answers, and of inputs in shared memory that are here at a time.

    Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._held = 0
        self._lock = threading.Lock()
        self._given: deque[int] = deque()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        with self._lock:
            self._collect()
            return self._held

    def take(self, count: int) -> None:
        """Count so many bytes more; raises ResourceExhausted where there is no room for them.

        A single message is always taken: it has its own limit.
        """
        with self._lock:
            self._collect()
            if self._held and self._held + count > self._most:
                raise ResourceExhausted(
                    f"messages and inputs that are being answered or read hold {self._held} bytes, and {count} more "
                    f"are over the limit of {self._most}; try again, or raise the server's setting max_in_flight_bytes",
                    facts={"held": str(self._held), "size": str(count), "limit": str(self._most)},
                    retry_after_s=_RETRY_AFTER_S,
                )
            self._held += count

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._held -= count

    def give_by_finalizer(self, count: int) -> None:
        """Give bytes back from where the garbage collector may call: in the midst of this object's other methods."""
        self._given.append(count)

    def _collect(self) -> None:
        while self._given:
            self._held -= self._given.popleft()
