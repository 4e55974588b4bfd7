"""What is loaded in this worker, and the routes to it. The only caller that creates, drains and drops servables."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from interlock.errors import ModelNotFound, NotReady
from interlock.model import ServableState
from interlock.types import ModelRef
from interlock_registry.domain import Route

from interlock_server.access.holder import Holder
from interlock_server.levers import LeverView
from interlock_server.snapshot import Snapshot, VersionKey, VersionSpec, primary
from interlock_server.worker.allocator import give_back_memory
from interlock_server.worker.loader import Loader, Loading, low_priority_thread
from interlock_server.worker.routes import Resolved, RouteTable
from interlock_server.worker.servable import Servable

log = logging.getLogger("interlock.catalog")

_UNLOAD_AFTER_S: Final = 1.0
"""How long a dropped version stays: giving memory back costs CPU, which a switch needs for those who feel it."""
_NO_ROUTES: Final = RouteTable({})


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a snapshot."""

    epoch: int
    waiting: tuple[str, ...]
    """Routes whose version is not READY."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of a version that was to be prepared."""

    state: ServableState
    reason: str
    resident: bool
    load_s: float


@dataclass(frozen=True, slots=True)
class Preparing:
    """A version that is being prepared, or is ready already."""

    servable: Servable
    resident: bool

    def ended(self) -> Prepared:
        """Return what became of it, once it is settled."""
        return Prepared(self.servable.state, self.servable.reason, self.resident, self.servable.load_s)

    def late(self, timeout_s: float) -> NotReady:
        """Say that it took too long."""
        return NotReady(f"{self.servable.spec.key} was not loaded within {timeout_s:g} s (setting prepare_timeout_s)")


NOT_WANTED: Final = Prepared(ServableState.UNLOADED, "it is not wanted any more", resident=False, load_s=0.0)


@dataclass(frozen=True, slots=True)
class _Dropped:
    """A servable that nothing leads to any more."""

    servable: Servable
    due: float
    """When to unload it, on the monotonic clock."""


