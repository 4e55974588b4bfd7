"""The supervisor: spawns the control process and the workers, restarts what ends or hangs, forwards signals.

Standard library only, no asyncio, one thread and one that writes the log: it must outlive whatever goes wrong in its
children. Everything is started as a fresh interpreter from the main thread (a child's parent-death signal fires when
the spawning thread ends). Run as `python -m interlock_server.process.supervisor FD`; FD holds the settings as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from interlock_server.process import deaths, logs
from interlock_server.process.boot import EXIT_REFUSED, Boot, allow_open_files
from interlock_server.process.child import Child, describe
from interlock_server.process.datadir import DataDir, DataDirRefused, DataLock
from interlock_server.process.halt import Halt
from interlock_server.process.memory import MemoryWatch
from interlock_server.process.ports import PortInUse, ReservedPort
from interlock_server.process.reload import Launch, Outcome, Reload, publish
from interlock_server.process.runtime_dir import RuntimeDir, RuntimeDirRefused

log = logging.getLogger("interlock.supervisor")

_POLL_S: Final = 1.0
_QUICK_POLL_S: Final = 0.2
"""While something is awaited that no signal tells of."""
_KILL_AFTER_GRACE_S: Final = 10.0
"""What a child gets beyond its own drain grace before it is killed."""
_ECHO_S: Final = 0.5
"""`timeout`, `make` and shells signal the process and then its group: what comes so soon is the same wish once more."""


def insists(after_s: float) -> bool:
    """Tell whether a signal to stop, so long after the first one, is a second wish: not to wait any longer."""
    return after_s >= _ECHO_S


class Supervisor:
    """Owns the children, the ports, the data lock and the runtime directory."""

    def __init__(self, children: Sequence[Child], settings_json: str, launch: Launch, runtime_dir: str) -> None:
        self._children = children
        self._settings_json = settings_json
        self._launch = launch
        self._runtime_dir = runtime_dir
        self._reload: Reload | None = None
        self._use(settings_json)
        self._memory = MemoryWatch()
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
                if signum == signal.SIGHUP and self._reload is None:
                    self._begin_reload()
            self._finish_reload()
            self._listen()
            refused = self._tend()
            if refused is not None:
                self._stop(signal.SIGTERM)
                return refused
            self._wait(self._pause_s())

    def _pause_s(self) -> float:
        """Return when to look again, if no signal comes before."""
        now = time.monotonic()
        dues = [child.due - now for child in self._children if child.process is None]
        return min([_POLL_S, *dues, *(_QUICK_POLL_S for child in self._children if child.halt.since is not None)])

    def _use(self, settings_json: str) -> None:
        settings = json.loads(settings_json)
        self._settings_json = settings_json
        self._grace_s = float(settings["drain_grace_s"])
        self._hang_s = float(settings["hang_s"])

    def _begin_reload(self) -> None:
        try:
            self._reload = Reload(self._launch, self._settings_json, self._runtime_dir)
        except OSError as error:
            log.error("SIGHUP: the settings stay as they were: nothing can be started that reads them: %s", error)
            self._signal_all(signal.SIGHUP)

    def _finish_reload(self) -> None:
        """Take over settings that have been read again; the children are told in any case."""
        try:
            outcome = self._reload.outcome() if self._reload is not None else None
            if outcome is not None and outcome.settings_json:
                publish(outcome.settings_json, self._runtime_dir)
        except (OSError, ValueError) as error:
            outcome = Outcome(refused=f"they cannot be handed on: {error}")
        if outcome is None:
            return
        self._reload = None
        if outcome.refused:
            log.error("SIGHUP: the settings stay as they were: %s", outcome.refused)
        if outcome.fixed:
            log.warning("SIGHUP: %s changed, but need a restart; they stay as they were", ", ".join(outcome.fixed))
        if outcome.settings_json:
            self._use(outcome.settings_json)
            logs.keep(logs.from_level(json.loads(outcome.settings_json)["log_level"]))
            for child in self._children:
                child.boot = replace(child.boot, settings_json=outcome.settings_json)
        if not outcome.refused:
            log.info("SIGHUP: changed %s", ", ".join(outcome.changed) or "no setting")
        # They look at more than settings: at certificates, for one.
        self._signal_all(signal.SIGHUP)

    def _listen(self) -> None:
        """Kill a child that is stopped, or whose event loop stands still; it is started again as any that ends."""
        self._end_stopped()
        for child in self._children:
            pulse = child.listen(time.monotonic())
            if pulse is not None and pulse.hangs(self._hang_s):
                log.error("%s hangs and is killed: silent for %.1f s", child.name, pulse.looked - pulse.since)
                child.send(signal.SIGKILL)
                child.pulse = None

    def _end_stopped(self) -> None:
        """Kill a child that a signal has stopped and none lets go on."""
        for child in self._children:
            if child.process is not None and child.look(time.monotonic()).too_long:
                log.error("%s was stopped by a signal and is killed", child.name)
                child.send(signal.SIGKILL)
                child.halt = Halt()

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
            pid = child.process.pid if child.process is not None else 0
            status = child.reap()
            if status == EXIT_REFUSED and child.starts == 1:
                return 1
            if status is not None:
                cause = self._memory.why_killed(status)
                self._note_death(child, pid, status, cause)
                child.backoff = child.backoff.after(now - child.started)
                child.due = now + child.backoff.delay_s
                how = cause or describe(status)
                log.error("%s ended (%s); restarting in %.2f s", child.name, how, child.backoff.delay_s)
            if child.process is None and now >= child.due:
                self._start(child, now)
        return None

    def _start(self, child: Child, now: float) -> None:
        """Start a child; what keeps one from being started, such as a lack of memory, must not end the others."""
        try:
            child.spawn()
        except OSError as error:
            child.backoff = child.backoff.after(0.0)
            child.due = now + child.backoff.delay_s
            log.error("%s cannot be started (%s); trying again in %.2f s", child.name, error, child.backoff.delay_s)

    def _note_death(self, child: Child, pid: int, status: int, cause: str) -> None:
        """Keep what a worker was running when it ended, for the control process to judge."""
        try:
            death = deaths.record(self._runtime_dir, child.name, pid, status, cause)
        except (OSError, ValueError, struct.error) as error:
            log.warning("what %s was running is not known: %s", child.name, error)
            return
        if death.running:
            log.error("%s was running %s", child.name, ", ".join(note.version for note in death.running))

    def _stop(self, signum: int) -> int:
        """Stop the workers' traffic and then everything; a second signal forces."""
        log.info("stopping", extra={"signal": signal.Signals(signum).name})
        if self._reload is not None:
            self._reload.close()
        self._signal_all(signal.SIGTERM)
        began = last_said = time.monotonic()
        deadline = began + self._grace_s + _KILL_AFTER_GRACE_S
        clean = True
        while waiting := [child for child in self._children if child.process is not None]:
            for child in waiting:
                status = child.reap()
                if status is not None:
                    # A child that was still starting had no handler for the signal yet, and nothing to finish.
                    clean = clean and status in (0, EXIT_REFUSED, -signal.SIGTERM)
                    log.info("%s stopped (%s)", child.name, describe(status))
            again = any(number in (signal.SIGTERM, signal.SIGINT) for number in self._take_signals())
            forced = again and insists(time.monotonic() - began)
            if forced or time.monotonic() > deadline:
                log.warning("killing what has not stopped", extra={"forced": forced})
                self._signal_all(signal.SIGKILL)
                clean = False
                deadline = time.monotonic() + _KILL_AFTER_GRACE_S
            self._end_stopped()
            if time.monotonic() - last_said >= 1.0:
                last_said = time.monotonic()
                log.info("waiting for %s", ", ".join(child.name for child in waiting))
            self._wait(_QUICK_POLL_S)
        return 0 if clean else 1

    def _signal_all(self, signum: int) -> None:
        # The control process, which is the last, comes first: it is not to miss workers that were told to end.
        for child in reversed(self._children):
            child.send(signum)


