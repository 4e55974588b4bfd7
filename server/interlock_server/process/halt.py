"""Whether a child was stopped by a signal, and for how long. Pure. Standard library only.

The kernel tells a parent at once when a child is stopped (SIGSTOP and its kin): no probe that goes unanswered on a busy
machine can be mistaken for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from interlock_server.process.pulse import PAUSED_S

TOLERATED_S: Final = 1.0
"""How long a child may be stopped: who takes a picture of a process stops it for less."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Since when a child is stopped, and when that was looked at; times of the monotonic clock."""

    since: float | None = None
    looked: float = 0.0

    def after_look(self, now: float, *, stopped: bool | None) -> Halt:
        """Return the state after a look; `stopped` is None where nothing has changed since the last one."""
        if stopped is None:
            stopped = self.since is not None
        if not stopped:
            return Halt(None, now)
        if self.since is None or now - self.looked >= PAUSED_S:
            # A supervisor that was stopped too goes on first: its children get the time to follow.
            return Halt(now, now)
        return replace(self, looked=now)

    @property
    def too_long(self) -> bool:
        """Whether it has been stopped for longer than is tolerated, as of the last look."""
        return self.since is not None and self.looked - self.since >= TOLERATED_S
