"""Timers of calls, for fronts without an event loop: one wheel, whose buckets hold what rings in the same moment.

Most calls end long before their deadline: setting an alarm and ending it are an addition to a set and a removal.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

log = logging.getLogger("interlock.front")

_TICKS_PER_S: Final = 100
_COARSE: Final = 25
"""Ticks that alarms which are far off are rounded up to."""
_FAR_S: Final = 5.0
_LONGEST_WAIT_S: Final = 3600.0
"""Longer ones overflow in the C library."""

Bucket = set[Callable[[], None]]
"""What rings together. Whoever set an alarm ends it by taking its callback out again."""


def tick_of(at: float, now: float) -> int:
    """Return the tick at which an alarm rings: never before its time, and the coarser the farther off."""
    tick = int(at * _TICKS_PER_S) + 1
    return tick if at - now < _FAR_S else -(-tick // _COARSE) * _COARSE


class Alarms:
    """One thread that rings every alarm. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._buckets: dict[int, Bucket] = {}
        self._ticks: list[int] = []
        self._closed = False
        self._thread = threading.Thread(target=self._ring, name="front alarms", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Alarms that are set and have not ended."""
        with self._lock:
            return sum(map(len, self._buckets.values()))

    def set(self, at: float, callback: Callable[[], None]) -> Bucket:
        """Call `callback` once at a time of the monotonic clock, or soon after; it must not block.

        Returns the bucket to discard the callback from, so that it does not ring, unless it is ringing.
        """
        tick = tick_of(at, time.monotonic())
        with self._lock:
            bucket = self._buckets.get(tick)
            if bucket is None:
                bucket = self._buckets[tick] = set()
                heapq.heappush(self._ticks, tick)
                if self._ticks[0] == tick:
                    self._condition.notify()
            bucket.add(callback)
        return bucket

    def close(self) -> None:
        """Ring no more. Idempotent."""
        with self._lock:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _ring(self) -> None:
        while (bucket := self._due()) is not None:
            while bucket:
                try:
                    callback = bucket.pop()
                except KeyError:  # the last one was just ended
                    break
                try:
                    callback()
                except Exception:
                    log.exception("a call's deadline could not be kept")
                del callback  # waiting for the next one must not keep the call that it was for

    def _due(self) -> Bucket | None:
        """Wait for the next bucket whose time has come; None at the end."""
        with self._lock:
            while not self._closed:
                wait_s = self._ticks[0] / _TICKS_PER_S - time.monotonic() if self._ticks else None
                if wait_s is not None and wait_s <= 0:
                    return self._buckets.pop(heapq.heappop(self._ticks))
                self._condition.wait(None if wait_s is None else min(wait_s, _LONGEST_WAIT_S))
        return None


class Patient(Protocol):
    """A call that may take as long as this server lets any."""

    def overdue(self) -> None:
        """End it; nothing where it has ended."""
        ...


class Patience:
    """Ends calls that all may take equally long, and so fall due in the order in which they came. Thread-safe.

    Most calls of most callers name no deadline and end at once: to begin and end one is an addition to a dictionary and
    a removal, and one alarm stands for all of them.
    """

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._due: dict[Patient, float] = {}
        """On the monotonic clock, ascending. Each change is one step of the interpreter."""
        self._latest = 0.0
        self._armed = False
        self._lock = threading.Lock()

    def add(self, call: Patient, due: float) -> bool:
        """End a call at a time, or soon after, unless it is taken out before.

        False where one that came earlier falls due later, as the setting was lowered meanwhile: such a call takes an
        alarm of its own.
        """
        if due < self._latest:
            return False
        self._latest = due
        self._due[call] = due
        if not self._armed:
            self._arm()
        return True

    def remove(self, call: Patient) -> None:
        """Take a call out that has ended; nothing where it is not in."""
        self._due.pop(call, None)

    def _arm(self) -> None:
        with self._lock:
            first = self._first()
            if first is not None and not self._armed:
                self._armed = True
                self._alarms.set(first[1], self._ring)

    def _ring(self) -> None:
        now = time.monotonic()
        while (first := self._first()) is not None and first[1] <= now:
            call, _ = first
            self.remove(call)
            try:
                call.overdue()
            except Exception:
                log.exception("a call's deadline could not be kept")
        with self._lock:
            self._armed = False
        self._arm()

    def _first(self) -> tuple[Patient, float] | None:
        while True:
            try:
                return next(iter(self._due.items()), None)
            except RuntimeError:  # a call began or ended between the two steps
                continue
