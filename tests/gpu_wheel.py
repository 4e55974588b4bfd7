"""What must hold where onnxruntime-gpu is installed, with and without a GPU: `make test-gpu-wheel`."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import numpy as np
from interlock.protocols import open_inference_pb2 as pb
from interlock.protocols.open_inference_pb2_grpc import GRPCInferenceServiceStub

from tests import models
from tests.cuda.caller import Allocation
from tests.server import Server, refused


def main() -> int:
    """Serve with `auto`, then with `cuda`; return 1 where one of them does not do as it says."""
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False) if _has("nvidia-smi") else None
    gpu = listed is not None and listed.returncode == 0
    print(f"onnxruntime-gpu on a machine {'with' if gpu else 'without'} a GPU")
    with tempfile.TemporaryDirectory(prefix="gpu-wheel-") as made:
        folder = Path(made)
        failures = [*_auto(folder, gpu), *(_asked_for(folder) if gpu else _refused(folder))]
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _has(program: str) -> bool:
    return subprocess.run(["which", program], capture_output=True, check=False).returncode == 0


def _auto(folder: Path, gpu: bool) -> list[str]:
    """`auto` serves, with what works here, and says what it took and why."""
    wanted = "CUDA" if gpu else "CPU"
    with Server(folder / "auto") as server:
        failures = _answers(server, folder, wanted)
        said = next((line for line in server.log().splitlines() if "execution provider" in line), "")
    print(f"auto: {said.strip()}")
    if f"execution provider {wanted} (auto: " not in said:
        failures.append(f"auto did not say that it took {wanted}: {said!r}")
    return failures


def _asked_for(folder: Path) -> list[str]:
    with Server(folder / "cuda", "--providers", "cuda", env={"INTERLOCK_SHARED_MEMORY": "true"}) as server:
        return _answers(server, folder, "CUDA") + _answers_in_place(server)


def _answers_in_place(server: Server) -> list[str]:
    """Tensors go in and out through this process's memory on the GPU."""
    import onnxruntime  # here alone: the library that its wheel brings is the one to make memory with

    onnxruntime.preload_dlls()
    runtime = next(filter(None, map(_loaded, ("libcudart.so.13", "libcudart.so.12"))))
    asked = pb.ModelInferRequest(model_name="line")
    given = asked.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    for parameters, offset in ((given.parameters, 0), (asked.outputs.add(name="y").parameters, 32)):
        parameters["shared_memory_region"].string_param = "gpu"
        parameters["shared_memory_byte_size"].int64_param = 16
        parameters["shared_memory_offset"].int64_param = offset
    with Allocation(runtime, 64) as memory, grpc.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        memory.put(np.arange(4, dtype=np.float32))
        stub.CudaSharedMemoryRegister(
            pb.CudaSharedMemoryRegisterRequest(name="gpu", raw_handle=memory.handle, byte_size=64), timeout=30
        )
        stub.ModelInfer(asked, timeout=30)
        answer = memory.floats(4, 32)
        stub.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest(name="gpu"), timeout=30)
    print(f"CUDA shared memory: {answer.tolist()}")
    return [] if (answer == [0, 2, 4, 6]).all() else [f"through CUDA shared memory the answer is {answer.tolist()}"]


def _loaded(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _refused(folder: Path) -> list[str]:
    """`cuda` does not fall back: it refuses to start, and says why and what to do."""
    refusal = refused(folder / "cuda", "--providers", "cuda")
    said = [line for line in refusal.stderr.splitlines() if line.startswith("interlock:")]
    print(f"cuda: {' '.join(said)}")
    if refusal.status == 1 and any("--providers cuda: " in line and "--providers cpu" in line for line in said):
        return []
    return [f"cuda was to be refused with a reason; exit status {refusal.status}, stderr {refusal.stderr[-2000:]!r}"]


def _answers(server: Server, folder: Path, provider: str) -> list[str]:
    with server.admin() as admin, server.client() as client:
        file = models.write(folder / "line.onnx", models.affine(scale=2.0))
        golden = models.affine_golden(folder / "line.npz", scale=2.0)
        admin.register("line", file, golden=golden)
        admin.promote("line", 1)
        answer = client.infer("line", {"x": np.ones((3, 2), np.float32)})["y"]
        (loaded,) = admin.status().workers[0].servables
    failures = [] if (answer == 2.0).all() else [f"the answer is {answer.tolist()}"]
    return failures if loaded.provider == provider else [*failures, f"it was loaded on {loaded.provider}"]


if __name__ == "__main__":
    sys.exit(main())
