"""What ONNX Runtime answers in this process, and which cases can be asked over the wire at all."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from interlock.tensors import encode_raw
from interlock.types import Array, DType

from tests.conformance.backend.cases import Case

_DTYPES: Final = {
    "bool": DType.BOOL,
    "int8": DType.INT8,
    "int16": DType.INT16,
    "int32": DType.INT32,
    "int64": DType.INT64,
    "uint8": DType.UINT8,
    "uint16": DType.UINT16,
    "uint32": DType.UINT32,
    "uint64": DType.UINT64,
    "float16": DType.FP16,
    "bfloat16": DType.BF16,
    "float": DType.FP32,
    "double": DType.FP64,
    "string": DType.BYTES,
}
_BFLOAT16: Final = 16


class NotAsked(Exception):
    """A case that is left out, for a reason that is computed: the text is the reason, without names and numbers."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as the wire has it."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    raw: bytes

    def __str__(self) -> str:
        return f"{self.name} {self.dtype.value}{list(self.shape)}"


@dataclass(frozen=True)
class Exchange:
    """Inputs and the answer that ONNX Runtime gives in process."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def exchanges(case: Case) -> tuple[Exchange, ...]:
    """Run a case in process; raises NotAsked where it cannot be, or where V2 has no form for its types."""
    session = _session(case)
    takes, gives = session.get_inputs(), session.get_outputs()
    for value in (*takes, *gives):
        _dtype(value.type)
    sets = case.inputs()
    if not sets:
        raise NotAsked("it comes without inputs")
    return tuple(_exchange(session, takes, gives, inputs) for inputs in sets)


def _session(case: Case) -> ort.InferenceSession:
    """Open a model with the options that the server's engine opens it with."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(case.content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise NotAsked(f"ONNX Runtime does not load it: {_kind(error)}") from error


def _kind(error: Exception) -> str:
    text = str(error)
    for known in ("NOT_IMPLEMENTED", "Opset", "opset", "is not a registered function/op", "Unsupported model IR"):
        if known.lower() in text.lower():
            return {"Opset": "opset too new", "opset": "opset too new"}.get(known, known)
    return type(error).__name__


def _dtype(text: str) -> DType:
    kind, _, inner = text.removesuffix(")").partition("(")
    if kind != "tensor" or inner not in _DTYPES:
        raise NotAsked(f"V2 has no form for {text if kind == 'tensor' else kind}")
    return _DTYPES[inner]


def _exchange(session: Any, takes: Any, gives: Any, inputs: Sequence[Array | None]) -> Exchange:
    if len(inputs) != len(takes):
        raise NotAsked("the case feeds another number of inputs than the graph takes")
    feed: list[Tensor] = []
    arrays: list[Array] = []
    for value, array in zip(takes, inputs, strict=True):
        assert array is not None  # only tensors come this far
        dtype = _dtype(value.type)
        bits = _bits(dtype, array)
        arrays.append(bits)
        feed.append(Tensor(value.name, dtype, bits.shape, encode_raw(bits, dtype)))
    first, second = _run(session, feed, arrays, gives), _run(session, feed, arrays, gives)
    if first != second:
        raise NotAsked("two runs in process answer differently")
    return Exchange(tuple(feed), first)


def _bits(dtype: DType, array: Array) -> Array:
    """Return an array as numpy carries it: BF16 as its bits, strings as text."""
    if dtype is DType.BF16:
        return np.ascontiguousarray(array).view(np.uint16).reshape(array.shape)
    if dtype is DType.BYTES:
        texts = np.empty(array.size, dtype=object)
        texts[:] = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()]
        return texts.reshape(array.shape)
    return array


def _run(session: Any, feed: Sequence[Tensor], arrays: Sequence[Array], gives: Any) -> tuple[Tensor, ...]:
    kinds = [_dtype(value.type) for value in gives]
    try:
        if DType.BF16 not in (*kinds, *(tensor.dtype for tensor in feed)):
            plain = {tensor.name: array for tensor, array in zip(feed, arrays, strict=True)}
            answers = session.run(None, plain)
        else:
            values = {tensor.name: _value(tensor.dtype, array) for tensor, array in zip(feed, arrays, strict=True)}
            answers = [_fetch(value) for value in session.run_with_ort_values(None, values)]
    except Exception as error:
        raise NotAsked(f"ONNX Runtime does not run it: {_kind(error)}") from error
    return tuple(
        Tensor(value.name, dtype, np.asarray(answer).shape, encode_raw(np.asarray(answer), dtype))
        for value, dtype, answer in zip(gives, kinds, answers, strict=True)
    )


def _value(dtype: DType, array: Array) -> Any:
    array = np.ascontiguousarray(array).reshape(array.shape)
    if dtype is DType.BF16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _fetch(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    size = value.tensor_size_in_bytes()
    data = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(data, np.uint16).reshape(value.shape())
