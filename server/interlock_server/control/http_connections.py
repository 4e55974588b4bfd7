"""The HTTP port's connections: who has which certificate, and who keeps a connection without using it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from interlock_server.certificates import names_in
from interlock_server.rest.guarding import CERTIFICATE

LOOK_EVERY_S: Final = 1.0
_STEP: Final = 64 * 1024
"""Who takes less of an answer than this in his time is not taking it."""


class Connection(H11Protocol):
    """HTTP/1.1 that tells the application which names there are in the caller's certificate.

    uvicorn bounds how long a connection may be idle between requests, and nothing else: who sends the head of a
    request byte by byte, or does not take his answer, would keep his place, and the answer's memory, for ever.
    """

    since: float
    """Since when nothing has moved on that this connection's caller is waited for."""
    unsent: int
    """Bytes of answers that waited for the caller then."""
    _last: object
    """The request that was looked at then."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own is
        """Begin with a caller."""
        super().connection_made(transport)
        self.since, self.unsent, self._last = self.loop.time(), 0, None
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.app_state = {**self.app_state, CERTIFICATE: names_in(tls.getpeercert())}
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def _make_room(self) -> None:
        """End the connection that has asked for nothing for longest: a crowd of idle ones keeps nobody out."""
        others = (each for each in self.connections if isinstance(each, Connection) and each is not self)
        idle = [each for each in others if each._awaits_request() and not each.transport.is_closing()]
        min(idle, key=lambda each: each.since, default=self).transport.abort()

    def look(self, patience_s: float) -> None:
        """End the connection if its caller was waited for longer than that."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent:
            moved = not self.unsent or unsent <= self.unsent - _STEP
        else:
            moved = bool(self.unsent) or self.cycle is not self._last or not self._awaits_request()
        if moved:
            self.since, self.unsent, self._last = now, unsent, self.cycle
        elif now - self.since > patience_s:
            self.transport.abort()

    def _awaits_request(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # there is none before the first request
        return cycle is None or cycle.response_complete


def let_go(connections: Iterable[Connection], most_bytes: int) -> None:
    """End the connections whose answers have waited longest, until what waits in all is not over a bound."""
    waiting = sorted((each for each in connections if each.unsent), key=lambda each: each.since)
    over = sum(each.unsent for each in waiting) - most_bytes
    for each in waiting:
        if over <= 0:
            return
        over -= each.unsent
        each.transport.abort()
