"""Promote and rollback: PREPARE on every worker, COMMIT in one transaction, then every worker switches.

The commit is the point of no return. Before it any failure leaves everything as it was; after it the answer is OK,
with the workers that lag by name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from interlock.errors import FailedPrecondition, InterlockError, Preempted
from interlock.model import MutationOptions, Switch
from interlock_registry import attempts
from interlock_registry.domain import Action, Attempt, Committed, Move, Moved, Recalled
from interlock_registry.registry import Registry

from interlock_server.control.answers import read_switch, switch_answer
from interlock_server.control.database import Database
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.mutations import Mutations
from interlock_server.control.replica import Replica
from interlock_server.control.workers import Prepared, Workers
from interlock_server.snapshot import VersionKey, VersionSpec

log = logging.getLogger("interlock.switching")


@dataclass(frozen=True, slots=True)
class _AliasKey:
    model: str
    alias: str


@dataclass(frozen=True, slots=True)
class _Visited:
    """What a rollback's one visit to the registry came to."""

    move: Move
    switch: Switch | None = None
    """None where the target must be loaded before the move is committed."""


class Switching:
    """The use cases that move aliases."""

    def __init__(
        self,
        database: Database,
        mutations: Mutations,
        replica: Replica,
        workers: Workers,
        metrics: ControlMetrics,
        changed: Callable[[], None],
    ) -> None:
        """Take the parts; `changed` is called after the desired state has moved."""
        self._database = database
        self._mutations = mutations
        self._replica = replica
        self._workers = workers
        self._metrics = metrics
        self._changed = changed
        self._preparing: dict[_AliasKey, set[asyncio.Future[str]]] = {}

    async def promote(self, attempt: Attempt, options: MutationOptions) -> Switch:
        """Point an alias at a version; raises what planning, PREPARE and COMMIT refuse."""

        def plan(registry: Registry) -> Move:
            return registry.plan_promote(
                attempt.model,
                attempt.version,
                attempt.alias,
                expected_generation=options.expected_generation,
                allow_breaking=options.allow_breaking,
            )

        if options.dry_run:
            return await self._dry_run(attempt, plan)

        async def work(move: Move) -> str:
            return switch_answer(await self._move(attempt, move))

        return read_switch(await self._mutations.run_planned(attempt, plan, work))

    async def rollback(self, attempt: Attempt, options: MutationOptions) -> Switch:
        """Point an alias back; overtakes a promote of the same alias that is still preparing.

        Where the target is loaded and warm, as it is after a promote, this is one visit to the registry.
        """

        def plan(registry: Registry) -> Move:
            return registry.plan_rollback(
                attempt.model,
                attempt.alias,
                attempt.version,
                expected_generation=options.expected_generation,
                allow_breaking=options.allow_breaking,
            )

        if options.dry_run:
            return await self._dry_run(attempt, plan)

        async def work(found: _Visited) -> str:
            return switch_answer(found.switch or await self._move(attempt, found.move))

        return read_switch(
            await self._mutations.run_visited(attempt, partial(self._roll_back_at_once, attempt, options), work)
        )

    async def _roll_back_at_once(self, attempt: Attempt, options: MutationOptions) -> Recalled | _Visited:
        """Roll back to a version that is resident; to any other only plan it."""
        resident = [spec for spec in self._replica.kept(attempt.model) if self._workers.resident(spec.key)]
        ready = frozenset(spec.version for spec in resident)

        def visit(registry: Registry) -> Recalled | Move | Moved:
            return registry.roll_back(
                attempt,
                lambda move: switch_answer(replace(_switch(move), resident=True)),
                ready=ready,
                expected_generation=options.expected_generation,
                allow_breaking=options.allow_breaking,
            )

        async with self._held(attempt.model, resident):
            started = time.monotonic()
            found = await self._database.write(visit)
            if isinstance(found, Recalled):
                return found
            if isinstance(found, Move):
                return _Visited(found)
            self._overtake(found.move, attempt.actor)
            lagging = await self._switch_workers(adopted=self._replica.move(found))
        switch = replace(_switch(found.move), resident=True, lagging=lagging, commit_s=time.monotonic() - started)
        self._tell(attempt, switch, found.epoch)
        return _Visited(found.move, switch)

    @asynccontextmanager
    async def _held(self, model: str, specs: Sequence[VersionSpec]) -> AsyncIterator[None]:
        """Keep versions loaded that are now, though others may switch meanwhile to what does not keep them."""
        try:
            with self._replica.preparing(*specs):
                yield
        finally:
            kept = {spec.key for spec in self._replica.kept(model)}
            if any(spec.key not in kept for spec in specs):
                await self._workers.sync()

    async def _move(self, attempt: Attempt, move: Move) -> Switch:
        async with self._prepared(attempt, move) as prepared:
            return await self._commit(attempt, move, prepared)

    async def _dry_run(self, attempt: Attempt, plan: Callable[[Registry], Move]) -> Switch:
        attempts.check(attempt)
        move = await self._database.read(plan)
        return replace(_switch(move), dry_run=True, resident=self._workers.resident(_key(move)))

    @asynccontextmanager
    async def _prepared(self, attempt: Attempt, move: Move) -> AsyncIterator[Switch]:
        """Have the target loaded and proven everywhere, and keep it so until the move is committed or given up."""
        planned = _switch(move)
        if attempt.action is Action.ROLLBACK and not self._workers.any_reachable:
            # An incident: no worker is up, perhaps because the live version kills them. They come back with this.
            yield planned
            return
        key = _key(move)
        kept = self._kept(key) if self._workers.resident(key) else None
        spec = kept or await self._spec(move)
        try:
            with self._replica.preparing(spec):
                if kept is not None:
                    yield replace(planned, resident=True)
                    return
                started = time.monotonic()
                prepared = await self._prepare_unless_overtaken(move, spec)
                yield replace(planned, resident=prepared.resident, prepare_s=time.monotonic() - started)
        except BaseException:
            # The candidate is no longer wanted: the next picture, without it, makes the workers drop it.
            await self._workers.sync()
            raise

    def _kept(self, key: VersionKey) -> VersionSpec | None:
        return next((spec for spec in self._replica.kept(key.model) if spec.key == key), None)

    async def _spec(self, move: Move) -> VersionSpec:
        target = await self._database.read(lambda registry: registry.desired_version(move.model, move.to_version))
        return self._replica.spec(target)

    async def _prepare_unless_overtaken(self, move: Move, spec: VersionSpec) -> Prepared:
        alias = _AliasKey(move.model, move.alias)
        overtaken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._preparing.setdefault(alias, set()).add(overtaken)
        loading = asyncio.create_task(self._workers.prepare(spec))
        try:
            racers: set[asyncio.Future[Prepared] | asyncio.Future[str]] = {loading, overtaken}
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

    async def _commit(self, attempt: Attempt, move: Move, prepared: Switch) -> Switch:
        started = time.monotonic()
        answer = switch_answer(prepared)
        committed = await self._database.write(lambda registry: registry.commit_move(move, attempt, answer))
        if attempt.action is Action.ROLLBACK:
            self._overtake(move, attempt.actor)
        lagging = await self.adopt(committed)
        switch = replace(prepared, lagging=lagging, commit_s=time.monotonic() - started)
        self._tell(attempt, switch, committed.epoch)
        return switch

    def _tell(self, attempt: Attempt, switch: Switch, epoch: int) -> None:
        self._metrics.switched(switch.prepare_s, switch.commit_s)
        log.info(
            "%s committed",
            attempt.action.value,
            extra={
                "alias": f"{switch.model}:{switch.alias}",
                "from_version": switch.from_version,
                "to_version": switch.to_version,
                "generation": switch.generation,
                "epoch": epoch,
                "prepare_s": round(switch.prepare_s, 4),
                "commit_s": round(switch.commit_s, 4),
            },
        )

    def _overtake(self, move: Move, actor: str) -> None:
        for waiting in self._preparing.get(_AliasKey(move.model, move.alias), ()):
            if not waiting.done():
                waiting.set_result(f"a rollback by {actor} to version {move.to_version}")

    async def adopt(self, committed: Committed) -> tuple[str, ...]:
        """Take a commit of ours over and switch the workers; returns those that lag. What is committed stays so."""
        return await self._switch_workers(adopted=self._replica.replace_model(committed))

    async def _switch_workers(self, *, adopted: bool) -> tuple[str, ...]:
        if not adopted:
            try:
                desired = await self._database.read(lambda registry: registry.desired())
            except InterlockError as error:
                log.error("a commit is taken over later, with the next look at the registry: %s", error.message)
                return self._workers.names
            self._replica.replace_all(desired)
        lagging = await self._workers.sync()
        self._changed()
        return lagging

    async def change(self, attempt: Attempt, options: MutationOptions, write: Callable[[Registry], Committed]) -> None:
        """Make a change that is one transaction: pins, alias removals, retirements, deletions."""
        if options.dry_run:
            raise FailedPrecondition(
                f"{attempt.action.value} has no dry run; `interlock show` and `log` tell the state"
            )

        async def work() -> str:
            await self.adopt(await self._database.write(write))
            return "{}"

        await self._mutations.run(attempt, work)


def _key(move: Move) -> VersionKey:
    return VersionKey(move.model, move.to_version)


def _switch(move: Move) -> Switch:
    return Switch(
        model=move.model,
        alias=move.alias,
        from_version=move.from_version,
        to_version=move.to_version,
        generation=move.generation_after,
        stack=move.stack_after,
        breaking=move.breaking,
    )
