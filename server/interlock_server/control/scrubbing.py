"""The background scrub: reads every blob again from time to time, slowly, and notes which are damaged or mended."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from interlock.errors import DataLoss, InterlockError, RegistryUnavailable, Unavailable
from interlock_registry.artifacts import LocalArtifactStore
from interlock_registry.manifest import Blob

from interlock_server.control.database import Database
from interlock_server.control.metrics import ControlMetrics

log = logging.getLogger("interlock.scrub")

_ACTOR: Final = "scrub"
_LOWEST_PRIORITY: Final = 19
_PAGE: Final = 100
_RETRY_S: Final = 60.0
"""After the registry or the store could not be read."""
_MOST_UNREAD: Final = 10
"""Blobs of one pass that could not be read: more are the store's trouble, and the pass begins anew."""


class Scrubber:
    """Owns the scrubbing task and its one thread, of the lowest priority."""

    def __init__(
        self,
        database: Database,
        store: LocalArtifactStore,
        metrics: ControlMetrics,
        state: Path,
        *,
        every_s: float,
        bytes_per_s: int,
    ) -> None:
        """Take the parts; `state` is the directory that keeps when the last pass ended. `every_s` 0 is never."""
        self._database = database
        self._store = store
        self._metrics = metrics
        self._stamp = state / "last-scrub"
        self._every_s = every_s
        self._bytes_per_s = bytes_per_s
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scrub", initializer=_lowest_priority)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, at once if a pass is due."""
        if self._every_s:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.sleep(self._due_in_s())
                await self._pass()
                self._stamp.touch()
            except InterlockError as error:
                log.warning("the scrub waits: %s", error.message)
                await asyncio.sleep(min(_RETRY_S, self._every_s))
            except Exception:
                log.exception("the scrub failed and is tried again")
                await asyncio.sleep(min(_RETRY_S, self._every_s))

    def _due_in_s(self) -> float:
        try:
            age_s = time.time() - self._stamp.stat().st_mtime
        except FileNotFoundError:
            return 0.0
        # A clock that was set back must not put the next pass off for ever.
        return max(0.0, min(self._every_s - age_s, self._every_s))

    async def _pass(self) -> None:
        started, after, count = time.monotonic(), "", 0
        known = await self._database.read(lambda registry: dict(registry.blobs.damaged()))
        self._metrics.damaged(len(known))
        unread = 0
        while page := await self._page(after):
            for blob in page:
                try:
                    await self._scrub(blob, known)
                except RegistryUnavailable:
                    raise
                except Unavailable as error:
                    unread += 1
                    if unread > _MOST_UNREAD:
                        raise
                    self._metrics.scrubbed("unread")
                    log.error("blob %s was not checked: %s", blob.digest, error.message)
            count += len(page)
            after = page[-1].digest
        log.info(
            "scrubbed", extra={"blobs": count, "damaged": len(known), "took_s": round(time.monotonic() - started, 1)}
        )

    async def _page(self, after: str) -> tuple[Blob, ...]:
        return await self._database.read(lambda registry: registry.blobs.live(after=after, limit=_PAGE))

    async def _scrub(self, blob: Blob, known: dict[str, str]) -> None:
        why = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, blob)
        self._metrics.scrubbed("damaged" if why else "whole")
        request_id = uuid.uuid4().hex
        if why and blob.digest not in known:
            users = await self._database.write(
                lambda registry: registry.blobs.mark_damaged(blob.digest, why, actor=_ACTOR, request_id=request_id)
            )
            if users:  # else it was deleted and collected meanwhile
                known[blob.digest] = why
                log.error("%s; it is of %s", why, ", ".join(map(str, users[:10])))
        elif not why and blob.digest in known:
            await self._database.write(
                lambda registry: registry.blobs.mend([blob.digest], actor=_ACTOR, request_id=request_id)
            )
            del known[blob.digest]
            log.info("blob %s is whole again", blob.digest)
        self._metrics.damaged(len(known))

    def _read(self, blob: Blob) -> str:
        """Read a blob at the allowed rate, on the scrubbing thread; returns what is wrong with it."""
        try:
            self._store.verify(blob, pace=self._pace)
        except DataLoss as error:
            return error.message
        return ""

    def _pace(self, count: int) -> None:
        self._metrics.scrubbed_bytes(count)
        if self._stopping.wait(count / self._bytes_per_s):
            raise _Stopped

    async def close(self) -> None:
        """Stop, in the middle of a blob if need be. Idempotent."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._thread.shutdown()


class _Stopped(Exception):
    """The server stops; what was being read does not matter any more."""


def _lowest_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
