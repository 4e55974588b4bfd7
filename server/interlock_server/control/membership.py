"""The replica's place in the fleet: what it says of itself, and what it knows of the others."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from interlock.errors import InterlockError
from interlock_registry.fleet import (
    Census,
    FleetView,
    Heartbeat,
    ReplicaRecord,
    Resident,
    behind,
    gone_from_half,
    on_half,
)

from interlock_server.control.database import Database
from interlock_server.control.replica import Replica
from interlock_server.control.workers import Workers
from interlock_server.snapshot import VersionKey

log = logging.getLogger("interlock.fleet")

_LOOK_EVERY_S: Final = 0.1
"""While somebody waits for the fleet."""


class Membership:
    """The one writer of this replica's row; everyone else asks here who is there."""

    def __init__(
        self,
        database: Database,
        replica: Replica,
        workers: Workers,
        *,
        replica_id: str,
        address: str,
        inference: str,
        shared: bool,
    ) -> None:
        """Take the parts and what heartbeats say: the addresses of the admin and the inference service.

        `shared` is whether other replicas may use the same registry, be they there now or not.
        """
        self._database = database
        self._replica = replica
        self._workers = workers
        self._replica_id = replica_id
        self._boot = str(uuid.uuid4())
        self._address = address
        self._inference_address = inference
        self.shared = shared
        self._view: FleetView | None = None
        self._said: Heartbeat | None = None
        self._answering = False
        self._incarnation: str | None = None
        """Of the registry that knows what was said last; None where it may not."""

    @property
    def replica_id(self) -> str:
        """What the others know this replica by."""
        return self._replica_id

    @property
    def boot(self) -> str:
        """What they know this process by."""
        return self._boot

    # --- read ---

    @property
    def replicas(self) -> tuple[ReplicaRecord, ...]:
        """Every replica that was there at the last look."""
        return self._view.replicas if self._view is not None else ()

    @property
    def alone(self) -> bool:
        """Whether no other replica was live at the last look."""
        return self._view is None or not self._view.others(self._replica_id)

    async def look(self) -> FleetView:
        """Read who is there, how far the registry is and what is being prepared; raises RegistryUnavailable."""
        self._view = await self._database.read(lambda registry: registry.fleet.look())
        return self._view

    async def resident_on_half(self, model: str, versions: Collection[int]) -> frozenset[int]:
        """Return those versions that at least half of the live replicas have loaded and warm."""
        return frozenset(each.version for each in await self._censuses(model, versions) if on_half(each))

    async def gone_from_half(self, key: VersionKey) -> bool:
        """Tell whether at least half of the live replicas do not serve a version; alone, this one's word is enough."""
        if not self.shared:
            return True
        (census,) = await self._censuses(key.model, (key.version,))
        return gone_from_half(census)

    async def wait_for_all(self, key: VersionKey, epoch: int, timeout_s: float) -> tuple[str, ...]:
        """Wait until every live replica serves a version at an epoch or a later one; return those that do not."""
        deadline = time.monotonic() + timeout_s
        late: Sequence[ReplicaRecord] = ()
        while True:
            try:
                (census,) = await self._censuses(key.model, (key.version,))
                late = behind(census, epoch=epoch)
            except InterlockError as error:
                log.warning("it is not known whether the fleet serves %s: %s", key, error.message)
                late = tuple(each for each in self.replicas if each.live)
            if not late or time.monotonic() >= deadline:
                return tuple(each.label for each in late)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _censuses(self, model: str, versions: Collection[int]) -> tuple[Census, ...]:
        found = await self._database.read(lambda registry: registry.fleet.censuses(model, versions))
        return tuple(self._corrected(VersionKey(model, each.version), each) for each in found)

    def _corrected(self, key: VersionKey, census: Census) -> Census:
        """Put in what the replica knows of itself, which is more than it has told."""
        replicas = tuple(
            replace(each, epoch=self._workers.reported.epoch) if each.replica == self._replica_id else each
            for each in census.replicas
        )
        mine = {self._replica_id} if key in self._workers.reported.ready_everywhere else set()
        return Census(census.version, replicas, (census.holders - {self._replica_id}) | mine)

    # --- this replica's row ---

    def open(self) -> None:
        """Note that the services answer at the addresses that heartbeats name: before, this replica is not ready."""
        self._answering = True

    @property
    def has_news(self) -> bool:
        """Whether something has changed since the last heartbeat that others may be waiting for."""
        return self._said != self._heartbeat()

    async def beat(self) -> None:
        """Say that this replica is alive, and how it stands; raises RegistryUnavailable."""
        said = self._heartbeat()
        # In another incarnation of the registry nothing is known of what was said before.
        known = self._said if self._replica.incarnation == self._incarnation else None
        before = known.residents if known is not None else None
        self._incarnation = None  # it may fail after it was noted: then the next one says everything anew
        await self._database.note(lambda registry: registry.fleet.beat(said, before))
        self._said, self._incarnation = said, self._replica.incarnation

    async def leave(self) -> None:
        """Say that this replica stops, so that nobody waits for it."""
        if self._said is None:
            return
        self._said = None
        try:
            await self._database.note(lambda registry: registry.fleet.leave(self._replica_id))
        except InterlockError as error:
            log.info("the fleet learns of this stop by missing heartbeats: %s", error.message)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            replica=self._replica_id,
            boot=self._boot,
            address=self._address,
            inference_address=self._inference_address,
            epoch=self._workers.reported.epoch,
            ready=self._answering and self._replica.known and self._workers.reported.settled,
            residents=frozenset(Resident(key.model, key.version) for key in self._workers.reported.ready_everywhere),
        )
