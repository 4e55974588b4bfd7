"""Whether a child that should beat still does. Pure. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

STARTING_S: Final = 60.0
"""How long a child may take to its first beat: imports on a busy machine, a migration that it waits for."""
PAUSED_S: Final = 5.0
"""A supervisor that has not looked for so long was stopped itself: its children may have been, too."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """When a child beat last, and when that was looked at; times of the monotonic clock."""

    since: float
    """The last beat, or the start where there was none."""
    looked: float
    beating: bool = False

    @classmethod
    def begin(cls, now: float) -> Pulse:
        """Return the pulse of a child that was started now."""
        return cls(now, now)

    def after_look(self, now: float, *, beaten: bool) -> Pulse:
        """Return the state after looking whether it has beaten since the last look."""
        if beaten:
            return Pulse(now, now, beating=True)
        if now - self.looked >= PAUSED_S:
            return replace(self, since=now, looked=now)
        return replace(self, looked=now)

    def hangs(self, hang_s: float) -> bool:
        """Whether it has been silent for too long, as of the last look."""
        return self.looked - self.since >= (hang_s if self.beating else max(hang_s, STARTING_S))
