"""What follows in a replica from a change of the trusted keys: versions are judged again, and an event says so.

What serves goes on: taking a model away because a key was revoked is for people to decide. Nothing is loaded again.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Final

from interlock_registry.domain import Action, Attempt

from interlock_server.control.database import Database
from interlock_server.control.replica import Replica
from interlock_server.control.workers import Workers
from interlock_server.trust.keeper import Trust, unsigned

log = logging.getLogger("interlock.trust")

ACTOR: Final = "interlock"
"""Whose event it is: the file says who changed it."""


class TrustFollowing:
    """Has the trusted keys watched."""

    def __init__(
        self, trust: Trust, replica: Replica, workers: Workers, database: Database, changed: Callable[[], None]
    ) -> None:
        """Take the parts; `changed` is called after versions were judged again."""
        self._trust = trust
        self._replica = replica
        self._workers = workers
        self._database = database
        self._changed = changed

    def start(self) -> None:
        """Begin to watch; the trust's owner closes it."""
        self._trust.watch(self._follow, self._tell)

    async def _follow(self) -> None:
        self._replica.trust_anew()
        for spec in self._replica.committed().keep:
            if spec.distrust:
                log.warning("%s@%d goes on if it serves: %s", spec.model, spec.version, spec.distrust)
        await self._workers.sync()
        self._changed()

    async def _tell(self, news: str) -> None:
        kept = unsigned(self._replica.committed().keep)
        if kept:
            news += f"; kept loaded, though not to be loaded anew: {', '.join(kept)}"
        attempt = Attempt(action=Action.TRUST, actor=ACTOR, request_id=uuid.uuid4().hex, model="")
        await self._database.write(lambda registry: registry.remark(attempt, news))
