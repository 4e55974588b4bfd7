"""From a request's tensors to arrays in signature order, held against the signature."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from interlock import tensors
from interlock.envelope import Opened
from interlock.errors import InvalidInput, Violation
from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.tensors import Buffer
from interlock.types import Array, DType, Signature, TensorSpec

from interlock_server.worker.engine import NO_OPTIONAL, for_engine
from interlock_server.worker.parameters import SharedSlice, refuse_classification, shared_slice

ReadShared = Callable[[str, SharedSlice], Buffer]
"""Copies a part of a shared memory region for the input of that name."""

_MOST_TOLD: Final = 8
"""Wrong inputs that an error's message names; nobody looks at so many more than the model has."""


@dataclass(frozen=True, slots=True)
class RequestTensors:
    """A request's inputs, ready to run."""

    arrays: tuple[Array, ...]
    """In signature order."""
    rows: int | None
    """Batch size; None where the version's requests must run alone."""
    typed: bool
    """They came as typed contents, so the answer goes back that way."""
    optional: Mapping[str, Array]
    """Inputs that might have been left out."""


@dataclass(frozen=True, slots=True)
class RequestedOutputs:
    """Which outputs a request asks for, and where it wants them."""

    positions: tuple[int, ...]
    """In the signature."""
    shared: Mapping[int, SharedSlice]
    """By position: those that go into shared memory."""


def read_inputs(
    opened: Opened[ModelInferRequest], signature: Signature, joinable: bool, read_shared: ReadShared
) -> RequestTensors:
    """Decode and check a request's inputs; raises InvalidInput naming every tensor that is wrong."""
    by_name = _by_name(opened.envelope, signature)
    raw = _raw_by_name(opened)

    def read(spec: TensorSpec) -> Array:
        return _array(spec, by_name[spec.name], raw.get(spec.name), read_shared)

    arrays = [read(spec) for spec in signature.inputs]
    _check_symbols(signature.inputs, arrays)
    typed = len(raw) < len(by_name)
    if len(by_name) == len(arrays):
        return RequestTensors(tuple(arrays), _rows(arrays) if joinable else None, typed, NO_OPTIONAL)
    given = [spec for spec in signature.optional if spec.name in by_name]
    optional = {spec.name: read(spec) for spec in given}
    return RequestTensors(tuple(arrays), None, typed, optional)


def _array(
    spec: TensorSpec,
    tensor: ModelInferRequest.InferInputTensor,
    data: Buffer | SharedSlice | None,
    read_shared: ReadShared,
) -> Array:
    """Decode one input from its raw bytes, or from its typed contents where there are none."""
    if tensor.datatype != spec.dtype.value:
        raise _refuse(spec, f"is {spec.dtype.value}, the request has {tensor.datatype or 'no datatype'}")
    shape = tuple(tensor.shape)
    _check_shape(spec, shape)
    shared = isinstance(data, SharedSlice)
    if isinstance(data, SharedSlice):
        # Before it is copied: a region may be larger than all memory.
        tensors.raw_count(spec.name, spec.dtype, shape, data.byte_size)
        data = read_shared(f"input {spec.name!r}", data)
    if data is not None:
        array = tensors.decode_raw(spec.name, spec.dtype, shape, data)
    else:
        array = tensors.decode_typed(spec.name, spec.dtype, shape, tensor.contents)
    array = _text(spec, array)
    if shared and spec.dtype is DType.BYTES:
        # Its strings are copies: as long as they are here, what they were made of counts as here.
        weakref.finalize(array, _let_go, data).atexit = False
    return array


def _let_go(data: Buffer | None) -> None:
    """Do nothing: whoever may call this held the data until now."""


def _rows(arrays: Sequence[Array]) -> int | None:
    """Return the batch size that all arrays share; None where they differ, as sizes without a symbol may."""
    sizes = {array.shape[0] if array.ndim else None for array in arrays}
    return sizes.pop() if len(sizes) == 1 else None


def read_outputs(request: ModelInferRequest, signature: Signature) -> RequestedOutputs:
    """Return the requested outputs, all if none is named; raises InvalidInput."""
    if not request.outputs:
        return RequestedOutputs(tuple(range(len(signature.outputs))), {})
    positions = {spec.name: index for index, spec in enumerate(signature.outputs)}
    wanted: list[int] = []
    shared: dict[int, SharedSlice] = {}
    for output in request.outputs:
        where = f"output {output.name!r}"
        if output.name not in positions:
            what = f"{where} does not exist; the model has {_names(signature.outputs)}"
            raise InvalidInput(what, [Violation(f"outputs[{output.name}]", what)])
        position = positions[output.name]
        if position in wanted:
            what = f"{where} is asked for twice"
            raise InvalidInput(what, [Violation(f"outputs[{output.name}]", what)])
        if output.parameters:
            refuse_classification(output.parameters, where)
            part = shared_slice(output.parameters, where)
            if part is not None:
                shared[position] = part
        wanted.append(position)
    return RequestedOutputs(tuple(wanted), shared)


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs)) or "none"


