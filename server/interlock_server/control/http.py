"""The HTTP port: the Open Inference Protocol, /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from interlock.access import Permission
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from interlock_server.access.gate import Gate
from interlock_server.certificates import Certificates
from interlock_server.control.http_connections import LOOK_EVERY_S, Connection, let_go
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.standing import Standing
from interlock_server.control.workers import Workers
from interlock_server.rest.app import Rest
from interlock_server.rest.failures import refused
from interlock_server.rest.guarding import caller_of, guarded
from interlock_server.rest.hosts import OwnHosts

_CONNECTIONS: Final = 1000


def app(
    standing: Standing,
    workers: Workers,
    metrics: ControlMetrics,
    rest: Rest,
    gate: Gate | None = None,
    *,
    hosts: frozenset[str] | None = None,
) -> Starlette:
    """Return the ASGI application; with a gate, every route is behind it, with hosts, only those may be asked for."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def readyz(request: Request) -> Response:
        ready, caller = standing.ready, caller_of(request)
        told: dict[str, object] = {"ready": ready}
        if caller is None or caller.powers.everywhere(Permission.SEE):
            told["degraded"] = standing.degraded()  # it names models
        return JSONResponse(told, status_code=200 if ready else 503)

    async def metrics_text(request: Request) -> Response:
        return Response(metrics.text() + await workers.metrics(), media_type=CONTENT_TYPE_LATEST)

    own = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics_text)]
    routes = [*own, *rest.routes()]
    return Starlette(
        routes=routes if gate is None else guarded(routes, gate),
        exception_handlers={HTTPException: refused},
        middleware=[] if hosts is None else [Middleware(OwnHosts, names=hosts)],
    )


class _Config(uvicorn.Config):
    """uvicorn's settings with TLS from certificates that change."""

    def __init__(self, certificates: Certificates | None, application: Starlette, **settings: Any) -> None:
        self._certificates = certificates
        super().__init__(application, **settings)

    def load(self) -> None:
        super().load()
        if self._certificates is not None:
            self.ssl = self._certificates.following()


class HttpServer(uvicorn.Server):
    """uvicorn inside our event loop: signals are the process's, not uvicorn's."""

    def __init__(
        self,
        application: Starlette,
        grace_s: float,
        certificates: Certificates | None = None,
        *,
        patience_s: float = math.inf,
        max_unsent_bytes: int = sys.maxsize,
        max_connections: int = _CONNECTIONS,
    ) -> None:
        """Take the application, how long requests may take when it stops, and what TLS is spoken with.

        A connection is ended whose caller sends no whole request, or takes nothing of an answer, for `patience_s`, and
        those whose answers have waited longest where more than `max_unsent_bytes` wait. Where there are more than
        `max_connections`, the one goes that has asked for nothing for longest.
        """
        super().__init__(
            _Config(
                certificates,
                application,
                http=Connection,
                ws="none",
                # Who is counted as what is not for callers to say.
                proxy_headers=False,
                log_config=None,
                access_log=False,
                lifespan="off",
                limit_concurrency=max_connections + 1,  # uvicorn refuses what comes when there are so many
                h11_max_incomplete_event_size=64 * 1024,
            )
        )
        self.allow(grace_s)
        self.patience_s = patience_s
        """May be changed at any time."""
        self._max_unsent_bytes = max_unsent_bytes

    def allow(self, grace_s: float) -> None:
        """Give requests so long to end when it stops."""
        self.config.timeout_graceful_shutdown = math.ceil(grace_s)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers alone."""
        yield

    async def serve_on(self, listener: socket.socket) -> None:
        """Serve until `should_exit` is set."""
        looking = asyncio.create_task(self._look())
        try:
            await self.serve(sockets=[listener])
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self) -> None:
        """End the connections of callers who are waited for too long."""
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, self.patience_s))
            connections = [each for each in self.server_state.connections if isinstance(each, Connection)]
            for each in connections:
                each.look(self.patience_s)
            let_go(connections, self._max_unsent_bytes)
