"""CUDA memory of other processes: opened by its handle, copied out of and into.

A thin layer over NVIDIA's own libraries, which need not be there.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from interlock.errors import InternalError, InvalidArgument, Violation
from interlock.types import Array

if TYPE_CHECKING:
    from ctypes import _CDataType, _NamedFuncPointer

log = logging.getLogger("interlock.cuda")

HANDLE_BYTES: Final = 64
"""sizeof(cudaIpcMemHandle_t)"""
_RUNTIMES: Final = ("libcudart.so.13", "libcudart.so.12")
_DRIVERS: Final = ("libcuda.so.1",)
_LAZY_PEER_ACCESS: Final = 1
_TO_DEVICE: Final = 1
_FROM_DEVICE: Final = 2


class CudaFault(Exception):
    """What NVIDIA's libraries said when they would not do something, or that they are not there."""


class _Handle(ctypes.Structure):
    """cudaIpcMemHandle_t; it goes by value."""

    # Not characters: of those ctypes takes what stands before the first zero.
    _fields_ = (("bytes", ctypes.c_ubyte * HANDLE_BYTES),)


class CudaRuntime:
    """The few calls that sharing memory takes. Thread-safe: each names its device, which CUDA keeps per thread."""

    def __init__(self, runtime: ctypes.CDLL, driver: ctypes.CDLL) -> None:
        """Take libcudart, and libcuda for what it alone knows; raises CudaFault where they lack a function."""
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        try:
            self._set_device = _function(runtime.cudaSetDevice, ctypes.c_int)
            self._open = _function(
                runtime.cudaIpcOpenMemHandle, ctypes.POINTER(ctypes.c_void_p), _Handle, ctypes.c_uint
            )
            self._close = _function(runtime.cudaIpcCloseMemHandle, pointer)
            self._copy = _function(runtime.cudaMemcpy, pointer, pointer, size, ctypes.c_int)
            self._wait = _function(runtime.cudaStreamSynchronize, pointer)
            self._last_error = _function(runtime.cudaGetLastError)
            self._text = _function(runtime.cudaGetErrorString, ctypes.c_int, returns=ctypes.c_char_p)
            self._range = _function(driver.cuMemGetAddressRange_v2, pointer, ctypes.POINTER(size), ctypes.c_uint64)
        except AttributeError as error:
            raise CudaFault(f"the CUDA libraries lack a function: {error}") from error

    def open(self, device: int, handle: bytes) -> int:
        """Return the address of another process's allocation; raises CudaFault."""
        found = ctypes.c_void_p()
        self._check("cudaSetDevice", self._set_device(device))
        packed = _Handle.from_buffer_copy(handle)
        self._check("cudaIpcOpenMemHandle", self._open(ctypes.byref(found), packed, _LAZY_PEER_ACCESS))
        if found.value is None:
            raise CudaFault("cudaIpcOpenMemHandle: it gave no address")
        return found.value

    def size(self, address: int) -> int:
        """Return how many bytes of an opened allocation there are; raises CudaFault. On the thread that opened it."""
        found = ctypes.c_size_t()
        code = self._range(None, ctypes.byref(found), address)
        if code != 0:
            raise CudaFault(f"cuMemGetAddressRange: error {code}")
        return found.value

    def close(self, device: int, address: int) -> None:
        """Give an allocation back; raises CudaFault."""
        self._check("cudaSetDevice", self._set_device(device))
        self._check("cudaIpcCloseMemHandle", self._close(address))

    def read(self, device: int, address: int, size: int) -> Array:
        """Copy bytes out of a device; raises CudaFault."""
        here = np.empty(size, np.uint8)
        self._check("cudaSetDevice", self._set_device(device))
        self._check("cudaMemcpy", self._copy(here.ctypes.data, address, size, _FROM_DEVICE))
        return here

    def write(self, device: int, address: int, data: memoryview) -> None:
        """Copy bytes into a device, and return when they are there; raises CudaFault."""
        here = np.frombuffer(data, np.uint8)
        self._check("cudaSetDevice", self._set_device(device))
        self._check("cudaMemcpy", self._copy(address, here.ctypes.data, here.nbytes, _TO_DEVICE))
        # Of memory that is not pinned, cudaMemcpy returns when it has been taken, not when it has arrived.
        self._check("cudaStreamSynchronize", self._wait(None))

    def _check(self, what: str, code: int) -> None:
        if code == 0:
            return
        # CUDA remembers it for the thread, and ONNX Runtime would take it for an error of its own next kernel.
        self._last_error()
        raise CudaFault(f"{what}: {self._text(code).decode(errors='replace')} ({code})")


