"""What follows from probes that a live worker leaves unanswered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROBE_TIMEOUT_S: Final = 1.0
_ABSENT_AFTER: Final = 2
"""Probes in a row: one may be lost to a moment in which the machine had no time for anybody."""
_WEDGED_AFTER_S: Final = 4.0
_LATE_S: Final = 1.0
"""A probe that ends so long after its deadline says that this process stood still itself."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The probes that were left unanswered one after another."""

    until: float
    """When the last of them was given up, or the first begun; on the monotonic clock."""
    probes: int = 0
    silent_s: float = 0.0
    """For how long, but for times in which this process stood still."""

    def after(self, now: float) -> Silence:
        """Return the state after one more that is given up now."""
        took_s = now - self.until
        if took_s >= PROBE_TIMEOUT_S + _LATE_S:
            return Silence(now, self.probes, self.silent_s)
        return Silence(now, self.probes + 1, self.silent_s + took_s)

    @property
    def is_absent(self) -> bool:
        """Whether nothing should be expected of the worker: what asks for its health is told so."""
        return self.probes >= _ABSENT_AFTER

    @property
    def is_wedged(self) -> bool:
        """Whether it must be killed."""
        return self.silent_s >= _WEDGED_AFTER_S
