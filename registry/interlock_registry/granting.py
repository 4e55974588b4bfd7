"""What was granted here, for those who still have to tell how an attempt ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from interlock_registry.domain import Attempt
from interlock_registry.sql.database import Database
from interlock_registry.sql.writer import Writer

T = TypeVar("T")

_KEPT: Final = 1024
"""Granted attempts that are known as such; whoever made one may still be at work after its transaction."""


class Granting:
    """Runs the transactions that grant attempts, and remembers the latest. Any thread may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._granted: deque[Attempt] = deque(maxlen=_KEPT)

    def run(self, attempt: Attempt, work: Callable[[Writer], T]) -> T:
        """Run the transaction that grants an attempt; whatever it raises leaves no trace."""
        done = self._database.write(work)
        self.note(attempt)
        return done

    def note(self, attempt: Attempt) -> None:
        """Remember that an attempt was granted."""
        with self._lock:
            self._granted.append(attempt)

    def granted(self, attempt: Attempt) -> bool:
        """Tell whether this very attempt was granted here: an equal one is another."""
        with self._lock:
            return any(each is attempt for each in self._granted)
