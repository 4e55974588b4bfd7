"""Requests of the Open Inference Protocol, raw and typed, made without the SDK and its checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import pytest
from interlock.protocols import open_inference_pb2 as pb
from interlock.tensors import encode_raw, encode_typed
from interlock.types import Array, DType


def raw(
    model: str,
    inputs: Mapping[str, tuple[DType, Array]],
    *,
    version: str = "",
    outputs: Sequence[str] = (),
    id: str = "",
) -> pb.ModelInferRequest:
    """Return a request with raw contents."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id)
    for name, (dtype, array) in inputs.items():
        request.inputs.add(name=name, datatype=dtype.value, shape=array.shape)
        request.raw_input_contents.append(encode_raw(array, dtype))
    for output in outputs:
        request.outputs.add(name=output)
    return request


def typed(model: str, inputs: Mapping[str, tuple[DType, Array]]) -> pb.ModelInferRequest:
    """Return a request with typed contents."""
    request = pb.ModelInferRequest(model_name=model)
    for name, (dtype, array) in inputs.items():
        request.inputs.add(name=name, datatype=dtype.value, shape=array.shape, contents=encode_typed(array, dtype))
    return request


@dataclass(frozen=True)
class Refused:
    """How a call failed."""

    code: grpc.StatusCode
    details: str
    trailing: Mapping[str, str | bytes]


def refused(call: Callable[[], object]) -> Refused:
    """Make a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return outcome(caught.value)


def outcome(error: grpc.RpcError) -> Refused:
    """Return how a call failed."""
    status = cast(Any, error)
    return Refused(status.code(), status.details() or "", dict(status.trailing_metadata() or ()))
