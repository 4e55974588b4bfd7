"""`interlock serve` as a process of its own, as an operator would run it."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_READY: Final = re.compile(r"interlock ready grpc=(?P<grpc>\S+) http=(?P<http>\S+) admin=(?P<admin>\S+)")
_START_S: Final = 60.0
_STOP_S: Final = 30.0


class ServerFailed(Exception):
    """The server did not start, or did not stop as it should."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a server listens."""

    inference: str
    http: str
    admin: str


class Server:
    """A running server on free ports of 127.0.0.1; a context manager that ends it."""

    def __init__(self, data: Path, log: Path) -> None:
        self._log = log
        # The demo is the same everywhere: settings of the shell it is started from do not reach the server.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
        command = [str(Path(sys.executable).with_name("interlock")), "serve", "--data", str(data)]
        ports = ["--grpc-port", "0", "--http-port", "0", "--admin-port", "0"]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [*command, *ports], stdout=subprocess.PIPE, stderr=stream, env=environment, start_new_session=True
            )
        try:
            self.addresses: Final = self._wait_until_ready()
        except BaseException:
            self._end()
            raise

    def _wait_until_ready(self) -> Addresses:
        assert self._process.stdout is not None
        deadline = time.monotonic() + _START_S
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise ServerFailed(f"the server was not ready within {_START_S:g} s. {self._last_words()}")
                chunk = os.read(self._process.stdout.fileno(), 4096)
                if not chunk:
                    raise ServerFailed(f"the server ended before it was ready. {self._last_words()}")
                line += chunk
        found = _READY.search(line.decode())
        if found is None:
            raise ServerFailed(f"the server's first line is {line!r}, not that it is ready")
        return Addresses(found["grpc"], found["http"], found["admin"])

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-8:]
        return "Its last words:\n  " + "\n  ".join(lines) if lines else "It said nothing."

    def stop(self) -> float:
        """End it as an init system does, by SIGTERM; return the seconds it took. Raises ServerFailed."""
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._end()
            raise ServerFailed(f"the server did not end within {_STOP_S:g} s of SIGTERM") from None
        if code != 0:
            raise ServerFailed(f"the server ended with exit status {code}. {self._last_words()}")
        return time.monotonic() - started

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
