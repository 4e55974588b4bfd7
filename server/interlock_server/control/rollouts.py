"""Lead a rollout: ask every live replica to prepare a version, and wait until all have."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from interlock.errors import InterlockError, PrepareFailed, RegistryUnavailable
from interlock_registry.domain import Attempt, Move
from interlock_registry.fleet import LEASE_S, Rollout, Verdict

from interlock_server.control.database import Database
from interlock_server.control.membership import Membership

log = logging.getLogger("interlock.fleet")

_LOOK_EVERY_S: Final = 0.1
_RENEW_EVERY_S: Final = LEASE_S / 4


class Lead:
    """A rollout that this replica leads."""

    def __init__(self, database: Database, rollout: Rollout, timeout_s: float) -> None:
        self._database = database
        self.rollout = rollout
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s

    async def prepared(self) -> None:
        """Wait until every other live replica has the version loaded, warm and proven.

        Raises PrepareFailed with the names of those where it failed or takes too long, Preempted, Aborted.
        """
        while not (verdict := await self._progress()).may_commit:
            if verdict.failed:
                raise self._failed("; ".join(f"{label}: {why}" for label, why in verdict.failed.items()))
            if time.monotonic() > self._deadline:
                waiting = ", ".join(verdict.waiting)
                raise self._failed(
                    f"not done within {self._timeout_s:g} s (setting prepare_timeout_s) by {waiting}; look at its log"
                )
            await asyncio.sleep(_LOOK_EVERY_S)

    async def keep(self) -> None:
        """Renew the lease for as long as this runs; a registry that is away for less than the lease does no harm."""
        while True:
            await asyncio.sleep(_RENEW_EVERY_S)
            try:
                await self._database.note(lambda registry: registry.fleet.renew(self.rollout))
            except InterlockError as error:
                log.warning("the lease of a rollout was not renewed: %s", error.message)

    async def _progress(self) -> Verdict:
        return await self._database.read(lambda registry: registry.fleet.progress(self.rollout))

    def _failed(self, why: str) -> PrepareFailed:
        return PrepareFailed(self.rollout.model, self.rollout.version, why)


class Rollouts:
    """Begins and ends the rollouts that this replica leads."""

    def __init__(self, database: Database, membership: Membership, *, timeout_s: float) -> None:
        self._database = database
        self._membership = membership
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def leading(self, attempt: Attempt, move: Move) -> AsyncIterator[Lead]:
        """Have the fleet prepare the target of a move; the rollout ends with the block, or with a commit inside."""
        rollout = Rollout(
            rollout=str(uuid.uuid4()),
            action=attempt.action.value,
            model=move.model,
            alias=move.alias,
            version=move.to_version,
            coordinator=self._membership.replica_id,
            actor=attempt.actor,
            reason=attempt.reason,
            request_id=attempt.request_id,
        )
        await self._database.note(lambda registry: registry.fleet.open(rollout))
        lead = Lead(self._database, rollout, self._timeout_s)
        keeping = asyncio.create_task(lead.keep())
        try:
            yield lead
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._end(rollout)

    async def _end(self, rollout: Rollout) -> None:
        try:
            await self._database.note(lambda registry: registry.fleet.end(rollout.rollout))
        except RegistryUnavailable as error:
            log.warning("a rollout ends with its lease instead: %s", error.message)