def _refuse(message: str) -> int:
    print(f"interlock: {message}", file=sys.stderr, flush=True)  # noqa: T201
    return 1


def main(arguments: Sequence[str]) -> int:
    """Read the settings from the given descriptor, take ports and lock, and supervise."""
    with os.fdopen(int(arguments[0]), "rb") as handed:
        settings = json.loads(handed.read())
    launch = Launch(**settings.pop("launch", {}))
    logs.configure("supervisor", settings["log_level"], settings["log_format"])
    allow_open_files()
    data = DataDir(Path(settings["data"]))
    held: list[ReservedPort] = []
    lock: DataLock | None = None
    runtime: RuntimeDir | None = None
    try:
        data.create()
        lock = DataLock.take(data)
        for name in ("grpc", "http", "admin"):
            held.append(ReservedPort.reserve(settings["host"], settings[f"{name}_port"], flag=f"--{name}-port"))
        runtime = RuntimeDir.make(settings["workers"], data.runtime_note)
        settings_json = json.dumps(settings)
        boot = Boot(
            settings_json=settings_json,
            runtime_dir=runtime.path,
            inference_address=held[0].address,
            http_address=held[1].address,
            admin_address=held[2].address,
            supervisor=os.getpid(),
            announce=True,
        )
        children = [
            *(
                Child(f"worker-{index}", "interlock_server.worker", replace(boot, worker=index))
                for index in range(settings["workers"])
            ),
            Child("control", "interlock_server.control", boot, beats=True),
        ]
        return Supervisor(children, settings_json, launch, runtime.path).run()
    except (DataDirRefused, PortInUse, RuntimeDirRefused) as error:
        return _refuse(str(error))
    finally:
        for port in held:
            port.close()
        if runtime is not None:
            runtime.close()
        if lock is not None:
            lock.close()
        logs.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
