"""Which versions stay loaded. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from interlock.model import Alias

from interlock_registry.domain import Route


def keep_set(aliases: Iterable[Alias], routes: Iterable[Route], pins: Iterable[int], *, depth: int) -> tuple[int, ...]:
    """Return the versions of one model to keep loaded and warm, sorted.

    Each alias's live version, the next `depth` of its stack (where rollbacks go), every route's targets and the pins.
    """
    kept = set(pins)
    for alias in aliases:
        kept.add(alias.version)
        kept.update(alias.stack[max(len(alias.stack) - depth, 0) :])
    for route in routes:
        kept.update(target.version for target in route.targets)
    return tuple(sorted(kept))
