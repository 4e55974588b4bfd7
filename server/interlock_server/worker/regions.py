"""The RPCs by which callers make shared memory known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from google.protobuf.message import Message
from interlock.errors import InvalidArgument, Violation
from interlock.protocols import open_inference_pb2 as pb

from interlock_server.worker.agreement import Asked
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.shared_memory import Region, SharedMemory

_REGISTER: Final = SERVICE + "SystemSharedMemoryRegister"
_UNREGISTER: Final = SERVICE + "SystemSharedMemoryUnregister"


class RegionAnswers:
    """System regions as SharedMemory has them; of CUDA's there are none."""

    def __init__(self, shared: SharedMemory) -> None:
        self._shared = shared

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            unary={
                **self.agreed,
                SERVICE + "SystemSharedMemoryStatus": self._status,
                SERVICE + "CudaSharedMemoryStatus": _cuda_status,
                SERVICE + "CudaSharedMemoryRegister": _cuda_register,
                SERVICE + "CudaSharedMemoryUnregister": _cuda_unregister,
            },
            extensions=("system_shared_memory",) if self._shared.enabled else (),
        )

    @property
    def agreed(self) -> Mapping[str, Callable[[bytes], Message]]:
        """What changes the regions."""
        return {_REGISTER: self._register, _UNREGISTER: self._unregister}

    def state(self) -> Sequence[Asked]:
        """Return the calls that make the regions of this worker known to another one."""
        return [Asked(_REGISTER, _registering(region).SerializeToString()) for region in self._shared.regions()]

    def restore(self, asked: Asked) -> None:
        """Take over a region of another worker; raises InterlockError."""
        self._register(asked.request)

    def undo(self, asked: Asked) -> Asked | None:
        """Return the call that forgets a region which another worker refused."""
        if asked.method != _REGISTER:
            return None
        name = pb.SystemSharedMemoryRegisterRequest.FromString(asked.request).name
        return Asked(_UNREGISTER, pb.SystemSharedMemoryUnregisterRequest(name=name).SerializeToString())

    def _status(self, data: bytes) -> pb.SystemSharedMemoryStatusResponse:
        request = pb.SystemSharedMemoryStatusRequest.FromString(data)
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self._shared.regions(request.name):
            found = response.regions[region.name]
            found.name, found.key = region.name, region.key
            found.offset, found.byte_size = region.offset, region.byte_size
        return response

    def _register(self, data: bytes) -> pb.SystemSharedMemoryRegisterResponse:
        request = pb.SystemSharedMemoryRegisterRequest.FromString(data)
        self._shared.register(Region(request.name, request.key, request.offset, request.byte_size))
        return pb.SystemSharedMemoryRegisterResponse()

    def _unregister(self, data: bytes) -> pb.SystemSharedMemoryUnregisterResponse:
        self._shared.unregister(pb.SystemSharedMemoryUnregisterRequest.FromString(data).name)
        return pb.SystemSharedMemoryUnregisterResponse()


def _registering(region: Region) -> pb.SystemSharedMemoryRegisterRequest:
    return pb.SystemSharedMemoryRegisterRequest(
        name=region.name, key=region.key, offset=region.offset, byte_size=region.byte_size
    )


def _cuda_status(data: bytes) -> pb.CudaSharedMemoryStatusResponse:
    pb.CudaSharedMemoryStatusRequest.FromString(data)
    return pb.CudaSharedMemoryStatusResponse()


def _cuda_register(data: bytes) -> pb.CudaSharedMemoryRegisterResponse:
    name = pb.CudaSharedMemoryRegisterRequest.FromString(data).name
    what = f"failed to register CUDA shared memory region: '{name[:256]}', GPUs not supported"
    raise InvalidArgument(what, violations=[Violation("name", what)])


def _cuda_unregister(data: bytes) -> pb.CudaSharedMemoryUnregisterResponse:
    pb.CudaSharedMemoryUnregisterRequest.FromString(data)
    return pb.CudaSharedMemoryUnregisterResponse()
