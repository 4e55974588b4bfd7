"""The Open Inference Protocol's messages: requests from inputs and a signature, values from replies. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt
from google.protobuf.message import DecodeError
from interlock.envelope import REQUEST_TENSORS, open_response, sealed
from interlock.errors import InternalError, InvalidArgument, InvalidInput, Violation
from interlock.protocols import open_inference_pb2 as pb
from interlock.tensors import decode_raw, decode_typed, raw_buffer
from interlock.types import Array, DType, ModelRef, Signature, TensorSpec

from interlock_client._tensor import to_array

ALIAS_KEY: Final = "interlock-alias"
GENERATION_KEY: Final = "interlock-generation"
DIGEST_KEY: Final = "interlock-digest"
QUEUE_KEY: Final = "interlock-queue-us"
RUN_KEY: Final = "interlock-run-us"
VERSION_PROPERTY: Final = "interlock.version"
OPTIONAL_PROPERTY: Final = "interlock.optional_inputs"
"""A JSON list of the inputs that may be left out."""

Inputs = Mapping[str, npt.ArrayLike]
"""Tensors by name: numpy arrays of the input's datatype, or Python lists and scalars."""
# As numpy.load: an element type that only the server knows must not make every use of an answer a type error.
OutputArray = npt.NDArray[Any]
Parameters = Mapping[str, bool | int | float | str]
"""Request parameters of the protocol."""