def _refuse(spec: TensorSpec, what: str) -> InvalidInput:
    return InvalidInput(f"input {spec.name!r} {what}", [Violation(f"inputs[{spec.name}]", what)])


def _by_name(request: ModelInferRequest, signature: Signature) -> dict[str, ModelInferRequest.InferInputTensor]:
    given: dict[str, ModelInferRequest.InferInputTensor] = {}
    wrong: list[Violation] = []
    most = len(signature.inputs) + len(signature.optional)
    if len(request.inputs) > most + _MOST_TOLD:
        # To name each of a million would keep the thread that takes calls for seconds.
        what = f"the request has {len(request.inputs)} inputs"
        raise InvalidInput(f"{what}. The model takes {_names(signature.inputs)}", [Violation("inputs", what)])
    for tensor in request.inputs:
        if tensor.name in given:
            wrong.append(Violation(f"inputs[{tensor.name}]", f"input {tensor.name!r} is given twice"))
        given[tensor.name] = tensor
    expected = {spec.name for spec in signature.inputs}
    unknown = given.keys() - expected
    if unknown and signature.optional:
        unknown -= {spec.name for spec in signature.optional}
    wrong += [Violation(f"inputs[{name}]", f"input {name!r} does not exist") for name in sorted(unknown)]
    wrong += [Violation(f"inputs[{name}]", f"input {name!r} is missing") for name in sorted(expected - given.keys())]
    if wrong:
        listed = "; ".join(violation.description for violation in wrong[:_MOST_TOLD])
        may = f", and may be given {_names(signature.optional)}" if signature.optional else ""
        raise InvalidInput(f"{listed}. The model takes {_names(signature.inputs)}{may}", wrong)
    return given


def _raw_by_name(opened: Opened[ModelInferRequest]) -> Mapping[str, Buffer | SharedSlice]:
    """Pair raw contents, or where they are shared, with inputs; those that are not in the result are typed."""
    request, contents = opened.envelope, opened.tensors
    raw: dict[str, Buffer | SharedSlice]
    if len(contents) == len(request.inputs):
        raw = {tensor.name: data for tensor, data in zip(request.inputs, contents, strict=True)}
        own: Sequence[ModelInferRequest.InferInputTensor] = request.inputs
    else:
        raw = {**_shared_by_name(request)}
        own = [tensor for tensor in request.inputs if tensor.name not in raw]
        if contents:
            raw.update(_paired(request, [tensor.name for tensor in own], contents))
    if contents:
        for tensor in own:
            if _has_contents(tensor):
                what = (
                    f"contents field must not be specified when using raw_input_contents for '{tensor.name}' "
                    f"for model '{request.model_name}'"
                )
                raise InvalidInput(what, [Violation(f"inputs[{tensor.name}]", what)])
    return raw


def _has_contents(tensor: ModelInferRequest.InferInputTensor) -> bool:
    """Say whether typed contents are there: MLServer's converters send the field with nothing in it beside raw ones."""
    return tensor.HasField("contents") and tensor.contents.ByteSize() > 0


def _shared_by_name(request: ModelInferRequest) -> dict[str, SharedSlice]:
    """Return the inputs that lie in shared memory."""
    found: dict[str, SharedSlice] = {}
    for tensor in request.inputs:
        where = f"input {tensor.name!r}"
        part = shared_slice(tensor.parameters, where)
        if part is None:
            continue
        if _has_contents(tensor):
            what = f"{where} has contents although its parameters say that it is in shared memory"
            raise InvalidInput(what, [Violation(f"inputs[{tensor.name}]", what)])
        found[tensor.name] = part
    return found


def _paired(request: ModelInferRequest, names: Sequence[str], contents: Sequence[Buffer]) -> dict[str, Buffer]:
    if len(contents) > len(names):
        what = f"{len(contents)} raw_input_contents for {len(names)} inputs: one for each is needed"
        raise InvalidInput(what, [Violation("raw_input_contents", what)])
    if len(contents) < len(names):
        what = (
            f"unable to find data for input tensor '{names[len(contents)]}' for model '{request.model_name}' in "
            f"request: {len(contents)} raw_input_contents for {len(names)} inputs"
        )
        raise InvalidInput(what, [Violation("raw_input_contents", what)])
    return dict(zip(names, contents, strict=True))


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
