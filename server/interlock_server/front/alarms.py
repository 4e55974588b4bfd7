"""Timers of calls, for fronts without an event loop."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger("interlock.front")

_COMPACT_FROM: Final = 1024
"""Ended alarms are only cleared out of a heap of this size: most calls end long before their deadline."""


class Alarm:
    """One timer; `end` makes sure that it does not ring, unless it is ringing."""

    __slots__ = ("_alarms", "at", "callback", "number")

    def __init__(self, alarms: Alarms, at: float, number: int, callback: Callable[[], None]) -> None:
        self._alarms = alarms
        self.at: Final = at
        self.number: Final = number
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: Alarm) -> bool:
        return (self.at, self.number) < (other.at, other.number)

    def end(self) -> None:
        """Forget the callback."""
        if self.callback is not None:
            self.callback = None
            self._alarms.note_ended()


class Alarms:
    """One thread that rings every alarm. Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[Alarm] = []
        self._ended = 0
        self._numbers = itertools.count()
        self._closed = False
        self._thread = threading.Thread(target=self._ring, name="front alarms", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Alarms that are held, with ended ones that are not cleared out yet."""
        return len(self._heap)

    def set(self, at: float, callback: Callable[[], None]) -> Alarm:
        """Call `callback` at a time of the monotonic clock; it must not block."""
        alarm = Alarm(self, at, next(self._numbers), callback)
        with self._condition:
            heapq.heappush(self._heap, alarm)
            if self._heap[0] is alarm:
                self._condition.notify()
        return alarm

    def note_ended(self) -> None:
        """Count an alarm that will not ring; where these are most of all, clear them out."""
        with self._condition:
            self._ended += 1
            if len(self._heap) >= _COMPACT_FROM and 2 * self._ended > len(self._heap):
                self._heap = [alarm for alarm in self._heap if alarm.callback is not None]
                heapq.heapify(self._heap)
                self._ended = 0

    def close(self) -> None:
        """Ring no more. Idempotent."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _ring(self) -> None:
        while True:
            with self._condition:
                while not self._closed and (not self._heap or self._heap[0].at > time.monotonic()):
                    self._condition.wait(self._heap[0].at - time.monotonic() if self._heap else None)
                if self._closed:
                    return
                alarm = heapq.heappop(self._heap)
                callback, alarm.callback = alarm.callback, None
                self._ended -= callback is None
            if callback is not None:
                try:
                    callback()
                except Exception:
                    log.exception("a call's deadline could not be kept")
