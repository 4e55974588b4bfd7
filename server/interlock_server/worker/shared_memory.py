"""Memory of callers on the same machine that tensors lie in: POSIX shared memory, and CUDA's where GPUs are used.

Off unless the setting `shared_memory` allows it. POSIX regions are read and written through their file, never mapped:
whoever made a region can cut it short at any time, and a process that touches a mapping beyond the end of its file is
killed.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from interlock.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TooLarge,
    Violation,
)
from interlock.tensors import Buffer
from interlock.types import Array

from interlock_server.front.limits import COUNTED, Room
from interlock_server.worker.cuda_memory import CudaMemory, DeviceRegion
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


class _Place(Protocol):
    """The bytes of a region."""

    def read(self, start: int, size: int) -> Array: ...

    def write(self, start: int, data: memoryview) -> None: ...

    def close(self) -> None: ...


class _File:
    """A shared memory object; positions are the object's."""

    def __init__(self, name: str, descriptor: int) -> None:
        self._name: Final = name
        self._descriptor: Final = descriptor

    def read(self, start: int, size: int) -> Array:
        here = np.empty(size, np.uint8)
        done = 0
        while done < size:
            count = os.preadv(self._descriptor, [here.data[done:]], start + done)
            if not count:
                raise self._shorter()
            done += count
        return here

    def write(self, start: int, data: memoryview) -> None:
        if os.fstat(self._descriptor).st_size < start + len(data):
            raise self._shorter()
        done = 0
        while done < len(data):
            done += os.pwrite(self._descriptor, data[done:], start + done)

    def close(self) -> None:
        os.close(self._descriptor)

    def _shorter(self) -> InvalidArgument:
        return _refuse("shared_memory_region", f"shared memory region '{self._name}' is shorter now than registered")


class _Open:
    """A region and its bytes, which are closed when the last request that uses them is through."""

    def __init__(self, region: Region | DeviceRegion, place: _Place) -> None:
        self.region: Final = region
        self.place: Final = place

    def __del__(self) -> None:
        self.place.close()


