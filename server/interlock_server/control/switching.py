"""Promote and rollback: PREPARE on every live replica, COMMIT in one transaction, then every worker switches.

The commit is the point of no return. Before it any failure leaves everything as it was; after it the answer is OK,
with the workers that lag by name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from interlock.model import MutationOptions, Switch
from interlock_registry import attempts
from interlock_registry.approvals import Consent
from interlock_registry.domain import Action, Attempt, Move, Moved, Recalled
from interlock_registry.fleet_registry import Fence, RolloutIncomplete
from interlock_registry.registry import Registry

from interlock_server.control.adoption import Adoption
from interlock_server.control.answers import read_switch, switch_answer
from interlock_server.control.database import Database
from interlock_server.control.deriving import Deriving
from interlock_server.control.membership import Membership
from interlock_server.control.mutations import Mutations
from interlock_server.control.overtaking import Overtaking
from interlock_server.control.replica import Replica
from interlock_server.control.rollouts import Lead, Rollouts
from interlock_server.control.trusted import check_trusted
from interlock_server.control.workers import Prepared, Workers
from interlock_server.snapshot import VersionKey, VersionSpec

MAX_WAIT_S: Final = 3600.0
"""The longest wait for the fleet after a commit."""


@dataclass(frozen=True, slots=True)
class _Visited:
    """What a rollback's one visit to the registry came to."""

    move: Move
    switch: Switch | None = None
    """None where the target must be loaded before the move is committed."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A move that may be committed now."""

    switch: Switch
    lead: Lead | None = None
    """The rollout that has prepared the fleet for it."""


