"""The level-triggered loop: look at the registry's epoch, and if it moved, take over the whole desired state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from interlock.errors import InterlockError, RegistryUnavailable
from interlock_registry import disk
from interlock_registry.registry import Registry

from interlock_server.control.database import Database
from interlock_server.control.last_known_good import LastKnownGood
from interlock_server.control.membership import Membership
from interlock_server.control.participant import Participant
from interlock_server.control.replica import Replica
from interlock_server.control.workers import Workers

log = logging.getLogger("interlock.reconciler")

_HEARTBEAT_EVERY_S: Final = 2.0
"""A replica counts as live for 5 s after its last heartbeat."""
_FLEET_POLL_S: Final = 0.2
"""How often the registry is looked at, at least, while there are other replicas: each may have moved an alias."""
_SWEEP_EVERY_S: Final = 5.0
"""How often rollouts are looked for that have lost their coordinator."""
_SAVE_AFTER_S: Final = 0.25
"""Before last-known-good is written: one write for a burst of changes, and no fsync beside a commit's."""
_READ_AFTER_S: Final = 0.02
"""After a switch, until what it means for the versions to be loaded is read: the operator's answer goes first."""
_FORGET_EVERY_S: Final = 3600.0
"""How often old idempotency keys are dropped."""


class Reconciler:
    """Owns the polling task and the one that writes last-known-good."""

    def __init__(
        self,
        database: Database,
        replica: Replica,
        workers: Workers,
        saved: LastKnownGood,
        membership: Membership,
        participant: Participant,
        *,
        poll_s: float,
    ) -> None:
        """Take the parts; the participant is closed with this."""
        self._database = database
        self._replica = replica
        self._workers = workers
        self._saved = saved
        self._poll_s = poll_s
        self._changed = asyncio.Event()
        self._unread = asyncio.Event()
        self._stale = False
        self._listeners: list[Callable[[], None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._membership = membership
        self._participant = participant
        self._heartbeat_at = self._forget_at = self._sweep_at = time.monotonic()

    async def start(self) -> None:
        """Take the first desired state, from last-known-good if the registry is away, and go on polling."""
        try:
            await self._reconcile()
        except InterlockError as error:
            if self._replica.known:  # it was read; what came after it, a heartbeat for one, failed
                log.error("the registry was read, but then it could not be used: %s", error.message)
            else:
                await self._fall_back(error)
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._save())]

    async def _fall_back(self, error: InterlockError) -> None:
        snapshot = await asyncio.to_thread(self._saved.load)
        if snapshot is None:
            log.error("no registry and no last-known-good snapshot: nothing can be served (%s)", error.message)
            return
        log.error("serving from the last-known-good snapshot", extra={"epoch": snapshot.epoch})
        self._replica.fall_back(snapshot)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the desired state has moved; it must not block."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Note that the desired state has moved: it is written to last-known-good, and what was not read is."""
        self._changed.set()
        if self._replica.unread:
            self._unread.set()
        for listener in self._listeners:
            listener()

    def reread(self) -> None:
        """Have the whole desired state read again soon: what it is made of has changed, though the registry has not."""
        self._stale = True
        self._unread.set()

    async def _poll(self) -> None:
        while True:
            # Not wait_for(): before Python 3.12 it may swallow the cancellation that close() waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._unread.wait()
                    await asyncio.sleep(_READ_AFTER_S)
            self._unread.clear()
            try:
                await self._reconcile()
            except RegistryUnavailable:
                continue  # noted by the database; inference goes on
            except InterlockError as error:
                log.error("the registry could not be read: %s", error.message)
            except Exception:
                log.exception("the registry could not be read")

    def _pause_s(self) -> float:
        if self._membership.alone:
            return self._poll_s
        return min(self._poll_s, _FLEET_POLL_S) * random.uniform(0.75, 1.25)

    async def _reconcile(self) -> None:
        view = await self._membership.look()
        now = view.state
        if (now.incarnation, now.epoch) != (self._replica.incarnation, self._replica.epoch) or (
            self._stale or self._replica.from_last_known_good
        ):
            stale, self._stale = self._stale, False  # before it is read: what changes from now on is read once more
            taken = False
            try:
                desired = await self._database.read(lambda registry: registry.desired())
                taken = self._replica.replace_all(desired)
            finally:
                self._stale |= stale and not taken  # a commit of ours may have come in between
            if taken:
                log.info("desired state taken over", extra={"epoch": desired.epoch, "models": len(desired.models)})
                await self._workers.sync()
                self.changed()
        elif self._replica.unread:
            await self._read_moved()
        await self._participant.follow(view.rollouts)
        await self._keep_house(time.monotonic())

    async def _read_moved(self) -> None:
        """Have loaded what should be since models were moved, and dropped what should not."""
        for name in self._replica.unread:
            # What is of another epoch is left to the next look, which comes as soon.
            self._replica.refresh(await self._database.read(partial(Registry.committed, name=name)))
        await self._workers.sync()
        self.changed()

    async def _keep_house(self, now: float) -> None:
        if now >= self._heartbeat_at or (not self._membership.alone and self._membership.has_news):
            self._heartbeat_at = now + _HEARTBEAT_EVERY_S
            await self._membership.beat()
        if self._membership.shared and now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_EVERY_S
            for lost in await self._database.note(lambda registry: registry.fleet.sweep()):
                log.warning("a %s of %s@%d lost its coordinator", lost.action, lost.model, lost.version)
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_EVERY_S
            await self._database.write(lambda registry: registry.forget_answers())
            await self._database.note(lambda registry: registry.fleet.tidy())

    async def _save(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SAVE_AFTER_S)
            if not await self._write():
                await asyncio.sleep(self._poll_s)

    async def _write(self) -> bool:
        """Write last-known-good; what was not seen to be written, at a stop too, is still to be."""
        self._changed.clear()
        written = False
        try:
            await asyncio.to_thread(self._saved.save, self._replica.committed())
            written = True
        except OSError as error:
            why = disk.failure(error, "last-known-good").message
            log.error("%s; a restart without the database would serve what was saved before", why)
        except Exception:
            log.exception("last-known-good could not be written")
        finally:
            if not written:
                self._changed.set()
        return written

    async def close(self) -> None:
        """Stop polling, and write last-known-good if it is behind. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._participant.close()
        await self._membership.leave()
        if self._changed.is_set():
            await self._write()
