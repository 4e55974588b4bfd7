"""What ONNX Runtime is told of GPUs: from settings to its options. Pure; needs no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final, Literal

from interlock.types import Signature

CPU_PROVIDER: Final = "CPUExecutionProvider"
CUDA_PROVIDER: Final = "CUDAExecutionProvider"
TENSORRT_PROVIDER: Final = "TensorrtExecutionProvider"

Growth = Literal["exact", "doubling"]
ConvSearch = Literal["heuristic", "exhaustive", "default"]

_GROWTHS: Final[Mapping[Growth, str]] = {"exact": "kSameAsRequested", "doubling": "kNextPowerOfTwo"}
_TF32_SWITCH: Final = "NVIDIA_TF32_OVERRIDE"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOptions:
    """How GPUs are used; a part of the settings."""

    devices: tuple[int, ...] = (0,)
    """What the instances of a version are spread over, in turn."""
    memory_limit_bytes: int = 0
    """Of each session's arena on its device; 0: any. cuDNN's workspaces come on top."""
    arena: Growth = "exact"
    conv_search: ConvSearch = "heuristic"
    tf32: bool = False
    """Faster, and about three digits of FP32 less than PyTorch computes with."""
    graphs: bool = False
    """Record the kernels of a run once for each set of shapes, and start them all at once from then on."""
    tensorrt: bool = False
    tensorrt_cache: str = ""
    """The directory of the engines that TensorRT builds, which takes minutes."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One of ONNX Runtime's execution providers, and what it is told."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


def chain(gpu: GpuOptions, device: int, digest: str) -> Sequence[Provider]:
    """Return the providers of a session on a GPU, the first one first; `digest` names the artifact.

    What a provider cannot run goes to the next one.
    """
    cuda = Provider(CUDA_PROVIDER, cuda_options(gpu, device))
    if not gpu.tensorrt:
        return (cuda, Provider(CPU_PROVIDER))
    return (Provider(TENSORRT_PROVIDER, tensorrt_options(gpu, device, digest)), cuda, Provider(CPU_PROVIDER))


def cuda_options(gpu: GpuOptions, device: int) -> Mapping[str, str]:
    """Return what the CUDA provider is told."""
    options = {
        "device_id": str(device),
        "use_tf32": _switch(gpu.tf32),
        # EXHAUSTIVE searches at the first run of every batch size, and requests wait for it.
        "cudnn_conv_algo_search": gpu.conv_search.upper(),
        "arena_extend_strategy": _GROWTHS[gpu.arena],
    }
    if gpu.memory_limit_bytes:
        options["gpu_mem_limit"] = str(gpu.memory_limit_bytes)
    if gpu.graphs:
        options["enable_cuda_graph"] = "1"
    return options


def tensorrt_options(gpu: GpuOptions, device: int, digest: str) -> Mapping[str, str]:
    """Return what the TensorRT provider is told; an engine is of one artifact, and TensorRT's names tell the rest."""
    folder = str(cache_of(gpu, digest))
    options = {
        "device_id": str(device),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
    if gpu.memory_limit_bytes:
        options["trt_max_workspace_size"] = str(gpu.memory_limit_bytes)
    return options


def cache_of(gpu: GpuOptions, digest: str) -> PurePath:
    """Return the directory of an artifact's TensorRT engines."""
    return PurePath(gpu.tensorrt_cache, digest)


def environment(gpu: GpuOptions) -> Mapping[str, str]:
    """Return what NVIDIA's libraries must find in the environment before they are loaded.

    TensorRT and what it calls have no option of ONNX Runtime's for TF32.
    """
    return {} if gpu.tf32 else {_TF32_SWITCH: "0"}


def sizes_follow(signature: Signature, inputs: Sequence[tuple[int, ...]], outputs: Sequence[tuple[int, ...]]) -> bool:
    """Tell whether the outputs' shapes follow from the inputs' by the signature: whether they are so every time."""
    sizes: dict[str, int] = {}
    for spec, shape in zip(signature.inputs, inputs, strict=True):
        sizes |= {dim: size for dim, size in zip(spec.shape, shape, strict=True) if isinstance(dim, str)}
    expected = [
        tuple(sizes.get(dim) if isinstance(dim, str) else dim for dim in spec.shape) for spec in signature.outputs
    ]
    return expected == list(outputs)


def _switch(on: bool) -> str:
    return "1" if on else "0"
