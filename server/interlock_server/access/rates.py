"""How often somebody may do something: one token bucket each, and never more buckets than there is room for."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from interlock_server.access.board import Board

_MOST: Final = 4096


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    theirs: int = 0
    """How many the other processes had let its owner take by then."""


class Rates:
    """Buckets by key: each holds `burst`, and fills by `per_s`. Thread-safe.

    Where there are too many keys, the one that was used longest ago begins anew: the newest are those that count.
    Processes that have a board share what there is, however a caller's connections are spread over them.
    """

    def __init__(
        self,
        per_s: float,
        burst: float,
        *,
        board: Board | None = None,
        most: int = _MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._most = most
        self._clock = clock
        self._board = board
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    @property
    def burst(self) -> float:
        """How many may come at once."""
        return self._burst

    @property
    def per_s(self) -> float:
        """How many more each second."""
        return self._per_s

    def take(self, key: str) -> float:
        """Take one; 0.0 where there was one, else after how many seconds there will be."""
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(key)
            if bucket is None:
                if len(self._buckets) >= self._most:
                    self._buckets.popitem(last=False)
                bucket = self._buckets[key] = self._begin(key, now)
            else:
                self._buckets.move_to_end(key)
                bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_s)
                bucket.at = now
                if self._board is not None:
                    theirs = self._board.look(key, now, self._per_s).by_others
                    bucket.left -= max(0, theirs - bucket.theirs)
                    bucket.theirs = theirs
            if bucket.left < 1.0:
                return (1.0 - bucket.left) / self._per_s
            bucket.left -= 1.0
            if self._board is not None:
                self._board.take(key, bucket.left, now)
            return 0.0

    def _begin(self, key: str, now: float) -> _Bucket:
        if self._board is None:
            return _Bucket(self._burst, now)
        taken = self._board.look(key, now, self._per_s)
        return _Bucket(min(self._burst, taken.left), now, taken.by_others)
