"""A process that stops says once a second what it waits for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

from interlock.model import ServableStatus

_EVERY_S: Final = 1.0
_NAMED: Final = 5
"""How many versions a line names."""


@asynccontextmanager
async def saying(log: logging.Logger, awaited: Callable[[], str]) -> AsyncIterator[None]:
    """Log what is awaited, as long as the context lasts; "" is nothing to speak of."""
    task = asyncio.create_task(_say(log, awaited))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _say(log: logging.Logger, awaited: Callable[[], str]) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        if what := awaited():
            log.info("waiting for %s", what)


def requests_of(servables: Iterable[ServableStatus]) -> str:
    """Say of which versions requests are not yet answered, the most first."""
    busy = sorted(
        (each for each in servables if each.in_flight), key=lambda each: (-each.in_flight, each.model, each.version)
    )
    named = [f"{_many(each.in_flight, 'request')} of {each.model}@{each.version}" for each in busy[:_NAMED]]
    rest = sum(each.in_flight for each in busy[_NAMED:])
    return ", ".join([*named, *([f"{_many(rest, 'request')} of other versions"] if rest else [])])


def changes_of(actions: Iterable[str]) -> str:
    """Say which changes are not yet made."""
    return ", ".join(sorted(actions))


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
