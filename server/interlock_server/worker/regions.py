"""The RPCs by which callers make shared memory known."""

from __future__ import annotations

from interlock.errors import InvalidArgument, Violation
from interlock.protocols import open_inference_pb2 as pb

from interlock_server.worker.methods import SERVICE, Methods
from interlock_server.worker.shared_memory import Region, SharedMemory


class RegionAnswers:
    """System regions as SharedMemory has them; of CUDA's there are none."""

    def __init__(self, shared: SharedMemory) -> None:
        self._shared = shared

    @property
    def methods(self) -> Methods:
        """What it answers."""
        return Methods(
            unary={
                SERVICE + "SystemSharedMemoryStatus": self._status,
                SERVICE + "SystemSharedMemoryRegister": self._register,
                SERVICE + "SystemSharedMemoryUnregister": self._unregister,
                SERVICE + "CudaSharedMemoryStatus": _cuda_status,
                SERVICE + "CudaSharedMemoryRegister": _cuda_register,
                SERVICE + "CudaSharedMemoryUnregister": _cuda_unregister,
            },
            extensions=("system_shared_memory",) if self._shared.enabled else (),
        )

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
