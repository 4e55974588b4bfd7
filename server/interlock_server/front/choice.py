"""Which front is used: the fast one where this grpcio carries it, else the reference."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from interlock.errors import StartupRefused

from interlock_server.certificates import Certificates
from interlock_server.front import completion, native
from interlock_server.front.aio import AioFront
from interlock_server.front.core import CoreFront
from interlock_server.front.limits import Room
from interlock_server.front.seam import Arity, Call, Conversation, Front, Limits

log = logging.getLogger("interlock.front")

_METHOD: Final = "/interlock.Check/Echo"
_PATIENCE_S: Final = 5.0


class _Echo:
    """A handler that answers with what it was asked."""

    methods: Final[Mapping[str, Arity]] = {_METHOD: Arity.UNARY}

    def handle(self, call: Call) -> None:
        call.done(call.request)

    def converse(self, call: Conversation) -> None:
        raise TypeError(f"{call.method} is no conversation")

    def settle(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _NoLimits:
    max_message_bytes: int = 1 << 20
    max_in_flight_bytes: int = 1 << 20
    max_connections: int = 16
    max_streams: int = 16
    default_deadline_s: float = _PATIENCE_S
    max_deadline_s: float = _PATIENCE_S
    keepalive_time_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    min_ping_interval_s: float = 10.0


async def choose(
    name: str, limits: Limits, certificates: Certificates | None = None, room: Room | None = None
) -> Front:
    """Return the front of that name, not yet started; `auto` is core unless something is wrong with it.

    `room` is what large messages are counted in, where others count there too.

    Raises StartupRefused where core or native was asked for by name and does not work here.
    """
    if name == "aio":
        return AioFront(limits, certificates, room)
    wrong = await self_check()
    if name == "native":
        return await _native(limits, CoreFront(limits, room=room) if not wrong else AioFront(limits, room=room))
    if not wrong:
        return CoreFront(limits, certificates, room)
    if name == "core":
        raise StartupRefused(f"the front core does not work here: {wrong}; leave --front at auto, or say aio")
    log.warning("the front core does not work here and aio is taken: %s", wrong)
    return AioFront(limits, certificates, room)


async def _native(limits: Limits, other: Front) -> Front:
    wrong = native.missing()
    # What was made to be looked at has a front of its own behind it: one can be started once only.
    wrong = wrong or await _try_out(native.NativeFront(_NoLimits(), AioFront(_NoLimits())))
    if wrong:
        raise StartupRefused(f"the front native does not work here: {wrong}; or leave --front at auto")
    return native.NativeFront(limits, other)


async def self_check() -> str:
    """Have the core front answer one call, over a socket of its own; return what went wrong, "" for nothing.

    It is built on a private module of grpcio: what a new release breaks must show before the port is bound.
    """
    return completion.missing() or await _try_out(CoreFront(_NoLimits()))


async def _try_out(front: Front) -> str:
    with tempfile.TemporaryDirectory(prefix="interlock-") as folder:
        address = f"unix:{Path(folder) / 'check'}"
        try:
            await front.start(_Echo(), address)
            async with grpc.aio.insecure_channel(address) as channel:
                echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
                answer = await asyncio.wait_for(echo(b"interlock", timeout=_PATIENCE_S), 2 * _PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other front works
            return f"a call to it failed ({error!r})"
        finally:
            await front.stop(0)
    return "" if answer == b"interlock" else f"it answered {answer!r}"
