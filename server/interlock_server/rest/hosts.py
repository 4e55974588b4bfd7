"""The names by which callers may ask the HTTP port for something.

A web page can have its own name mean 127.0.0.1 (DNS rebinding). Whoever opens it has a browser that takes a server on
this machine for a part of that site, and lets the page read and change what is there.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from interlock.errors import PermissionDenied
from starlette.types import ASGIApp, Receive, Scope, Send

from interlock_server.rest.failures import failed


def host_of(header: str) -> str:
    """Return the host of a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].rstrip(".").lower()


def is_own(header: str, names: frozenset[str]) -> bool:
    """Tell whether a Host header names this server: an address, localhost, or one of its names."""
    host = host_of(header)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or host in names
    return True


class OwnHosts:
    """Refuses requests for other hosts. Who sends no Host header is no browser."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app: Final = app
        self._names: Final = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                host = value.decode("latin-1")
                if name == b"host" and not is_own(host, self._names):
                    await failed(_refusal(host))(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _refusal(host: str) -> PermissionDenied:
    return PermissionDenied(
        f"this server is not known as {host_of(host)[:200]!r}: ask it by its address or as localhost, or name that "
        "host in its setting http_hosts",
        facts={"host": host[:200]},
    )