@dataclass(frozen=True, slots=True)
class DeviceRegion:
    """A registered part of another process's memory on a GPU: its first bytes."""

    name: str
    handle: bytes
    device: int
    byte_size: int


class DeviceMemory:
    """The bytes of one region."""

    def __init__(self, runtime: CudaRuntime, region: DeviceRegion, address: int) -> None:
        self._runtime = runtime
        self._region = region
        self._address = address

    def read(self, start: int, size: int) -> Array:
        """Copy bytes out; raises InternalError."""
        try:
            return self._runtime.read(self._region.device, self._address + start, size)
        except CudaFault as error:
            raise self._broken(error) from error

    def write(self, start: int, data: memoryview) -> None:
        """Copy bytes in; raises InternalError."""
        try:
            self._runtime.write(self._region.device, self._address + start, data)
        except CudaFault as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Give the memory back to who made it."""
        try:
            self._runtime.close(self._region.device, self._address)
        except CudaFault as error:  # it is let go in any case, and nobody who asked waits for this
            log.warning("a CUDA region cannot be closed: %s", error, extra={"region": self._region.name})

    def _broken(self, error: CudaFault) -> InternalError:
        return InternalError(
            f"CUDA shared memory region '{self._region.name}' cannot be copied ({error}); its maker may have freed it"
        )


class CudaMemory:
    """Opens regions on the GPUs that the server uses."""

    def __init__(self, runtime: CudaRuntime, devices: Sequence[int]) -> None:
        self._runtime = runtime
        self._devices = tuple(sorted(set(devices)))

    def open(self, region: DeviceRegion) -> DeviceMemory:
        """Open a region and hold its size against the allocation's; raises InvalidArgument."""
        failed = f"failed to register CUDA shared memory region '{region.name}'"
        if len(region.handle) != HANDLE_BYTES:
            raise _refuse(
                "raw_handle",
                f"{failed}: raw_handle has {len(region.handle)} bytes, a cudaIpcMemHandle_t {HANDLE_BYTES}",
            )
        if region.device not in self._devices:
            ours = ", ".join(map(str, self._devices))
            raise _refuse(
                "device_id",
                f"{failed}: device_id {region.device} is no GPU of this server, whose setting gpu_devices names {ours}",
            )
        try:
            address = self._runtime.open(region.device, region.handle)
        except CudaFault as error:
            raise _refuse("raw_handle", f"{failed}: {error}") from error
        opened = DeviceMemory(self._runtime, region, address)
        try:
            room = self._runtime.size(address)
        except CudaFault as error:
            opened.close()
            raise _refuse("raw_handle", f"{failed}: {error}") from error
        if not 0 < region.byte_size <= room:
            opened.close()
            raise _refuse(
                "byte_size", f"{failed}: invalid args (byte_size {region.byte_size}, the allocation has {room} bytes)"
            )
        return opened


def _refuse(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(what, violations=[Violation(field, what)])


def _function(
    found: _NamedFuncPointer, *takes: type[_CDataType], returns: type[_CDataType] = ctypes.c_int
) -> _NamedFuncPointer:
    found.argtypes, found.restype = takes, returns
    return found


def load() -> CudaRuntime:
    """Return the libraries that ONNX Runtime has loaded into this process, else the system's; raises CudaFault."""
    return CudaRuntime(_library(_RUNTIMES), _library(_DRIVERS))


def _library(names: Sequence[str]) -> ctypes.CDLL:
    for mode in (os.RTLD_NOLOAD | os.RTLD_NOW, os.RTLD_NOW):
        for name in names:
            with suppress(OSError):
                return ctypes.CDLL(name, mode=mode)
    raise CudaFault(f"{' or '.join(names)} cannot be loaded")
