"""POSIX shared memory regions that callers put tensors into. Off unless the setting `shared_memory` allows it.

Regions are read and written through their file, never mapped: whoever made a region can cut it short at any time, and
a process that touches a mapping beyond the end of its file is killed.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Violation
from interlock.tensors import Buffer

from interlock_server.worker.parameters import SharedSlice

MAX_REGIONS: Final = 1024
_MAX_NAME: Final = 256
_FOLDER: Final = Path("/dev/shm")
_KEY: Final = re.compile(r"/?([A-Za-z0-9_][A-Za-z0-9._-]{0,250})")
_MAX_OFFSET: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Region:
    """A registered part of a shared memory object."""

    name: str
    key: str
    offset: int
    byte_size: int


class _Open:
    """A region and its file, which is closed when the last request that uses it is through."""

    def __init__(self, region: Region, descriptor: int) -> None:
        self.region: Final = region
        self.descriptor: Final = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class SharedMemory:
    """The regions by name. Thread-safe."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled: Final = enabled
        self._lock = threading.Lock()
        self._regions: dict[str, _Open] = {}

    def register(self, region: Region) -> None:
        """Take a region; raises PermissionDenied (switched off), InvalidArgument, AlreadyExists, ResourceExhausted."""
        if not self.enabled:
            raise PermissionDenied(
                f"failed to register shared memory region '{region.name}': shared memory is switched off on this "
                "server; its setting shared_memory allows it"
            )
        if not 0 < len(region.name) <= _MAX_NAME:
            raise _refuse("name", f"a shared memory region's name has 1 to {_MAX_NAME} characters")
        opened = _Open(region, _open(region))
        with self._lock:
            if region.name in self._regions:
                raise AlreadyExists(f"shared memory region '{region.name}' already in manager; unregister it first")
            if len(self._regions) >= MAX_REGIONS:
                raise ResourceExhausted(
                    f"{MAX_REGIONS} shared memory regions are registered, which is the limit; unregister some"
                )
            self._regions[region.name] = opened

    def unregister(self, name: str) -> None:
        """Forget a region, all of them where the name is ""; one that is not there is no error."""
        with self._lock:
            if name:
                self._regions.pop(name, None)
            else:
                self._regions.clear()

    def regions(self, name: str = "") -> tuple[Region, ...]:
        """Return the regions, or the one of a name; raises NotFound."""
        with self._lock:
            if not name:
                return tuple(each.region for each in self._regions.values())
        return (self._find(name).region,)

    def read(self, where: str, part: SharedSlice) -> bytes:
        """Copy a part of a region; raises NotFound, InvalidArgument. `where` is the input that it is for."""
        found = self._find(part.region)
        start = _start(where, found.region, part)
        pieces: list[bytes] = []
        missing = part.byte_size
        while missing:
            piece = os.pread(found.descriptor, missing, start + part.byte_size - missing)
            if not piece:
                raise _refuse(where, f"{where}: shared memory region '{part.region}' is shorter now than registered")
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, where: str, part: SharedSlice, data: Buffer) -> None:
        """Copy an output into a region; raises NotFound, InvalidArgument where it does not fit."""
        found = self._find(part.region)
        start = _start(where, found.region, part)
        # Flat: the view of an empty tensor cannot be cast.
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        if len(view) > part.byte_size:
            raise _refuse(
                where,
                f"shared memory size specified with the request for {where} ({part.byte_size} bytes) should be at "
                f"least {len(view)} bytes to hold the results",
            )
        if os.fstat(found.descriptor).st_size < start + len(view):
            raise _refuse(where, f"{where}: shared memory region '{part.region}' is shorter now than registered")
        done = 0
        while done < len(view):
            done += os.pwrite(found.descriptor, view[done:], start + done)

    def check(self, where: str, part: SharedSlice) -> None:
        """Hold a part against its region before anything runs; raises NotFound, InvalidArgument."""
        _start(where, self._find(part.region).region, part)

    def close(self) -> None:
        """Forget every region. Idempotent."""
        self.unregister("")

    def _find(self, name: str) -> _Open:
        with self._lock:
            found = self._regions.get(name)
        if found is None:
            raise NotFound(
                f"Unable to find shared memory region: '{name[:_MAX_NAME]}'; SystemSharedMemoryRegister makes it known"
            )
        return found


def _start(where: str, region: Region, part: SharedSlice) -> int:
    """Return where in the file a part begins. Python's integers do not wrap."""
    if part.offset >= region.byte_size:
        raise _refuse(where, f"Invalid offset for shared memory region: '{region.name}' ({where}: {part.offset})")
    if part.offset + part.byte_size > region.byte_size:
        raise _refuse(
            where,
            f"Invalid offset + byte size for shared memory region: '{region.name}' ({where}: {part.offset} + "
            f"{part.byte_size} is over {region.byte_size})",
        )
    return region.offset + part.offset


def _open(region: Region) -> int:
    """Open a region's object, hold its claims against it, and return its descriptor."""
    named = _KEY.fullmatch(region.key)
    if named is None:
        raise _refuse(
            "key",
            f"{region.key[:100]!r} is no key of a shared memory object here: a name such as '/input', of letters, "
            "digits, '.', '_' and '-'",
        )
    invalid = f"failed to register shared memory region '{region.name}': invalid args"
    if region.byte_size == 0 or region.offset + region.byte_size > _MAX_OFFSET:
        raise _refuse("byte_size", f"{invalid} (offset {region.offset}, byte_size {region.byte_size})")
    try:
        # Neither through a link nor waiting for the other end of a pipe.
        handle = os.open(_FOLDER / named[1], os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _refuse("key", f"Unable to open shared memory region: '{region.key}' ({error.strerror})") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _refuse("key", f"Unable to open shared memory region: '{region.key}' (it is no shared memory object)")
        if region.offset + region.byte_size > status.st_size:
            raise _refuse(
                "byte_size",
                f"{invalid} (offset {region.offset} + byte_size {region.byte_size} is over the object's "
                f"{status.st_size} bytes)",
            )
    except BaseException:
        os.close(handle)
        raise
    return handle


def _refuse(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(what, violations=[Violation(field, what)])
