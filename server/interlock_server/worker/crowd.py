"""Who is let into a queue in which more waits than the next run takes, and where each stands.

Three rules, in this order. A request that would not be answered before its deadline is refused at once, by what the
queue was measured to move. Callers share the queue: the more of it one has, the farther back its next request stands,
so that whoever asks little waits little. And when it is full, whoever has the most of it gives up its last place for
one who has clearly less.

As long as all that waits fits into the next run there is nothing to decide, and nothing here is called.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from interlock.errors import DeadlineExceeded, InterlockError, Overloaded, QueueFull
from interlock.model import ServingConfig

from interlock_server.worker.work import Work

_LATE: Final = 0.9
"""A request is refused whose answer is expected later than after this share of the time that it has: the rest is for
the way back, and for what was estimated too low."""
_HOPELESS: Final = 0.5
"""A request is not run any more if less than this share of the time is left that its run takes."""
_SLOWER, _FASTER = 0.2, 0.5
"""How much a new measurement weighs. Too high an estimate refuses what could be answered, so it is given up sooner."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a request has before it in a queue."""

    ahead: int
    """Requests that run before it."""
    each_s: float
    """What each of them takes; 0 where that was not measured."""
    run_s: float
    """How long its own run takes."""
    has_s: float
    """The time until its deadline."""
    may_wait_s: float
    """How long anything may wait here; 0: any time."""

    @property
    def wait_s(self) -> float:
        """How long it is expected to wait."""
        return self.ahead * self.each_s

    @property
    def too_late_s(self) -> float:
        """By how much its answer would come too late; 0 or less where it comes in time."""
        late_s = self.wait_s + self.run_s - _LATE * self.has_s
        return max(late_s, self.wait_s - self.may_wait_s) if self.may_wait_s else late_s