@dataclass(frozen=True, slots=True, eq=False)
class InferResult(Mapping[str, OutputArray]):
    """The answer to one request: a mapping from output names to numpy arrays, and who answered.

    FP16 outputs are float16, BF16 outputs their bits in uint16, BYTES outputs object arrays of `bytes`. The arrays
    are read-only, as most are views of what was received; copy one before writing to it.
    """

    outputs: Mapping[str, OutputArray]
    model: str
    version: int
    """The concrete version that answered."""
    alias: str
    """The alias that led to it; "" when it was asked for by number."""
    request_id: str
    generation: int | None = None
    """The alias's generation; None where the server does not say."""
    digest: str | None = None
    """sha256 of the artifact's manifest; None where the server does not say."""
    queue_s: float | None = None
    run_s: float | None = None

    def __getitem__(self, name: str) -> OutputArray:
        try:
            return self.outputs[name]
        except KeyError:
            raise KeyError(f"{name!r} is not in this answer; it holds {', '.join(map(repr, self.outputs))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a server tells about a model: its signature, and which version the ref means now."""

    name: str
    versions: tuple[str, ...]
    platform: str
    signature: Signature
    properties: Mapping[str, str]
    version: int | None
    """The concrete version that the signature is of; None where the server does not say."""


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """What a server tells about itself."""

    name: str
    version: str
    extensions: tuple[str, ...]


def infer_request(
    ref: ModelRef,
    signature: Signature,
    inputs: Inputs,
    *,
    outputs: Sequence[str] | None,
    parameters: Parameters | None,
    request_id: str,
) -> bytes:
    """Return a serialised request with raw contents, inputs in the signature's order; the one copy of their bytes.

    Raises InvalidInput, InvalidArgument.
    """
    _check_names(ref, signature, inputs, outputs)
    request = pb.ModelInferRequest(model_name=ref.model, model_version=ref.wire_version, id=request_id)
    buffers = []
    for spec in (*signature.inputs, *(each for each in signature.optional if each.name in inputs)):
        array = to_array(spec, inputs[spec.name])
        request.inputs.add(name=spec.name, datatype=spec.dtype.value, shape=array.shape)
        buffers.append(raw_buffer(array, spec.dtype))
    for name in outputs or ():
        request.outputs.add(name=name)
    for key, value in (parameters or {}).items():
        request.parameters[key].CopyFrom(_parameter(key, value))
    return sealed(request.SerializeToString(), REQUEST_TENSORS, buffers)


def _check_names(ref: ModelRef, signature: Signature, inputs: Inputs, outputs: Sequence[str] | None) -> None:
    if not isinstance(inputs, Mapping):
        raise InvalidInput(
            f"inputs must map names to arrays, got a {type(inputs).__name__}; {ref} takes {_taken(signature)}"
        )
    known = [spec.name for spec in signature.inputs]
    wrong = [Violation(f"inputs[{name}]", f"{name!r} is missing") for name in known if name not in inputs]
    known += [spec.name for spec in signature.optional]
    wrong += [Violation(f"inputs[{name}]", f"there is no {name!r}") for name in inputs if name not in known]
    if wrong:
        found = ", ".join(each.description for each in wrong)
        raise InvalidInput(f"the inputs do not fit {ref}: {found}; it takes {_taken(signature)}", wrong)
    offered = [spec.name for spec in signature.outputs]
    if isinstance(outputs, str):
        raise InvalidInput(f"outputs must be a sequence of names, got the string {outputs!r}; write [{outputs!r}]")
    for name in outputs or ():
        if name not in offered:
            raise InvalidInput(
                f"{ref} has no output {name!r}; it gives {', '.join(map(repr, offered))}",
                [Violation("outputs", f"there is no {name!r}")],
            )


def _taken(signature: Signature) -> str:
    return "; ".join(map(str, signature.inputs)) or "no inputs"


def _parameter(key: str, value: bool | int | float | str) -> pb.InferParameter:
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return pb.InferParameter(int64_param=value)
        if 0 <= value < 2**64:
            return pb.InferParameter(uint64_param=value)
        raise InvalidArgument(f"parameter {key!r} is {value}, which does not fit 64 bits")
    if isinstance(value, float):
        return pb.InferParameter(double_param=value)
    if isinstance(value, str):
        return pb.InferParameter(string_param=value)
    raise InvalidArgument(f"parameter {key!r} must be bool, int, float or str, got {type(value).__name__}")


def infer_result(data: bytes, trailing: Mapping[str, str]) -> InferResult:
    """Read a serialised answer; raises InternalError where it breaks the protocol."""
    try:
        opened = open_response(data)
    except DecodeError as error:
        raise InternalError(
            "the answer to ModelInfer is no inference.ModelInferResponse: its bytes do not parse"
        ) from error
    reply, raw = opened.envelope, opened.tensors
    if raw and len(raw) != len(reply.outputs):
        raise InternalError(f"the answer names {len(reply.outputs)} outputs and holds {len(raw)}")
    arrays: dict[str, OutputArray] = {}
    try:
        for index, output in enumerate(reply.outputs):
            dtype, shape = DType(output.datatype), list(output.shape)
            arrays[output.name] = (
                aligned(decode_raw(output.name, dtype, shape, raw[index]))
                if raw
                else decode_typed(output.name, dtype, shape, output.contents)
            )
        version = int(reply.model_version)
    except (ValueError, InvalidInput) as error:
        raise _unreadable(reply.model_name, error) from error
    return answered(arrays, reply.model_name, version, reply.id, trailing)


def answered(
    outputs: Mapping[str, OutputArray], model: str, version: int, request_id: str, trailing: Mapping[str, str]
) -> InferResult:
    """Return outputs with what the trailing metadata says of them; raises InternalError where that cannot be read."""
    try:
        return InferResult(
            outputs=outputs,
            model=model,
            version=version,
            alias=trailing.get(ALIAS_KEY, ""),
            request_id=request_id,
            generation=_whole(trailing, GENERATION_KEY),
            digest=trailing.get(DIGEST_KEY),
            queue_s=_micros(trailing, QUEUE_KEY),
            run_s=_micros(trailing, RUN_KEY),
        )
    except ValueError as error:
        raise _unreadable(model, error) from error


def _unreadable(model: str, error: Exception) -> InternalError:
    return InternalError(f"the answer of {model!r} cannot be read: {error}")


def aligned(array: Array) -> Array:
    """Return what users may compute on and hand to other libraries: a view may begin where its datatype does not."""
    if array.flags.aligned:
        return array
    copy = array.copy()
    copy.flags.writeable = False  # as the views are: whether one is a view must not change what may be done with it
    return copy


def _whole(trailing: Mapping[str, str], key: str) -> int | None:
    return int(trailing[key]) if key in trailing else None


def _micros(trailing: Mapping[str, str], key: str) -> float | None:
    return float(trailing[key]) / 1e6 if key in trailing else None


def model_metadata(reply: pb.ModelMetadataResponse) -> ModelMetadata:
    """Read a model's metadata; raises InternalError where a datatype is unknown."""
    # Older servers had them where KServe has its own.
    properties = {**reply.properties, **reply.interlock_properties}
    version = properties.get(VERSION_PROPERTY, reply.versions[0] if len(reply.versions) == 1 else "")
    try:
        optional = set(json.loads(properties.get(OPTIONAL_PROPERTY, "[]")))
        inputs = tuple(map(_spec, reply.inputs))
        signature = Signature(
            tuple(spec for spec in inputs if spec.name not in optional),
            tuple(map(_spec, reply.outputs)),
            tuple(spec for spec in inputs if spec.name in optional),
        )
    except (TypeError, ValueError) as error:
        raise InternalError(f"the metadata of {reply.name!r} cannot be read: {error}") from error
    return ModelMetadata(
        name=reply.name,
        versions=tuple(reply.versions),
        platform=reply.platform,
        signature=signature,
        properties=properties,
        version=int(version) if version.isascii() and version.isdigit() else None,
    )


def _spec(message: pb.ModelMetadataResponse.TensorMetadata) -> TensorSpec:
    return TensorSpec(
        message.name, DType(message.datatype), tuple(None if size < 0 else size for size in message.shape)
    )
