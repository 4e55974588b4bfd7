"""Take part in rollouts that other replicas lead: prepare what they ask for, and say how it went."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from interlock.errors import InterlockError, NotTrusted, PrepareFailed, RegistryUnavailable
from interlock_registry.domain import Action
from interlock_registry.fleet import Rollout, Vote

from interlock_server.control.database import Database
from interlock_server.control.deriving import Deriving
from interlock_server.control.membership import Membership
from interlock_server.control.replica import Replica
from interlock_server.control.workers import Workers
from interlock_server.snapshot import VersionSpec

log = logging.getLogger("interlock.fleet")

_TRY_AGAIN_S: Final = 0.5
_TRIES: Final = 20
"""How often a replica looks whether its worker, which may be just starting, answers; the rollout waits so long."""
MAX_REASON: Final = 1024


class Participant:
    """Owns one task for each rollout that this replica takes part in."""

    def __init__(
        self, database: Database, replica: Replica, workers: Workers, membership: Membership, deriving: Deriving
    ) -> None:
        self._database = database
        self._replica = replica
        self._workers = workers
        self._membership = membership
        self._deriving = deriving
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def follow(self, rollouts: Collection[Rollout]) -> None:
        """Begin to take part in new rollouts of others, and drop what was prepared for those that ended.

        Called after the desired state was taken over: what a commit has made wanted is kept by then.
        """
        running = {each.rollout for each in rollouts}
        ended = [self._tasks.pop(rollout) for rollout in self._tasks.keys() - running]
        await self._end(ended)
        for each in rollouts:
            mine = each.coordinator == self._membership.replica_id
            if each.rollout not in self._tasks and not mine and not each.overtaken_by:
                self._tasks[each.rollout] = asyncio.create_task(self._take_part(each))

    async def close(self) -> None:
        """Stop taking part. Idempotent."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await self._end(tasks)

    async def _end(self, tasks: Collection[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
            # The next picture, without what was prepared and is not wanted, makes the workers drop it.
            await self._workers.sync()

    async def _take_part(self, rollout: Rollout) -> None:
        try:
            spec = await self._spec(rollout)
            if spec.distrust:
                raise NotTrusted(spec.distrust)
            back = rollout.action == Action.ROLLBACK.value
            # Perhaps it is the live version that kills the whole fleet's workers: they come back with the other.
            is_incident = back and not self._workers.reported.any_reachable
            if not is_incident:
                await self._worker_answers()
                await self._deriving.ensure(spec, make=not back)
            with self._replica.preparing(spec):  # no sooner: a worker that it is shown to would not wait for its form
                await self._vote(rollout, self._prepared() if is_incident else await self._prepare(spec))
                await asyncio.get_running_loop().create_future()  # until the rollout ends
        except InterlockError as error:
            await self._vote(rollout, self._failed(error.message))
        except Exception as error:
            log.exception("taking part in a rollout failed")
            await self._vote(rollout, self._failed(f"an internal error ({type(error).__name__}); its log has more"))

    async def _spec(self, rollout: Rollout) -> VersionSpec:
        target = await self._database.read(lambda registry: registry.desired_version(rollout.model, rollout.version))
        return self._replica.spec(target)

    async def _worker_answers(self) -> None:
        for _ in range(_TRIES):
            if self._workers.reported.any_reachable:
                return
            await asyncio.sleep(_TRY_AGAIN_S)

    async def _prepare(self, spec: VersionSpec) -> Vote:
        try:
            await self._deriving.prepare(spec)
        except PrepareFailed as error:
            return self._failed(error.why)
        log.info("prepared for a rollout", extra={"version": str(spec.key)})
        return self._prepared()

    def _prepared(self) -> Vote:
        return Vote(replica=self._membership.replica_id, boot=self._membership.boot, prepared=True)

    def _failed(self, why: str) -> Vote:
        log.warning("preparing for a rollout failed: %s", why)
        return Vote(
            replica=self._membership.replica_id, boot=self._membership.boot, prepared=False, reason=why[:MAX_REASON]
        )

    async def _vote(self, rollout: Rollout, vote: Vote) -> None:
        while True:
            try:
                await self._database.note(lambda registry: registry.fleet.vote(rollout.rollout, vote))
                return
            except RegistryUnavailable as error:
                log.warning("a vote could not be cast yet: %s", error.message)
                await asyncio.sleep(_TRY_AGAIN_S)
