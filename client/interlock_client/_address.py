"""Where a server is, and how users say so; imports no gRPC."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from interlock.errors import InvalidArgument

_BARE_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
"""Neither a port nor one of gRPC's schemes (dns:///, unix:, xds:///) is in it."""


@dataclass(frozen=True, slots=True)
class Port:
    """One of a server's two gRPC ports, and the names under which users set its address."""

    what: str
    default: str
    variable: str
    flag: str

    def address(self, target: str | None) -> str:
        """Return the address to use: the one given, else the environment's, else the default.

        Raises InvalidArgument for a URL of HTTP and for a host without a port, which gRPC would take for port 443.
        """
        found = target or os.environ.get(self.variable) or self.default
        wanted = f"write HOST:PORT, such as {self.default} (it is set by {self.flag}, {self.variable} or the target)"
        if found.startswith(("http://", "https://")):
            raise InvalidArgument(f"the {self.what} address {found!r} is a URL, and gRPC has none: {wanted}")
        if _BARE_HOST.fullmatch(found):
            raise InvalidArgument(f"the {self.what} address {found!r} names no port: {wanted}")
        return found


INFERENCE: Final = Port("inference", "127.0.0.1:8001", "INTERLOCK_SERVER", "--server")
ADMIN: Final = Port("admin", "127.0.0.1:8002", "INTERLOCK_ADMIN", "--admin")
