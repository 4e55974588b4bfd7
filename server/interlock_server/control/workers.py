"""The workers of this replica: probed, synchronised with the snapshot, killed when they lag or hang."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from interlock.errors import DeadlineExceeded, InterlockError, PrepareFailed, WorkerUnavailable
from interlock.types import ModelRef

from interlock_server.control.admission import Holding, Room, available_bytes, sessions_of, why_not
from interlock_server.control.held_process import HeldProcess
from interlock_server.control.reported import Reported, is_busy
from interlock_server.control.silence import PROBE_TIMEOUT_S, Silence
from interlock_server.control.worker_metrics import Scraped, WorkerMetrics
from interlock_server.rpc.worker_link import WorkerLink, WorkerReport
from interlock_server.snapshot import Snapshot, VersionKey, VersionSpec, WayBack
from interlock_server.vitals import Ailment, Vitals

log = logging.getLogger("interlock.workers")

_SLOW_PROBE_S: Final = 1.0
_FAST_PROBE_S: Final = 0.05
"""While a worker is away or loading."""
_SCRAPE_TIMEOUT_S: Final = 2.0


@dataclass(slots=True)
class _Worker:
    link: WorkerLink
    index: int
    report: WorkerReport | None = None
    process: HeldProcess = field(default_factory=HeldProcess)
    silence: Silence | None = None
    """The probes that its live process has left unanswered since it answered last."""
    restarts: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reachable(self) -> bool:
        return self.report is not None


class Caretaker(Protocol):
    """Who judges whether a worker is well, and why its predecessor was not."""

    def examine(self, name: str, pid: int, vitals: Vitals) -> Ailment | None:
        """Say why a worker must be replaced now; None where it is well."""
        ...

    def met(self) -> None:
        """Take note that a worker process is there that was not; it gets its snapshot after this."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """How preparing a version ended, over all workers."""

    resident: bool
    """No worker had to load anything."""


class Workers:
    """The one caller of the workers' internal service."""

    def __init__(
        self,
        links: Sequence[WorkerLink],
        snapshot: Callable[[], Snapshot | None],
        *,
        apply_timeout_s: float,
        prepare_timeout_s: float,
        caretaker: Caretaker | None = None,
        room: Callable[[], Room] = lambda: Room(available_bytes()),
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take links and the source of the current snapshot (None before there is one).

        `caretaker` judges the workers, `room` says what memory there is for versions, `stopping` whether the server
        stops: its workers then end by themselves, and nobody misses or replaces them.
        """
        self._workers = [_Worker(link, index) for index, link in enumerate(links)]
        self._snapshot = snapshot
        self._apply_timeout_s = apply_timeout_s
        self._prepare_timeout_s = prepare_timeout_s
        self._metrics = WorkerMetrics()
        self._caretaker = caretaker
        self._room = room
        self._stopping = stopping
        self._sync_lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._syncs: set[asyncio.Task[None]] = set()
        self._listeners: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin probing."""
        self._tasks = [asyncio.create_task(self._watch(worker)) for worker in self._workers]

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when a worker's state may have changed; it must not block."""
        self._listeners.append(listener)

    # --- read ---

    @property
    def reported(self) -> Reported:
        """What the workers last said."""
        return Reported(tuple(worker.report for worker in self._workers))

    def resident(self, key: VersionKey) -> bool:
        """Whether every reachable worker has a version READY and keeps it, by a report of the current snapshot."""
        snapshot = self._snapshot()
        return snapshot is not None and self.reported.resident(key, snapshot)

    def serving(self, ref: ModelRef) -> bool | None:
        """Whether every worker that takes calls can answer a ref; None where the ref means nothing here."""
        snapshot = self._snapshot()
        return self.reported.serving(ref, snapshot) if snapshot is not None else None

    def way_back(self, model: str, alias: str) -> WayBack | None:
        """Return the way back of an alias that every worker would take by its lever alone; None where one would not."""
        snapshot = self._snapshot()
        return self.reported.way_back(model, alias, snapshot) if snapshot is not None else None

    @property
    def names(self) -> tuple[str, ...]:
        """Every worker's name."""
        return tuple(worker.link.name for worker in self._workers)

    @property
    def restarts(self) -> int:
        """How often a worker came back as a new process."""
        return sum(worker.restarts for worker in self._workers)

    async def metrics(self) -> bytes:
        """Return the workers' Prometheus text, added up where there are several."""
        found = [each for each in await asyncio.gather(*map(self._scrape, self._workers)) if each is not None]
        if len(self._workers) > 1:
            return self._metrics.text(found)
        return b"".join(each.text for each in found)

    async def _scrape(self, worker: _Worker) -> Scraped | None:
        try:
            report = await worker.link.report(_SCRAPE_TIMEOUT_S, with_metrics=True)
        except InterlockError as error:
            log.warning("no metrics from %s: %s", worker.link.name, error.message)
            return None
        return Scraped(worker.link.name, report.status.pid, report.metrics)

    # --- change ---

    async def sync(self) -> tuple[str, ...]:
        """Switch every worker to the current snapshot and return those that lag.

        A reachable worker that has not switched in time is killed: the supervisor starts it again, and it comes back
        with this snapshot or a newer one. Workers that are away anyway get it when they come back.
        """
        async with self._sync_lock:  # so that a worker never gets an older picture after a newer one
            snapshot = self._snapshot()
            if snapshot is None:
                return ()
            if len(self._workers) == 1:  # what is usual, without the turns of the loop that a task takes
                lags = [await self._apply(self._workers[0], snapshot)]
            else:
                lags = await asyncio.gather(*(self._apply(worker, snapshot) for worker in self._workers))
        return tuple(worker.link.name for worker, lag in zip(self._workers, lags, strict=True) if lag)

    def sync_soon(self) -> None:
        """Switch every worker to the current snapshot, without waiting for it."""
        task = asyncio.create_task(self._sync_alone())
        self._syncs.add(task)
        task.add_done_callback(self._syncs.discard)

    async def _sync_alone(self) -> None:
        try:
            await self.sync()
        except Exception:
            log.exception("the workers could not be told of a rollback now; they are with the next probe")

    async def _apply(self, worker: _Worker, snapshot: Snapshot) -> bool:
        met = worker.reachable
        # One that was lost from sight but lives may still answer callers: it switches like the others, or ends.
        if not met and worker.link.listener() == 0:
            return True
        try:
            report = await worker.link.apply(snapshot, self._apply_timeout_s, reconnect=not met)
        except WorkerUnavailable as error:
            self._miss(error)
            self._lost(worker)
            return True
        except InterlockError as error:
            log.error("%s did not switch and is killed: %s", worker.link.name, error.message)
            self._kill(worker)
            return True
        self._meet(worker, report)
        if is_busy(report):
            worker.wake.set()  # to be asked often until it is done
        return False

    async def prepare(self, spec: VersionSpec) -> Prepared:
        """Have every worker load and prove a version that snapshots keep; raises PrepareFailed, WorkerUnavailable."""
        # A snapshot on its way may have been made before this version was held, and would drop it again if it came
        # after. Those that are made from now on keep it.
        async with self._sync_lock:
            reachable = [worker for worker in self._workers if worker.reachable]
        if not reachable:
            raise WorkerUnavailable("no serving worker answers, so nothing can be loaded; try again in a moment")
        if not self.reported.ready(spec.key):
            holdings = [
                Holding(worker.link.name, worker.report.vitals.rss_bytes)
                for worker in self._workers
                if worker.report is not None
            ]
            sessions = sessions_of(spec.config.instances, self.reported.threads, cpu=self.reported.provider == "CPU")
            why = why_not(spec.memory_bytes, sessions, holdings, self._room())
            if why:
                raise PrepareFailed(spec.model, spec.version, why)
        timeout_s = self._prepare_timeout_s + PROBE_TIMEOUT_S
        results = await asyncio.gather(*(worker.link.prepare(spec, timeout_s) for worker in reachable))
        for worker, result in zip(reachable, results, strict=True):
            if not result.ready:
                raise PrepareFailed(spec.model, spec.version, f"{worker.link.name}: {result.reason}")
        for worker in reachable:
            worker.wake.set()
        return Prepared(resident=all(result.resident for result in results))

    async def close(self) -> None:
        """Stop probing and close the links. Idempotent."""
        tasks = [*self._tasks, *self._syncs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        for worker in self._workers:
            await worker.link.close()
            worker.process.close()

    # --- one worker's watch ---

    async def _watch(self, worker: _Worker) -> None:
        while True:
            worker.wake.clear()  # before the question: what happens while it is answered asks for another one
            try:
                await self._probe(worker)
            except Exception:
                log.exception("%s could not be probed", worker.link.name)
            quick = worker.report is None or is_busy(worker.report) or worker.silence is not None
            # Not wait_for(): before Python 3.12 it may swallow the cancellation that close() waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAST_PROBE_S if quick else _SLOW_PROBE_S):
                    await worker.wake.wait()

    async def _probe(self, worker: _Worker) -> None:
        began = time.monotonic()
        try:
            report = await worker.link.report(PROBE_TIMEOUT_S)
        except InterlockError as error:
            self._unanswered(worker, began, error)
            return
        worker.silence = None
        # One met for the first time may hold what a predecessor of this process prepared and never committed.
        stranger = report.status.pid != worker.process.pid
        self._meet(worker, report)
        if self._ails(worker, report):
            return
        snapshot = self._snapshot()
        behind = snapshot is not None and (report.incarnation, report.status.epoch) != (
            snapshot.incarnation,
            snapshot.epoch,
        )
        if (behind or stranger) and not report.draining:
            await self.sync()

    def _ails(self, worker: _Worker, report: WorkerReport) -> bool:
        """End a worker that answers, but is not well; it is started again."""
        if self._caretaker is None or report.draining or self._stopping():
            return False
        ailment = self._caretaker.examine(worker.link.name, worker.process.pid, report.vitals)
        if ailment is None:
            return False
        log.error("%s is replaced: %s", worker.link.name, ailment.reason)
        self._kill(worker, signal.SIGTERM if ailment.gently else signal.SIGKILL)
        return True

    def _unanswered(self, worker: _Worker, began: float, error: InterlockError) -> None:
        """Tell a worker that is gone, and will be started again, from one that hangs and must be killed."""
        hangs = isinstance(error, DeadlineExceeded)
        if not hangs:
            if worker.reachable:
                self._miss(error)
            # To a channel that is not connected yet, a process that hangs looks like one that is gone; but it listens.
            hangs = worker.link.listener() != 0
            worker.report = None
            self._tell()
        if not hangs or self._stopping():
            worker.silence = None
            return
        worker.silence = (worker.silence or Silence(began)).after(time.monotonic())
        if worker.silence.is_wedged:
            log.error("%s hangs and is killed", worker.link.name)
            self._kill(worker)
        elif worker.silence.is_absent and worker.reachable:
            log.warning("%s has left %d probes unanswered", worker.link.name, worker.silence.probes)
            worker.report = None
            self._tell()

    def _meet(self, worker: _Worker, report: WorkerReport) -> None:
        known = worker.process.pid
        worker.report = report
        if report.status.pid != known:
            if not worker.process.hold(report.status.pid):
                self._lost(worker)
                return
            worker.restarts += known != 0
            if self._caretaker is not None:
                self._caretaker.met()
            log.info("%s answers", worker.link.name, extra={"worker_pid": report.status.pid})
        self._tell()

    def _miss(self, error: InterlockError) -> None:
        if not self._stopping():
            log.warning("%s", error.message)

    def _lost(self, worker: _Worker) -> None:
        worker.report = None
        worker.silence = None
        self._tell()

    def _kill(self, worker: _Worker, how: signal.Signals = signal.SIGKILL) -> None:
        """End a worker's process for good; the descriptor names this process even if its number was reused."""
        # It may hang since before it first answered: the kernel knows who listens on its socket.
        listener = worker.link.listener()
        if listener not in (0, worker.process.pid):
            worker.process.hold(listener)
        if not worker.process.signal(how):
            log.info("%s had ended by itself", worker.link.name)
        self._lost(worker)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
