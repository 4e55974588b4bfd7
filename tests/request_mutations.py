"""Requests for a signature: right ones, and right ones that something was done to. From any source of choices."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from interlock.protocols.open_inference_pb2 import ModelInferRequest
from interlock.tensors import TYPED_FIELD
from interlock.types import DType, Signature, TensorSpec

from tests.reference_decoder import FIELDS

T = TypeVar("T")
ODD_SIZES: Final = (-(2**63), -1, 0, 1, 2, 3, 7, 2**16, 2**31, 2**32, 2**48, 2**62, 2**63 - 1)


class Chooser(Protocol):
    """A source of choices: hypothesis, or a seeded random generator."""

    def integer(self, least: int, most: int) -> int:
        """Choose a number."""
        ...

    def one(self, options: Sequence[T]) -> T:
        """Choose one of some."""
        ...

    def data(self, length: int) -> bytes:
        """Choose so many bytes."""
        ...


def right(choose: Chooser, model: str, signature: Signature) -> ModelInferRequest:
    """Return a request that the signature takes, most likely."""
    request = ModelInferRequest(model_name=model)
    typed = choose.integer(0, 1) and all(spec.dtype in TYPED_FIELD for spec in signature.inputs)
    sizes = {f"{dim}": choose.integer(0, 3) for spec in signature.inputs for dim in spec.shape}
    for spec in signature.inputs:
        shape = [dim if isinstance(dim, int) else sizes[f"{dim}"] for dim in spec.shape]
        tensor = request.inputs.add(name=spec.name, datatype=spec.dtype.value, shape=shape)
        count = 1
        for size in shape:
            count *= size
        if typed:
            _fill_typed(choose, tensor, spec, count)
        else:
            request.raw_input_contents.append(_raw(choose, spec.dtype, count))
    return request


def _raw(choose: Chooser, dtype: DType, count: int) -> bytes:
    if dtype is DType.BYTES:
        words = [choose.one((b"", b"a", "\u00e4\u00f6".encode(), b"\0", b"long" * 20)) for _ in range(count)]
        return b"".join(struct.pack("<I", len(word)) + word for word in words)
    if dtype is DType.BOOL:
        return bytes(choose.integer(0, 1) for _ in range(count))
    return choose.data(count * (dtype.itemsize or 0))


def _fill_typed(choose: Chooser, tensor: ModelInferRequest.InferInputTensor, spec: TensorSpec, count: int) -> None:
    field = getattr(tensor.contents, TYPED_FIELD[spec.dtype])
    for _ in range(count):
        if spec.dtype is DType.BYTES:
            field.append(choose.one((b"", b"word", "\u00e9".encode())))
        elif spec.dtype is DType.BOOL:
            field.append(bool(choose.integer(0, 1)))
        elif spec.dtype in (DType.FP32, DType.FP64):
            field.append(choose.integer(-1000, 1000) / 4)
        else:
            field.append(choose.integer(0 if "UINT" in spec.dtype.value else -100, 100))
    tensor.contents.SetInParent()


Mutation = Callable[[Chooser, ModelInferRequest], None]


def _rename(choose: Chooser, request: ModelInferRequest) -> None:
    choose.one(request.inputs).name = choose.one(("x", "y", "", "a" * 50))


def _retype(choose: Chooser, request: ModelInferRequest) -> None:
    choose.one(request.inputs).datatype = choose.one((*(each.value for each in DType), "", "fp32", "FP33"))


def _resize(choose: Chooser, request: ModelInferRequest) -> None:
    shape = choose.one(request.inputs).shape
    if shape:
        shape[choose.integer(0, len(shape) - 1)] = choose.one(ODD_SIZES)


def _rerank(choose: Chooser, request: ModelInferRequest) -> None:
    shape = choose.one(request.inputs).shape
    if shape and choose.integer(0, 1):
        shape.pop()
    else:
        shape.extend([choose.one(ODD_SIZES)] * choose.integer(1, 20))


def _drop_input(choose: Chooser, request: ModelInferRequest) -> None:
    del request.inputs[choose.integer(0, len(request.inputs) - 1)]


def _double_input(choose: Chooser, request: ModelInferRequest) -> None:
    request.inputs.append(choose.one(request.inputs))


def _drop_raw(choose: Chooser, request: ModelInferRequest) -> None:
    if request.raw_input_contents:
        request.raw_input_contents.pop()


def _add_raw(choose: Chooser, request: ModelInferRequest) -> None:
    request.raw_input_contents.append(choose.data(choose.integer(0, 24)))


def _change_raw(choose: Chooser, request: ModelInferRequest) -> None:
    if request.raw_input_contents:
        index = choose.integer(0, len(request.raw_input_contents) - 1)
        data = bytearray(request.raw_input_contents[index])
        if data and choose.integer(0, 1):
            data[choose.integer(0, len(data) - 1)] = choose.integer(0, 255)
        else:
            data = data[: choose.integer(0, len(data))] + choose.data(choose.integer(0, 9))
        request.raw_input_contents[index] = bytes(data)


def _change_typed(choose: Chooser, request: ModelInferRequest) -> None:
    name = choose.one(FIELDS)
    field = getattr(choose.one(request.inputs).contents, name)
    if field and choose.integer(0, 1):
        field.pop()
        return
    if name == "bytes_contents":
        field.append(choose.one((b"\xff", b"ok", b"")))
    elif name == "bool_contents":
        field.append(True)
    elif name.startswith("fp"):
        field.append(choose.one((0.5, float("nan"), float("inf"))))
    else:
        field.append(choose.one((0, 127, 128, 255, 256, 32768, 65536, 2**31 - 1)))


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _rename,
    _retype,
    _resize,
    _rerank,
    _drop_input,
    _double_input,
    _drop_raw,
    _add_raw,
    _change_raw,
    _change_typed,
)


def mutated(choose: Chooser, model: str, signature: Signature) -> ModelInferRequest:
    """Return a request to which nothing, something or several things were done."""
    request = right(choose, model, signature)
    for _ in range(choose.integer(0, 3)):
        if request.inputs:
            choose.one(MUTATIONS)(choose, request)
    return request
