"""The HTTP port: the Open Inference Protocol, /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from interlock.access import Permission
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from interlock_server.access.gate import Gate
from interlock_server.certificates import Certificates, names_in
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.standing import Standing
from interlock_server.control.workers import Workers
from interlock_server.rest.app import Rest
from interlock_server.rest.failures import refused
from interlock_server.rest.guarding import CERTIFICATE, caller_of, guarded


def app(
    standing: Standing, workers: Workers, metrics: ControlMetrics, rest: Rest, gate: Gate | None = None
) -> Starlette:
    """Return the ASGI application; with a gate, every route is behind it."""

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
        routes=routes if gate is None else guarded(routes, gate), exception_handlers={HTTPException: refused}
    )


class _Identified(H11Protocol):
    """HTTP/1.1 that tells the application which names there are in the caller's certificate."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own is
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.app_state = {**self.app_state, CERTIFICATE: names_in(tls.getpeercert())}


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

    def __init__(self, application: Starlette, grace_s: float, certificates: Certificates | None = None) -> None:
        """Take the application, how long requests may take when it stops, and what TLS is spoken with."""
        super().__init__(
            _Config(
                certificates,
                application,
                http=_Identified,
                log_config=None,
                access_log=False,
                lifespan="off",
                limit_concurrency=1000,
                h11_max_incomplete_event_size=64 * 1024,
            )
        )
        self.allow(grace_s)

    def allow(self, grace_s: float) -> None:
        """Give requests so long to end when it stops."""
        self.config.timeout_graceful_shutdown = math.ceil(grace_s)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers alone."""
        yield

    async def serve_on(self, listener: socket.socket) -> None:
        """Serve until `should_exit` is set."""
        await self.serve(sockets=[listener])
