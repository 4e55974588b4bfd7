"""What every front keeps to, whatever it is built on."""

from __future__ import annotations

from typing import Final

from interlock.errors import TooLarge

from interlock_server.front.seam import Limits

MAX_STREAM_BACKLOG: Final = 64
"""Messages that a slow reader of a stream may leave unread; then the oldest unread one is dropped."""
LARGE: Final = 1024 * 1024
"""Longer requests are taken on another thread: reading millions of typed values or strings takes seconds, and the
thread that takes calls also answers health, the control process and everybody else."""
LARGE_AT_ONCE: Final = 2
WALL: Final = 2
"""gRPC itself refuses messages over so many times the limit: without our details, but before all of it is received."""
OVER: Final = "no answer within the server's deadline (settings default_deadline_s and max_deadline_s)"


def server_options(limits: Limits, max_message_bytes: int) -> list[tuple[str, int]]:
    """Return the channel arguments that every listener of ours has."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # The supervisor holds the port; a worker that is started again shares it with that reservation.
        ("grpc.so_reuseport", 1),
        # Real clients ping; without these gRPC answers with GOAWAY "too_many_pings".
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.min_ping_interval_s * 1000)),
        ("grpc.keepalive_time_ms", round(limits.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
    ]


def check_size(what: str, data: bytes, most: int) -> None:
    """Hold a message to the limit; raises TooLarge."""
    if len(data) > most:
        raise TooLarge(what, len(data), most, "max_message_bytes")
