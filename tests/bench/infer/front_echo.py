"""A front of Interlock's with nothing behind it: it answers with the request's bytes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from interlock_server.front.aio import AioFront
from interlock_server.front.core import CoreFront
from interlock_server.front.native import NativeFront
from interlock_server.front.seam import Arity, Call, Conversation, Front

from tests.bench.infer.introductions import INTRODUCTIONS, path_of

_METHOD: Final = path_of("ModelInfer")
_INTRODUCTIONS: Final = {path_of(name): introduce for name, introduce in INTRODUCTIONS.items()}


class Echo:
    """The handler that does nothing."""

    methods: Final[Mapping[str, Arity]] = {_METHOD: Arity.UNARY} | dict.fromkeys(_INTRODUCTIONS, Arity.UNARY)

    def handle(self, call: Call) -> None:
        """Answer with what was asked, or to who asks what this is."""
        if call.method == _METHOD:
            call.done(call.request)
        else:
            call.done(_INTRODUCTIONS[call.method](call.request))

    def converse(self, call: Conversation) -> None:
        """Refuse."""
        raise TypeError(f"{call.method} is no conversation")

    def settle(self) -> None:
        """Nothing is kept back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The server's defaults."""

    max_message_bytes: int = 64 << 20
    max_in_flight_bytes: int = 1 << 30
    max_connections: int = 4096
    max_streams: int = 256
    default_deadline_s: float = 30.0
    max_deadline_s: float = 300.0
    keepalive_time_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    min_ping_interval_s: float = 10.0


def front_named(name: str) -> Front:
    """Return a front of that name, as the server makes it."""
    limits = Limits()
    if name == "native":
        return NativeFront(limits, CoreFront(limits))
    return CoreFront(limits) if name == "core" else AioFront(limits)


async def main(front: Front, address: str) -> None:
    """Serve until standard input ends."""
    await front.start(Echo(), address)
    print(address, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await front.stop(0)


if __name__ == "__main__":
    asyncio.run(main(front_named(sys.argv[1]), sys.argv[2]))
