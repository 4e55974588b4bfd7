"""What the commands share: the servers' addresses and the options that set them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from interlock.errors import InterlockError

from interlock_client._access import CA, CERT, KEY, NAME, ON, TOKEN_FILE, Tls, from_environment, read_token
from interlock_client._address import ADMIN, INFERENCE, Port

if TYPE_CHECKING:
    from interlock_client import Admin, Client

F = TypeVar("F", bound=Callable[..., Any])

_HINT_S: Final = 2.0


@dataclass(slots=True)
class Session:
    """The addresses of one invocation; None leaves the choice to the environment and the defaults."""

    server: str | None = None
    admin: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_name: str | None = None
    token_file: str | None = None

    def open_client(self) -> Client:
        """Open a client of the inference port."""
        from interlock_client import Client

        return Client(self.server, tls=self.tls_in_use(), token=self.token())

    def open_admin(self) -> Admin:
        """Open a client of the admin port."""
        from interlock_client import Admin

        return Admin(self.admin, tls=self.tls_in_use(), token=self.token())

    def like(self, model: str) -> str:
        """Return the registered model whose name is most like one that is not there; "" without such, or an answer."""
        from interlock_client import Admin

        try:
            with Admin(self.admin, timeout=_HINT_S, retries=0, tls=self.tls_in_use(), token=self.token()) as admin:
                return next(iter(get_close_matches(model, [each.name for each in admin.models()], n=1)), "")
        except InterlockError:  # it would only have been a hint
            return ""

    def token(self) -> str | None:
        """Return the token of the file that was named; None leaves the choice to the environment."""
        return None if self.token_file is None else read_token(self.token_file)

    def tls_in_use(self) -> Tls | None:
        """Return what the options say; each that is not given is taken from the environment."""
        known = from_environment()
        if known is None and not (self.tls or self.tls_ca or self.tls_cert or self.tls_key or self.tls_name):
            return None
        known = known or Tls()
        return Tls(
            self.tls_ca or known.ca,
            self.tls_cert or known.cert,
            self.tls_key or known.key,
            self.tls_name or known.name,
        )


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


_server_address = _address(INFERENCE, "server")
_admin_address = _address(ADMIN, "admin")


def _secure(field: str, flag: str, variable: str, what: str, *, metavar: str = "FILE") -> Callable[[F], F]:
    def remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value:
            setattr(ctx.ensure_object(Session), field, value)

    text = f"{what} [env: {variable}]"
    return click.option(flag, field, metavar=metavar, callback=remember, expose_value=False, help=text)


def _access(function: F) -> F:
    """Add the options of TLS."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.ensure_object(Session).tls |= value

    parts: tuple[Callable[[F], F], ...] = (
        click.option(
            "--tls",
            is_flag=True,
            callback=remember,
            expose_value=False,
            help=f"Speak TLS; the well-known authorities vouch for the server. [env: {ON}=1]",
        ),
        _secure("tls_ca", "--tls-ca", CA, "Speak TLS; this PEM file's authorities vouch for the server."),
        _secure("tls_cert", "--tls-cert", CERT, "PEM chain of your own certificate, where the server asks for one."),
        _secure("tls_key", "--tls-key", KEY, "PEM key of that certificate."),
        # No option takes the token itself: `ps` would show it.
        _secure("token_file", "--token-file", TOKEN_FILE, "File with the token that says who you are."),
        _secure("tls_name", "--tls-name", NAME, "The name to expect in the server's certificate.", metavar="NAME"),
    )
    for part in reversed(parts):
        function = part(function)
    return function


def server_address(function: F) -> F:
    """Add the options that lead to the inference port."""
    return _server_address(_access(function))


def admin_address(function: F) -> F:
    """Add the options that lead to the admin port."""
    return _admin_address(_access(function))


def addresses(function: F) -> F:
    """Add the options of both, for the group: they may stand before the command or after it."""
    return _server_address(_admin_address(_access(function)))


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print the result.",
)
