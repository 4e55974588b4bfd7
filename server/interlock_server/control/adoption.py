"""After a commit: this replica takes it over, its workers switch, and it is told. Nothing here can undo it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from interlock.errors import InterlockError
from interlock.model import Switch
from interlock_registry.domain import Action, Committed, Move, Moved

from interlock_server.control.database import Database
from interlock_server.control.metrics import ControlMetrics
from interlock_server.control.replica import Replica
from interlock_server.control.workers import Workers
from interlock_server.levers import LeverFrame

log = logging.getLogger("interlock.switching")

_FOLLOW_AFTER_S: Final = 0.005
"""After a rollback, until the rest of it is done, its log line too: whoever waits for it is answered first."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """How this replica has taken a commit over."""

    lagging: tuple[str, ...]
    """The workers that have not switched; they do when they come back."""
    epoch: int
    by_lever: bool = False
    """The workers have switched, and do not have the whole picture yet."""


class Adoption:
    """The one way from a commit to the workers."""

    def __init__(
        self,
        database: Database,
        replica: Replica,
        workers: Workers,
        metrics: ControlMetrics,
        changed: Callable[[], None],
        levers: LeverFrame | None = None,
    ) -> None:
        """Take the parts; `changed` is called after the desired state has moved."""
        self._database = database
        self._replica = replica
        self._workers = workers
        self._metrics = metrics
        self._changed = changed
        self._levers = levers

    async def adopt(self, committed: Committed) -> Adopted:
        """Take over a commit of ours with all that it changed of its model."""
        adopted = self._replica.replace_model(committed)
        return Adopted(await self._switch(adopted=adopted), committed.epoch)

    async def adopt_way_back(self, moved: Moved) -> Adopted:
        """Take over a rollback to what is resident: by lever, where all workers know that way back."""
        pulled = self._pull(moved.move)
        adopted = self._replica.move(moved)
        if pulled and adopted:
            self._changed()  # now: a stop that comes next must write it to last-known-good
            return Adopted((), moved.epoch, by_lever=True)
        return Adopted(await self._switch(adopted=adopted), moved.epoch)

    def tell(self, action: Action, switch: Switch, adopted: Adopted) -> None:
        """Count a switch and log it."""
        self._metrics.switched(switch.prepare_s, switch.commit_s)
        log.info(
            "%s committed",
            action.value,
            extra={
                "alias": f"{switch.model}:{switch.alias}",
                "from_version": switch.from_version,
                "to_version": switch.to_version,
                "generation": switch.generation,
                "epoch": adopted.epoch,
                "prepare_s": round(switch.prepare_s, 4),
                "commit_s": round(switch.commit_s, 4),
            },
        )

    def tell_soon(self, action: Action, switch: Switch, adopted: Adopted) -> None:
        """Do what the answer to a rollback need not wait for."""
        asyncio.get_running_loop().call_later(_FOLLOW_AFTER_S, self._follow, action, switch, adopted)

    def _follow(self, action: Action, switch: Switch, adopted: Adopted) -> None:
        if adopted.by_lever:
            self._workers.sync_soon()
        self.tell(action, switch, adopted)

    def _pull(self, move: Move) -> bool:
        """Have the workers take a committed way back at once, if it is the one that all of them know."""
        way = self._workers.way_back(move.model, move.alias)
        if self._levers is None or way is None:
            return False
        if (way.version, way.generation) != (move.to_version, move.generation_after):
            return False
        self._levers.pull(way.lever)
        return True

    async def _switch(self, *, adopted: bool) -> tuple[str, ...]:
        """Switch the workers; return those that lag."""
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
