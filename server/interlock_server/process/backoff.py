"""When to start a child again. Pure. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

FIRST_S: Final = 0.05
LONGEST_S: Final = 10.0
HEALTHY_S: Final = 20.0
"""A child that lived this long has earned a quick restart again."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often in a row a child has died young."""

    failures: int = 0

    def after(self, lived_s: float) -> Backoff:
        """Return the state after a child died, having lived so long."""
        return replace(self, failures=1 if lived_s >= HEALTHY_S else self.failures + 1)

    @property
    def delay_s(self) -> float:
        """How long to wait before the next start."""
        return 0.0 if self.failures == 0 else min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures - 1, 16))
