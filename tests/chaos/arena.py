"""A server under load, with models that do harm when asked to; and the count of what failed while it was hurt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from interlock.errors import InterlockError

from tests import hostile_runs
from tests.load import Load
from tests.server import Server
from tests.support import eventually
from tests.system.stories import SCALES, register

WORKERS: Final = 2
CLIENTS: Final = 4
TIMEOUT_S: Final = 2.0
"""Of each request: the SDK's retries are off."""
_RECOVER_S: Final = 60.0
_SETTINGS: Final = "hang_s = 2.0\noverdue_run_s = 1.0\npoll_s = 0.5\n"


@dataclass(frozen=True, slots=True)
class Count:
    """What was sent and what failed in a stretch of time."""

    sent: int
    failures: tuple[InterlockError, ...]
    seconds: float


class Arena:
    """One server of two workers, its load, and what a fault may do with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = folder / "interlock.toml"
        config.write_text(_SETTINGS)
        self.server = Server(folder / "data", "--workers", str(WORKERS), "--config", str(config))
        self.load = Load("", "m", SCALES)

    def __enter__(self) -> Self:
        self.server.start()
        with self.server.admin() as admin:
            register(admin, self.folder, 3)
            for version in (1, 2, 3):
                admin.promote("m", version)
            for name, data in (("crash", hostile_runs.crashing()), ("stuck", hostile_runs.stuck())):
                admin.promote(name, hostile_runs.register(admin, self.folder, name, data))
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.load.__exit__(kind, error, trace)
        self.server.__exit__(kind, error, trace)

    def _begin(self) -> None:
        self.load = Load(self.server.grpc, "m", SCALES, clients=CLIENTS, timeout_s=TIMEOUT_S)
        self.load.__enter__()
        self.load.more(50)

    def measure(self, work: Callable[[], None]) -> Count:
        """Do something, wait until everything is well again, and return what the load saw meanwhile."""
        began = time.monotonic()
        answered, failed = len(self.load.answers), len(self.load.failures)
        work()
        self.load.more(50, timeout_s=_RECOVER_S)
        self.load.check_answers(at_least=1)
        failures = tuple(each.error for each in self.load.failures[failed:])
        sent = len(self.load.answers) - answered + len(failures)
        return Count(sent, failures, time.monotonic() - began)

    def restart(self) -> float:
        """Start the server again after all of it was killed, on other ports; returns when the load goes on."""
        began = time.monotonic()
        self.load.__exit__(None, None, None)
        before = self.load
        self.server.start()
        self._begin()
        took = time.monotonic() - began
        # What the clients of the dead server saw goes into the same count.
        self.load.answers[:0] = before.answers
        self.load.failures[:0] = before.failures
        return took

    def worker_pids(self) -> tuple[int, ...]:
        """Return the workers' process ids; 0 for one that is away."""
        return tuple(each.pid if each.reachable else 0 for each in self.server.status().workers)

    def whole(self) -> bool:
        """Whether the replica is ready with all of its workers."""
        try:
            status = self.server.status()
        except InterlockError:
            return False
        return status.ready and len(status.workers) == WORKERS and all(each.reachable for each in status.workers)

    def until_replaced(self, before: tuple[int, ...]) -> None:
        """Wait until a worker has given way to another one and all is well."""
        eventually(
            lambda: self.whole() and set(self.worker_pids()) != set(before) and 0 not in self.worker_pids(),
            "a worker is replaced",
            _RECOVER_S,
        )
        self.until_models_are_ready()

    def until_models_are_ready(self) -> None:
        """Wait until nothing is loading any more."""
        eventually(
            lambda: all(
                servable.state.value in ("READY", "FAILED")
                for worker in self.server.status().workers
                for servable in worker.servables
            ),
            "every version is loaded",
            _RECOVER_S,
        )
