"""Gives memory back to the system that was freed and stays with the process: large messages leave it in many arenas."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from interlock_server.worker.allocator import give_back_memory

log = logging.getLogger("interlock.memory")

WORTH_BYTES: Final = 64 << 20
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
LOOK_EVERY_S: Final = 5.0
REST_S: Final = 30.0
"""Between two times: giving back holds up whoever allocates, for some milliseconds."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the process holds at a moment."""

    resident_bytes: int
    """Of its own: not of mapped files."""
    used_bytes: int
    """What the C library's allocator has given out, and was not freed."""

    @property
    def slack_bytes(self) -> int:
        """What is resident beside it: freed memory, and what others than the allocator hold."""
        return self.resident_bytes - self.used_bytes


@dataclass(frozen=True, slots=True)
class Trim:
    """When memory was given back last, and the least slack since: less than that there cannot be."""

    at: float
    slack_bytes: int

    def look(self, now: Memory) -> Trim:
        """Take note of what is held now."""
        return replace(self, slack_bytes=min(self.slack_bytes, now.slack_bytes))

    def is_due(self, now: Memory, at: float) -> bool:
        """Whether giving back is worth its while."""
        return at - self.at >= REST_S and now.slack_bytes - self.slack_bytes >= WORTH_BYTES


class Trimmer:
    """Looks at the memory now and then, on the loop that it is started on."""

    def __init__(self) -> None:
        self._look = _looker()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; where the C library does not tell what is in use, there is nothing to do."""
        if self._look is not None:
            self._task = asyncio.create_task(self._run(self._look))

    @staticmethod
    async def _run(look: Callable[[], Memory]) -> None:
        trim = Trim(time.monotonic() - REST_S, look().slack_bytes)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            before = await asyncio.to_thread(look)
            trim = trim.look(before)
            if trim.is_due(before, time.monotonic()):
                await asyncio.to_thread(give_back_memory)
                after = await asyncio.to_thread(look)
                trim = Trim(time.monotonic(), after.slack_bytes)
                log.info("gave %d MiB of memory back", (before.slack_bytes - after.slack_bytes) >> 20)

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _looker() -> Callable[[], Memory] | None:
    """Return what looks at this process's memory; None where the C library is another one than glibc."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return None
    mallinfo2.restype = _Mallinfo2

    def look() -> Memory:
        found = mallinfo2()
        with open("/proc/self/statm") as file:
            _, resident, shared, *_ = map(int, file.read().split())
        return Memory((resident - shared) * _PAGE_BYTES, found.uordblks + found.hblkhd)

    return look
