"""Whom a front turns away before it reads what they want, when it does nothing any more but refuse.

To refuse a call costs nearly as much as to answer a small one: it is received, looked at and counted. Where the thread
that takes calls has no time left and one connection's calls are mostly refused, most of that connection's next ones are
turned away as they begin: as many as leave it twice of what it gets answered. So it finds out when there is room again,
and whoever is not refused is not turned away. A call that came too late, or whose caller gave up, counts as a refused
one: where all of them have waited too long at their caller's side, nothing else would let those after them be sooner.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

from interlock.errors import Cancelled, DeadlineExceeded, InterlockError, ResourceExhausted
from interlock.status import WireStatus, to_wire

_LOOK_S: Final = 0.05
"""How long a thread is watched before it counts as busy or not."""
_IDLE: Final = 0.25
"""The share of its time that a busy thread may wait for calls: others hold the interpreter meanwhile, or the core."""
_TWICE: Final = 2
"""How often it lets in what was answered."""
_MOST_AWAY: Final = 0.9
"""The largest share that is turned away: who is let in too seldom would find out too late that there is room again."""
_LEAST: Final = 64
"""Refusals of late, before any call is turned away: a few cost the thread nothing to speak of."""
_FORGET_S: Final = 0.5
"""How soon what was counted counts for half."""
_MOST: Final = 4096
"""Connections that are counted; refusals of more are not."""
_AGAIN_S: Final = (0.1, 0.2, 0.3, 0.4, 0.5)
"""When to come again: different for everybody, lest all come back at once."""


def came_to_nothing(error: InterlockError) -> bool:
    """Tell whether a call ended so for want of time: refused for now, too late, or given up by its caller."""
    if isinstance(error, ResourceExhausted):
        return error.retry_after_s is not None
    return isinstance(error, DeadlineExceeded | Cancelled)


class _Count:
    """What became of one connection's calls of one method."""

    __slots__ = ("asked", "away", "refused")

    def __init__(self) -> None:
        self.asked = self.away = self.refused = 0.0

    @property
    def share(self) -> float:
        """The share of the next calls to turn away."""
        if self.refused < _LEAST:
            return 0.0
        answered = self.asked - self.away - self.refused
        return min(_MOST_AWAY, (self.asked - _TWICE * answered) / (self.asked + 1))

    def fade(self) -> bool:
        """Let all of it count for half; tell whether anything is left."""
        self.asked, self.away, self.refused = self.asked / 2, self.away / 2, self.refused / 2
        return self.refused >= 1


class Turnstile:
    """Watches the thread that takes calls, and what becomes of them. `refused` may be called on any thread."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        """Take where chance comes from: numbers from 0 to under 1."""
        self._draw = draw
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, bytes], _Count] = {}
        self._faded = 0.0
        self._since = self._waited_s = 0.0
        self.busy = False
        """Whether the thread has no time left; while it has, nothing is counted and nobody turned away."""
        self.turned_away = 0
        """Calls, since the start."""

    @property
    def suspects(self) -> bool:
        """Whether anybody's calls are worth a look."""
        return self.busy and bool(self._counts)

    def worked(self, waited_s: float, now: float) -> None:
        """Take that the thread waited so long for what it does now."""
        if not self._since:  # from now on: what was before the first call is no work
            self._since = self._faded = now
            return
        self._waited_s += waited_s
        watched_s = now - self._since
        if watched_s >= _LOOK_S:
            self.busy = self._waited_s < _IDLE * watched_s
            self._since, self._waited_s = now, 0.0
            if now - self._faded >= _FORGET_S:
                self._faded = now
                self._fade()

    def _fade(self) -> None:
        with self._lock:
            for key in [key for key, count in self._counts.items() if not count.fade()]:
                del self._counts[key]

    def refused(self, method: str, line: bytes) -> None:
        """Count a call that came over a connection, and came to nothing."""
        with self._lock:
            count = self._counts.get((method, line))
            if count is None:
                if len(self._counts) >= _MOST:
                    return
                count = self._counts[method, line] = _Count()
                count.asked = 1.0
            count.refused += 1

    def turns_away(self, method: str, line: bytes) -> bool:
        """Count a call that begins, and tell whether it is turned away."""
        with self._lock:
            count = self._counts.get((method, line))
            if count is None:
                return False
            away = self._draw() < count.share
            count.asked += 1
            if away:
                count.away += 1
                self.turned_away += 1
            return away


def _status(again_s: float) -> WireStatus:
    return to_wire(
        ResourceExhausted(
            "most requests of this connection were refused or too late just now, and the server has no time to look at "
            "more; ask less often, or over a connection of its own for what others ask",
            retry_after_s=again_s,
        )
    )


_STATUSES: Final = tuple(map(_status, _AGAIN_S))


def turned_away() -> WireStatus:
    """Say so to whoever is turned away."""
    return random.choice(_STATUSES)