class Catalog:
    """Servables by version, and the current routing table.

    One lock guards the map; the table is replaced by one assignment and read without a lock. Loading runs on one
    thread, in the order in which it was asked for; draining on another, so that a slow request delays no load.
    """

    def __init__(self, loader: Loader, drain_grace_s: float) -> None:
        self._loader = loader
        self.drain_grace_s = drain_grace_s
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._servables: dict[VersionKey, Servable] = {}
        self._snapshot: Snapshot | None = None
        self._table = _NO_ROUTES
        self._levers: LeverView | None = None
        self._settled = False
        self._loads: queue.SimpleQueue[Servable | None] = queue.SimpleQueue()
        self._drains: queue.SimpleQueue[_Dropped | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._threads = (
            threading.Thread(target=self._load_loop, name="loader", daemon=True),
            threading.Thread(target=self._drain_loop, name="drainer", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change, on the thread that made it; it must not block."""
        self._listeners.append(listener)

    def _on_change(self) -> None:
        with self._lock:
            if self._snapshot is not None and all(each.settled for each in self._servables.values()):
                self._settled = True
        for listener in self._listeners:
            listener()

    # --- read, on any thread ---

    def resolve(self, ref: ModelRef) -> Resolved:
        """Return what a ref means now; raises NotReady before the first snapshot, else as RouteTable.resolve."""
        if self._snapshot is None:
            raise _no_routes()
        return self._table.resolve(ref)

    @property
    def table(self) -> RouteTable:
        """The current routing table."""
        return self._table

    @property
    def incarnation(self) -> str:
        """The registry's incarnation that the current snapshot is from; "" before the first one."""
        return self._snapshot.incarnation if self._snapshot else ""

    @property
    def epoch(self) -> int:
        """The epoch of the current snapshot; -1 before the first one."""
        return self._snapshot.epoch if self._snapshot else -1

    @property
    def levers(self) -> str:
        """The shared memory that the routes look for levers in; "" where they look for none."""
        levers = self._levers
        return "" if levers is None else levers.place

    @property
    def settled(self) -> bool:
        """Whether the first snapshot was applied and all of its versions became READY or FAILED.

        Once so it stays so: a version that is loaded later makes no worker unready.
        """
        return self._settled

    def servables(self) -> tuple[Servable, ...]:
        """Return every servable that is not yet unloaded."""
        with self._lock:
            return tuple(self._servables.values())

    @property
    def loading(self) -> Loading | None:
        """The version that is being loaded now."""
        return self._loader.loading

    def of_model(self, name: str) -> list[Servable]:
        """Return the servables of a model; raises NotReady before the first snapshot, ModelNotFound."""
        if self._snapshot is None:
            raise _no_routes()
        known = self._table.models.get(name)
        if known is None:
            raise ModelNotFound(name)
        return [each.servable for each in known.versions.values()]

    def routes_of(self, name: str) -> tuple[Route, ...]:
        """Return the routes of a model's aliases."""
        snapshot = self._snapshot
        return () if snapshot is None else tuple(route for route in snapshot.routes if route.model == name)

    # --- change, on the internal service's thread ---

    @property
    def holders(self) -> tuple[Holder, ...]:
        """Everybody who is known, by the newest snapshot."""
        snapshot = self._snapshot
        return () if snapshot is None else snapshot.holders

    def apply(self, snapshot: Snapshot) -> Applied:
        """Switch every route to a snapshot; an older one of the same incarnation is ignored. Loads go on behind."""
        with self._lock:
            current = self._snapshot
            if current and current.incarnation == snapshot.incarnation and snapshot.epoch < current.epoch:
                return self._applied(current)
            wanted = {spec.key: spec for spec in snapshot.keep}
            live = {VersionKey(route.model, primary(route)) for route in snapshot.routes}
            new = {key for key, spec in wanted.items() if self._is_news(key, spec)}
            for key in sorted(new, key=lambda key: (key not in live, key)):
                self._add(wanted[key])
            dropped = [self._servables.pop(key) for key in self._servables.keys() - wanted.keys()]
            self._levers = self._look_at(snapshot.levers)
            self._table = self._build(snapshot)
            # After the table: who asks meanwhile is told to come again, and not that there is no such model.
            self._snapshot = snapshot
            applied = self._applied(snapshot)
        for servable in dropped:
            self._drains.put(_Dropped(servable, time.monotonic() + _UNLOAD_AFTER_S))
        self._on_change()
        return applied

    def prepare(self, spec: VersionSpec, timeout_s: float, *, if_kept: bool = False) -> Prepared:
        """Prepare a version as `begin` does; blocks until it is READY or FAILED, raises NotReady after the timeout."""
        preparing = self.begin(spec, if_kept=if_kept)
        if preparing is None:
            return NOT_WANTED
        if not preparing.servable.wait_settled(timeout_s):
            raise preparing.late(timeout_s)
        return preparing.ended()

    def begin(self, spec: VersionSpec, *, if_kept: bool = False) -> Preparing | None:
        """Have a version loaded without routing to it.

        A version that FAILED before is loaded afresh. It stays until a snapshot comes that does not keep it. With
        `if_kept` one that the current snapshot does not keep is left alone: None.
        """
        with self._lock:
            if if_kept and not self._keeps(spec.key):
                return None
            servable = self._servables.get(spec.key)
            resident = servable is not None and servable.state is ServableState.READY
            if servable is None or servable.state is ServableState.FAILED:
                servable = self._add(spec)
                self._table = self._build(self._snapshot) if self._snapshot else RouteTable.build((), self._servables)
        return Preparing(servable, resident)

    def drain_all(self) -> None:
        """Drain every servable; returns when they are unloaded or the grace is over."""
        with self._lock:
            servables = list(self._servables.values())
            self._servables.clear()
        for servable in servables:
            self._drains.put(_Dropped(servable, time.monotonic()))
        self.close()

    def close(self) -> None:
        """End the threads after what they have begun. Idempotent."""
        self._closing.set()
        self._loads.put(None)
        self._drains.put(None)
        deadline = time.monotonic() + self.drain_grace_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._loader.close()

    def _keeps(self, key: VersionKey) -> bool:
        return self._snapshot is not None and any(spec.key == key for spec in self._snapshot.keep)

    def _build(self, snapshot: Snapshot) -> RouteTable:
        return RouteTable.build(snapshot.routes, self._servables, snapshot.known, snapshot.ways_back, self._levers)

    def _look_at(self, place: str) -> LeverView | None:
        """Return the levers at a place; None where there are none, and rollbacks then come with the next snapshot."""
        known = self._levers
        if known is not None and known.place == place:
            return known
        try:
            return LeverView(place) if place else None
        except OSError as error:
            log.warning("the levers cannot be looked at, so rollbacks take a message more: %s", error)
            return None

    def _is_news(self, key: VersionKey, spec: VersionSpec) -> bool:
        """Tell whether a version has to be loaded; one that FAILED gets another chance if its blobs were mended."""
        servable = self._servables.get(key)
        return servable is None or (servable.state is ServableState.FAILED and servable.spec != spec)

    def _add(self, spec: VersionSpec) -> Servable:
        servable = self._servables[spec.key] = Servable(spec)
        self._loads.put(servable)
        return servable

    def _applied(self, snapshot: Snapshot) -> Applied:
        waiting = tuple(
            f"{route.model}:{route.alias}"
            for route in snapshot.routes
            if (servable := self._servables.get(VersionKey(route.model, primary(route)))) is None
            or servable.state is not ServableState.READY
        )
        return Applied(snapshot.epoch, waiting)

    def _load_loop(self) -> None:
        low_priority_thread()
        while (servable := self._loads.get()) is not None:
            self._loader.load(servable)
            self._on_change()
            del servable  # waiting for the next one must not keep this one's session

    def _drain_loop(self) -> None:
        low_priority_thread()
        while (dropped := self._drains.get()) is not None:
            self._closing.wait(dropped.due - time.monotonic())
            self._drain(dropped.servable)
            del dropped  # the last reference: its session goes with it
            give_back_memory()
            self._on_change()

    def _drain(self, servable: Servable) -> None:
        if servable.advance(ServableState.NEW, ServableState.UNLOADED):
            return
        if not servable.wait_settled(self.drain_grace_s):
            # Still loading: its turn comes again; not at once, as the grace may be none.
            self._drains.put(_Dropped(servable, time.monotonic() + _UNLOAD_AFTER_S))
            return
        if servable.state is ServableState.READY:
            if not servable.drain(self.drain_grace_s):
                log.warning("requests outlasted the drain grace", extra={"version": str(servable.spec.key)})
            log.info("unloaded", extra={"version": str(servable.spec.key)})


def _no_routes() -> NotReady:
    return NotReady("the server is starting: it has no routes yet; try again in a moment")
