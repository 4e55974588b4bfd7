"""What the system tests have in common: versions of one model that give themselves away by their factor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from interlock.errors import InterlockError
from interlock_client import Admin

from tests import models
from tests.load import Load
from tests.server import Server
from tests.support import eventually

BOUND_S: Final = 60.0
"""What is promised in 3 s; a machine that also runs other tests gets more."""

SCALES: Final = {version: float(version + 1) for version in range(1, 9)}
"""Version v of `m` multiplies by v + 1."""


def register(admin: Admin, folder: Path, count: int, model: str = "m") -> None:
    """Register versions 1 to `count`, proven, of a model."""
    for version in range(1, count + 1):
        scale = SCALES[version]
        file = models.write(folder / f"{model}-{version}.onnx", models.affine(scale=scale))
        golden = models.affine_golden(folder / f"{model}-{version}.npz", scale=scale)
        assert admin.register(model, file, golden=golden).version == version


def serve_two(server: Server, folder: Path) -> None:
    """Register two versions of `m` and promote both, so that 2 is live and 1 under it."""
    with server.admin() as admin:
        register(admin, folder, 2)
        admin.promote("m", 1)
        admin.promote("m", 2)


def answers_status(server: Server) -> bool:
    """Tell whether the control process answers, and the replica is ready."""
    try:
        return server.status().ready
    except InterlockError:
        return False


class Servers:
    """Servers with two versions of `m`, each for so many tests one after the other: a start takes longer than most."""

    def __init__(self, folder: Path, *, tests_of_one: int) -> None:
        self._folder = folder
        self._tests_of_one = tests_of_one
        self._made = 0
        self._tests = 0
        self._running: Server | None = None

    def next(self) -> Server:
        """Return one whose version 2 is live with version 1 under it, and all of whose processes are there."""
        if self._running is None or self._tests == self._tests_of_one:
            self.close()
            folder = self._folder / str(self._made)
            folder.mkdir()
            self._made, self._tests = self._made + 1, 1
            self._running = Server(folder / "data").start()
            serve_two(self._running, folder)
            return self._running
        self._tests += 1
        server = self._running
        if server.process is None:
            server.start()
        eventually(lambda: answers_status(server), "the replica is whole after the test before", BOUND_S)
        with server.admin() as admin:
            if admin.show("m:stable").version == 1:
                admin.promote("m", 2)
        with Load(server.grpc, "m", SCALES, clients=1) as load:
            load.until_version(2)
        return server

    def close(self) -> None:
        """Stop the one that runs, which must end well; the next one is new."""
        server, self._running = self._running, None
        if server is not None:
            server.__exit__(None)


def worker_pid(server: Server) -> int:
    """Return the process id of the serving worker; raises LookupError between two lives of it."""
    return server.pid_of("worker")


def control_pid(server: Server) -> int:
    """Return the process id of the control process; raises LookupError between two lives of it."""
    return server.pid_of("control")


def pid_or_zero(server: Server, module: str) -> int:
    """Return the process id of a child, 0 between two lives of it."""
    try:
        return server.pid_of(module)
    except (LookupError, FileNotFoundError):
        return 0
