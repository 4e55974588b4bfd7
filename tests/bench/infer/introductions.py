"""What perf_analyzer asks before it sends requests, answered by servers that only echo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from interlock.protocols import open_inference_pb2 as pb

_SERVICE: Final = "inference.GRPCInferenceService"
_WIDTHS: Final = {"tiny": 10, "large": 150_000}
"""FP32 values in a row of the models that are asked for."""


def _server(_: bytes) -> bytes:
    return pb.ServerMetadataResponse(name="echo", version="1").SerializeToString()


def _metadata(data: bytes) -> bytes:
    name = pb.ModelMetadataRequest.FromString(data).name
    answer = pb.ModelMetadataResponse(name=name, versions=["1"], platform="echo")
    answer.inputs.add(name="x", datatype="FP32", shape=[-1, _WIDTHS[name]])
    answer.outputs.add(name="x", datatype="FP32", shape=[-1, _WIDTHS[name]])
    return answer.SerializeToString()


def _config(data: bytes) -> bytes:
    answer = pb.ModelConfigResponse()
    answer.config.name = pb.ModelConfigRequest.FromString(data).name
    answer.config.max_batch_size = 1
    return answer.SerializeToString()


INTRODUCTIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "ServerMetadata": _server,
    "ModelMetadata": _metadata,
    "ModelConfig": _config,
}
"""By the name of the method."""


def path_of(method: str) -> str:
    """Return the full path of a method."""
    return f"/{_SERVICE}/{method}"
