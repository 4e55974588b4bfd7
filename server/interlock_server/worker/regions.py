"""The RPCs by which callers make shared memory known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from google.protobuf.message import Message
from interlock.protocols import open_inference_pb2 as pb

from interlock_server.worker.agreement import Asked
from interlock_server.worker.cuda_memory import DeviceRegion
from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.shared_memory import Region, SharedMemory

_REGISTER: Final = SERVICE + "SystemSharedMemoryRegister"
_UNREGISTER: Final = SERVICE + "SystemSharedMemoryUnregister"


class RegionAnswers:
    """The regions as SharedMemory has them.

    Those on GPUs are this worker's own: where GPUs are used there is one worker.
    """

    def __init__(self, shared: SharedMemory) -> None:
        self._shared = shared

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            unary={
                **self.agreed,
                SERVICE + "SystemSharedMemoryStatus": self._status,
                SERVICE + "CudaSharedMemoryStatus": self._cuda_status,
                SERVICE + "CudaSharedMemoryRegister": self._cuda_register,
                SERVICE + "CudaSharedMemoryUnregister": self._cuda_unregister,
            },
            extensions=(
                *(("system_shared_memory",) if self._shared.enabled else ()),
                *(("cuda_shared_memory",) if self._shared.takes_cuda else ()),
            ),
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

    def _cuda_status(self, data: bytes) -> pb.CudaSharedMemoryStatusResponse:
        request = pb.CudaSharedMemoryStatusRequest.FromString(data)
        response = pb.CudaSharedMemoryStatusResponse()
        for region in self._shared.regions_cuda(request.name):
            found = response.regions[region.name]
            found.name, found.device_id, found.byte_size = region.name, region.device, region.byte_size
        return response

    def _cuda_register(self, data: bytes) -> pb.CudaSharedMemoryRegisterResponse:
        request = pb.CudaSharedMemoryRegisterRequest.FromString(data)
        self._shared.register_cuda(DeviceRegion(request.name, request.raw_handle, request.device_id, request.byte_size))
        return pb.CudaSharedMemoryRegisterResponse()

    def _cuda_unregister(self, data: bytes) -> pb.CudaSharedMemoryUnregisterResponse:
        self._shared.unregister_cuda(pb.CudaSharedMemoryUnregisterRequest.FromString(data).name)
        return pb.CudaSharedMemoryUnregisterResponse()


def _registering(region: Region) -> pb.SystemSharedMemoryRegisterRequest:
    return pb.SystemSharedMemoryRegisterRequest(
        name=region.name, key=region.key, offset=region.offset, byte_size=region.byte_size
    )
