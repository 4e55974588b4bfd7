"""The bodies that make shared memory known → messages. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from interlock.protocols.open_inference_pb2 import CudaSharedMemoryRegisterRequest, SystemSharedMemoryRegisterRequest

from interlock_server.rest.body import invalid
from interlock_server.rest.requests import Object, read_object

_MAX_UINT64: Final = (1 << 64) - 1
_MAX_INT64: Final = (1 << 63) - 1


def read_region(name: str, body: memoryview) -> SystemSharedMemoryRegisterRequest:
    """Read which part of which object a region is; raises InvalidArgument."""
    given = read_object(body)
    key = given.get("key")
    if not isinstance(key, str):
        raise invalid("key", "key must be given: the name of a shared memory object, as text")
    offset = _whole(given, "offset", _MAX_UINT64, required=False)
    size = _whole(given, "byte_size", _MAX_UINT64)
    return SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=size)


def read_cuda_region(name: str, body: memoryview) -> CudaSharedMemoryRegisterRequest:
    """Read a CUDA region's handle; raises InvalidArgument."""
    given = read_object(body)
    handle = given.get("raw_handle")
    packed = handle.get("b64") if isinstance(handle, dict) else None
    if not isinstance(packed, str):
        raise invalid("raw_handle", 'raw_handle must be given, as {"b64": TEXT}')
    try:
        raw = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("raw_handle.b64", f"raw_handle.b64 is not base64: {error}") from error
    return CudaSharedMemoryRegisterRequest(
        name=name,
        raw_handle=raw,
        device_id=_whole(given, "device_id", _MAX_INT64, required=False),
        byte_size=_whole(given, "byte_size", _MAX_UINT64),
    )


def _whole(given: Object, name: str, most: int, *, required: bool = True) -> int:
    value = given.get(name, None if required else 0)
    if type(value) is not int or not 0 <= value <= most:
        found = "missing" if name not in given else f"{value!r}"[:80]
        raise invalid(name, f"{name} is {found}; it must be a whole number from 0 to {most}")
    return value