class _Caller:
    """What one caller has in the queue."""

    __slots__ = ("last", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.last = 0.0
        """The time that its last request counts as having come at."""


class Crowd:
    """Measures how a queue moves, and lets requests in by it. Not thread-safe: its batcher holds a lock."""

    __slots__ = (
        "_callers",
        "_config",
        "_each_s",
        "_lanes",
        "_may_wait_s",
        "_name",
        "_row_s",
        "_run_s",
        "begins",
        "hopeless_s",
    )

    def __init__(self, name: str, config: ServingConfig, lanes: int, may_wait_s: float = 0.0) -> None:
        """Take a version's name, its config, how many runs take place at once, and how long anything may wait."""
        self._name: Final = name
        self._config: Final = config
        self._lanes: Final = lanes
        self._may_wait_s: Final = may_wait_s
        self._callers: dict[str, _Caller] = {}
        self._each_s = self._row_s = self._run_s = 0.0
        self.begins = self._most(0)
        """From so many waiting requests on one more is a matter for this: what waits does not fit into one run."""
        self.hopeless_s = 0.0
        """A request that has no more time than this is not worth a run any more, if others wait."""

    def _most(self, last_run: int) -> int:
        """Return how many requests may wait uncounted, where the last run had so many and left some; 0: left none."""
        together = max(1, self._config.max_batch_size)
        # Half of a short queue is counted: else nobody would know whose it is when it is full.
        return min(last_run or together, together, (self._config.max_queue_size + 1) // 2)

    def ran(self, requests: int, rows: int, took_s: float, left: int) -> None:
        """Take that a run of so many requests, and all that goes with it, took so long, and how many then waited."""
        self._run_s = _follow(self._run_s, took_s)
        self._row_s = _follow(self._row_s, took_s / rows)
        self.hopeless_s = _HOPELESS * self._row_s
        if left or requests >= self._config.max_batch_size:
            self._each_s = _follow(self._each_s, took_s / (requests * self._lanes))
        self.begins = self._most(requests if left else 0)

    def rows_within(self, seconds: float) -> float:
        """Return how many rows a run may have that has to end within so many seconds."""
        return _LATE * seconds / self._row_s if self._row_s else float("inf")

    def check(self, queue: Sequence[Work], now: float, rank: float, deadline: float, caller: str) -> float:
        """Return the rank at which a request comes in, given the one that its arrival and priority would give it.

        Raises what refuses it: DeadlineExceeded, Overloaded, QueueFull.
        """
        if deadline <= now:
            raise DeadlineExceeded("the deadline passed before the request was queued; it was not run")
        rank += self._behind_s(caller, now)
        prospect = Prospect(
            ahead=place(queue, rank),
            each_s=self._each_s,
            run_s=self._run_s,
            has_s=deadline - now,
            may_wait_s=self._may_wait_s,
        )
        if (late_s := prospect.too_late_s) > 0:
            raise self._overloaded(prospect.wait_s, late_s)
        if len(queue) >= self._config.max_queue_size and self._heaviest(caller, len(queue)) is None:
            raise self.full(len(queue))
        return rank

    def displaced(self, queue: Sequence[Work], caller: str) -> Work | None:
        """Return which request has to leave a full queue for one that `check` has let in."""
        heaviest = self._heaviest(caller, len(queue))
        return next((work for work in reversed(queue) if work.counted == heaviest), None)

    def _heaviest(self, caller: str, waiting: int) -> str | None:
        """Return who has so much more in the queue than a caller that it gives up a place; None where nobody has."""
        known = self._callers.get(caller)
        own = 0 if known is None else known.waiting
        if own * len(self._callers) >= waiting:
            return None  # it has its share
        name, most = max(self._callers.items(), key=_waiting, default=("", None))
        return name if most is not None and most.waiting > own + 1 else None

    def _behind_s(self, caller: str, now: float) -> float:
        """Return how much later than now a caller's next request counts as having come: when its turn would be.

        Never before the one before it, whatever was measured since.
        """
        known = self._callers.get(caller)
        if known is None:
            return 0.0
        turn_s = known.waiting * len(self._callers) * (self._each_s or self._run_s)
        return max(turn_s, known.last - now)

    def count(self, work: Work, caller: str, turn: float) -> None:
        """Note that a request of a caller waits, and counts as having come at a time."""
        work.counted = caller
        known = self._callers.get(caller)
        if known is None:
            known = self._callers[caller] = _Caller()
        known.waiting += 1
        known.last = turn

    def left(self, work: Work) -> None:
        """Note that a request waits no longer, if it was counted."""
        caller, work.counted = work.counted, None
        if caller is None:
            return
        known = self._callers[caller]
        known.waiting -= 1
        if not known.waiting:
            del self._callers[caller]

    def full(self, waiting: int) -> InterlockError:
        """Say that there is no place, and when there may be one."""
        model, version = self._who()
        again_s = again(max(waiting * self._each_s, self._run_s))
        return QueueFull(model, version, self._config.max_queue_size, retry_after_s=again_s)

    def _overloaded(self, wait_s: float, late_s: float) -> Overloaded:
        model, version = self._who()
        return Overloaded(model, version, wait_s=float(f"{wait_s:.1g}"), retry_after_s=again(late_s))

    def _who(self) -> tuple[str, int]:
        model, _, version = self._name.rpartition("@")
        return model, int(version)


def place(queue: Sequence[Work], rank: float) -> int:
    """Return where a request of a rank goes: behind all of the same rank or a lower one."""
    return bisect_right(queue, rank, key=_rank)


def again(seconds: float) -> float:
    """Return when to come again: at a time of its own for everybody, lest all come back at once.

    It has one digit, so that refusals are few different ones, and what is sent for them can be kept.
    """
    return max(0.001, float(f"{seconds * random.uniform(0.5, 1.5):.1g}"))


def _rank(work: Work) -> float:
    return work.rank


def _waiting(item: tuple[str, _Caller]) -> int:
    return item[1].waiting


def _follow(estimate: float, found: float) -> float:
    if not estimate:
        return found
    weight = _FASTER if found < estimate else _SLOWER
    return (1 - weight) * estimate + weight * found
