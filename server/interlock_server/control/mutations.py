"""Around every change: the idempotency key first, exactly one event after, and no caller's leaving in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from interlock.errors import Cancelled, IdempotencyKeyReused, InterlockError, RegistryUnavailable
from interlock.status import codes_of
from interlock_registry import attempts
from interlock_registry.domain import Action, Attempt, Recalled
from interlock_registry.registry import Registry

from interlock_server.control.database import Database
from interlock_server.control.metrics import ControlMetrics
from interlock_server.faults import opaque

log = logging.getLogger("interlock.mutations")

_SWITCHES = (Action.PROMOTE, Action.ROLLBACK)
"""`Adoption` logs them, with how long they took."""

Plan = TypeVar("Plan")

Answer = str
"""Canonical JSON of what a change answers with."""


@dataclass(frozen=True, slots=True)
class _Key:
    actor: str
    action: Action
    key: str


@dataclass(slots=True)
class _InFlight:
    request_hash: str
    task: asyncio.Task[Answer]


class Mutations:
    """Runs changes as tasks of its own: a caller that goes away does not stop one half-way."""

    def __init__(self, database: Database, metrics: ControlMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._in_flight: dict[_Key, _InFlight] = {}
        self._tasks: dict[asyncio.Task[Answer], str] = {}
        """What is under way, and how to call it."""
        self._recordings: set[asyncio.Task[None]] = set()

    async def run(self, attempt: Attempt, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Answer a change: from the idempotency store, with a running twin's answer, or by doing it."""
        return await self.run_planned(attempt, lambda registry: None, lambda _: work())

    async def run_planned(
        self, attempt: Attempt, plan: Callable[[Registry], Plan], work: Callable[[Plan], Awaitable[Answer]]
    ) -> Answer:
        """Answer a change as `run` does; `plan` reads what `work` needs."""

        def look(registry: Registry) -> Recalled | Plan:
            return _look(registry, attempt) or plan(registry)

        return await self.run_visited(attempt, lambda: self._database.read(look), work)

    async def run_visited(
        self,
        attempt: Attempt,
        visit: Callable[[], Awaitable[Recalled | Plan]],
        work: Callable[[Plan], Awaitable[Answer]],
    ) -> Answer:
        """Answer a change as `run` does; `visit` looks for the key itself, and returns what `work` needs."""
        key = _Key(attempt.actor, attempt.action, attempt.idempotency_key)
        twin = self._in_flight.get(key) if attempt.idempotency_key else None
        if twin is not None:
            if twin.request_hash != attempt.request_hash:
                async with self.refusing(attempt):
                    raise IdempotencyKeyReused(attempt.idempotency_key)
            return await asyncio.shield(twin.task)
        task = asyncio.create_task(self._attempt(attempt, visit, work))
        self._tasks[task] = f"{attempt.action.value} of {attempt.model}" if attempt.model else attempt.action.value
        task.add_done_callback(self._ended)
        if attempt.idempotency_key:
            self._in_flight[key] = _InFlight(attempt.request_hash, task)
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return await asyncio.shield(task)

    @property
    def running(self) -> tuple[str, ...]:
        """The changes that are under way, for people."""
        return tuple(self._tasks.values())

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # recorded as a refusal; the caller may have gone and never ask for it

    async def recall(self, attempt: Attempt) -> Answer | None:
        """Return the stored answer of an attempt's key.

        Raises the stored refusal, and, recorded, what is wrong with the attempt itself: InvalidName, InvalidArgument,
        IdempotencyKeyReused.
        """
        async with self.refusing(attempt):
            kept = await self._database.read(lambda registry: _look(registry, attempt))
        return None if kept is None else kept.result()

    @asynccontextmanager
    async def refusing(
        self,
        attempt: Attempt,
        *,
        cancelled: str = "the caller went away, or the server stopped, before the change was complete",
    ) -> AsyncIterator[None]:
        """Record an attempt that fails inside this context as refused; one that succeeds records itself later.

        `cancelled` is what is recorded where the task is cancelled.
        """
        try:
            yield
        except InterlockError as error:
            await self._refuse(attempt, error)
            raise
        except asyncio.CancelledError:
            await self._refuse(attempt, Cancelled(cancelled))
            raise
        except Exception as error:
            internal = opaque(error)
            await self._refuse(attempt, internal)
            raise internal from error

    async def _attempt(
        self,
        attempt: Attempt,
        visit: Callable[[], Awaitable[Recalled | Plan]],
        work: Callable[[Plan], Awaitable[Answer]],
    ) -> Answer:
        async with self.refusing(attempt, cancelled="the server stopped before the change was complete; make it again"):
            found = await visit()
            answer = None if isinstance(found, Recalled) else await work(found)
        if isinstance(found, Recalled):
            return found.result()
        assert answer is not None
        self._metrics.mutation(attempt.action.value, "OK")
        if attempt.action not in _SWITCHES:
            about = {"model": attempt.model, "version": attempt.version or None, "actor": attempt.actor}
            log.info("%s committed", attempt.action.value, extra={name: each for name, each in about.items() if each})
        return answer

    async def _refuse(self, attempt: Attempt, error: InterlockError) -> None:
        # As a task of its own: a caller that goes away now must not take its event with it.
        recording = asyncio.create_task(self._record(attempt, error))
        self._recordings.add(recording)
        recording.add_done_callback(self._recordings.discard)
        await asyncio.shield(recording)

    async def _record(self, attempt: Attempt, error: InterlockError) -> None:
        action, refused = attempt.action.value, True
        try:
            if not isinstance(error, RegistryUnavailable):  # else there is nowhere to write it
                # After any transaction of the attempt's own that is still under way: writes go one after the other.
                refused = await self._database.write(lambda registry: registry.refuse(attempt, error))
        except InterlockError as second:  # the caller is told the first
            log.error("the refusal could not be recorded: %s", second.message)
        if refused:
            self._metrics.mutation(action, codes_of(error).grpc.name)
            about = {"model": attempt.model, "actor": attempt.actor}
            log.warning("%s refused: %s", action, error.message, extra=about)
        else:
            self._metrics.mutation(action, "OK")
            log.warning("%s was granted, and not seen to its end: %s", action, error.message)

    async def close(self, grace_s: float) -> None:
        """Wait for running changes, then cancel them. Idempotent."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*self._recordings, return_exceptions=True)


def _look(registry: Registry, attempt: Attempt) -> Recalled | None:
    recalled = registry.recall(attempt)
    if recalled is None:
        attempts.check(attempt)
    return recalled
