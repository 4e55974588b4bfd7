"""The gate in front of the HTTP port's routes."""

from __future__ import annotations

from collections.abc import Sequence

from interlock.errors import InterlockError, Unauthenticated
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from interlock_server.access.gate import Gate, admit
from interlock_server.access.rules import ROUTES
from interlock_server.rest.failures import failed


def guarded(routes: Sequence[Route], gate: Gate) -> list[Route]:
    """Return the same routes, open only to callers who are known and may."""
    return [_guarded(route, gate) for route in routes]


def _guarded(route: Route, gate: Gate) -> Route:
    endpoint = route.endpoint

    async def answer(request: Request) -> Response:
        # HEAD is answered as GET is, without the body.
        rule = ROUTES.get(f"{'GET' if request.method == 'HEAD' else request.method} {route.path}")
        try:
            caller = gate.meet(request.headers.get("authorization"))
            admit(caller, rule, str(request.path_params.get("model", "")))
        except InterlockError as error:
            refusal = failed(error)
            if isinstance(error, Unauthenticated):
                refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        found: Response = await endpoint(request)
        return found

    return Route(route.path, answer, methods=list(route.methods or ()))
