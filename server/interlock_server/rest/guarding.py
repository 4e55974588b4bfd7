"""The gate in front of the HTTP port's routes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from interlock.errors import Unauthenticated
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interlock_server.access.gate import Caller, Gate, Refused
from interlock_server.access.rules import ROUTES
from interlock_server.rest.failures import failed

CERTIFICATE: Final = "interlock.certificate"
"""Where the state of a request has the names in its caller's certificate."""
_CALLER: Final = "interlock.caller"


def guarded(routes: Sequence[Route], gate: Gate) -> list[Route]:
    """Return the same routes, open only to callers who are known and may."""
    return [_guarded(route, gate) for route in routes]


def caller_of(request: Request) -> Caller | None:
    """Return who makes a request that was let in; None without authentication."""
    found: Caller | None = request.scope.get(_CALLER)
    return found


def _guarded(route: Route, gate: Gate) -> Route:
    endpoint = route.endpoint

    async def answer(request: Request) -> Response:
        # HEAD is answered as GET is, without the body.
        rule = ROUTES.get(f"{'GET' if request.method == 'HEAD' else request.method} {route.path}")
        found = gate.enter(
            rule,
            lambda: str(request.path_params.get("model", "")),
            authorization=request.headers.get("authorization"),
            certificate=lambda: request.scope.get("state", {}).get(CERTIFICATE, ()),
            address=lambda: "" if request.client is None else request.client.host,
        )
        if isinstance(found, Refused):
            await asyncio.sleep(found.after_s)
            refusal = failed(found.error)
            if isinstance(found.error, Unauthenticated):
                refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        request.scope[_CALLER] = found
        reply: Response = await endpoint(request)
        return reply

    return Route(route.path, answer, methods=list(route.methods or ()))