class Switching:
    """The use cases that move aliases."""

    def __init__(
        self,
        database: Database,
        mutations: Mutations,
        replica: Replica,
        workers: Workers,
        membership: Membership,
        rollouts: Rollouts,
        deriving: Deriving,
        adoption: Adoption,
        pardon: Callable[[VersionKey], None] = lambda _: None,
        approvals: Callable[[str, str], int] = lambda model, alias: 0,
    ) -> None:
        """Take the parts.

        `pardon` is called before a version is prepared that may be quarantined: somebody wants it in spite of that.
        `approvals` says how many of them a promote of a model's alias takes.
        """
        self._database = database
        self._mutations = mutations
        self._replica = replica
        self._workers = workers
        self._membership = membership
        self._rollouts = rollouts
        self._deriving = deriving
        self._adoption = adoption
        self._pardon = pardon
        self._approvals = approvals
        self._overtaking = Overtaking()

    async def promote(self, attempt: Attempt, options: MutationOptions) -> Switch:
        """Point an alias at a version; raises what planning, PREPARE and COMMIT refuse."""

        def plan(registry: Registry) -> Move:
            return registry.plan_promote(
                attempt.model,
                attempt.version,
                attempt.alias,
                expected_generation=options.expected_generation,
                allow_breaking=options.allow_breaking,
                consent=self._consent(attempt),
            )

        if options.dry_run:
            return await self._dry_run(attempt, plan)

        async def work(move: Move) -> str:
            self._pardon(_key(move))
            return switch_answer(await self._served_by_all(await self._move(attempt, move), options))

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
            switch = found.switch or await self._move(attempt, found.move)
            return switch_answer(await self._served_by_all(switch, options))

        return read_switch(
            await self._mutations.run_visited(attempt, partial(self._roll_back_at_once, attempt, options), work)
        )

    async def _roll_back_at_once(self, attempt: Attempt, options: MutationOptions) -> Recalled | _Visited:
        """Roll back to a version that is resident; to any other only plan it."""
        trusted = [spec for spec in self._replica.kept(attempt.model) if not spec.distrust]
        resident = [spec for spec in trusted if self._workers.resident(spec.key)]
        ready = frozenset(spec.version for spec in resident)
        if self._membership.shared:
            kept = [spec.version for spec in trusted]
            ready = await self._membership.resident_on_half(attempt.model, kept)

        def visit(registry: Registry) -> Recalled | Move | Moved:
            return registry.roll_back(
                attempt,
                lambda move: switch_answer(replace(_switch(move), resident=True)),
                ready=ready,
                fence=self._fence(attempt),
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
            self._overtaking.overtake(found.move, attempt.actor)
            adopted = await self._adoption.adopt_way_back(found)
        commit_s = time.monotonic() - started
        switch = replace(_switch(found.move), resident=True, lagging=adopted.lagging, commit_s=commit_s)
        self._adoption.tell_soon(attempt.action, switch, adopted)
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
        async with self._prepared(attempt, move) as ready:
            while True:
                try:
                    return await self._commit(attempt, move, ready)
                except RolloutIncomplete:  # a replica has joined at the last moment, or started again
                    assert ready.lead is not None
                    await self._overtaking.until_overtaken(move, ready.lead.prepared())

    async def _served_by_all(self, switch: Switch, options: MutationOptions) -> Switch:
        """Wait for the fleet, if that was asked for; what is committed stays so."""
        if not options.wait_s or not self._membership.shared:
            return switch
        key = VersionKey(switch.model, switch.to_version)
        wait_s = min(options.wait_s, MAX_WAIT_S)
        return replace(switch, late=await self._membership.wait_for_all(key, self._replica.epoch, wait_s))

    def _fence(self, attempt: Attempt, lead: Lead | None = None) -> Fence | None:
        if not self._membership.shared:
            return None
        by = attempt.actor if attempt.action is Action.ROLLBACK else ""
        return Fence(lead.rollout if lead is not None else None, rolled_back_by=by)

    def _consent(self, attempt: Attempt) -> Consent | None:
        # Asked for again with each transaction: the rules may change while a version is prepared.
        count = self._approvals(attempt.model, attempt.alias) if attempt.action is Action.PROMOTE else 0
        return Consent(count, attempt.actor) if count else None

    async def _dry_run(self, attempt: Attempt, plan: Callable[[Registry], Move]) -> Switch:
        attempts.check(attempt)
        move = await self._database.read(plan)
        await self._trusted(move)
        return replace(_switch(move), dry_run=True, resident=self._workers.resident(_key(move)))

    @asynccontextmanager
    async def _prepared(self, attempt: Attempt, move: Move) -> AsyncIterator[_Ready]:
        """Have the target loaded and proven everywhere, and keep it so until the move is committed or given up."""
        planned = _switch(move)
        spec = await self._trusted(move)
        key = _key(move)
        is_resident = self._kept(key) is not None and self._workers.resident(key)
        try:
            with ExitStack() as held:
                if is_resident:
                    held.enter_context(self._replica.preparing(spec))
                    if not self._membership.shared:
                        yield _Ready(replace(planned, resident=True))
                        return
                started = time.monotonic()
                async with self._leading(attempt, move) as lead:
                    prepared = await self._overtaking.until_overtaken(
                        move, self._prepare_everywhere(attempt.action, spec, lead, held)
                    )
                    took_s = time.monotonic() - started
                    yield _Ready(replace(planned, resident=prepared.resident, prepare_s=took_s), lead)
        except BaseException:
            # The candidate is no longer wanted: the next picture, without it, makes the workers drop it.
            await self._workers.sync()
            raise

    @asynccontextmanager
    async def _leading(self, attempt: Attempt, move: Move) -> AsyncIterator[Lead | None]:
        if not self._membership.shared:
            yield None
            return
        async with self._rollouts.leading(attempt, move) as lead:
            yield lead

    async def _prepare_everywhere(
        self, action: Action, spec: VersionSpec, lead: Lead | None, held: ExitStack
    ) -> Prepared:
        preparing = self._prepare_here(action, spec, held)
        if lead is None:
            return await preparing
        here = asyncio.create_task(preparing)
        there = asyncio.create_task(lead.prepared())
        try:
            done, _ = await asyncio.wait((here, there), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            return here.result()
        finally:
            here.cancel()
            there.cancel()
            await asyncio.gather(here, there, return_exceptions=True)

    async def _prepare_here(self, action: Action, spec: VersionSpec, held: ExitStack) -> Prepared:
        if action is Action.ROLLBACK and not self._workers.reported.any_reachable:
            # An incident: no worker is up, perhaps because the live version kills them. They come back with this.
            held.enter_context(self._replica.preparing(spec))
            return Prepared(resident=False)
        # A rollback does not wait for a form to be made: it is to be quick, and the artifact can be loaded as well.
        await self._deriving.ensure(spec, make=action is not Action.ROLLBACK)
        # No sooner: the workers load all they are shown, and would not wait for the form.
        held.enter_context(self._replica.preparing(spec))
        return await self._deriving.prepare(spec)

    async def _trusted(self, move: Move) -> VersionSpec:
        """Return what is needed to load a move's target; raises NotTrusted where policy refuses its signatures."""
        spec = self._kept(_key(move)) or await self._spec(move)
        check_trusted(spec, "served")
        return spec

    def _kept(self, key: VersionKey) -> VersionSpec | None:
        return next((spec for spec in self._replica.kept(key.model) if spec.key == key), None)

    async def _spec(self, move: Move) -> VersionSpec:
        target = await self._database.read(lambda registry: registry.desired_version(move.model, move.to_version))
        return self._replica.spec(target)

    async def _commit(self, attempt: Attempt, move: Move, ready: _Ready) -> Switch:
        started = time.monotonic()
        answer, fence = switch_answer(ready.switch), self._fence(attempt, ready.lead)
        consent = self._consent(attempt)
        committed = await self._database.write(
            lambda registry: registry.commit_move(move, attempt, answer, fence, consent)
        )
        if attempt.action is Action.ROLLBACK:
            self._overtaking.overtake(move, attempt.actor)
        adopted = await self._adoption.adopt(committed)
        switch = replace(ready.switch, lagging=adopted.lagging, commit_s=time.monotonic() - started)
        self._adoption.tell(attempt.action, switch, adopted)
        return switch


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
