"""What the commands share: the servers' addresses and the options that set them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from interlock_client import Admin, Client
from interlock_client._channel import ADMIN, INFERENCE, Port

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """The addresses of one invocation; None leaves the choice to the environment and the defaults."""

    server: str | None = None
    admin: str | None = None

    def open_client(self) -> Client:
        """Open a client of the inference port."""
        _quieten()
        return Client(self.server)

    def open_admin(self) -> Admin:
        """Open a client of the admin port."""
        _quieten()
        return Admin(self.admin)


def _quieten() -> None:
    """Keep gRPC's own notes (a connection that a server ended) off the terminal; an error is reported by us."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _address(port: Port, field: str) -> Callable[[F], F]:
    def remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        session = ctx.ensure_object(Session)
        if value:
            setattr(session, field, value)

    return click.option(
        port.flag,
        metavar="HOST:PORT",
        callback=remember,
        expose_value=False,
        help=f"The server's {port.what} address. [env: {port.variable}; default: {port.default}]",
    )


server_address = _address(INFERENCE, "server")
admin_address = _address(ADMIN, "admin")


def addresses(function: F) -> F:
    """Add both address options, for the group: they may stand before the command or after it."""
    return server_address(admin_address(function))


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print the result.",
)
