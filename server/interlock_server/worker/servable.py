"""A servable: one version loaded in this worker, with a state, leases and a batcher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from interlock.model import LoadedFrom, ServableState, ServableStatus

from interlock_server.snapshot import VersionSpec
from interlock_server.worker.batcher import Batcher, Running
from interlock_server.worker.encoding import Encoder
from interlock_server.worker.finiteness import Screen
from interlock_server.worker.statistics import Statistics

_NEXT: Final[Mapping[ServableState, frozenset[ServableState]]] = {
    # NEW may be dropped before it was ever loaded.
    ServableState.NEW: frozenset({ServableState.LOADING, ServableState.UNLOADED}),
    ServableState.LOADING: frozenset({ServableState.WARMING, ServableState.FAILED}),
    ServableState.WARMING: frozenset({ServableState.READY, ServableState.FAILED}),
    ServableState.READY: frozenset({ServableState.DRAINING}),
    ServableState.DRAINING: frozenset({ServableState.UNLOADED}),
    ServableState.UNLOADED: frozenset(),
    ServableState.FAILED: frozenset(),
}


class IllegalTransition(Exception):
    """A servable was asked to take a step that its state does not have: a fault of ours."""


class Servable:
    """One version in this worker. Thread-safe: leased on the front's thread, moved by the loader's."""

    def __init__(self, spec: VersionSpec) -> None:
        self.spec: Final = spec
        self.wire_version: Final = str(spec.version)
        self.statistics: Final = Statistics(spec.config.instances)
        self.encoder: Final = Encoder(spec.model, self.wire_version, spec.signature)
        self.screen: Final = Screen.of(spec)
        """Looks for NaN and infinity; None where nobody asks for it."""
        self._state = ServableState.NEW
        self._reason = ""
        self._batcher: Batcher | None = None
        self._in_flight = 0
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self._on_settled: list[Callable[[], None]] = []
        self._idle = threading.Event()
        self.load_s = 0.0
        self.provider = ""
        self.devices: Sequence[int] = ()
        """Where its sessions are, one number for each; they mean GPUs where the provider is one for GPUs."""
        self.loaded_from: LoadedFrom | None = None
        self.fell_back = ""
        """Why its derived form was not used, if it was to be."""

    @property
    def state(self) -> ServableState:
        """Where it is in its life."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it failed."""
        return self._reason

    @property
    def settled(self) -> bool:
        """Whether loading has ended, well or not."""
        return self._state not in (ServableState.NEW, ServableState.LOADING, ServableState.WARMING)

    def transition(self, to: ServableState, reason: str = "", batcher: Batcher | None = None) -> None:
        """Take one step; raises IllegalTransition. READY brings the batcher."""
        with self._lock:
            if to not in _NEXT[self._state]:
                raise IllegalTransition(f"{self.spec.key}: {self._state.value} → {to.value}")
            self._state, self._reason = to, reason
            if to is ServableState.READY:
                self._batcher = batcher
            if to is ServableState.DRAINING and self._in_flight == 0:
                self._idle.set()
        self._tell_if_settled()

    def advance(self, start: ServableState, to: ServableState) -> bool:
        """Take one step if the state is still `start`; False if another thread was first."""
        with self._lock:
            if self._state is not start or to not in _NEXT[start]:
                return False
            self._state = to
        self._tell_if_settled()
        return True

    def _tell_if_settled(self) -> None:
        with self._lock:
            if not self.settled:
                return
            self._settled.set()
            told, self._on_settled = self._on_settled, []
        for callback in told:
            callback()

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` once loading has ended, at once if it has, on the thread that ended it; it must not raise."""
        with self._lock:
            if not self._settled.is_set():
                self._on_settled.append(callback)
                return
        callback()

    def wait_settled(self, timeout_s: float) -> bool:
        """Wait until loading has ended; False if it took longer."""
        return self._settled.wait(timeout_s)

    def lease(self) -> Batcher | None:
        """Hold the servable for one request: its batcher, or None when it is not READY."""
        with self._lock:
            if self._state is not ServableState.READY:
                return None
            self._in_flight += 1
            return self._batcher

    def release(self) -> None:
        """Give a lease back."""
        with self._lock:
            self._in_flight -= 1
            if self._in_flight == 0 and self._state is ServableState.DRAINING:
                self._idle.set()

    def drain(self, grace_s: float) -> bool:
        """Take no new leases, wait for the held ones, drop the session; False if some outlasted the grace."""
        self.transition(ServableState.DRAINING)
        idle = self._idle.wait(grace_s)
        batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.close(grace_s)
        self.transition(ServableState.UNLOADED)
        return idle

    def status(self) -> ServableStatus:
        """Return what operators are told."""
        return ServableStatus(
            model=self.spec.model,
            version=self.spec.version,
            state=self._state,
            reason=self._reason,
            provider=self.provider,
            in_flight=self._in_flight,
            load_s=self.load_s,
            loaded_from=self.loaded_from,
        )

    @property
    def running(self) -> Running | None:
        """What its batcher runs now."""
        batcher = self._batcher
        return None if batcher is None else batcher.running

    @property
    def queue_depth(self) -> int:
        """Requests that wait in its batcher."""
        batcher = self._batcher
        return 0 if batcher is None else batcher.depth
