"""CUDA shared memory, with a library that does over plain memory what NVIDIA's do on a GPU."""

from __future__ import annotations

import base64
import ctypes
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from interlock.errors import AlreadyExists, InterlockError, InternalError, InvalidArgument, NotFound, PermissionDenied
from interlock_registry.domain import ModelStanding
from interlock_server.front.aio import AioFront
from interlock_server.settings import Settings
from interlock_server.worker.assembly import inference_handler
from interlock_server.worker.catalog import Catalog
from interlock_server.worker.cuda_memory import CudaFault, CudaMemory, CudaRuntime, DeviceRegion
from interlock_server.worker.health import Health
from interlock_server.worker.metrics import WorkerMetrics
from interlock_server.worker.parameters import SharedSlice
from interlock_server.worker.repository import RepositoryAnswers
from interlock_server.worker.shared_memory import SharedMemory
from tritonclient.utils import InferenceServerException

from tests.cuda.caller import Allocation, plain_library
from tests.support import eventually_async
from tests.unit.server.builders import snapshot, version_spec

SIZE = 256


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return ctypes.CDLL(str(plain_library(tmp_path_factory.mktemp("cuda"))))


@pytest.fixture
def allocation(library: ctypes.CDLL) -> Iterator[Allocation]:
    with Allocation(library, SIZE) as made:
        yield made
    assert library.mapped() == 0, "something is still open"


@pytest.fixture
def memory(library: ctypes.CDLL, allocation: Allocation) -> Iterator[SharedMemory]:
    made = SharedMemory(enabled=True, cuda=CudaMemory(CudaRuntime(library, library), (0, 1)))
    yield made
    made.close()


@pytest.fixture
def region(allocation: Allocation) -> DeviceRegion:
    return DeviceRegion("r", allocation.handle, 0, 128)


def test_what_a_caller_puts_on_a_gpu_is_read_and_what_is_written_is_there(
    memory: SharedMemory, region: DeviceRegion, allocation: Allocation
) -> None:
    allocation.put(np.arange(32, dtype=np.float32))
    memory.register_cuda(region)
    found = np.frombuffer(memory.read("x", SharedSlice("r", 8, 16)), np.float32)
    np.testing.assert_array_equal(found, [2, 3, 4, 5])
    memory.write("y", SharedSlice("r", 64, 16), np.full(4, 7, np.float32).data)
    np.testing.assert_array_equal(allocation.floats(6, 60), [15, 7, 7, 7, 7, 20])
    memory.write("y", SharedSlice("r", 64, 16), np.empty((0, 2), np.float32).data)


def test_regions_of_both_kinds_share_their_names_and_are_forgotten_by_kind(
    memory: SharedMemory, region: DeviceRegion, library: ctypes.CDLL
) -> None:
    memory.register_cuda(region)
    memory.register_cuda(replace(region, name="other", device=1))
    assert [each.name for each in memory.regions_cuda()] == ["r", "other"]
    assert (memory.regions(), memory.regions_cuda("r")) == ((), (region,))
    with pytest.raises(AlreadyExists, match="'r' already in manager"):
        memory.register_cuda(region)
    with pytest.raises(NotFound, match="registered as CUDA shared memory, not system"):
        memory.regions("r")
    memory.unregister("r")
    memory.unregister("")
    assert library.mapped() == 3
    memory.unregister_cuda("r")
    assert [each.name for each in memory.regions_cuda()] == ["other"]
    assert library.mapped() == 2
    memory.unregister_cuda("")
    memory.unregister_cuda("r")
    assert (memory.regions_cuda(), library.mapped()) == ((), 1)


WRONG_REGIONS = {
    "a short handle": ({"handle": b"handle"}, "raw_handle has 6 bytes, a cudaIpcMemHandle_t 64"),
    "a handle of nothing": (
        {"handle": b"\0/none" + bytes(58)},
        r"cudaIpcOpenMemHandle: invalid resource handle \(400\)",
    ),
    "a device that is not ours": ({"device": 2}, "device_id 2 is no GPU of this server, .*gpu_devices names 0, 1"),
    "a negative device": ({"device": -1}, "device_id -1 is no GPU of this server"),
    "no bytes": ({"byte_size": 0}, "invalid args"),
    "more than there is": ({"byte_size": SIZE + 1}, "the allocation has 256 bytes"),
    "more than 64 bits of a sum hold": ({"byte_size": 2**64 - 1}, "the allocation has 256 bytes"),
    "no name": ({"name": ""}, "name"),
}


@pytest.mark.parametrize("case", WRONG_REGIONS)
def test_a_region_that_is_not_what_it_claims_is_refused_and_leaves_nothing_behind(
    memory: SharedMemory, region: DeviceRegion, library: ctypes.CDLL, case: str
) -> None:
    claims, said = WRONG_REGIONS[case]
    with pytest.raises(InvalidArgument, match=said) as caught:
        memory.register_cuda(replace(region, **claims))  # type: ignore[arg-type]
    assert caught.value.violations
    assert (memory.regions_cuda(), library.mapped()) == ((), 1)
    assert library.cudaGetLastError() == 0, "ONNX Runtime would take it for its own"


