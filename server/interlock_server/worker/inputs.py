"""From a request's tensors to arrays in signature order, held against the signature. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interlock import tensors
from interlock.errors import InvalidInput, Violation
from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.types import Array, DType, Signature, TensorSpec

from interlock_server.worker.loader import for_engine


@dataclass(frozen=True, slots=True)
class RequestTensors:
    """A request's inputs, ready to run."""

    arrays: tuple[Array, ...]
    """In signature order."""
    rows: int | None
    """Batch size; None where the version's requests must run alone."""
    typed: bool
    """They came as typed contents, so the answer goes back that way."""


def read_inputs(request: ModelInferRequest, signature: Signature, joinable: bool) -> RequestTensors:
    """Decode and check a request's inputs; raises InvalidInput naming every tensor that is wrong."""
    by_name = _by_name(request, signature)
    raw = _raw_by_name(request)
    arrays: list[Array] = []
    for spec in signature.inputs:
        tensor = by_name[spec.name]
        if tensor.datatype != spec.dtype.value:
            raise _refuse(spec, f"is {spec.dtype.value}, the request has {tensor.datatype or 'no datatype'}")
        shape = tuple(tensor.shape)
        _check_shape(spec, shape)
        if raw is not None:
            array = tensors.decode_raw(spec.name, spec.dtype, shape, raw[spec.name])
        else:
            array = tensors.decode_typed(spec.name, spec.dtype, shape, tensor.contents)
        arrays.append(_text(spec, array))
    _check_symbols(signature.inputs, arrays)
    return RequestTensors(tuple(arrays), _rows(arrays) if joinable else None, raw is None and bool(arrays))


def _rows(arrays: Sequence[Array]) -> int | None:
    """Return the batch size that all arrays share; None where they differ, as sizes without a symbol may."""
    sizes = {array.shape[0] if array.ndim else None for array in arrays}
    return sizes.pop() if len(sizes) == 1 else None


def read_outputs(request: ModelInferRequest, signature: Signature) -> tuple[int, ...]:
    """Return the positions of the requested outputs, all if none is named; raises InvalidInput."""
    if not request.outputs:
        return tuple(range(len(signature.outputs)))
    positions = {spec.name: index for index, spec in enumerate(signature.outputs)}
    wanted: list[int] = []
    for output in request.outputs:
        if output.name not in positions:
            what = f"output {output.name!r} does not exist; the model has {_names(signature.outputs)}"
            raise InvalidInput(what, [Violation(f"outputs[{output.name}]", what)])
        if positions[output.name] in wanted:
            what = f"output {output.name!r} is asked for twice"
            raise InvalidInput(what, [Violation(f"outputs[{output.name}]", what)])
        wanted.append(positions[output.name])
    return tuple(wanted)


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs)) or "none"


def _refuse(spec: TensorSpec, what: str) -> InvalidInput:
    return InvalidInput(f"input {spec.name!r} {what}", [Violation(f"inputs[{spec.name}]", what)])


def _by_name(request: ModelInferRequest, signature: Signature) -> dict[str, ModelInferRequest.InferInputTensor]:
    given: dict[str, ModelInferRequest.InferInputTensor] = {}
    wrong: list[Violation] = []
    for tensor in request.inputs:
        if tensor.name in given:
            wrong.append(Violation(f"inputs[{tensor.name}]", f"input {tensor.name!r} is given twice"))
        given[tensor.name] = tensor
    expected = {spec.name for spec in signature.inputs}
    wrong += [
        Violation(f"inputs[{name}]", f"input {name!r} does not exist") for name in sorted(given.keys() - expected)
    ]
    wrong += [Violation(f"inputs[{name}]", f"input {name!r} is missing") for name in sorted(expected - given.keys())]
    if wrong:
        listed = "; ".join(violation.description for violation in wrong[:8])
        raise InvalidInput(f"{listed}. The model takes {_names(signature.inputs)}", wrong)
    return given


def _raw_by_name(request: ModelInferRequest) -> dict[str, bytes] | None:
    """Pair raw contents with inputs; None where the request is typed."""
    contents = request.raw_input_contents
    if not contents:
        return None
    for tensor in request.inputs:
        if tensor.HasField("contents"):
            what = (
                f"contents field must not be specified when using raw_input_contents for '{tensor.name}' "
                f"for model '{request.model_name}'"
            )
            raise InvalidInput(what, [Violation(f"inputs[{tensor.name}]", what)])
    if len(contents) != len(request.inputs):
        what = f"{len(contents)} raw_input_contents for {len(request.inputs)} inputs: one for each is needed"
        raise InvalidInput(what, [Violation("raw_input_contents", what)])
    return {tensor.name: raw for tensor, raw in zip(request.inputs, contents, strict=True)}


def _check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    if len(shape) != len(spec.shape):
        raise _refuse(spec, f"has rank {len(spec.shape)} ({spec}), the request has shape {list(shape)}")
    for axis, (expected, size) in enumerate(zip(spec.shape, shape, strict=True)):
        if isinstance(expected, int) and expected != size:
            raise _refuse(
                spec, f"has size {expected} in dimension {axis} ({spec}), the request has shape {list(shape)}"
            )


def _check_symbols(specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> None:
    """Hold equal symbols to equal sizes: ONNX Runtime does not."""
    seen: dict[str, tuple[int, str]] = {}
    for spec, array in zip(specs, arrays, strict=True):
        for symbol, size in zip(spec.shape, array.shape, strict=True):
            if isinstance(symbol, str):
                first, where = seen.setdefault(symbol, (size, spec.name))
                if first != size:
                    raise _refuse(spec, f"has {size} for dimension {symbol!r}, but input {where!r} has {first}")


def _text(spec: TensorSpec, array: Array) -> Array:
    if spec.dtype is not DType.BYTES:
        return array
    try:
        return for_engine(spec, array)
    except UnicodeDecodeError as error:
        raise _refuse(spec, f"holds bytes that are no UTF-8, which ONNX strings must be ({error.reason})") from error
