"""A rollback goes past a promote of its alias that is still preparing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TypeVar

from interlock.errors import Preempted
from interlock_registry.domain import Move

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _AliasKey:
    model: str
    alias: str


class Overtaking:
    """Who prepares for which alias, and may be overtaken there. Lives on one event loop."""

    def __init__(self) -> None:
        self._preparing: dict[_AliasKey, set[asyncio.Future[str]]] = {}

    async def until_overtaken(self, move: Move, preparing: Coroutine[None, None, T]) -> T:
        """Return what preparing comes to; raises Preempted, and cancels it, where a rollback of the alias is first."""
        alias = _AliasKey(move.model, move.alias)
        overtaken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._preparing.setdefault(alias, set()).add(overtaken)
        loading = asyncio.create_task(preparing)
        try:
            racers: set[asyncio.Future[T] | asyncio.Future[str]] = {loading, overtaken}
            await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            if overtaken.done():
                raise Preempted(move.model, move.alias, overtaken.result())
            return await loading
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            waiting = self._preparing[alias]
            waiting.discard(overtaken)
            if not waiting:
                del self._preparing[alias]

    def overtake(self, move: Move, actor: str) -> None:
        """End all preparing for the alias of a rollback that was committed."""
        for waiting in self._preparing.get(_AliasKey(move.model, move.alias), ()):
            if not waiting.done():
                waiting.set_result(f"a rollback by {actor} to version {move.to_version}")
