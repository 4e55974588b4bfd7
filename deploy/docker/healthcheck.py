"""Exit 0 if the server in this container takes requests: /readyz says 200. Standard library only.

It asks over TLS where INTERLOCK_TLS_CERT is set, and the port INTERLOCK_HTTP_PORT: flags and files it does not see.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from typing import Final

_PATH: Final = "/readyz"
_TIMEOUT_S: Final = 3.0


def answer(port: int, *, tls: bool) -> str:
    """Return what the HTTP port of this machine says: a status, or why there is none."""
    if tls:
        # It asks itself, and sends no secret along: whose certificate it is does not matter.
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_TIMEOUT_S, context=trusting
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", _PATH)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


if __name__ == "__main__":
    found = answer(int(os.environ.get("INTERLOCK_HTTP_PORT", "8000")), tls="INTERLOCK_TLS_CERT" in os.environ)
    sys.exit(None if found == "200" else f"{_PATH}: {found}")
