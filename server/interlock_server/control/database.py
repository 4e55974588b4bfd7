"""The registry for an event loop: its calls on threads, its failures as one state, reopened when it comes back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from interlock.errors import InterlockError, RegistryUnavailable
from interlock_registry.registry import Registry

log = logging.getLogger("interlock.database")

T = TypeVar("T")

_REOPEN_S: Final = 2.0
_READERS: Final = 2


class Database:
    """Runs registry calls: writes one after another on one thread, reads and notes on others; none blocks the loop."""

    def __init__(self, url: str, *, keep_depth: int, backup_dir: Path, check: Callable[[], None]) -> None:
        """Take where the registry is; `check` raises RegistryUnavailable where it must not be opened now."""
        self._url = url
        self._check = check
        self._keep_depth = keep_depth
        self._backup_dir = backup_dir
        self._registry: Registry | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="registry-write")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="registry-read")
        self._notes = ThreadPoolExecutor(1, thread_name_prefix="registry-note")
        self._next_try = 0.0
        self._why = "it has not been opened yet"
        self._opening = asyncio.Lock()

    @property
    def down(self) -> str:
        """Why the registry cannot be used; "" while it can."""
        return self._why

    async def open(self) -> None:
        """Open the registry; raises StartupRefused (a newer schema), RegistryUnavailable."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, self._open)
        except RegistryUnavailable as error:
            self._note(error)
            self._next_try = time.monotonic() + _REOPEN_S
            raise
        self._why = ""

    def _open(self) -> None:
        """Open it, on the thread that writes: a caller who leaves meanwhile leaves nothing that nobody closes."""
        if self._registry is not None:
            return
        self._check()
        registry = Registry.open(self._url, keep_depth=self._keep_depth, backup_dir=self._backup_dir)
        try:
            registry.rehearse()
        except InterlockError as error:
            log.warning("the registry can be read, but a rollback was rehearsed in vain: %s", error.message)
        self._registry = registry
        registry.keep(self._keep_depth)  # it may have been changed meanwhile

    def keep(self, depth: int) -> bool:
        """Keep so many earlier versions of each alias loaded from now on; False where that is nothing new."""
        if depth == self._keep_depth:
            return False
        self._keep_depth = depth
        if self._registry is not None:
            self._registry.keep(depth)
        return True

    async def read(self, call: Callable[[Registry], T]) -> T:
        """Run a read; raises what it raises, RegistryUnavailable above all."""
        return await self._run(self._readers, call)

    async def write(self, call: Callable[[Registry], T]) -> T:
        """Run a write; raises what it raises, RegistryUnavailable above all."""
        return await self._run(self._writer, call)

    async def note(self, call: Callable[[Registry], T]) -> T:
        """Run a heartbeat or the like, beside the writes: a slow commit must not make this replica look dead."""
        return await self._run(self._notes, call)

    async def _run(self, executor: ThreadPoolExecutor, call: Callable[[Registry], T]) -> T:
        registry = self._registry or await self._reopen()
        try:
            result = await asyncio.get_running_loop().run_in_executor(executor, call, registry)
        except RegistryUnavailable as error:
            self._note(error)
            raise
        self._why = ""
        return result

    async def _reopen(self) -> Registry:
        async with self._opening:
            if self._registry is None:
                if time.monotonic() < self._next_try:
                    raise RegistryUnavailable(f"the registry cannot be used ({self._why}); inference goes on")
                await self.open()
            assert self._registry is not None
            return self._registry

    def _note(self, error: RegistryUnavailable) -> None:
        if self._why != error.message:
            log.error("registry unavailable: %s", error.message)
        self._why = error.message

    def close(self) -> None:
        """Finish what runs and close the registry. Idempotent."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._notes.shutdown()
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.close()