WRONG_PARTS: dict[str, tuple[SharedSlice, type[InterlockError], str]] = {
    "an unknown region": (SharedSlice("q", 0, 1), NotFound, "Unable to find shared memory region: 'q'"),
    "an offset past the end": (SharedSlice("r", 128, 1), InvalidArgument, "Invalid offset for shared memory region"),
    "one byte too many": (SharedSlice("r", 124, 5), InvalidArgument, "Invalid offset \\+ byte size"),
    "a sum that wraps": (SharedSlice("r", 1, 2**64 - 1), InvalidArgument, "Invalid offset \\+ byte size"),
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_a_part_outside_of_its_region_is_refused(memory: SharedMemory, region: DeviceRegion, case: str) -> None:
    part, kind, said = WRONG_PARTS[case]
    memory.register_cuda(region)
    for touch in (
        lambda: memory.read("input 'x'", part),
        lambda: memory.write("output 'y'", part, b""),
        lambda: memory.check("output 'y'", part),
    ):
        with pytest.raises(kind, match=said):
            touch()


def test_a_copy_that_fails_says_so(library: ctypes.CDLL, memory: SharedMemory, region: DeviceRegion) -> None:
    opened = CudaMemory(CudaRuntime(library, library), (0,)).open(region)
    opened.close()
    with pytest.raises(InternalError, match=r"'r' cannot be copied \(cudaMemcpy: invalid argument \(1\)\)"):
        opened.read(0, 8)
    with pytest.raises(InternalError, match="its maker may have freed it"):
        opened.write(0, memoryview(bytes(8)))
    opened.close()
    assert library.cudaGetLastError() == 0


def test_nothing_is_registered_where_it_is_switched_off_or_where_there_is_no_gpu(
    library: ctypes.CDLL, region: DeviceRegion
) -> None:
    off = SharedMemory(enabled=False, cuda=CudaMemory(CudaRuntime(library, library), (0,)))
    with pytest.raises(PermissionDenied, match="setting shared_memory"):
        off.register_cuda(region)
    with pytest.raises(InvalidArgument, match="'r', GPUs not supported"):
        SharedMemory(enabled=True).register_cuda(region)
    assert not off.takes_cuda and not SharedMemory(enabled=True).takes_cuda


def test_a_library_that_lacks_a_function_is_named(library: ctypes.CDLL) -> None:
    with pytest.raises(CudaFault, match="cudaSetDevice"):
        CudaRuntime(ctypes.CDLL(None), library)


def test_nvidias_libraries_are_found_by_their_names(library: ctypes.CDLL, tmp_path: Path) -> None:
    """In a process of its own: a library stays, and others would find it."""
    for name in ("libcudart.so.13", "libcudart.so.12", "libcuda.so.1"):
        (tmp_path / name).write_bytes(Path(library._name).read_bytes())
    code = "from interlock_server.worker.cuda_memory import load\nload().open(0, bytes(64))\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "CudaFault: cudaIpcOpenMemHandle: invalid resource handle (400)" in done.stderr


# --- through the wire ---


async def nothing() -> tuple[ModelStanding, ...]:
    return ()


@pytest.fixture
async def client(memory: SharedMemory, catalog: Catalog, tmp_path: Path) -> AsyncIterator[triton.InferenceServerClient]:
    settings = Settings.load({}, None)
    catalog.apply(snapshot(version_spec(tmp_path, 3)))
    await eventually_async(lambda: catalog.settled, "the model is loaded")
    repository = RepositoryAnswers(catalog, nothing)
    front = AioFront(settings)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        handler = inference_handler(settings, catalog, WorkerMetrics(catalog), Health(catalog), memory, repository)
        await front.start(handler, address)
    try:
        async with triton.InferenceServerClient(address) as made:
            yield made
    finally:
        await front.stop(0)
        await repository.close()


async def test_tensors_go_in_and_out_through_a_gpu(
    client: triton.InferenceServerClient, allocation: Allocation
) -> None:
    assert "cuda_shared_memory" in (await client.get_server_metadata()).extensions
    allocation.put(np.arange(4, dtype=np.float32), 16)
    await client.register_cuda_shared_memory("gpu", base64.b64encode(allocation.handle), 0, SIZE)
    (told,) = (await client.get_cuda_shared_memory_status()).regions.values()
    assert (told.name, told.device_id, told.byte_size) == ("gpu", 0, SIZE)
    given, wanted = triton.InferInput("x", [2, 2], "FP32"), triton.InferRequestedOutput("y")
    given.set_shared_memory("gpu", 16, 16)
    wanted.set_shared_memory("gpu", 16, 128)
    result = await client.infer("m", [given], outputs=[wanted])
    assert result.get_output("y").parameters["shared_memory_region"].string_param == "gpu"
    np.testing.assert_array_equal(allocation.floats(4, 128), [0, 3, 6, 9])
    wanted.set_shared_memory("gpu", 16, SIZE - 8)
    with pytest.raises(InferenceServerException, match="Invalid offset \\+ byte size"):
        await client.infer("m", [given], outputs=[wanted])
    await client.unregister_cuda_shared_memory("gpu")
    with pytest.raises(InferenceServerException, match="Unable to find shared memory region: 'gpu'"):
        await client.infer("m", [given])
