"""Settings that every worker of a replica has alike, whichever of them was told: logs, traces, shared memory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from google.protobuf.message import Message
from interlock.errors import InterlockError, Unavailable
from interlock.v1 import worker_pb2

from interlock_server.worker.peers import Peers

log = logging.getLogger("interlock.agreement")

_LOCK_WAIT_S: Final = 8.0
"""Longer than a worker may hang before it is killed: the lock goes with its holder."""
_LOCK_POLL_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of the inference port's methods."""

    method: str
    request: bytes


class AgreedPart(Protocol):
    """A part of the inference port that keeps settings."""

    @property
    def agreed(self) -> Mapping[str, Callable[[bytes], Message]]:
        """Return the methods that change or tell its settings in this worker."""
        ...

    def state(self) -> Sequence[Asked]:
        """Return the calls that bring a part without any settings to the same ones."""
        ...

    def restore(self, asked: Asked) -> None:
        """Take over one of another worker's `state`; raises InterlockError."""
        ...

    def undo(self, asked: Asked) -> Asked | None:
        """Return the call that takes back one that this worker took and another one refused."""
        ...


class Agreement:
    """Makes one change at a time: in this worker, in the others, and in the file that later ones begin with.

    The lock is the kernel's and ends with the process that holds it, however that ends.
    """

    def __init__(self, path: str, peers: Peers, parts: Sequence[AgreedPart]) -> None:
        """Take the file, the other workers, and the parts that have settings."""
        self._path = Path(path)
        self._peers = peers
        self._parts = parts
        self._owners = {method: part for part in parts for method in part.agreed}

    async def change(self, asked: Asked) -> Message:
        """Have every worker take a call, and return this one's answer; raises the first refusal, Unavailable.

        What one worker refuses is taken back in the others.
        """
        owner = self._owners[asked.method]
        async with self._lock():
            answer = owner.agreed[asked.method](asked.request)
            try:
                await self._peers.tell(asked.method, asked.request)
            except InterlockError:
                undoing = owner.undo(asked)
                if undoing is not None:
                    owner.agreed[undoing.method](undoing.request)
                    await self._peers.tell(undoing.method, undoing.request)
                raise
            self._write()
        return answer

    @asynccontextmanager
    async def joining(self) -> AsyncIterator[None]:
        """Take over what was agreed on; while this is held, nothing else is."""
        async with self._lock():
            for asked in self._read():
                try:
                    self._owners[asked.method].restore(asked)
                except InterlockError as error:  # such as shared memory that its maker has removed meanwhile
                    log.warning("a setting of the other workers cannot be taken over: %s", error.message)
            yield

    def _read(self) -> list[Asked]:
        try:
            written = self._path.read_bytes()
        except FileNotFoundError:
            return []
        return [Asked(each.method, each.request) for each in worker_pb2.AgreedSettings.FromString(written).calls]

    def _write(self) -> None:
        calls = [
            worker_pb2.AskRequest(method=asked.method, request=asked.request)
            for part in self._parts
            for asked in part.state()
        ]
        new = self._path.with_suffix(".new")
        new.write_bytes(worker_pb2.AgreedSettings(calls=calls).SerializeToString())
        new.replace(self._path)

    @asynccontextmanager
    async def _lock(self) -> AsyncIterator[None]:
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_WAIT_S
            while not _taken(descriptor):
                if time.monotonic() > deadline:
                    raise Unavailable("another change of the workers' settings takes too long; try again")
                await asyncio.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)


def _taken(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
