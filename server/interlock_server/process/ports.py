"""Reserving the listening ports for the life of the server. Standard library only.

The supervisor holds each port with a bound socket that never listens, so that a child that is killed finds its port
again, also when the port was picked by the system. An exclusive bind comes first: a foreign server on the port is an
error, where SO_REUSEPORT alone would share its connections in silence.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Self


class PortInUse(Exception):
    """A port cannot be had; the message says which, why, and what to do."""


@dataclass(slots=True)
class ReservedPort:
    """A port that this process holds; children bind it with SO_REUSEPORT."""

    host: str
    port: int
    _holder: socket.socket

    @property
    def address(self) -> str:
        """HOST:PORT, with an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def reserve(cls, host: str, port: int, *, flag: str) -> Self:
        """Take a port (0 picks a free one); raises PortInUse, naming the flag that chooses another."""
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except socket.gaierror as error:
            raise PortInUse(
                f"host {host!r} cannot be resolved ({error.strerror}); choose another with --host"
            ) from error
        try:
            if port == 0:
                # The system picks none that anybody holds; one that was let go between two binds could be picked twice.
                holder = _hold(family, host, 0)
                return cls(host, int(holder.getsockname()[1]), holder)
            with socket.socket(family, socket.SOCK_STREAM) as exclusive:
                exclusive.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                exclusive.bind(address)
                # Listening is what finds a foreign listener that set SO_REUSEADDR as well.
                exclusive.listen(1)
            return cls(host, port, _hold(family, host, port))
        except OSError as error:
            raise PortInUse(_explain(host, port, flag, error)) from error

    def close(self) -> None:
        """Give the port back."""
        self._holder.close()


def _hold(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """Bind without SO_REUSEADDR where that works: then a second server's exclusive bind fails even before we listen."""
    for options in ((socket.SO_REUSEPORT,), (socket.SO_REUSEPORT, socket.SO_REUSEADDR)):
        holder = socket.socket(family, socket.SOCK_STREAM)
        for option in options:
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            holder.bind((host, port))
            return holder
        except OSError as error:
            holder.close()
            if error.errno != errno.EADDRINUSE or len(options) == 2:
                raise
    raise AssertionError("unreachable: the second attempt returns or raises")


def _explain(host: str, port: int, flag: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use by another process; stop it or choose another with {flag} (0 picks one)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs privileges; choose one above 1023 with {flag}"
    return f"port {port} on {host} cannot be bound ({error.strerror}); choose others with --host and {flag}"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on a port that the supervisor holds."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Inherited by every connection. Without it an answer's body waits 40 ms for the caller to acknowledge its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, port))
    listener.listen(128)
    listener.setblocking(False)
    return listener
