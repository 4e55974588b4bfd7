"""The command's side of the load processes: starts them, gives them their turns, gathers what they saw."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from interlock.errors import DeadlineExceeded, InternalError, ServerUnreachable

from interlock_client._access import Tls
from interlock_client.bench.__main__ import READY, UNREACHABLE
from interlock_client.bench.plan import Load, Order, Turn, Window
from interlock_client.bench.tally import Tally

_START_S: Final = 60.0
_LEAD_S: Final = 0.05
"""From the order to the start: longer than a line takes to each process."""
_MARGIN_S: Final = 30.0
"""How long a process may take to sum up, beyond its load and the last request's timeout."""
_END_S: Final = 5.0
# -P: a file of the user's working directory must not stand in for a module.
_COMMAND: Final = (sys.executable, "-P", "-m", "interlock_client.bench")


class Fleet:
    """Running load processes; leaving the context ends them."""

    def __init__(
        self,
        *,
        address: str,
        requests: Sequence[bytes],
        folder: Path,
        processes: int,
        connections: int,
        timeout_s: float,
        seed: int,
        tls: Tls | None = None,
        token: str = "",
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """Write the requests into a folder that lives as long as the fleet; `connections` are for each process.

        `command` is what a process runs: another one may make the load in another way.
        """
        self._address: Final = address
        self._timeout_s: Final = timeout_s
        names = []
        for number, request in enumerate(requests):
            (folder / f"request-{number}").write_bytes(request)
            names.append(str(folder / f"request-{number}"))
        self._orders: Final = [
            Order(
                address=address,
                requests=tuple(names),
                connections=connections,
                timeout_s=timeout_s,
                index=index,
                of=processes,
                seed=seed,
                tls=tls,
                token=token,
            )
            for index in range(processes)
        ]
        self._command: Final = command
        self._running: list[_Process] = []

    def __enter__(self) -> Self:
        try:
            self._running = [_Process(self._command, order) for order in self._orders]
            until_s = time.monotonic() + _START_S
            for process in self._running:
                said = process.line(until_s)
                if said == UNREACHABLE:
                    raise ServerUnreachable(
                        f"no server answers at {self._address} any more", facts={"address": self._address}
                    )
                if said != READY:
                    raise InternalError(f"a load process said {said[:100]!r} where it should be ready")
        except BaseException:
            self._end()
            raise
        return self

    def start(self, load: Load, *, warmup_s: float, duration_s: float) -> Window:
        """Have all processes begin a load together; returns when it runs and counts."""
        start_s = time.monotonic() + _LEAD_S
        window = Window(start_s=start_s, from_s=start_s + warmup_s, until_s=start_s + warmup_s + duration_s)
        for index, process in enumerate(self._running):
            process.tell(Turn(load.share(index, len(self._running)), window).to_json())
        return window

    def gather(self, window: Window) -> Tally:
        """Wait for the end of a load and return what all processes saw; raises DeadlineExceeded, InternalError."""
        tally = Tally(window)
        until_s = window.until_s + self._timeout_s + _MARGIN_S
        for process in self._running:
            tally.add(Tally.from_json(window, json.loads(process.line(until_s))))
        return tally

    def _end(self) -> None:
        running, self._running = self._running, []
        for process in running:
            process.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


class _Process:
    """One load process and the lines to and from it."""

    def __init__(self, command: Sequence[str], order: Order) -> None:
        self._process: Final = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"GRPC_VERBOSITY": "ERROR", **os.environ},
        )
        self._rest = b""
        self.tell(order.to_json())

    def tell(self, line: str) -> None:
        """Send a line; raises InternalError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def line(self, until_s: float) -> str:
        """Wait for a line until a moment; raises DeadlineExceeded, InternalError."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, until_s - time.monotonic())):
                    raise DeadlineExceeded("a load process did not report in time; is this machine overloaded?")
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    raise self._died()
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def _died(self) -> InternalError:
        self._process.wait(_END_S)
        return InternalError(f"a load process ended with status {self._process.returncode}; its errors are above")

    def end(self) -> None:
        """End it, by force where it does not go by itself. May be called again."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait(_END_S)
        self._process.stdin.close()
        self._process.stdout.close()
