"""The faults: what each does to the server, which failures it may cause, and how it is known to be over."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from interlock.errors import (
    Cancelled,
    DeadlineExceeded,
    InterlockError,
    InvalidArgument,
    PoisonRequest,
    Unavailable,
)

from tests import hostile_runs, models
from tests.chaos.arena import Arena
from tests.support import eventually
from tests.system.stories import control_pid, pid_or_zero

_RECOVER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of harm."""

    name: str
    inject: Callable[[Arena], float]
    """Does it, waits until it is over, and returns how long recovery took, in seconds."""
    may_fail: tuple[type[InterlockError], ...] = ()
    """What requests may end with that the fault has met; nothing else may fail, and otherwise."""


def _kill_worker(arena: Arena) -> float:
    before = arena.worker_pids()
    began = time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    arena.until_replaced(before)
    return time.monotonic() - began


def _stop_worker(arena: Arena) -> float:
    before = arena.worker_pids()
    began = time.monotonic()
    os.kill(before[1], signal.SIGSTOP)
    arena.until_replaced(before)
    return time.monotonic() - began


def _until_control_is_back(arena: Arena, old: int) -> float:
    began = time.monotonic()
    eventually(lambda: pid_or_zero(arena.server, "control") not in (0, old), "a new control process", _RECOVER_S)
    eventually(arena.whole, "the replica is whole", _RECOVER_S)
    return time.monotonic() - began


def _kill_control(arena: Arena) -> float:
    old = control_pid(arena.server)
    os.kill(old, signal.SIGKILL)
    return _until_control_is_back(arena, old)


def _stop_control(arena: Arena) -> float:
    old = control_pid(arena.server)
    os.kill(old, signal.SIGSTOP)
    return _until_control_is_back(arena, old)


def _kill_supervisor(arena: Arena) -> float:
    arena.server.kill_everything()
    return arena.restart()


def _crash(arena: Arena, value: int) -> None:
    """Send a request that ends the worker which runs it; nobody else may be harmed."""
    with arena.server.client(timeout=10) as client:
        try:
            client.infer("crash", {"x": np.array([[value]], np.int64)})
        except (Unavailable, PoisonRequest):
            return
    raise AssertionError("the crashing model answered what must end its process")


_fatal = iter(range(hostile_runs.FATAL + 1, 1 << 30))


def _crashing_model(arena: Arena) -> float:
    before = arena.worker_pids()
    began = time.monotonic()
    _crash(arena, next(_fatal))
    arena.until_replaced(before)
    took = time.monotonic() - began
    # Promoting is how an operator says that the version deserves another chance: the next round begins afresh.
    with arena.server.admin() as admin:
        admin.promote("crash", 1, reason="chaos")
    return took


def _poison(arena: Arena) -> float:
    """The same fatal request again and again: from the third on it must be refused, not run."""
    value = next(_fatal)
    began = time.monotonic()
    for _ in range(2):
        before = arena.worker_pids()
        _crash(arena, value)
        arena.until_replaced(before)
    with arena.server.client(timeout=10) as client:
        for _ in range(20):  # every worker is told, whichever is asked
            try:
                client.infer("crash", {"x": np.array([[value]], np.int64)})
            except (PoisonRequest, Unavailable) as error:
                if isinstance(error, PoisonRequest):
                    break
                arena.until_replaced(arena.worker_pids())
    arena.until_models_are_ready()
    took = time.monotonic() - began
    with arena.server.admin() as admin:
        admin.promote("crash", 1, reason="chaos")
    return took


def _endless_run(arena: Arena) -> float:
    before = arena.worker_pids()
    began = time.monotonic()
    with arena.server.client(timeout=0.5) as client, contextlib.suppress(DeadlineExceeded, Unavailable):
        client.infer("stuck", {"n": np.array([hostile_runs.LONG], np.int64)})
    arena.until_replaced(before)
    took = time.monotonic() - began
    with arena.server.admin() as admin:
        admin.promote("stuck", 1, reason="chaos")
    return took


def _refused_change(arena: Arena) -> None:
    """Ask for a change that cannot be made now: it must be refused or made, in bounded time, and never half."""
    with arena.server.admin() as admin:
        try:
            admin.promote("m", 2, timeout=5)
        except InterlockError as error:
            assert not isinstance(error, InvalidArgument), error
        else:
            admin.promote("m", 3, timeout=20)


def _until_changes_are_made(arena: Arena) -> float:
    began = time.monotonic()

    def made() -> bool:
        try:
            with arena.server.admin() as admin:
                admin.promote("m", 2, timeout=10)
                admin.promote("m", 3, timeout=20)
        except InterlockError:
            return False
        return True

    eventually(made, "changes are made again", _RECOVER_S)
    return time.monotonic() - began


def _locked_database(arena: Arena) -> float:
    with sqlite3.connect(arena.server.data / "registry.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        _refused_change(arena)
        other.execute("ROLLBACK")
    other.close()
    return _until_changes_are_made(arena)


def _full_disk(arena: Arena) -> float:
    """No file of the control process may grow: what a full disk does to it, without one."""
    pid = control_pid(arena.server)
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        file = models.write(arena.folder / "full.onnx", models.affine(scale=77.0))
        with arena.server.admin() as admin:
            try:
                admin.register("full", file, timeout=30)
            except InterlockError:
                pass
            else:
                raise AssertionError("an upload was registered without room for it")
        _refused_change(arena)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    return _until_changes_are_made(arena)


def _bad_upload(arena: Arena) -> float:
    began = time.monotonic()
    for number, data in enumerate((b"", b"\x80\x04not a model", models.affine()[:-7], os.urandom(4096))):
        file = arena.folder / f"bad-{number}.onnx"
        Path(file).write_bytes(data)
        with arena.server.admin() as admin:
            try:
                admin.register("bad", file, timeout=60)
            except (InterlockError, Cancelled):
                continue
            raise AssertionError(f"{data[:20]!r} was registered")
    return time.monotonic() - began


def _settings_reload(arena: Arena) -> float:
    """Not a fault of the machine, but of whoever edits the file: half of it is missing."""
    config = arena.folder / "interlock.toml"
    good = config.read_text()
    assert arena.server.process is not None
    before = len(arena.server.log())
    began = time.monotonic()
    config.write_text(good + "keep_depth = ")
    arena.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "the settings stay as they were" in arena.server.log()[before:], "it is refused", _RECOVER_S)
    config.write_text(good)
    arena.server.process.send_signal(signal.SIGHUP)
    return time.monotonic() - began


MET: Final = (Unavailable,)
HUNG: Final = (Unavailable, DeadlineExceeded)
"""A worker that does not run cannot say no: its callers' own deadlines end their requests."""

FAULTS: Final = (
    Fault("kill -9 a worker", _kill_worker, MET),
    Fault("SIGSTOP a worker", _stop_worker, HUNG),
    Fault("kill -9 control", _kill_control),
    Fault("SIGSTOP control", _stop_control),
    Fault("kill -9 the supervisor", _kill_supervisor, MET),
    Fault("a model that crashes", _crashing_model, MET),
    Fault("a request that crashes, sent again", _poison, MET),
    Fault("a run that does not end", _endless_run, MET),
    Fault("the database is locked", _locked_database),
    Fault("no room on the disk", _full_disk),
    Fault("uploads that are no models", _bad_upload),
    Fault("a settings file cut off", _settings_reload),
)
