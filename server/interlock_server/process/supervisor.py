"""The supervisor: spawns the control process and the workers, restarts them with backoff, forwards signals.

Standard library only, one thread, no asyncio: it must outlive whatever goes wrong in its children. Everything is
started as a fresh interpreter from the main thread (a child's parent-death signal fires when the spawning thread
ends). Run as `python -m interlock_server.process.supervisor FD`, where FD holds the settings as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from interlock_server.process import logs
from interlock_server.process.backoff import Backoff
from interlock_server.process.boot import EXIT_REFUSED, Boot, worker_socket
from interlock_server.process.datadir import DataDir, DataDirRefused, DataLock
from interlock_server.process.ports import PortInUse, ReservedPort

log = logging.getLogger("interlock.supervisor")

_CHILD_ENVIRONMENT: Final = {
    "PROMETHEUS_DISABLE_CREATED_SERIES": "true",  # a second series for each counter, which nobody asks for
}
_POLL_S: Final = 1.0
_KILL_AFTER_GRACE_S: Final = 10.0
"""What a child gets beyond its own drain grace before it is killed."""
_MAX_SOCKET_PATH: Final = 107


class RuntimeDirRefused(Exception):
    """There is no place for the unix sockets; the message says why and what to do."""


@dataclass(slots=True)
class _Child:
    """One supervised process: what to run, and what became of it."""

    name: str
    module: str
    boot: Boot
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    due: float = 0.0

    def spawn(self) -> None:
        """Start a fresh interpreter and hand it its boot message."""
        announce = self.boot.announce and self.starts == 0
        boot = Boot(**{**{name: getattr(self.boot, name) for name in Boot.__slots__}, "announce": announce})
        # In a process group of its own: Ctrl-C on a terminal is the supervisor's to pass on, in its own order.
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            stdin=subprocess.PIPE,
            process_group=0,
            env={**os.environ, **_CHILD_ENVIRONMENT},
        )
        self.started = time.monotonic()
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
        return status


class Supervisor:
    """Owns the children, the ports, the data lock and the runtime directory."""

    def __init__(self, children: Sequence[_Child], grace_s: float) -> None:
        self._children = children
        self._grace_s = grace_s
        self._signals: list[int] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Supervise until a signal or a child says stop; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._note)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        while True:
            for signum in self._take_signals():
                if signum in (signal.SIGTERM, signal.SIGINT):
                    return self._stop(signum)
                if signum == signal.SIGHUP:
                    log.warning("SIGHUP: settings are not reloaded by this version; restart the server instead")
            refused = self._tend()
            if refused is not None:
                self._stop(signal.SIGTERM)
                return refused
            self._wait(min([_POLL_S, *(child.due - time.monotonic() for child in self._children if not child.process)]))

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._signals.append(signum)

    def _take_signals(self) -> list[int]:
        taken, self._signals = self._signals, []
        return taken

    def _wait(self, timeout_s: float) -> None:
        select.select([self._wake_read], [], [], max(0.0, timeout_s))
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return

    def _tend(self) -> int | None:
        """Start what is due, and look at what has ended; a status to exit with where a child refused to start."""
        now = time.monotonic()
        for child in self._children:
            status = child.reap()
            if status == EXIT_REFUSED and child.starts == 1:
                return 1
            if status is not None:
                child.backoff = child.backoff.after(now - child.started)
                child.due = now + child.backoff.delay_s
                log.error("%s ended (%s); restarting in %.2f s", child.name, _describe(status), child.backoff.delay_s)
            if child.process is None and now >= child.due:
                child.spawn()
        return None

    def _stop(self, signum: int) -> int:
        """Stop the workers' traffic and then everything; a second signal forces."""
        log.info("stopping", extra={"signal": signal.Signals(signum).name})
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s + _KILL_AFTER_GRACE_S
        last_said = time.monotonic()
        clean = True
        while waiting := [child for child in self._children if child.process is not None]:
            for child in waiting:
                status = child.reap()
                if status is not None:
                    # A child that was still starting had no handler for the signal yet, and nothing to finish.
                    clean = clean and status in (0, EXIT_REFUSED, -signal.SIGTERM)
                    log.info("%s stopped (%s)", child.name, _describe(status))
            forced = any(number in (signal.SIGTERM, signal.SIGINT) for number in self._take_signals())
            if forced or time.monotonic() > deadline:
                log.warning("killing what has not stopped", extra={"forced": forced})
                self._signal_all(signal.SIGKILL)
                clean = False
                deadline = time.monotonic() + _KILL_AFTER_GRACE_S
            if time.monotonic() - last_said >= 1.0:
                last_said = time.monotonic()
                log.info("waiting for %s", ", ".join(child.name for child in waiting))
            self._wait(0.2)
        return 0 if clean else 1

    def _signal_all(self, signum: int) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.send_signal(signum)


def _describe(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _make_runtime_dir() -> str:
    """Make the directory of the unix sockets; raises RuntimeDirRefused."""
    try:
        made = tempfile.mkdtemp(prefix="interlock-")
    except OSError as error:
        raise RuntimeDirRefused(f"no temporary directory can be made ({error}); set TMPDIR to one") from error
    longest = worker_socket(made, 0)
    if len(os.fsencode(longest)) > _MAX_SOCKET_PATH:
        os.rmdir(made)
        raise RuntimeDirRefused(
            f"the socket {longest!r} would have too long a path (unix allows {_MAX_SOCKET_PATH} bytes); "
            "set TMPDIR to a directory with a shorter name"
        )
    return made


def _refuse(message: str) -> int:
    print(f"interlock: {message}", file=sys.stderr, flush=True)  # noqa: T201
    return 1


def main(arguments: Sequence[str]) -> int:
    """Read the settings from the given descriptor, take ports and lock, and supervise."""
    with os.fdopen(int(arguments[0]), "rb") as handed:
        settings = json.loads(handed.read())
    logs.configure("supervisor", settings["log_level"], settings["log_format"])
    data = DataDir(Path(settings["data"]))
    held: list[ReservedPort] = []
    lock: DataLock | None = None
    runtime_dir = ""
    try:
        data.create()
        lock = DataLock.take(data)
        for name in ("grpc", "http", "admin"):
            held.append(ReservedPort.reserve(settings["host"], settings[f"{name}_port"], flag=f"--{name}-port"))
        runtime_dir = _make_runtime_dir()
        boot = Boot(
            settings_json=json.dumps(settings),
            runtime_dir=runtime_dir,
            inference_address=held[0].address,
            http_address=held[1].address,
            admin_address=held[2].address,
            supervisor=os.getpid(),
            announce=True,
        )
        children = [
            _Child("worker-0", "interlock_server.worker", boot),
            _Child("control", "interlock_server.control", boot),
        ]
        return Supervisor(children, settings["drain_grace_s"]).run()
    except (DataDirRefused, PortInUse, RuntimeDirRefused) as error:
        return _refuse(str(error))
    finally:
        for port in held:
            port.close()
        if lock is not None:
            lock.close()
        if runtime_dir:
            shutil.rmtree(runtime_dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
