"""A graph's inputs and outputs: their names, and whether the protocol has a form for their types."""

from __future__ import annotations

from typing import Final

from interlock.errors import InvalidModel
from onnx import GraphProto, TensorProto, TypeProto, ValueInfoProto

from interlock_registry.tool.text import printable

_MAX_NAME: Final = 256
_CARRIED: Final = frozenset(
    {
        *(TensorProto.BOOL, TensorProto.STRING, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT),
        *(TensorProto.DOUBLE, TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    }
)
_UNSTATED: Final = frozenset({TensorProto.UNDEFINED})
"""Left to the checker and to ONNX Runtime, which may infer it."""


def check_interface(graph: GraphProto) -> None:
    """Refuse inputs and outputs that no request could carry; raises InvalidModel."""
    weights = {each.name for each in graph.initializer}
    for side, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            _check_name(value.name)
            if value.name not in weights:
                _check_type(side, value)
    if not graph.output:
        raise InvalidModel("the model has no outputs, so there is nothing to ask it for", check="signature")


def _check_name(name: str) -> None:
    if not name or len(name) > _MAX_NAME or printable(name) != name:
        raise InvalidModel(
            f"{printable(name[:_MAX_NAME])!r} is no good name for an input or output: "
            f"between 1 and {_MAX_NAME} printable characters are needed",
            check="names",
        )


def _check_type(side: str, value: ValueInfoProto) -> None:
    kind = value.type.WhichOneof("value")
    if kind is None or (kind == "tensor_type" and value.type.tensor_type.elem_type in _CARRIED | _UNSTATED):
        return
    raise InvalidModel(
        f"{side} {value.name!r} is {_described(value.type)}, which the protocol cannot carry: it has dense tensors of "
        "BOOL, INT8 to INT64, UINT8 to UINT64, FP16, BF16, FP32, FP64 and BYTES; convert it inside the model",
        check="signature",
    )


def _described(kind: TypeProto) -> str:
    match kind.WhichOneof("value"):
        case "tensor_type":
            return f"a tensor of {_element(kind.tensor_type.elem_type)}"
        case "sparse_tensor_type":
            return f"a sparse tensor of {_element(kind.sparse_tensor_type.elem_type)}"
        case "sequence_type":
            return f"a sequence of {_described(kind.sequence_type.elem_type)}"
        case "optional_type":
            return f"an optional of {_described(kind.optional_type.elem_type)}"
        case "map_type":
            return f"a map from {_element(kind.map_type.key_type)} to {_described(kind.map_type.value_type)}"
        case other:
            return f"of the kind {other}"


def _element(number: int) -> str:
    return TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else f"type {number}"
