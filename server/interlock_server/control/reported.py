"""What a replica's workers last said, also held against the snapshot that they should serve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from interlock.model import ServableState, ServableStatus, WorkerStatus
from interlock.types import STABLE, ModelRef
from interlock_registry.domain import Route

from interlock_server.rpc.worker_link import WorkerReport
from interlock_server.snapshot import Snapshot, VersionKey, WayBack, primary

_AWAY = WorkerStatus(index=0, pid=0, reachable=False, epoch=-1, provider="", front="")


@dataclass(frozen=True, slots=True)
class Reported:
    """The last report of each worker, by index; None for one that does not answer."""

    reports: tuple[WorkerReport | None, ...]

    @property
    def settled(self) -> bool:
        """Whether every worker has applied the current snapshot's incarnation and loaded what it can."""
        return all(report is not None and report.settled for report in self.reports)

    @property
    def any_settled(self) -> bool:
        """Whether a worker has: those that have not are not on the port where there are several."""
        return any(report.settled for report in self._answered)

    @property
    def answering(self) -> tuple[int, ...]:
        """The indexes of the workers to ask: those that have settled, else those that answer."""
        settled = tuple(index for index, report in enumerate(self.reports) if report is not None and report.settled)
        return settled or tuple(index for index, report in enumerate(self.reports) if report is not None)

    @property
    def provider(self) -> str:
        """What the workers run on; "" before the first report."""
        return next((report.status.provider for report in self._answered), "")

    @property
    def threads(self) -> int:
        """How many threads the workers' runs have; 0 before the first report."""
        return next((report.status.threads for report in self._answered), 0)

    @property
    def any_reachable(self) -> bool:
        """Whether a worker answers."""
        return bool(self._answered)

    @property
    def epoch(self) -> int:
        """The epoch that every worker that answers serves; -1 where none does."""
        return min((report.status.epoch for report in self._answered), default=-1)

    @property
    def statuses(self) -> tuple[WorkerStatus, ...]:
        """What the workers last said of themselves."""
        return tuple(
            report.status if report is not None else replace(_AWAY, index=index)
            for index, report in enumerate(self.reports)
        )

    @property
    def ready_everywhere(self) -> frozenset[VersionKey]:
        """The versions that are READY in every worker that answers."""
        found = [_ready_keys(report.status) for report in self._answered]
        return frozenset.intersection(*found) if found else frozenset()

    def ready(self, key: VersionKey) -> bool:
        """Whether every worker that answers has a version READY."""
        return _all_ready(self._answered, key)

    def resident(self, key: VersionKey, snapshot: Snapshot) -> bool:
        """Whether every worker that answers has a version READY and keeps it, by a report of this snapshot.

        A report of an older one proves nothing: what was READY then may have been dropped since.
        """
        if all(spec.key != key for spec in snapshot.keep):
            return False
        return self.ready(key) and all(
            (report.incarnation, report.status.epoch) == (snapshot.incarnation, snapshot.epoch)
            for report in self._answered
        )

    def serving(self, ref: ModelRef, snapshot: Snapshot) -> bool | None:
        """Whether every worker that takes calls can answer a ref; None where the ref means nothing in the snapshot."""
        key = _target(snapshot, ref)
        if key is None:
            return None
        return _all_ready([report for report in self._answered if report.settled], key)

    def way_back(self, model: str, alias: str, snapshot: Snapshot) -> WayBack | None:
        """Return the way back of an alias that every worker would take by its lever alone; None where one would not."""
        way = snapshot.way_back(model, alias) if snapshot.levers else None
        if way is None or not self.resident(VersionKey(model, way.version), snapshot):
            return None
        looking = all(report is not None and report.levers == snapshot.levers for report in self.reports)
        return way if looking else None

    @property
    def _answered(self) -> list[WorkerReport]:
        return [report for report in self.reports if report is not None]


def is_busy(report: WorkerReport) -> bool:
    """Whether a worker is getting somewhere: its next report will soon be another one."""
    loading = (ServableState.NEW, ServableState.LOADING, ServableState.WARMING)
    return not report.settled or any(servable.state in loading for servable in report.status.servables)


def _ready_keys(status: WorkerStatus) -> frozenset[VersionKey]:
    return frozenset(
        VersionKey(each.model, each.version) for each in status.servables if each.state is ServableState.READY
    )


def _all_ready(reports: Sequence[WorkerReport], key: VersionKey) -> bool:
    states = [_state(report.status.servables, key) for report in reports]
    return bool(states) and all(state is ServableState.READY for state in states)


def _state(servables: Sequence[ServableStatus], key: VersionKey) -> ServableState | None:
    for servable in servables:
        if (servable.model, servable.version) == (key.model, key.version):
            return servable.state
    return None


def _target(snapshot: Snapshot, ref: ModelRef) -> VersionKey | None:
    """Return the version that a ref means in a snapshot."""
    if ref.version is not None:
        key = VersionKey(ref.model, ref.version)
        return key if any(spec.key == key for spec in snapshot.keep) else None
    route = _route(snapshot, ref)
    return VersionKey(ref.model, primary(route)) if route is not None else None


def _route(snapshot: Snapshot, ref: ModelRef) -> Route | None:
    alias = ref.alias or STABLE
    return next((route for route in snapshot.routes if (route.model, route.alias) == (ref.model, alias)), None)