class SharedMemory:
    """The regions by name, which both kinds share. Thread-safe."""

    def __init__(
        self,
        *,
        enabled: bool,
        cuda: CudaMemory | None = None,
        most: int = _MAX_OFFSET,
        room: Room | None = None,
    ) -> None:
        """Take whether callers may register regions at all, and what opens CUDA's; None where there are no GPUs.

        `most` is how many bytes of a region one input may have: it is copied. `room` is what copies are counted in
        while they are here.
        """
        self._room: Final = room or Room(_MAX_OFFSET)
        self.enabled: Final = enabled
        self._cuda: Final = cuda
        self._most: Final = most
        self._lock = threading.Lock()
        self._regions: dict[str, _Open] = {}

    @property
    def takes_cuda(self) -> bool:
        """Whether regions on GPUs can be registered."""
        return self.enabled and self._cuda is not None

    def register(self, region: Region) -> None:
        """Take a region; raises PermissionDenied (switched off), InvalidArgument, AlreadyExists, ResourceExhausted."""
        self._allow(region.name)
        self._add(_Open(region, _File(region.name, _open(region))))

    def register_cuda(self, region: DeviceRegion) -> None:
        """Take a region on a GPU; raises as `register`, and InvalidArgument where this server uses no GPU."""
        if self._cuda is None:
            what = f"failed to register CUDA shared memory region: '{region.name[:_MAX_NAME]}', GPUs not supported"
            raise _refuse("name", what)
        self._allow(region.name)
        self._add(_Open(region, self._cuda.open(region)))

    def _allow(self, name: str) -> None:
        if not self.enabled:
            raise PermissionDenied(
                f"failed to register shared memory region '{name}': shared memory is switched off on this server; its "
                "setting shared_memory allows it"
            )
        if not 0 < len(name) <= _MAX_NAME:
            raise _refuse("name", f"a shared memory region's name has 1 to {_MAX_NAME} characters")

    def _add(self, opened: _Open) -> None:
        name = opened.region.name
        with self._lock:
            if name in self._regions:
                raise AlreadyExists(f"shared memory region '{name}' already in manager; unregister it first")
            if len(self._regions) >= MAX_REGIONS:
                raise ResourceExhausted(
                    f"{MAX_REGIONS} shared memory regions are registered, which is the limit; unregister some"
                )
            self._regions[name] = opened

    def unregister(self, name: str) -> None:
        """Forget a region in POSIX shared memory, all of them where the name is ""; none is no error."""
        self._forget(name, Region)

    def unregister_cuda(self, name: str) -> None:
        """Forget a region on a GPU, all of them where the name is ""; none is no error."""
        self._forget(name, DeviceRegion)

    def _forget(self, name: str, kind: type[Region] | type[DeviceRegion]) -> None:
        with self._lock:
            left = {
                each: opened
                for each, opened in self._regions.items()
                if not isinstance(opened.region, kind) or name not in ("", each)
            }
            # What they hold is closed when this goes out of scope: after the lock.
            gone, self._regions = self._regions, left
        del gone

    def regions(self, name: str = "") -> tuple[Region, ...]:
        """Return the regions in POSIX shared memory, or the one of a name; raises NotFound."""
        found = self._named(name)
        if name and isinstance(found[0], DeviceRegion):
            raise NotFound(f"The region named '{name}' is registered as CUDA shared memory, not system shared memory")
        return tuple(each for each in found if isinstance(each, Region))

    def regions_cuda(self, name: str = "") -> tuple[DeviceRegion, ...]:
        """Return the regions on GPUs, or the one of a name; raises NotFound."""
        found = self._named(name)
        if name and isinstance(found[0], Region):
            raise NotFound(f"The region named '{name}' is registered as system shared memory, not CUDA shared memory")
        return tuple(each for each in found if isinstance(each, DeviceRegion))

    def read(self, where: str, part: SharedSlice) -> Buffer:
        """Copy a part of a region; `where` is the input that it is for.

        Raises NotFound, InvalidArgument, TooLarge, and ResourceExhausted where too many bytes are here.
        """
        found = self._find(part.region)
        start = _start(where, found.region, part)
        if part.byte_size > self._most:
            raise TooLarge(where, part.byte_size, self._most, "max_message_bytes")
        if part.byte_size <= COUNTED:
            return found.place.read(start, part.byte_size).data
        self._room.take(part.byte_size)
        try:
            copy = found.place.read(start, part.byte_size)
        except BaseException:
            self._room.give(part.byte_size)
            raise
        # Exact, whoever has it when: the queue, a run that its caller no longer waits for.
        weakref.finalize(copy, self._room.give_by_finalizer, part.byte_size).atexit = False
        return copy.data

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
        if view:
            found.place.write(start, view)

    def check(self, where: str, part: SharedSlice) -> None:
        """Hold a part against its region before anything runs; raises NotFound, InvalidArgument."""
        _start(where, self._find(part.region).region, part)

    def close(self) -> None:
        """Forget every region. Idempotent."""
        self.unregister("")
        self.unregister_cuda("")

    def _named(self, name: str) -> Sequence[Region | DeviceRegion]:
        if name:
            return (self._find(name).region,)
        with self._lock:
            return tuple(each.region for each in self._regions.values())

    def _find(self, name: str) -> _Open:
        with self._lock:
            found = self._regions.get(name)
        if found is None:
            raise NotFound(
                f"Unable to find shared memory region: '{name[:_MAX_NAME]}'; SystemSharedMemoryRegister and "
                "CudaSharedMemoryRegister make one known"
            )
        return found


def _start(where: str, region: Region | DeviceRegion, part: SharedSlice) -> int:
    """Return where in the object or allocation a part begins. Python's integers do not wrap."""
    if part.offset >= region.byte_size:
        raise _refuse(where, f"Invalid offset for shared memory region: '{region.name}' ({where}: {part.offset})")
    if part.offset + part.byte_size > region.byte_size:
        raise _refuse(
            where,
            f"Invalid offset + byte size for shared memory region: '{region.name}' ({where}: {part.offset} + "
            f"{part.byte_size} is over {region.byte_size})",
        )
    return part.offset + (region.offset if isinstance(region, Region) else 0)


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
