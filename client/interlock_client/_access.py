"""Who may read along, and who asks: TLS and tokens, from arguments or the environment. No I/O but the named files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from interlock.errors import InvalidArgument

if TYPE_CHECKING:
    import grpc

ON: Final = "INTERLOCK_TLS"
CA: Final = "INTERLOCK_TLS_CA"
CERT: Final = "INTERLOCK_CLIENT_CERT"
KEY: Final = "INTERLOCK_CLIENT_KEY"
NAME: Final = "INTERLOCK_TLS_NAME"
TOKEN: Final = "INTERLOCK_TOKEN"
TOKEN_FILE: Final = "INTERLOCK_TOKEN_FILE"
"""Not INTERLOCK_TLS_CERT and INTERLOCK_TLS_KEY: those are the server's own, and both may run in one environment."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How a connection is encrypted, and what each side shows the other; all files are PEM."""

    ca: str | Path | None = None
    """Who signs the server's certificate; the well-known authorities where it is not given."""
    cert: str | Path | None = None
    """The caller's own certificate chain, where the server asks for one; goes with `key`."""
    key: str | Path | None = field(default=None, repr=False)
    name: str = ""
    """The name that the server's certificate must be for, if it is not the host of the address."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; raises InvalidArgument."""
        if (self.cert is None) != (self.key is None):
            raise InvalidArgument(
                "a caller's certificate and its key go together: --tls-cert and --tls-key, cert= and key="
            )
        import grpc

        return grpc.ssl_channel_credentials(
            _read(self.ca, "CERTIFICATE"), _read(self.key, "PRIVATE KEY"), _read(self.cert, "CERTIFICATE")
        )


def from_environment() -> Tls | None:
    """Return what the environment says of TLS; None for plain text."""
    ca, cert, key, name = (os.environ.get(variable, "") for variable in (CA, CERT, KEY, NAME))
    if not any((ca, cert, key, name)) and os.environ.get(ON, "") in ("", "0"):
        return None
    return Tls(ca or None, cert or None, key or None, name)


def token_in_use(token: str | None) -> str:
    """Return the token to send: the one given, else the environment's, else none; raises InvalidArgument."""
    found = token or os.environ.get(TOKEN, "")
    path = os.environ.get(TOKEN_FILE, "")
    if not found and path:
        found = read_token(path)
    found = found.strip()
    if not (found.isascii() and found.isprintable()):
        raise InvalidArgument("the token holds characters that no token has; was it copied whole?")
    return found


def read_token(path: str | Path) -> str:
    """Read a file that holds a token and nothing else; raises InvalidArgument."""
    try:
        found = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidArgument(f"the token file {str(path)!r} cannot be read: {why}") from error
    if not found:  # whoever names it wants to be known by what it holds, and not by something else or not at all
        raise InvalidArgument(
            f"the token file {str(path)!r} is empty; write into it what `interlock token create` printed"
        )
    return found


def explain(text: str, *, tls: bool) -> str:
    """Say what to do about a connection that failed with gRPC's `text`; "" where TLS has no part in it."""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "the server's certificate is not signed by an authority that this client knows, or it has expired: "
            f"name its CA with --tls-ca, {CA} or Tls(ca=...)"
        )
    if "Hostname Verification" in text:
        return (
            "the server's certificate is for another name: use an address that it names, or say which one to expect "
            f"with --tls-name, {NAME} or Tls(name=...)"
        )
    if "WRONG_VERSION_NUMBER" in text:
        return f"that server speaks plain text, and this client TLS: leave out --tls, --tls-ca, {ON}, {CA} and tls="
    if "Socket closed" not in text and "Connection reset" not in text:
        return ""
    if tls:
        return (
            "it took the connection and ended it: if it asks callers for a certificate, show one that it trusts with "
            f"--tls-cert and --tls-key, {CERT} and {KEY}, or Tls(cert=..., key=...)"
        )
    return (
        "it took the connection and ended it: if that server speaks TLS, name its CA with --tls-ca, "
        f"{CA} or Tls(ca=...), or take the well-known ones with --tls or {ON}=1"
    )


def _read(path: str | Path | None, kind: str) -> bytes | None:
    """Read a PEM file with at least one block of that kind: gRPC says of others only that no connection came about."""
    if path is None:
        return None
    try:
        found = Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"the TLS file {str(path)!r} cannot be read: {error.strerror}") from error
    if f"{kind}-----".encode() not in found:
        raise InvalidArgument(
            f"the TLS file {str(path)!r} holds no {kind.lower()} in PEM: no line -----BEGIN {kind}-----"
        )
    return found
