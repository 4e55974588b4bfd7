"""Takes care of the workers: says when one must be replaced, judges why others have ended, and lets aliases fall back.

An alias falls back along its stack when its version was quarantined for bringing workers down again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from interlock.errors import InterlockError, RegistryUnavailable
from interlock.model import Alias, MutationOptions
from interlock_registry.domain import Action, Attempt

from interlock_server.control.blaming import Judgement, judge
from interlock_server.control.membership import Membership
from interlock_server.control.replica import Replica
from interlock_server.control.switching import Switching
from interlock_server.process import deaths, notes
from interlock_server.process.deaths import Death, notes_path
from interlock_server.snapshot import VersionKey
from interlock_server.vitals import Ailment, HealthLimits, Vitals, examine

log = logging.getLogger("interlock.caretaker")

ACTOR: Final = "interlock"
"""Who moves an alias off a quarantined version."""
_LOOK_EVERY_S: Final = 1.0
_RETRY_S: Final = 1.0
"""After a fallback that failed for the first time. Each is an event in the history, so the pause doubles each time."""
_LONGEST_RETRY_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class _Failed:
    """How often in a row an alias could not fall back, and when that is tried again."""

    times: int
    again_at: float


class Caretaker:
    """Owns the task that lets aliases fall back; a worker's end is read when its successor is met."""

    def __init__(
        self,
        runtime_dir: str,
        replica: Replica,
        limits: Callable[[], HealthLimits],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take where deaths are recorded, and where the limits can be read now."""
        self._runtime_dir = runtime_dir
        self._replica = replica
        self._limits = limits
        self._clock = clock
        self._judgement = Judgement()
        self._quarantined = asyncio.Event()
        self._failed: dict[Alias, _Failed] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, switching: Switching, membership: Membership) -> None:
        """Read what is recorded, and begin to move aliases off quarantined versions."""
        self.met()
        self._task = asyncio.create_task(self._fall_back(switching, membership))

    # --- asked by the workers' watch ---

    def examine(self, name: str, pid: int, vitals: Vitals) -> Ailment | None:
        """Say why a worker must be replaced now, and remember whose fault it was."""
        ailment = examine(vitals, self._limits())
        if ailment is not None and ailment.version:
            try:
                running = tuple(
                    note for note in notes.read(notes_path(self._runtime_dir, name)) if note.version == ailment.version
                )
                deaths.write(self._runtime_dir, Death(name, pid, 0, self._clock(), running, ailment.reason))
            except OSError as error:
                log.warning("nobody is blamed for %s: %s", name, error)
        return ailment

    def met(self) -> None:
        """Judge the deaths of workers anew."""
        try:
            found = deaths.read(self._runtime_dir)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("nobody is blamed for what happened to the workers: %s", error)
            return
        before, self._judgement = self._judgement, judge(found, self._clock())
        if not self._replica.judge(self._judgement):
            return
        for key in sorted(self._judgement.suspects - before.suspects):
            log.warning("%s was running when a worker crashed, and runs one request at a time now", key)
        for poison in sorted(self._judgement.poison - before.poison):
            log.error("a request of %s has crashed workers and is refused from now on", poison.version)
        for each in self._judgement.quarantined:
            if each not in before.quarantined:
                log.error("%s is %s", each.version, each.reason)
        if self._judgement.quarantined:
            self._quarantined.set()

    def pardon(self, key: VersionKey) -> None:
        """Forget what a version has done: somebody wants it in spite of it."""
        if key not in self._judgement.suspects:
            return
        try:
            deaths.forget(self._runtime_dir, str(key))
        except OSError as error:
            log.warning("what %s has done is not forgotten: %s", key, error)
        self.met()

    # --- aliases ---

    async def _fall_back(self, switching: Switching, membership: Membership) -> None:
        while True:
            await self._quarantined.wait()
            now, stranded = self._clock(), self._stranded()
            self._failed = {alias: self._failed[alias] for _, alias in stranded if alias in self._failed}
            for key, alias in stranded:
                if alias in self._failed and now < self._failed[alias].again_at:
                    continue
                try:
                    # Somebody may want it again by the time that the fleet, and the aliases before, have been heard.
                    if await membership.gone_from_half(key) and self._judgement.quarantine_of(key):
                        await self._move(switching, alias)
                except RegistryUnavailable as error:
                    log.error("%s:%s stays at version %d: %s", alias.model, alias.alias, alias.version, error.message)
                except InterlockError as error:
                    log.error("%s:%s stays at version %d: %s", alias.model, alias.alias, alias.version, error.message)
                    self._failed[alias] = self._after(alias, now)
                except Exception:
                    log.exception("%s:%s stays at version %d", alias.model, alias.alias, alias.version)
                    self._failed[alias] = self._after(alias, now)
            if not self._judgement.quarantined:
                self._quarantined.clear()
            await asyncio.sleep(_LOOK_EVERY_S)  # others may point an alias there, and a fleet may not agree yet

    def _after(self, alias: Alias, now: float) -> _Failed:
        times = self._failed[alias].times + 1 if alias in self._failed else 1
        return _Failed(times, now + min(_RETRY_S * 2.0 ** min(times - 1, 16), _LONGEST_RETRY_S))

    def _stranded(self) -> list[tuple[VersionKey, Alias]]:
        """Return the aliases whose live version is quarantined and that have another one to go to."""
        found = [(VersionKey(alias.model, alias.version), alias) for alias in self._replica.aliases()]
        return [
            (key, alias)
            for key, alias in found
            if self._judgement.quarantine_of(key) and self._refuge(alias) is not None
        ]

    def _refuge(self, alias: Alias) -> int | None:
        """Return the newest version of an alias's stack that is not quarantined."""
        for version in reversed(alias.stack):
            if not self._judgement.quarantine_of(VersionKey(alias.model, version)):
                return version
        return None

    async def _move(self, switching: Switching, alias: Alias) -> None:
        target = self._refuge(alias)
        if target is None:  # it was quarantined meanwhile
            return
        key = VersionKey(alias.model, alias.version)
        attempt = Attempt(
            action=Action.ROLLBACK,
            actor=ACTOR,
            request_id=uuid.uuid4().hex,
            model=alias.model,
            alias=alias.alias,
            version=target,
            reason=f"version {key.version} is {self._judgement.quarantine_of(key)}",
        )
        options = MutationOptions(expected_generation=alias.generation, allow_breaking=True)
        switch = await switching.rollback(attempt, options)
        log.error("%s:%s fell back to version %d", switch.model, switch.alias, switch.to_version)

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
