"""One supervised process: started as a fresh interpreter, reaped, and where it should beat, listened to.

Standard library only.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Final

from interlock_server.process.backoff import Backoff
from interlock_server.process.boot import Boot
from interlock_server.process.halt import Halt
from interlock_server.process.pulse import Pulse

log = logging.getLogger("interlock.supervisor")

_CHILD_ENVIRONMENT: Final = {
    "PROMETHEUS_DISABLE_CREATED_SERIES": "true",  # a second series for each counter, which nobody asks for
}

_UNLESS_SET: Final = {
    # gRPC's own remarks on whoever connects are no lines of our log, and anybody may cause any number of them.
    "GRPC_VERBOSITY": "ERROR",
}


@dataclass(slots=True)
class Child:
    """What to run, and what became of it."""

    name: str
    module: str
    boot: Boot
    beats: bool = False
    """Its event loop writes a byte to a pipe now and then."""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    due: float = 0.0
    pulse: Pulse | None = None
    pulse_fd: int = -1
    halt: Halt = field(default_factory=Halt)

    def spawn(self) -> None:
        """Start a fresh interpreter and hand it its boot message; from the main thread only. Raises OSError."""
        boot = replace(self.boot, announce=self.boot.announce and self.starts == 0)
        writer = -1
        if self.beats:
            self.pulse_fd, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            boot = replace(boot, heartbeat=writer)
        # The child inherits the mask: a SIGHUP that comes before it listens waits, where it would end the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            # In a process group of its own: Ctrl-C on a terminal is the supervisor's to pass on, in its own order.
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                stdin=subprocess.PIPE,
                process_group=0,
                env={**_UNLESS_SET, **os.environ, **_CHILD_ENVIRONMENT},
                pass_fds=(writer,) if self.beats else (),
            )
        except OSError:
            self._close_pulse()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            if self.beats:
                os.close(writer)
        self.started = time.monotonic()
        self.pulse = Pulse.begin(self.started) if self.beats else None
        self.halt = Halt()
        self.starts += 1
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(boot.to_bytes())
            self.process.stdin.close()
        except BrokenPipeError:
            log.warning("%s died before it read its settings", self.name)
        log.info("started %s", self.name, extra={"child_pid": self.process.pid})

    def reap(self) -> int | None:
        """Return the exit status if it has ended since the last call."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.process = None
        self.pulse = None
        self._close_pulse()
        return status

    def _close_pulse(self) -> None:
        if self.pulse_fd >= 0:
            os.close(self.pulse_fd)
            self.pulse_fd = -1

    def listen(self, now: float) -> Pulse | None:
        """Take the beats that have come, and return the pulse; None for a child that has none."""
        if self.pulse is not None:
            try:
                beaten = bool(os.read(self.pulse_fd, 4096))
            except BlockingIOError:
                beaten = False
            self.pulse = self.pulse.after_look(now, beaten=beaten)
        return self.pulse

    def look(self, now: float) -> Halt:
        """Ask the kernel whether it is stopped, and since when."""
        stopped: bool | None = None
        while self.process is not None:
            try:
                told = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
            except ChildProcessError:  # it has ended, and is reaped in its turn
                break
            if told is None:
                break
            stopped = told.si_code == os.CLD_STOPPED
        self.halt = self.halt.after_look(now, stopped=stopped)
        return self.halt

    def send(self, signum: int) -> None:
        """Send it a signal, if it lives."""
        if self.process is not None:
            self.process.send_signal(signum)


def describe(status: int) -> str:
    """Say how a process ended."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
